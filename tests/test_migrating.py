"""docs/migrating.md: what it says to run is run, in its order, in both languages."""

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from accounts.models import WeChatUser
from groups.models import Group, Membership, Score
from groups.transfer.rows import KINDS
from tests.documented import blocks_of
from tests.transfers import ROOT, hand_out, table, take

ENGLISH, CHINESE = (
    (ROOT / "docs" / name).read_text() for name in ("migrating.md", "migrating.zh-CN.md")
)

# What stands in for LeanCloud and for databases of others.
TOOLS = {
    "curl": """
import json, sys
*options, url = sys.argv[1:]
if "-o" in options:
    open(options[options.index("-o") + 1], "w").write(
        "rank,user.objectId,statisticValue\\n0,a1,91\\n1,a2,5\\n")
elif "-X" in options:
    assert "PUT" in options and url.endswith("/steps/incrementVersion"), sys.argv
    print("{}")
else:
    assert url == "https://lc.example.com/1.1/leaderboard/leaderboards/steps/archives?limit=60", url
    assert "X-LC-Key: master,master" in options
    print(json.dumps({"results": [{
        "statisticName": "steps", "status": "completed", "file_key": "yK5s6YJz.csv",
        "url": "https://files.example.com/yK5s6YJz.csv",
        "activatedAt": {"iso": "2026-11-15T16:00:00.000Z"},
        "deactivatedAt": {"iso": "2026-11-22T16:00:00.000Z"}}]}))
""",
    "psql": """
import csv, sqlite3, sys
assert sys.argv[1:3] == ["--csv", "-c"]
rows = sqlite3.connect("theirs.sqlite3").execute(sys.argv[3])
csv.writer(sys.stdout).writerows([[each[0] for each in rows.description], *rows])
""",
    "mysql": """
import sqlite3, sys
assert sys.argv[1:3] == ["--batch", "-e"]
rows = sqlite3.connect("theirs.sqlite3").execute(sys.argv[3])
for row in [[each[0] for each in rows.description], *rows]:
    print(*row, sep="\\t")
""",
}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: Any, db: None, make_board: Any) -> Path:
    """Make a folder with what the page takes for granted; work in it."""
    make_board()
    monkeypatch.chdir(tmp_path)
    for name, code in TOOLS.items():
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f"#!{sys.executable}\n{code}")
        tool.chmod(0o700)
    (tmp_path / "leancloud").mkdir()
    users = [
        {"objectId": name, "authData": {"lc_weapp": {"openid": f"lean-{name}"}}, "nickname": name}
        for name in ("a1", "a2")
    ]
    table(tmp_path / "leancloud" / "_User.jsonl", *users)
    table(tmp_path / "people.csv", {"openid": "first"})
    table(tmp_path / "scores.csv", {"openid": "first", "board": "steps", "value": 1})
    theirs = sqlite3.connect(tmp_path / "theirs.sqlite3")
    with theirs:
        theirs.execute("CREATE TABLE players (openid, nickname, best, scored_at)")
        theirs.execute("INSERT INTO players VALUES ('p1', '小明', 9781, '2026-11-22 08:00:00+08')")
        theirs.execute("INSERT INTO players VALUES ('p2', '李雷', NULL, NULL)")
        theirs.execute("CREATE TABLE entries (openid, open_gid, at)")
        theirs.execute("INSERT INTO entries VALUES ('p1', 'chat', '2026-11-20 08:00:00')")
        theirs.execute("INSERT INTO entries VALUES ('p1', 'chat', '2026-11-22 08:00:00')")
    theirs.close()
    table(tmp_path / "users.json", {"_id": "1", "_openid": "cloud", "nickName": "云"})
    date = {"$date": "2026-11-22T00:00:00.000Z"}
    table(tmp_path / "scores.json", {"_openid": "cloud", "score": 7, "updatedAt": date})
    return tmp_path


def run(block: str, desk: Path) -> None:
    """Run a block: commands of ours in this process, anything else by bash."""
    if not block.startswith("python manage.py"):
        environment = os.environ | {
            "PATH": f"{desk / 'bin'}:{os.environ['PATH']}",
            "LC_ID": "id",
            "LC_MASTER_KEY": "master",
            "LC_API": "https://lc.example.com",
        }
        subprocess.run(["bash", "-euo", "pipefail", "-c", block], env=environment, check=True)
        return
    for line in block.splitlines():
        command, *arguments = shlex.split(line)[2:]
        if command == "export":
            folder, *options = arguments
            form = options[1] if options else "csv"
            assert set(hand_out(Path(folder), format=form)) == {f"{kind}.{form}" for kind in KINDS}
        else:
            assert command == "import"
            dry = "--dry-run" in arguments
            files = [each for each in arguments if each != "--dry-run"]
            assert take(*files, dry_run=dry).error == ""


def test_every_block_of_the_page_works(desk: Path) -> None:
    blocks = blocks_of("tests/test_migrating.py::test_every_block_of_the_page_works")
    assert len(blocks) == 13
    for block in blocks:
        run(block.code, desk)
    people = set(WeChatUser.objects.values_list("openid", flat=True))
    assert people == {"first", "lean-a1", "lean-a2", "p1", "p2", "cloud"}
    scores = Score.objects.values_list("user__openid", "period", "value").order_by("value")
    assert list(scores) == [
        ("first", "all", 1),
        ("lean-a2", "2026-W47", 5),
        ("cloud", "all", 7),
        ("lean-a1", "2026-W47", 91),
        ("p1", "all", 9781),
    ]
    membership = Membership.objects.get()
    assert membership.joined_at < membership.verified_at
    assert Group.objects.get().open_gid == "chat"


@pytest.mark.no_service
def test_both_pages_say_the_same_to_run() -> None:
    english = blocks_of("tests/test_migrating.py::test_every_block_of_the_page_works")
    chinese = blocks_of("tests/test_migrating.py::test_both_pages_say_the_same_to_run")
    assert [block.code for block in chinese] == [block.code for block in english]


@pytest.mark.no_service
@pytest.mark.parametrize("page", [ENGLISH, CHINESE])
def test_the_pages_name_every_column(page: str) -> None:
    for kind in KINDS.values():
        [row] = re.findall(rf"^\| {kind.name}(?: [^ |]+)? \| (.*) \|$", page, re.MULTILINE)
        columns = re.split(r", |、", row)
        named = [f"**{c.name}**" if c.required else c.name for c in kind.columns]
        assert columns == named


@pytest.mark.no_service
@pytest.mark.parametrize("page", [ENGLISH, CHINESE])
def test_a_board_of_the_page_is_one_that_is_read(page: str) -> None:
    [line] = re.findall(r"^\{.*\}$", page, re.MULTILINE)
    assert KINDS["boards"].read(json.loads(line))["key"] == "steps"
