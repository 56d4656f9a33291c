"""What `manage.py doctor` examines of this package: settings, the database, keys, the disks."""

import os
import stat
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.core.checks import ERROR, WARNING, run_checks
from django.db import DEFAULT_DB_ALIAS, Error, NotSupportedError, connection
from django.db.utils import load_backend
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from .database import schema_is_behind
from .doctor import CHECKED, Finding, error, examination, ok, warning
from .migrations import missing_migrations
from .reencryption import (
    NO_KEY,
    Reencryption,
    SecretColumn,
    encrypted_fields,
    lost_keys_of_the_site,
)
from .replica import NotReplica, ReplicaAge, has_replica, measure
from .vault import InvalidFieldKey

# Of a disk: what is left before it is full, as bytes and as a share of it.
FULL, NEARLY_FULL = 256 * 2**20, 2 * 2**30
NEARLY_FULL_SHARE = 0.1
LATEST = 1000  # of a table: rows whose secrets are opened, to see whether FIELD_KEYS fit
# Where a database on this machine has its data, unless it was moved.
DATA = {"postgresql": "/var/lib/postgresql", "mysql": "/var/lib/mysql"}
OLD = timedelta(minutes=1)  # from then on something is wrong with a replica
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
    """Reach the database, and say which it is, and what migrations it lacks; of several hosts also
    which of them takes writes, and which is away."""
    if hosts := several_hosts():
        writers = [name for name, says in hosts.items() if says == WRITES]
        yield from _of_hosts(hosts, writers)
        if not writers:
            return
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


WRITES, FOLLOWS = "primary", "standby"


def several_hosts() -> dict[str, str]:
    """Ask each host of DATABASE_URL what it is: WRITES, FOLLOWS, or why it does not answer.

    Nothing where there is one host, which is asked like any database.
    """
    database = settings.DATABASES[DEFAULT_DB_ALIAS]
    hosts = str(database.get("HOST", "")).split(",")
    if len(hosts) == 1:
        return {}
    options = {
        name: value
        for name, value in database["OPTIONS"].items()
        if name not in {"pool", "target_session_attrs"}
    }
    found = {}
    for host, port in zip(hosts, str(database["PORT"]).split(","), strict=True):
        alone = database | {"HOST": host, "PORT": port, "OPTIONS": options}
        one = load_backend(database["ENGINE"]).DatabaseWrapper(alone, DEFAULT_DB_ALIAS)
        try:
            with one.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool"
                )
                found[f"{host}:{port}"] = FOLLOWS if cursor.fetchone()[0] else WRITES
        except Error as problem:
            found[f"{host}:{port}"] = _first_line(problem)
        finally:
            one.close()
    return found


def _of_hosts(hosts: dict[str, str], writers: list[str]) -> Iterator[Finding]:
    away = [f"{name} ({says})" for name, says in hosts.items() if says not in {WRITES, FOLLOWS}]
    if len(writers) > 1:
        yield error(
            format_lazy(
                _("Several hosts take writes, so the site is split: {hosts}."),
                hosts=", ".join(writers),
            ),
            _(
                "Stop the one that led before at once, and make it a standby of the other. Have "
                "Patroni, or a managed database, see to that: docs/operating.md."
            ),
        )
    elif not writers:
        said = "; ".join(f"{name}: {says}" for name, says in hosts.items())
        yield error(
            format_lazy(_("None of the hosts of DATABASE_URL takes writes: {said}."), said=said),
            _("Start the one that led, or promote a standby: docs/operating.md."),
        )
    else:
        yield ok(
            format_lazy(
                _("{host} takes writes, of {count} hosts."), host=writers[0], count=len(hosts)
            )
        )
    if away and writers:
        yield warning(
            format_lazy(_("A host of DATABASE_URL is away: {hosts}."), hosts="; ".join(away)),
            _("Start it again as a standby: until then nothing takes over if the other fails."),
        )


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


@examination("replica")
def examine_replica() -> Iterator[Finding]:
    """Reach the replica, if there is one, and say whether it is one, and how old it is."""
    if not has_replica():
        yield ok(_("No replica is configured."))
        return
    try:
        with connection.cursor() as cursor:  # with which the replica is compared
            cursor.execute("SELECT 1")
    except Error:
        yield warning(
            _("The database does not answer, so that its replica is compared with nothing."),
            _("See `database`."),
        )
        return
    try:
        found = measure()
    except NotReplica:
        yield error(
            _("The server of DATABASE_REPLICA_URL takes writes of its own: it is no replica."),
            _("Name a standby there, or a proxy's port that leads to standbys alone."),
        )
    except Error as problem:
        yield error(
            format_lazy(_("The replica is not reached: {said}"), said=_first_line(problem)),
            _("See DATABASE_REPLICA_URL, whether the server runs, and its password and firewall."),
        )
    else:
        yield _of_age(found)


def _of_age(found: ReplicaAge) -> Finding:
    if found.age is None:
        return warning(
            _("The replica answers; how far it is behind cannot be known."),
            _(
                "It has replayed nothing since its start: see pg_stat_wal_receiver there, and its "
                "log."
            )
            if connection.vendor == "postgresql"
            else _(
                "MariaDB: GRANT REPLICA MONITOR, MySQL: GRANT REPLICATION CLIENT, to its account; "
                "and see whether it replicates."
            ),
        )
    behind = format_lazy(
        _("The replica answers, {seconds} seconds behind."), seconds=int(found.age.total_seconds())
    )
    if found.age > OLD:
        return warning(
            behind,
            _("See whether it still receives: the link, its disk and what it is busy with."),
        )
    return ok(behind)


@examination("keys", "core.E003")
def examine_keys() -> Iterator[Finding]:
    """Open with FIELD_KEYS what must open, and the latest of the other secrets."""
    try:
        lost = lost_keys_of_the_site()
        columns = [
            column
            for model, fields in encrypted_fields().items()
            for column in Reencryption(model, fields, dry=True).sample(LATEST)
        ]
    except (InvalidFieldKey, Error):
        yield warning(
            _("FIELD_KEYS cannot be read, or the database not: they are not compared."),
            _("See `settings` and `database`."),
        )
        return
    if lost:
        yield error(
            _("FIELD_KEYS does not open what this database holds: a key is wrong or missing."),
            _(
                "Put the key with which this database was used back at the end of FIELD_KEYS; if "
                "it is lost: docs/keys.md."
            ),
        )
        return
    findings = [finding for column in columns for finding in _of_column(column)]
    yield from findings
    if not findings:
        opened = sum(column.by_key.total() for column in columns)
        yield ok(format_lazy(_("The first of FIELD_KEYS opens the latest {n} secrets."), n=opened))


def _of_column(column: SecretColumn) -> Iterator[Finding]:
    closed = column.by_key[NO_KEY]
    others = column.by_key.total() - closed - column.by_key[1]
    if closed:
        saw = _("{column}: no key of FIELD_KEYS opens {count} of the latest values.")
        fix = _(
            "Put the key with which they were encrypted at the end of FIELD_KEYS; if it is lost: "
            "manage.py reencrypt --clear-lost"
        )
        yield warning(format_lazy(saw, column=str(column), count=closed), fix)
    if others:
        saw = _("{column}: {count} of the latest values need another key than the first.")
        fix = _("Run manage.py reencrypt before you remove a key of FIELD_KEYS: docs/keys.md")
        yield warning(format_lazy(saw, column=str(column), count=others), fix)


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
