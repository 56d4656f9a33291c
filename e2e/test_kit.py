"""The client kit in Node: by itself, and against the real site and the real sandbox."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Site, find_program, scratch_database, serving
from tests.settings import APP_ID
from wechat.sandbox import Sandbox

KIT = Path(__file__).resolve().parent.parent / "miniprogram"
APP_SECRET = "secret-of-the-test-app"
PATIENCE = 300  # seconds

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
    """A server process of its own: a test's live server shares one connection among threads."""
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


@pytest.fixture(scope="session")
def node_path() -> str:
    """Node, with what the kit is checked with beside it."""
    if not (KIT / "node_modules").is_dir():
        missing = "miniprogram/node_modules is not installed (npm ci)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return find_program("node")


def report_of(*command: str, **environment: str) -> str:
    """What a command of Node's says; a failure, with all of that, where it fails."""
    done = subprocess.run(
        command,
        cwd=KIT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def counted(report: str) -> dict[str, int]:
    return {name: int(count) for name, count in re.findall(r"(?m)^# (\w+) (\d+)$", report)}


def test_the_kit_does_what_its_tests_say_also_with_the_real_site(
    node_path: str, site: Site
) -> None:
    report = report_of(
        node_path,
        "--test",
        "--test-reporter=tap",
        *sorted(str(path) for path in KIT.glob("tests/*.test.mjs")),
        SITE_URL=site.urls[0],
        SANDBOX_URL=site.sandbox.url,
        SERVER_KEY=site.run("-c", PREPARE).strip(),
        APP_ID=APP_ID,
        APP_SECRET=APP_SECRET,
    )
    counts = counted(report)
    assert counts["pass"] == counts["tests"] > 150, report
    assert "Traceback" not in site.said()
