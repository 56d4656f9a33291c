"""docs/move-database.md: from an SQLite file to DATABASE_URL's database, with everything in it."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from groupsite.moving import MoveFailure, move
from tests.pages import blocks_of, run_block, stand_in
from tests.servers import ROOT, scratch_database
from tests.settings import APP_ID

pytestmark = pytest.mark.xdist_group("moves")

MIGRATE, STOP, COPY, START = blocks_of("move-database.md")

elsewhere = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="a move from SQLite leads to another database"
)

MAKE = f"""
from datetime import timedelta
from django.contrib.auth.models import Group as Role, User
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
call_command("migrate", verbosity=0)
from accounts.models import *
from accounts.privacy import erase
from audit.actors import Actor
from groups.models import *
now = timezone.now()
board = Board.objects.active_days()
family = Group.objects.create(app_id={APP_ID!r}, open_gid="family")
for number in range(1200):
    user = WeChatUser(app_id={APP_ID!r}, openid=f"person-{{number}}", nickname=f"李雷🎮{{number}}")
    user.pk = 5000 + number
    user.save()
    Membership.objects.create(user=user, group=family, joined_at=now, verified_at=now)
    Score.objects.create(board=board, user=user, scope=family.pk, window="all", period="all",
        value=number % 7, achieved_at=now - timedelta(seconds=number))
olga = User.objects.create_superuser("olga", password="x")
olga.groups.add(Role.objects.get(name="moderator"))
Actor(olga, "spam").record("block", user, member=user.pk, note={{"a": [1, None, "é"]}})
Transfer.objects.create(digest="d", as_of=now)
Transfer.objects.update(updated_at=now - timedelta(days=3))
erase(WeChatUser.objects.create(app_id={APP_ID!r}, openid="last"))
print(Token.objects.issue(user, now)[0], WeChatUser.objects.order_by("-pk")[0].pk + 1)
"""
# Every table as Django reads it; the ranking as a member sees it.
LOOK = """
import json, sys
from django.apps import apps
from django.core import serializers
from django.test import Client
tables = {}
for model in apps.get_models(include_auto_created=True):
    rows = model._base_manager.order_by("pk")
    tables[model._meta.db_table] = json.loads(serializers.serialize("json", rows))
answer = Client().get("/api/v1/groups/family/ranking?period=all&limit=100",
    headers={"Authorization": f"Bearer " + sys.argv[1]})
assert answer.status_code == 200, answer.content
print(json.dumps([tables, answer.json()]))
"""
NEXT = """
from accounts.models import WeChatUser
print(WeChatUser.objects.create(app_id="a", openid="b").pk)
"""


def django(code: str, url: str, *arguments: str) -> str:
    """Run code in a Django with another database; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{code}", *arguments],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "groupsite.settings", "DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: Any) -> tuple[str, str, int]:
    """Make a site on SQLite; return its URL, a member's token, and the number given last."""
    url = f"sqlite:///{tmp_path_factory.mktemp('old') / 'db.sqlite3'}"
    token, last = django(MAKE, url).split()
    return url, token, int(last)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[str]:
    with scratch_database(tmp_path) as url:
        yield url


def page(block: str, folder: Path, source: str, target: str, error: str = "") -> str:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "groupsite.settings",
        "DATABASE_URL": source,
        "NEW_DATABASE_URL": target,
        "MEDIA_ROOT": str(folder / "media"),
        "ALLOW_SANDBOX": "False",
        "WECHAT_API_URL": "https://api.weixin.qq.com",
    }
    paths = {
        "sqlite:////var/lib/groupsite/db.sqlite3": source,
        "/var/backups/groupsite": str(folder / "backups"),
    }
    (folder / "media").mkdir(exist_ok=True)
    stand_in(folder, "systemctl", "")
    done = run_block(block, folder, environment, paths)
    assert bool(done.returncode) == bool(error) and error in done.stderr, done.stderr
    return done.stdout


@elsewhere
def test_everything_moves(source: tuple[str, str, int], target: str, tmp_path: Path) -> None:
    url, token, last = source
    tables, ranking = json.loads(django(LOOK, url, token))
    said = [page(block, tmp_path, url, target) for block in (MIGRATE, STOP, COPY, START)]
    assert "accounts_wechatuser: 1,200" in said[2]
    moved, ranking_there = json.loads(django(LOOK, target, token))
    for name, rows in tables.items():
        assert moved[name] == rows, name
    assert ranking["total"] == 1200 and ranking["entries"][0]["score"] == 6
    assert ranking.pop("serverTime") < ranking_there.pop("serverTime")
    assert ranking_there == ranking
    assert int(django(NEXT, target)) == last + 1, "no number is given twice"
    page(COPY, tmp_path, url, target, error="not empty")
    assert json.loads(django(LOOK, target, token))[0]["accounts_token"] == tables["accounts_token"]


@elsewhere
def test_what_does_not_fit_is_said_and_nothing_is_moved(
    source: tuple[str, str, int], target: str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.sqlite3"
    copy.write_bytes(Path(source[0].removeprefix("sqlite:///")).read_bytes())
    with sqlite3.connect(copy) as made:
        made.execute(
            "UPDATE accounts_wechatuser SET nickname = printf('%.999c', 'x') WHERE id = 5007"
        )
    made.close()
    url = f"sqlite:///{copy}"
    page(COPY, tmp_path, url, target, error="migrations differ")
    page(MIGRATE, tmp_path, url, target)
    page(COPY, tmp_path, url, target, error="accounts_wechatuser: ")
    page(COPY, tmp_path, source[0], target)  # it is still empty
    page(COPY, tmp_path, "sqlite:////nowhere", target, error="no SQLite file")


@elsewhere
def test_a_site_that_serves_is_not_moved(source: tuple[str, str, int]) -> None:
    path = source[0].removeprefix("sqlite:///")
    other = sqlite3.connect(path)
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("BEGIN")
    other.execute("SELECT * FROM accounts_token").fetchone()
    with pytest.raises(MoveFailure, match="in use"):
        move(source[0], lambda table, rows, total: rows)
    other.close()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="it is about SQLite")
def test_sqlite_is_no_target(db: None) -> None:
    with pytest.raises(MoveFailure, match="names SQLite"):
        move("sqlite:///x", lambda table, rows, total: rows)


@pytest.mark.no_service
def test_both_pages_say_the_same_to_run() -> None:
    assert blocks_of("move-database.zh-CN.md") == blocks_of("move-database.md")
