"""docs/backup.md: its commands are run in their order, on the database that DATABASE_URL names."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from accounts.erasures import ERASURES_KEPT
from accounts.models import TombstoneKey, WeChatUser
from core.vault import encrypt
from groupsite.backups import ERASURES, MANIFEST, check, digest_of, write_backup
from groupsite.dumps import BackupFailure, MySQLDump
from tests.pages import blocks_of, run_block, stand_in
from tests.servers import ROOT, find_program, scratch_database
from tests.settings import APP_ID, DATABASE_URL

BACKUP, LIST, COPY, STOP, RESTORE, START, LOST, LOG, REHEARSE = blocks_of("backup.md")
NEEDED = {"postgresql": ["pg_dump", "pg_restore"], "mysql": ["mariadb-dump"], "sqlite": []}

MIGRATE = """
from django.core.management import call_command
call_command("migrate", *{arguments}, verbosity=0)
"""
MAKE = """
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from accounts.models import *
from accounts.avatars.storage import file_name, SIZES
from groups.models import Board, Score
board = Board.objects.active_days()
for name in {names!r}:
    user = WeChatUser.objects.meet({app!r}, name)
    user.nickname, user.avatar = name.title(), name.ljust(22, "0")
    user.save()
    for size in SIZES:
        default_storage.save(file_name(user.avatar, size), ContentFile(name.encode()))
    Score.objects.create(board=board, user=user, scope=0, window="all", period="all",
        value=len(name), achieved_at=timezone.now())
"""
ERASE = """
from accounts.models import WeChatUser
from accounts.privacy import erase
erase(WeChatUser.objects.get(openid={name!r}))
"""
LOOK = """
import json
from django.core.files.storage import default_storage
from groups.models import Score
scores = dict(Score.objects.values_list("user__openid", "value"))
files = {{each.split("0")[0] for each in default_storage.listdir("avatars")[1]}}
print(json.dumps([scores, sorted(files)]))
"""


@dataclass
class Machine:
    """A server with a site on it, whose database is of its own."""

    folder: Path
    environment: dict[str, str]

    @property
    def backups(self) -> Path:
        return self.folder / "backups"

    def page(self, block: str, error: str = "") -> str:
        """Run a block of the page, which fails with `error`, if given; return what it said."""
        paths = {
            "/var/backups/groupsite": str(self.backups),
            "/tmp/rehearsal": str(self.folder / "rehearsal"),
        }
        done = run_block(block, self.folder, self.environment, paths)
        assert (error in done.stderr) if error else not done.returncode, done.stderr
        assert bool(done.returncode) == bool(error)
        return done.stdout

    def python(self, code: str, **values: Any) -> str:
        """Run code in the site's Django; what it logs goes into the journal."""
        code = f"import django; django.setup()\n{code.format(app=APP_ID, **values)}"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        with (self.folder / "journal").open("a") as journal:
            journal.write(done.stderr)
        return done.stdout

    def has(self) -> Any:
        """Return the scores by openid, and whose pictures are there."""
        return json.loads(self.python(LOOK))

    def newest(self) -> Path:
        return max(self.backups.glob("2*Z"))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    for program in NEEDED[connection.vendor]:
        find_program(program)
    with scratch_database(tmp_path) as url:
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "groupsite.settings",
            "DATABASE_URL": url,
            "MEDIA_ROOT": str(tmp_path / "media"),
        }
        found = Machine(tmp_path, environment)
        stand_in(tmp_path, "systemctl", "")
        copy = "import sys; open('rsync', 'a').write(' '.join(sys.argv[1:]) + '\\n')"
        stand_in(tmp_path, "rsync", f"import os; os.chdir({str(tmp_path)!r}); {copy}")
        stand_in(tmp_path, "journalctl", f"print(open({str(tmp_path / 'journal')!r}).read())")
        manage = [sys.executable, "manage.py"]
        stand_in(
            tmp_path,
            "groupsite",
            f"import os, sys; os.execv({manage[0]!r}, {manage} + sys.argv[1:])",
        )
        found.python(MIGRATE, arguments=[])
        found.python(MAKE, names=["alice", "bob", "charlie"])
        yield found


def test_a_restore_has_what_the_backup_has_and_no_one_who_was_erased(machine: Machine) -> None:
    machine.page(BACKUP)
    machine.python(ERASE, name="alice")
    machine.page(LIST)
    machine.python(ERASE, name="bob")
    machine.python(MAKE, names=["dana"])
    machine.page(STOP)
    backup = machine.newest()
    said = machine.page(RESTORE)
    assert "people erased again 再次删除的成员: 2" in said and "missing 缺失: 0" in said
    assert machine.has() == [{"charlie": 7}, ["charlie", "dana"]]
    assert machine.newest() != backup, "what was there is backed up"
    machine.page(START)
    machine.page(RESTORE)
    assert machine.has() == [{"charlie": 7, "dana": 4}, ["charlie", "dana"]], "and has everything"


def test_where_the_database_is_lost_the_saved_list_and_the_log_say_who_was_erased(
    machine: Machine,
) -> None:
    machine.page(BACKUP)
    machine.python(ERASE, name="alice")
    machine.page(LIST)
    machine.python(ERASE, name="bob")
    machine.python("from groupsite.dumps import dump_of_database; dump_of_database().clear()")
    shutil.rmtree(machine.folder / "media")
    said = machine.page(LOST)
    assert "people erased again 再次删除的成员: 1" in said
    assert "put back 恢复图片: 4; missing 缺失: 0" in said
    assert machine.has()[0] == {"bob": 3, "charlie": 7}, "no list has Bob"
    assert "people erased again 再次删除的成员: 1" in machine.page(LOG)
    assert machine.has() == [{"charlie": 7}, ["charlie"]]
    assert len(list(machine.backups.glob("2*Z"))) == 1, "nothing was there to be backed up"


def test_a_backup_is_complete_and_for_its_owner_alone(machine: Machine) -> None:
    machine.page(BACKUP)
    made = machine.newest()
    facts = json.loads((made / MANIFEST).read_text())
    assert facts["database"] == connection.vendor
    assert len(list((made / "media").iterdir())) == 6
    [keys] = (machine.backups / "keys").iterdir()
    for name in ("SECRET_KEY", "FIELD_KEYS"):
        assert f"{name}={machine.environment[name]}\n" in keys.read_text()
    secrets = machine.environment["SECRET_KEY"].encode(), machine.environment["FIELD_KEYS"].encode()
    for path in [machine.backups, *machine.backups.rglob("*")]:
        if path.parent.name != "media":  # as they are served, in a folder that is closed
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        if path.is_file() and path.parent.name != "keys":
            assert not any(secret in path.read_bytes() for secret in secrets), path
    machine.page(COPY)
    [first, second] = (machine.folder / "rsync").read_text().splitlines()
    assert "--exclude=/keys" in first and f"{machine.backups}/keys/" in second


def test_old_backups_go_and_pictures_are_kept_once(machine: Machine) -> None:
    machine.page(BACKUP)
    first = machine.newest()
    facts = json.loads((first / MANIFEST).read_text())
    facts["begun"] = (datetime.now(UTC) - timedelta(days=29, hours=23)).isoformat()
    (first / MANIFEST).write_text(json.dumps(facts))
    first = first.rename(first.with_name("20200101T000000Z"))
    cut_short = machine.backups / ".20200102T000000Z.part"
    cut_short.mkdir()
    machine.page(BACKUP)
    second = machine.newest()
    assert first.exists() and not cut_short.exists()
    for each in (second / "media").iterdir():
        assert each.samefile(first / "media" / each.name)
    assert len(list((machine.backups / "keys").iterdir())) == 1, "they have not changed"
    second = second.rename(second.with_name("20200103T000000Z"))
    assert "deleted" in machine.page(f"{BACKUP} --keep 29")
    assert not first.exists() and second.exists()
    assert len(list((second / "media").iterdir())) == 6
    machine.page(f"{BACKUP} --keep 91", error="1 to 到 90")


def test_a_restore_refuses_while_the_database_is_in_use(machine: Machine) -> None:
    machine.page(BACKUP)
    code = "import django; django.setup(); from django.db import connection\n"
    code += "connection.ensure_connection(); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=machine.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "1\n"
        machine.page(RESTORE, error="in use")
        other.communicate("\n", timeout=60)
    assert machine.has()[0] == {"alice": 5, "bob": 3, "charlie": 7}


def test_a_backup_of_a_database_that_is_not_migrated_yet_can_be_made(machine: Machine) -> None:
    """As before an upgrade from 0.1.0, with the new code."""
    machine.python(MIGRATE, arguments=["accounts", "0002"])
    machine.page(BACKUP)
    machine.page(RESTORE)
    assert machine.has()[0] == {"alice": 5, "bob": 3, "charlie": 7}


def test_two_backups_of_one_second_are_two(machine: Machine) -> None:
    """As a restore makes one first, which may follow right after the one to be restored."""
    code = "from datetime import timedelta\nfrom pathlib import Path\n"
    code += "from groupsite.backups import back_up\n"
    code += f"for _ in range(2): back_up(Path({str(machine.backups)!r}), print, timedelta(days=9))"
    machine.python(code)
    assert len(list(machine.backups.glob("2*Z"))) == 2


def test_the_rehearsal_touches_nothing(machine: Machine) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("the page's rehearsal is on SQLite")
    machine.page(BACKUP)
    before = machine.has()
    said = machine.page(REHEARSE)
    assert "is restored" in said and "put back 恢复图片: 6" in said
    assert machine.has() == before and not (machine.folder / "rehearsal").exists()


# What is refused


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """Make what looks like a backup of this database."""
    (tmp_path / "database").write_text("rows")
    (tmp_path / ERASURES).write_text("")
    write(tmp_path)
    check(tmp_path)
    return tmp_path


def write(folder: Path, **changed: Any) -> None:
    facts = {
        "begun": datetime.now(UTC).isoformat(),
        "database": connection.vendor,
        "canary": encrypt("groupsite"),
        "sha256": {name: digest_of(folder / name) for name in ("database", ERASURES)},
    }
    (folder / MANIFEST).write_text(json.dumps({**facts, **changed}))


def test_a_damaged_backup_is_refused(backup: Path) -> None:
    (backup / "database").write_text("row")
    with pytest.raises(BackupFailure, match="damaged"):
        check(backup)


def test_a_backup_of_another_database_is_refused(backup: Path) -> None:
    write(backup, database="oracle")
    with pytest.raises(BackupFailure, match="oracle"):
        check(backup)


def test_a_backup_under_other_keys_is_refused(backup: Path, settings: Any) -> None:
    settings.FIELD_KEYS = ["bmV3LWtleS1vZi10aGlydHktdHdvLWJ5dGVzLWhlcmU="]
    with pytest.raises(BackupFailure, match="FIELD_KEYS"):
        check(backup)


def test_with_keys_that_do_not_open_the_database_no_backup_is_made(
    db: None, tmp_path: Path, settings: Any
) -> None:
    WeChatUser.objects.meet(APP_ID, "someone")
    TombstoneKey.objects.texts()
    settings.FIELD_KEYS = ["bmV3LWtleS1vZi10aGlydHktdHdvLWJ5dGVzLWhlcmU="]
    with pytest.raises(BackupFailure, match="FIELD_KEYS does not open what this database holds"):
        write_backup(tmp_path, print)
    assert list(tmp_path.iterdir()) == []


def test_a_backup_that_the_list_does_not_reach_back_to_is_refused(backup: Path) -> None:
    kept = datetime.now(UTC) - ERASURES_KEPT
    write(backup, begun=(kept + timedelta(minutes=1)).isoformat())
    check(backup)
    write(backup, begun=(kept - timedelta(minutes=1)).isoformat())
    with pytest.raises(BackupFailure, match="90 days"):
        check(backup)


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupFailure, match="no backup"):
        check(tmp_path)


@pytest.mark.skipif(not DATABASE_URL.startswith("mysql"), reason="it is MySQL's dump")
def test_a_dump_without_its_end_is_found(tmp_path: Path) -> None:
    import gzip

    for text, is_whole in ((b"INSERT\n", False), (b"x\n-- Dump completed on 2026-11-30\n", True)):
        with gzip.open(tmp_path / "dump", "wb") as file:
            file.write(text)
        try:
            MySQLDump().verify(tmp_path / "dump")
        except BackupFailure:
            assert not is_whole
        else:
            assert is_whole


@pytest.mark.no_service
def test_an_sqlite_copy_that_is_damaged_is_found(tmp_path: Path) -> None:
    from groupsite.dumps import SQLiteDump

    path = tmp_path / "copy"
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE t (x)")
        made.executemany("INSERT INTO t VALUES (?)", [["x" * 3000]] * 40)
    made.close()
    SQLiteDump().verify(path)
    content = bytearray(path.read_bytes())
    content[5000:9000] = bytes(4000)
    path.write_bytes(content)
    with pytest.raises((BackupFailure, sqlite3.DatabaseError)):
        SQLiteDump().verify(path)


@pytest.mark.no_service
def test_both_pages_say_the_same_to_run() -> None:
    assert blocks_of("backup.zh-CN.md") == blocks_of("backup.md")
