"""Backups: the database, the pictures and the list of erasures of one moment, in a folder each.

    FOLDER/20261130T184320Z/   database.…, media/, erasures.txt, backup.json
    FOLDER/erasures.txt        the list, as it was saved last
    FOLDER/keys/               SECRET_KEY and FIELD_KEYS, a file each time they change

docs/backup.md says what is promised. A folder has its name when it is complete.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.management import call_command
from django.db import DatabaseError, connection, connections
from django.utils import timezone

from accounts.avatars.pictures import SIZES
from accounts.avatars.storage import FOLDER as PICTURES
from accounts.avatars.storage import file_name
from accounts.erasures import ERASURES_KEPT, Entries, entries_here, entries_in, lines_of
from accounts.models import Erasure, WeChatUser
from core.reencryption import lost_keys_of_the_site
from core.vault import decrypt, encrypt

from .dumps import BackupFailure, Dump, dump_of_database

FORM = "%Y%m%dT%H%M%SZ"
ERASURES, MANIFEST, MEDIA, KEYS = "erasures.txt", "backup.json", "media", "keys"
CANARY = "groupsite"
KEPT = timedelta(days=30)
PATIENCE = 5  # seconds for which a connection may linger after its process

Say = Callable[[str], object]


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make a folder that only its owner enters, and let no other run work in it meanwhile."""
    before = os.umask(0o077)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    finally:
        os.umask(before)


def back_up(folder: Path, say: Say, keep: timedelta) -> None:
    """Make a backup in `folder`, and delete those older than `keep`. Raises BackupFailure."""
    with alone_in(folder):
        made = write_backup(folder, say)
        for old in backups_in(folder):
            if moment_of(made) - moment_of(old) > keep:
                shutil.rmtree(old)
                say(f"{old}: deleted 已删除")


def write_backup(folder: Path, say: Say) -> Path:
    """Make a backup in a folder that the caller is alone in, and return its own."""
    for part in folder.glob(".*.part"):  # of runs that were ended
        shutil.rmtree(part)
    if lost_keys_of_the_site():
        raise BackupFailure(
            "FIELD_KEYS does not open what this database holds, so this backup could not be used: "
            "put its key back at the end of FIELD_KEYS. FIELD_KEYS 无法解开此数据库的内容，这样的"
            "备份无法使用，请把原来的密钥放回 FIELD_KEYS 的末尾。"
        )
    earlier = backups_in(folder)
    begun = datetime.now(UTC)
    while (made := folder / begun.strftime(FORM)).exists():  # of this very second
        time.sleep(0.1)
        begun = datetime.now(UTC)
    part = folder / f".{made.name}.part"
    part.mkdir()
    pictures = Pictures(part / MEDIA, earlier[-1] / MEDIA if earlier else None)
    pictures.copy()
    dump = dump_of_database()
    dump.write(part / dump.file)
    dump.verify(part / dump.file)
    pictures.copy()  # those that have come meanwhile
    save_list(folder)
    shutil.copy2(folder / ERASURES, part)
    save_keys(folder / KEYS, begun)
    facts = {
        "begun": begun.isoformat(),
        "database": connection.vendor,
        "canary": encrypt(CANARY),
        "sha256": {name: digest_of(part / name) for name in (dump.file, ERASURES)},
    }
    (part / MANIFEST).write_text(json.dumps(facts, indent=1) + "\n")
    for path in (part / dump.file, part / ERASURES, part / MANIFEST):
        sync(path)
    part.rename(made)
    sync(folder)
    size = (made / dump.file).stat().st_size
    say(f"{made}: {dump.file} {size:,} bytes, {pictures.count:,} pictures 张图片")
    return made


def backups_in(folder: Path) -> list[Path]:
    """Return the complete backups in a folder, the oldest first."""
    return sorted(
        path.parent for path in folder.glob(f"*/{MANIFEST}") if path.parent.name[0] != "."
    )


def moment_of(backup: Path) -> datetime:
    return datetime.fromisoformat(json.loads((backup / MANIFEST).read_text())["begun"])


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_list(folder: Path) -> int:
    """Add the database's list of erasures to the one saved in `folder`; return its length."""
    path = folder / ERASURES
    known = entries_in(path.read_text().splitlines()) if path.exists() else {}
    has_list = Erasure._meta.db_table in connection.introspection.table_names()  # of 0.2.0 and on
    since = timezone.now() - ERASURES_KEPT
    both = joined(known, entries_here() if has_list else {})
    entries = {each: at for each, at in both.items() if at >= since}
    write_list(path, entries)
    return len(entries)


def write_list(path: Path, entries: Entries) -> None:
    new = path.with_suffix(".new")
    with new.open("w") as file:
        file.writelines(lines_of(entries))
    sync(new)
    new.replace(path)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def joined(*lists: Entries) -> Entries:
    """Return the entries of several lists, the latest of each."""
    found: Entries = {}
    for entries in lists:
        for each, at in entries.items():
            found[each] = max(at, found.get(each, at))
    return found


def save_keys(folder: Path, now: datetime) -> None:
    """Write the keys down where they differ from those that were written last."""
    folder.mkdir(exist_ok=True)
    text = f"SECRET_KEY={settings.SECRET_KEY}\nFIELD_KEYS={','.join(settings.FIELD_KEYS)}\n"
    written = sorted(folder.glob("*.env"))
    if not written or written[-1].read_text() != text:
        (folder / f"{now.strftime(FORM)}.env").write_text(text)


class Pictures:
    """The avatars of a file storage. Those in a bucket are its own to keep.

    A file never changes under its name, so one that an earlier backup has is linked, not copied.
    """

    def __init__(self, target: Path, earlier: Path | None) -> None:
        self.target, self.earlier, self.count = target, earlier, 0

    @staticmethod
    def folder() -> Path | None:
        storage: Any = default_storage
        is_file_storage = isinstance(storage, FileSystemStorage)
        return Path(storage.location) / PICTURES if is_file_storage else None

    def copy(self) -> None:
        self.target.mkdir(exist_ok=True)
        source = self.folder()
        if source is None or not source.is_dir():
            return
        for each in os.scandir(source):
            copy = self.target / each.name
            if not copy.exists():
                with suppress(FileNotFoundError):  # replaced by its owner meanwhile
                    self._take(Path(each.path), copy)
                    self.count += 1

    def _take(self, source: Path, copy: Path) -> None:
        if self.earlier is not None:
            with suppress(OSError):
                os.link(self.earlier / source.name, copy)
                return
        shutil.copy2(source, copy)
        sync(copy)


def restore(backup: Path, say: Say, *, lost: bool) -> None:
    """Put a backup in the place of the database, erase those in the list again, and put back the
    pictures that are missing.

    What is there is backed up before, unless it is `lost`. Raises BackupFailure; a
    restore can be run again.
    """
    folder = backup.parent
    check(backup)
    with alone_in(folder):
        dump = dump_of_database()
        refuse_while_used(dump)
        if lost:
            with suppress(DatabaseError):
                save_list(folder)
        elif connection.introspection.table_names():
            say("What is there is backed up first 先备份现有数据:")
            write_backup(folder, say)
        write_list(folder / ERASURES, saved_lists(folder))
        dump.clear()
        connections.close_all()
        dump.load(backup / dump.file)
        call_command("migrate", verbosity=0)
        call_command("erase_again", str(folder / ERASURES))
        put_back(backup / MEDIA, say)
        connections.close_all()
    say(f"{backup} is restored 已恢复")


def refuse_while_used(dump: Dump) -> None:
    """Raise BackupFailure unless those who use the database end within some seconds."""
    for _ in range(PATIENCE * 10):
        if not dump.others():
            return
        time.sleep(0.1)
    raise BackupFailure(
        "The database is in use. Stop the site and its timers first: docs/backup.md says how. "
        "数据库正在使用，请先停止站点与定时任务，见 docs/backup.zh-CN.md。"
    )


def check(backup: Path) -> None:
    """Raise BackupFailure for what cannot be restored here."""
    try:
        facts = json.loads((backup / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise BackupFailure(f"{backup}: no backup 不是备份: {error}") from error
    if facts["database"] != connection.vendor:
        raise BackupFailure(
            f"This is a backup of {facts['database']}, and DATABASE_URL names {connection.vendor}: "
            f"restore it there, then move (docs/move-database.md). 备份来自 {facts['database']}，"
            "请先恢复到同类数据库，再按 docs/move-database.zh-CN.md 迁移。"
        )
    for name, digest in facts["sha256"].items():
        if not (backup / name).exists() or digest_of(backup / name) != digest:
            raise BackupFailure(f"{backup / name} is damaged or incomplete. 文件已损坏或不完整。")
    if decrypt(facts["canary"]) != CANARY:
        raise BackupFailure(
            "FIELD_KEYS does not open this backup: put those of its day behind the present ones, "
            f"new,old; the folder {KEYS} has them. FIELD_KEYS 无法解开此备份，请把当时的密钥"
            f"（{KEYS} 目录）写在现有密钥之后：new,old。"
        )
    if datetime.now(UTC) - datetime.fromisoformat(facts["begun"]) > ERASURES_KEPT:
        raise BackupFailure(
            f"This backup is older than {ERASURES_KEPT.days} days: the list does not say any more "
            f"who was erased since. 备份已超过 {ERASURES_KEPT.days} 天，名单已不完整。"
        )


def saved_lists(folder: Path) -> Entries:
    """Return what all lists in a folder say, those within its backups too."""
    paths = [*folder.glob(ERASURES), *folder.glob(f"*/{ERASURES}")]
    return joined(*(entries_in(path.read_text().splitlines()) for path in paths))


def put_back(pictures: Path, say: Say) -> None:
    """Copy the pictures that rows name and the storage lacks: never one of someone erased."""
    target = Pictures.folder()
    if target is None:
        return
    target.mkdir(parents=True, exist_ok=True)
    back = missing = 0
    people = WeChatUser.objects.exclude(avatar="", avatar_draft="")
    for keys in people.values_list("avatar", "avatar_draft").iterator():
        for name in [Path(file_name(key, size)).name for key in keys if key for size in SIZES]:
            if (target / name).exists():
                continue
            try:
                shutil.copy2(pictures / name, target / name)
                back += 1
            except FileNotFoundError:
                missing += 1
    say(f"pictures put back 恢复图片: {back:,}; missing 缺失: {missing:,}")
