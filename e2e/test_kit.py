"""Run the client kit's own tests in Node, alone and with the real site and sandbox."""

import os
import re
from collections.abc import Iterator

import pytest

from tests.servers import Site, scratch_database, serving
from tests.settings import APP_ID
from wechat.sandbox import Sandbox

from .phones import MINIPROGRAM, run

APP_SECRET = "secret-of-the-test-app"

PREPARE = f"""
import django
django.setup()
from django.utils import timezone
from groups.models import ServerKey
from groups.models import Board
Board.objects.create(
    app_id="{APP_ID}", key="points", title_zh="积分", policy=Board.Policy.SUM,
    scope=Board.Scope.APP, writer=Board.Writer.CLIENT,
)
print(ServerKey.objects.issue("{APP_ID}", "backend", timezone.now())[0])
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run a server process, because a live server shares one connection among its threads."""
    directory = tmp_path_factory.mktemp("kit")
    with Sandbox({APP_ID: APP_SECRET}) as sandbox, scratch_database(directory) as database:
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "groupsite.settings",
            "DATABASE_URL": database,
            "WECHAT_API_URL": sandbox.url,
        }
        site = Site(environment, [], [directory / "server.log"], sandbox)
        site.run("manage.py", "migrate", "--verbosity", "0")
        with serving(environment, site.logs[0]) as url:
            site.urls.append(url.removesuffix("/api/v1/"))
            yield site


def test_the_kits_own_tests_pass_also_with_the_real_site(node: str, site: Site) -> None:
    report = run(
        node,
        "--test",
        "--test-reporter=tap",
        *sorted(str(path) for path in MINIPROGRAM.glob("tests/*.test.mjs")),
        timeout=300,
        SITE_URL=site.urls[0],
        SANDBOX_URL=site.sandbox.url,
        SERVER_KEY=site.run("-c", PREPARE).strip(),
        APP_ID=APP_ID,
        APP_SECRET=APP_SECRET,
    )
    counts = {name: int(count) for name, count in re.findall(r"(?m)^# (\w+) (\d+)$", report)}
    assert counts["pass"] == counts["tests"] > 150, report
    assert "Traceback" not in site.said()
