"""A move of everything from an SQLite file to an empty database of another kind, table by table.

Numbers stay, so that tokens, the audit and links hold; and so do the counters of numbers, so that
none that was deleted is given again. It is one transaction: the target has everything or nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection, connections, models, transaction
from django.db.migrations.recorder import MigrationRecorder

from .dumps import is_open_elsewhere
from .settings import database

SOURCE = "source"
CHUNK = 500
# What `migrate` itself writes: of these the source's own rows are taken.
FILLED = {
    "contenttypes.contenttype",
    "auth.permission",
    "auth.group",
    "auth.group_permissions",
    "groups.board",
    "accounts.tombstonekey",
}

Report = Callable[[str, Iterable[Any], int], Iterable[Any]]


class MoveFailure(Exception):
    """Why nothing was moved, in words for operators."""


def move(url: str, report: Report) -> dict[str, int]:
    """Copy all tables of an SQLite file; return the number of rows by table.

    `report` is given a table's name, its rows and their number, and yields the rows. Raises
    MoveFailure, and then the database is as it was.
    """
    if connection.vendor == "sqlite":
        raise MoveFailure(
            "DATABASE_URL names SQLite: name the new database. 请把 DATABASE_URL 改为新的数据库。"
        )
    open_source(url)
    tables = [
        model
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed and not model._meta.proxy
    ]
    check(tables)
    counts = {}
    with connection.constraint_checks_disabled(), transaction.atomic():
        for model in tables:
            rows(model, DEFAULT_DB_ALIAS)._raw_delete(DEFAULT_DB_ALIAS)
        for model in tables:
            counts[model._meta.db_table] = copy(model, report)
        connection.check_constraints()
        for model in tables:
            if rows(model, DEFAULT_DB_ALIAS).count() != rows(model, SOURCE).count():
                raise MoveFailure(f"{model._meta.db_table}: rows are missing. 行数不一致。")
    go_on_counting(tables)
    return counts


def open_source(url: str) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    if not url.startswith("sqlite:///") or not path.is_file():
        raise MoveFailure(f"{url}: no SQLite file 不是 SQLite 文件 (sqlite:////srv/db.sqlite3)")
    if is_open_elsewhere(path):
        raise MoveFailure("The file is in use: stop the site first. 文件正在使用，请先停止站点。")
    settings = {DEFAULT_DB_ALIAS: connection.settings_dict, SOURCE: database(url)}
    connections.settings[SOURCE] = connections.configure_settings(settings)[SOURCE]


def check(tables: list[type[models.Model]]) -> None:
    """Raise MoveFailure unless both have the same migrations, and the target nothing else."""
    of_source, of_target = (
        set(MigrationRecorder(connections[alias]).applied_migrations())
        for alias in (SOURCE, DEFAULT_DB_ALIAS)
    )
    if differing := sorted(".".join(each) for each in of_source ^ of_target):
        raise MoveFailure(
            "The migrations differ: run `migrate` on both. 请先在两个数据库上运行 migrate: "
            f"{', '.join(differing)}"
        )
    used = [
        model._meta.db_table
        for model in tables
        if model._meta.label_lower not in FILLED and rows(model, DEFAULT_DB_ALIAS).exists()
    ]
    if used:
        raise MoveFailure(f"The new database is not empty. 新数据库不是空的: {', '.join(used)}")


def rows(model: type[models.Model], alias: str) -> Any:
    return model._base_manager.using(alias)


def copy(model: type[models.Model], report: Report) -> int:
    """Copy one table as it is; return the number of its rows."""
    table, source = model._meta.db_table, rows(model, SOURCE).order_by("pk")
    found = iter(report(table, source.iterator(chunk_size=CHUNK), source.count()))
    number = 0
    try:
        while piece := list(islice(found, CHUNK)):
            # `raw`: no column is written anew, such as a time of the last change.
            rows(model, DEFAULT_DB_ALIAS).all()._insert(
                piece, model._meta.concrete_fields, raw=True, using=DEFAULT_DB_ALIAS
            )
            number += len(piece)
    except (DatabaseError, ValueError) as error:
        raise MoveFailure(f"{table}: {error}") from error
    return number


def go_on_counting(tables: list[type[models.Model]]) -> None:
    """Let each table give numbers from where the source was, also behind rows that are no more."""
    counters = dict(_counters())
    for model in tables:
        key, table = model._meta.pk, model._meta.db_table
        last = counters.get(table)
        if last is None or not isinstance(key, models.AutoField | models.BigAutoField):
            continue
        with connection.cursor() as cursor:
            name = connection.ops.quote_name(table)
            if connection.vendor == "postgresql":
                sequence = "SELECT setval(pg_get_serial_sequence(%s, %s), %s)"
                cursor.execute(sequence, [name, key.column, last])
            else:
                cursor.execute(f"ALTER TABLE {name} AUTO_INCREMENT = {last + 1:d}")


def _counters() -> Iterator[tuple[str, int]]:
    with connections[SOURCE].cursor() as cursor:
        cursor.execute("SELECT name, seq FROM sqlite_sequence WHERE seq > 0")
        yield from cursor.fetchall()
