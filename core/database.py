"""The database: what requests may take of it, how it looks when it is away, how a request lends its
connection to others, how many rows are written at once, and what an SQLite file needs."""

import os
import re
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import partial
from threading import Lock
from typing import Any, TypeVar

from django.conf import settings
from django.db import (
    DEFAULT_DB_ALIAS,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    connections,
    models,
    transaction,
)
from django.db.utils import load_backend
from django.utils.translation import gettext_lazy as _

from .alarms import alarm
from .retries import is_read_only, note_effect
from .routing import REPLICA, read_from

POOL_RETRY = 1  # seconds for which a pool tries to replace a connection it has lost
SILENCE = 60  # seconds for which a download waits for a replica that says nothing

# How each database was before `bound_requests`: as commands use it, and downloads.
_unbound: dict[str, dict[str, Any]] = {}


def bound_requests() -> None:
    """Bound what this process takes of the database: DATABASE_POOL connections, DATABASE_TIMEOUT.

    For a process that answers requests: wsgi.py calls it. Commands and migrations, which never do,
    take their time, on a connection of their own.
    """
    seconds = settings.DATABASE_TIMEOUT
    for alias, database in settings.DATABASES.items():
        engine = database["ENGINE"].rpartition(".")[2]
        if alias in _unbound or engine not in _BOUNDS:
            continue
        _unbound[alias] = deepcopy(database)
        _BOUNDS[engine](database, seconds)
        if alias == REPLICA and seconds:
            _bound_silence(database, seconds)
            _bound_silence(_unbound[alias], max(seconds, SILENCE))


def _bound_postgresql(database: dict[str, Any], seconds: int) -> None:
    options = database["OPTIONS"]
    if seconds:  # the wait for a lock counts too
        given = options.get("options", "")
        options["options"] = f"{given} -c statement_timeout={1000 * seconds}".strip()
        # A machine that is gone ends no connection: the kernel gives up on it as soon as this.
        options.setdefault("tcp_user_timeout", 1000 * (seconds + 2))
        for name, value in {"idle": seconds, "interval": 1, "count": 2}.items():
            options.setdefault(f"keepalives_{name}", value)
        database["PATIENCE"] = seconds + 2
    if settings.DATABASE_POOL:
        own = {"ENGINE": "core.postgresql", "CONN_MAX_AGE": 0}
        database |= {**own, "CONN_HEALTH_CHECKS": False}  # the backend looks for itself
        options["pool"] = {
            "min_size": 0,
            "max_size": settings.DATABASE_POOL,
            "timeout": seconds or 30,
            "reconnect_timeout": POOL_RETRY,
        }


def _bound_mysql(database: dict[str, Any], seconds: int) -> None:
    if seconds:
        # Each of MariaDB and MySQL passes over the other's comment. MySQL bounds SELECT alone.
        # One statement, since PyMySQL sends no two at once: what is given is a SET as well.
        given = database["OPTIONS"].get("init_command", "")
        bounds = (
            f"SESSION lock_wait_timeout={seconds}, innodb_lock_wait_timeout={seconds}"
            f"/*M!100101 , max_statement_time={seconds} */"
            f"/*!80000 , max_execution_time={1000 * seconds} */"
        )
        more = {"read_timeout": seconds + 2, "write_timeout": seconds + 2}  # where it hangs whole
        begin = f"{given}, {bounds}" if given else f"SET {bounds}"
        database["OPTIONS"] |= {"init_command": begin, **more}


def _bound_silence(database: dict[str, Any], seconds: int) -> None:
    """Bound the wait for a replica that hangs whole: the page is read from the primary then."""
    database["OPTIONS"]["connect_timeout"] = min(seconds, 3)
    if database["ENGINE"].endswith("mysql"):
        database["OPTIONS"] |= {"read_timeout": seconds, "write_timeout": seconds}
    else:
        database["PATIENCE"] = seconds


def bound_waits(connection: Any, **kwargs: Any) -> None:
    """Give up what PostgreSQL does not answer: a receiver of `connection_created`.

    The bound of DATABASE_TIMEOUT is the server's own, and a server that hangs whole ends nothing.
    """
    seconds = connection.settings_dict.get("PATIENCE")
    if seconds and connection.vendor == "postgresql":
        line = connection.connection
        line.wait = partial(type(line).wait, line, timeout=seconds)


_BOUNDS = {"postgresql": _bound_postgresql, "mysql": _bound_mysql}


@contextmanager
def unbound_connection() -> Iterator[None]:
    """Give this thread a connection of its own to each database, in no pool and without
    DATABASE_TIMEOUT.

    For a download, which reads for as long as its reader does. Nothing happens within a
    transaction, or in a process that answers no requests.
    """
    if connections[DEFAULT_DB_ALIAS].in_atomic_block:
        yield
        return
    note_effect()  # what is done on another connection is not watched
    bound = {alias: connections[alias] for alias in _unbound}
    for alias, each in bound.items():
        each.close()
        own = load_backend(_unbound[alias]["ENGINE"]).DatabaseWrapper(_unbound[alias], alias)
        connections[alias] = own
    try:
        yield
    finally:
        for alias, each in bound.items():
            connections[alias].close()
            connections[alias] = each


@contextmanager
def snapshot() -> Iterator[None]:
    """Let everything that is read within be of one moment, however long it takes.

    It writes nothing and locks nothing. Within a transaction it is that transaction's.
    """
    database = connections[DEFAULT_DB_ALIAS]
    repeatable = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
    if database.in_atomic_block:
        yield
    elif database.vendor == "sqlite":
        # Not Django's transaction, which would hold SQLite's one place for a writer.
        with database.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                yield
            finally:
                cursor.execute("ROLLBACK")
    elif database.vendor == "mysql":
        with database.cursor() as cursor:
            cursor.execute(repeatable)  # of the next transaction
        with transaction.atomic():
            yield
    else:
        with transaction.atomic():
            with database.cursor() as cursor:
                cursor.execute(f"{repeatable}, READ ONLY")
            yield


def database_is_away(error: BaseException | None) -> bool:
    """Return whether the database could not be reached, was lost, locked, too busy, or takes no
    writes at the moment."""
    return isinstance(error, OperationalError | InterfaceError) or is_read_only(error)


def drop_lost_connections() -> None:
    """Close this thread's connection where it is lost, so that the next query gets another."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


AWAY = alarm(
    "database",
    _("The database did not answer, or not in time."),
    _("See whether it runs, and has room on its disk and connections left: manage.py doctor."),
)
BEHIND = alarm(
    "migrations", _("The database lacks a migration of this code."), _("Run manage.py migrate.")
)
# How PostgreSQL, MariaDB with MySQL, and SQLite say that a table or a column is not there.
NO_SUCH = ("42P01", "42703", 1146, 1054)
NO_SUCH_WORDS = re.compile(r"no such (table|column)|has no column named")


def schema_is_behind(error: BaseException | None) -> bool:
    """Return whether the database said that it has no such table or column."""
    if not isinstance(error, OperationalError | ProgrammingError):
        return False
    said = (getattr(error.__cause__, "sqlstate", None), *error.args[:1])
    return any(each in NO_SUCH for each in said) or bool(NO_SUCH_WORDS.match(str(error)))


def ring_for(error: BaseException | None) -> None:
    """Ring the alarm for an error of the database that only an operator can fix."""
    if schema_is_behind(error):
        BEHIND.ring(error=error)
    elif database_is_away(error):
        AWAY.ring()


def hand_back_connection() -> None:
    """Give this thread's connection back to the pool before a wait for something else.

    The next query takes one again; within a transaction, and without a pool (DATABASE_POOL), a
    connection is kept. What is waited for may have an effect, so from here on the request is not
    tried again.
    """
    note_effect()
    for connection in connections.all(initialized_only=True):
        pooled = connection.settings_dict.get("OPTIONS", {}).get("pool")
        if pooled and not connection.in_atomic_block:
            connection.close()


def update_rows(rows: Collection[models.Model], names: Collection[str]) -> None:
    """Write these columns of rows of one table, each with values of its own, in one statement.

    Django's `bulk_update` does the same in five times the time: it makes an expression of each
    value.
    """
    if not rows:
        return
    database, meta = connections[DEFAULT_DB_ALIAS], next(iter(rows))._meta
    quote: Callable[[Any], str] = database.ops.quote_name
    table, key = quote(meta.db_table), quote(meta.pk.column)
    whens = " ".join(["WHEN %s THEN %s"] * len(rows))
    columns, values = [], []
    for field in meta.concrete_fields:
        if field.name in names:
            chosen = f"CASE {key} {whens} END"
            if database.features.requires_casted_case_in_updates:  # PostgreSQL takes NULL for text
                chosen = f"CAST({chosen} AS {field.cast_db_type(database)})"
            columns.append(f"{quote(field.column)} = {chosen}")
            for row in rows:
                value = field.get_db_prep_save(getattr(row, field.attname), database)
                values += [row.pk, value]
    which = ", ".join(["%s"] * len(rows))
    # Of names of columns and placeholders alone.
    statement = f"UPDATE {table} SET {', '.join(columns)} WHERE {key} IN ({which})"  # noqa: S608
    with database.cursor() as cursor:
        cursor.execute(statement, [*values, *(row.pk for row in rows)])


def fetch_prepared(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement that many requests make, on PostgreSQL alone.

    It is prepared on the server, unless DATABASE_PREPARE is off, and its rows come in binary.
    Django's own cursor writes the values into the statement, which is then planned each time.
    """
    from .postgresql.cursor import PreparedCursor

    database: Any = connections[read_from()]
    database.ensure_connection()
    with database._prepare_cursor(PreparedCursor(database.connection)) as cursor:
        cursor.execute(statement, values)
        if database.queries_logged:  # in which the values stand as $1, $2 …
            database.queries_log[-1]["sql"] = database.ops.compose_sql(statement, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def columns_of(model: type[models.Model], alias: str) -> str:
    """Return all columns of a table in a statement that names it so, as `row_of` reads them."""
    return ", ".join(f'{alias}."{field.column}"' for field in model._meta.concrete_fields)


Row = TypeVar("Row", bound=models.Model)


def row_of(model: type[Row], values: Sequence[Any]) -> Row:
    """Make a row of the model of the first of these values, which `columns_of` selected."""
    names = [field.attname for field in model._meta.concrete_fields]
    return model.from_db(DEFAULT_DB_ALIAS, names, values[: len(names)])


_keepers: dict[str, sqlite3.Connection] = {}  # by the name of the file
_keeping = Lock()


def keep_sqlite_open(connection: Any, **kwargs: Any) -> None:
    """Open a connection more to an SQLite file, for as long as this process lives: a receiver of
    `connection_created`.

    The last one that closes deletes the files beside the database (-wal, -shm), and the next, even
    to read, makes them anew: on a full disk it cannot, and nothing could be read there.
    """
    if connection.vendor != "sqlite" or connection.is_in_memory_db():
        return
    name = str(connection.settings_dict["NAME"])
    with _keeping, suppress(sqlite3.Error):
        if name not in _keepers:
            keeper = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
            keeper.execute("SELECT 1 FROM sqlite_master").fetchone()
            _keepers[name] = keeper


def let_go_of_sqlite() -> None:
    """Close what is kept open, before the file is replaced; and before a fork: a child must not
    inherit it, as its locks are this process's.
    """
    with _keeping:
        while _keepers:
            _keepers.popitem()[1].close()


os.register_at_fork(before=let_go_of_sqlite)
