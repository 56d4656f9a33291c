"""The guide to deployment says what the script does; `make guide` runs both on an empty Debian."""

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_service

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = ROOT / "deploy" / "debian"
SCRIPT = (DEBIAN / "install").read_text()
GUIDES = {name: (ROOT / "docs" / name).read_text() for name in ("deploy.md", "deploy.zh-CN.md")}
COMMANDS = re.compile(r"^```(?:sh|ini)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def steps() -> list[tuple[str, str, str]]:
    """Return the number, and the title in both languages, of each step of the script."""
    found = re.findall(r'^step (\d) (?:"([^"]+)"|(\S+)) (\S+)$', SCRIPT, re.MULTILINE)
    return [(number, quoted or word, chinese) for number, quoted, word, chinese in found]


@pytest.mark.parametrize(("guide", "title"), [("deploy.md", 1), ("deploy.zh-CN.md", 2)])
def test_the_guide_has_the_steps_of_the_script_in_their_order(guide: str, title: int) -> None:
    headings = re.findall(r"^### (\d)\. (.+)$", GUIDES[guide], re.MULTILINE)
    assert headings == [(step[0], step[title]) for step in steps()]
    assert len(headings) == 9


def test_both_guides_have_the_same_commands() -> None:
    english, chinese = (
        [re.sub(r" +#.*", "", block) for block in COMMANDS.findall(text)]
        for text in GUIDES.values()
    )
    assert english == chinese
    assert len(english) >= 10


@pytest.mark.parametrize("guide", GUIDES)
def test_the_guide_explains_every_option_of_the_script(guide: str) -> None:
    rows = re.findall(r"^\| (`--.*?) \|", GUIDES[guide], re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"--[a-z]+", row)}
    taken = re.search(r"^    (--domain[-a-z| ]+)\)$", SCRIPT, re.MULTILINE)
    assert taken
    assert explained == set(taken[1].split(" | "))


@pytest.mark.parametrize("guide", GUIDES)
def test_the_guide_names_every_unit_that_is_installed(guide: str) -> None:
    units = {path.name for path in DEBIAN.glob("groupsite*.*")}
    assert set(re.findall(r"groupsite[a-z-]*\.(?:service|socket|timer)", SCRIPT)) == units
    named = set(re.findall(r"`(groupsite[a-z-]*\.(?:service|socket|timer))`", GUIDES[guide]))
    started_by_timer = {name.replace("timer", "service") for name in units if "timer" in name}
    assert named == units - started_by_timer


GOOD = ["--domain", "api.example.com", "--app", "wx1:s", "--database", "sqlite"]


@pytest.mark.parametrize(
    ("arguments", "english", "chinese"),
    [
        ([], "--domain is needed", "需要 --domain"),
        (GOOD[:4], "--database is needed", "需要 --database"),
        ([*GOOD, "--domain", "https://api.example.com/"], "without https://", "不带 https://"),
        ([*GOOD, "--app", "wx1"], "reads appid:secret", "AppID:密钥"),
        ([*GOOD, "--database", "oracle"], "sqlite, postgresql, mariadb", "sqlite、postgresql"),
        ([*GOOD, "--proxy", "apache"], "nginx or caddy", "nginx 或 caddy"),
        ([*GOOD, "--operator"], "--operator needs a value", "要写一个值"),
        ([*GOOD, "--operator", "o'l"], "letters, digits", "字母、数字"),
        ([*GOOD, "--wheels", "/nowhere"], "no such folder", "目录不存在"),
        ([*GOOD, "--force"], "no option --force", "没有 --force"),
    ],
)
def test_wrong_arguments_are_refused_in_both_languages(
    arguments: list[str], english: str, chinese: str
) -> None:
    done = subprocess.run(
        ["bash", DEBIAN / "install", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert english in done.stderr
    assert chinese in done.stderr
    assert done.stdout == ""  # nothing was begun
