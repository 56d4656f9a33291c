"""What `manage.py doctor` examines of this package: settings, the database, the disks."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.core.checks import ERROR, WARNING, run_checks
from django.db import Error, NotSupportedError, connection
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from .database import schema_is_behind
from .doctor import CHECKED, Finding, error, examination, ok, warning
from .migrations import missing_migrations

# Of a disk: what is left before it is full, as bytes and as a share of it.
FULL, NEARLY_FULL = 256 * 2**20, 2 * 2**30
NEARLY_FULL_SHARE = 0.1
# Where a database on this machine has its data, unless it was moved.
DATA = {"postgresql": "/var/lib/postgresql", "mysql": "/var/lib/mysql"}
HERE = {"", "localhost", "127.0.0.1", "::1"}


@examination("settings")
def examine_settings() -> Iterator[Finding]:
    """Say what `manage.py check --deploy` says, unless another examination looks itself."""
    if settings.DEBUG:
        yield warning(
            _("DEBUG is on: pages show their code when they fail."),
            _("Leave DEBUG out, or set it to False, wherever others reach the site."),
        )
    messages = run_checks(include_deployment_checks=not settings.DEBUG)
    faults = [fault for fault in messages if fault.level >= WARNING and fault.id not in CHECKED]
    for fault in faults:
        kind = error if fault.level >= ERROR else warning
        elsewhere = _("See docs/settings.md, and Django's list of system checks.")
        yield kind(f"{fault.msg} ({fault.id})", fault.hint or elsewhere)
    if not (faults or settings.DEBUG):
        yield ok(_("`manage.py check --deploy` finds nothing."))


@examination("database", "core.W001")
def examine_database() -> Iterator[Finding]:
    """Reach the database, and say which it is, and what migrations it lacks."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        version = ".".join(map(str, connection.get_database_version()))
    except NotSupportedError as problem:
        yield error(str(problem), _("Upgrade the database."))
        return
    except Error as problem:
        yield error(
            format_lazy(_("The database is not reached: {said}"), said=_first_line(problem)),
            _("See DATABASE_URL, whether the server runs, and its password and firewall."),
        )
        return
    yield ok(
        format_lazy(
            _("{vendor} {version} answers."), vendor=connection.display_name, version=version
        )
    )
    yield _migrations()


def _first_line(problem: Exception) -> str:
    """Return the first line of what a driver said: none of them quotes the password."""
    said = str(problem).strip()
    return said.splitlines()[0] if said else type(problem).__name__


def _migrations() -> Finding:
    try:
        missing = missing_migrations()
    except Error as problem:
        if not schema_is_behind(problem):
            raise
        return error(_("The database has no tables yet."), _("Run manage.py migrate."))
    if not missing:
        return ok(_("The database has all migrations."))
    return error(
        format_lazy(_("The database lacks migrations: {names}."), names=", ".join(missing)),
        _("Run manage.py migrate."),
    )


@examination("disk")
def examine_disks() -> Iterator[Finding]:
    """Say how much room is left where the site, its database and its log write."""
    seen: dict[int, list[str]] = {}
    room: dict[int, os.statvfs_result] = {}
    for what, path in _written():
        existing = next(each for each in (path, *path.absolute().parents) if each.exists())
        device = existing.stat().st_dev
        seen.setdefault(device, []).append(f"{what} {path}")
        room[device] = os.statvfs(existing)
    for device, names in seen.items():
        yield _room(", ".join(names), room[device])


def _written() -> Iterator[tuple[str, Path]]:
    database = settings.DATABASES["default"]
    if connection.vendor == "sqlite":
        yield "DATABASE_URL", Path(database["NAME"]).parent
    elif (data := Path(DATA[connection.vendor])).exists() and database.get("HOST", "") in HERE:
        yield "DATABASE_URL", data
    if not settings.S3_BUCKET:
        yield "MEDIA_ROOT", Path(settings.MEDIA_ROOT)
    log = Path(f"/proc/self/fd/{sys.__stderr__.fileno()}") if sys.__stderr__ else None
    if log and log.exists() and stat.S_ISREG(log.stat().st_mode):
        yield "log", log.resolve().parent
    elif Path("/var/log").exists():
        yield "log", Path("/var/log")


def _room(names: str, disk: os.statvfs_result) -> Finding:
    left, whole = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    saw = format_lazy(
        _("{left} MiB of {whole} MiB are left: {names}."),
        left=left // 2**20,
        whole=whole // 2**20,
        names=names,
    )
    fix = _("Make room, or a larger disk: on a full one nothing is written.")
    if left < min(FULL, whole / 20) or (disk.f_files and not disk.f_favail):
        return error(saw, fix)
    if left < NEARLY_FULL and left < NEARLY_FULL_SHARE * whole:
        return warning(saw, fix)
    return ok(saw)
