"""docs/operating.md: what it says to run is run, and what it lists is what there is."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.utils.translation import override

from console.guesses import digest_of_name
from core.alarms import ALARMS
from core.doctor import EXAMINATIONS
from groupsite.logs import EXTRAS
from tests.cast import fault
from tests.servers import ROOT, find_program, serving
from wechat.sandbox import Sandbox

pytestmark = pytest.mark.no_service

DOCS = ROOT / "docs"
PAGES = {"en": "operating.md", "zh-hans": "operating.zh-CN.md"}
BLOCK = re.compile(r"^```sh\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


def page(language: str) -> str:
    return (DOCS / PAGES[language]).read_text()


def rows(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the table whose first heading that is."""
    [table] = re.findall(rf"^\| {heading} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]


def names(cell: str) -> list[str]:
    return re.findall(r"`([\w-]+)`", cell)


@pytest.mark.parametrize(("language", "heading"), [("en", "examination"), ("zh-hans", "检查项")])
def test_every_examination_is_listed(language: str, heading: str) -> None:
    listed = [names(row[0])[0] for row in rows(page(language), heading)]
    assert len(set(listed)) == len(listed)
    assert set(EXAMINATIONS) <= set(listed) <= {*EXAMINATIONS, "keys"}


@pytest.mark.parametrize("language", PAGES)
def test_every_alarm_is_listed_with_its_fix(language: str) -> None:
    with override(language):
        expected = {(f"`{each.key}`", str(each.means), str(each.todo)) for each in ALARMS.values()}
    assert {tuple(row) for row in rows(page(language), "`alarm`")} == expected


@pytest.mark.parametrize(("language", "heading"), [("en", "field"), ("zh-hans", "字段")])
def test_every_field_of_a_log_line_is_explained(language: str, heading: str) -> None:
    explained = {name for row in rows(page(language), heading) for name in names(row[0])}
    always = {"time", "level", "logger", "message", "requestId", "userId", "appid", "exception"}
    assert explained == always | set(EXTRAS)


def test_both_pages_run_the_same() -> None:
    english, chinese = (BLOCK.findall(page(language)) for language in PAGES)
    assert english == chinese and len(english) == 5


@pytest.fixture
def site(tmp_path: Path, sandbox: Sandbox) -> Iterator[tuple[dict[str, str], str]]:
    """Serve a site that logs into site.log; yield its environment and address."""
    find_program("curl")
    (tmp_path / "manage.py").symlink_to(ROOT / "manage.py")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DJANGO_SETTINGS_MODULE": "groupsite.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'site.sqlite3'}",
        "MEDIA_ROOT": str(tmp_path / "media"),
        "WECHAT_API_URL": sandbox.url,
        "REDIS_URL": "",
    }
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, cwd=tmp_path, env=environment, check=True)
    with serving(environment, tmp_path / "site.log") as url:
        yield environment, urlsplit(url).netloc


def test_each_command_of_the_page_runs(
    site: tuple[dict[str, str], str], sandbox: Sandbox, tmp_path: Path
) -> None:
    environment, address = site
    fault(sandbox, errcode=40125)
    refused = requests.post(f"http://{address}/api/v1/login", json={"code": "x"}, timeout=30)
    assert refused.status_code == 503

    def run(block: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", block.replace("127.0.0.1:8000", address)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        return done.stdout

    doctor, probes, alarms, links, digest = map(run, BLOCK.findall(page("en")))
    assert "数据库迁移齐全。" in doctor and '"saw": "The database has all migrations."' in doctor
    alive, ready = json.JSONDecoder().raw_decode(probes)[0], probes.rpartition("{")[2]
    assert alive == {"status": "ok"} and '"database": "up"' in ready
    line: dict[str, Any] = json.loads(alarms)
    assert line["alarm"] == "40125" and line["level"] == "ERROR"
    olga, mona = links.splitlines()
    assert olga.startswith("https://api.example.com/sign-in/1/")
    assert mona.startswith("https://api.example.com/sign-in/2/")
    # Under this process's SECRET_KEY, which the site has as well.
    assert digest.strip() == digest_of_name("olga")[:16]
