"""What a request has done so far, and whether the database failed in a way that passes: only where
nothing is done yet may the same request be tried again.

After its first write a request is not repeated, whatever is known about it: whether a transaction
was kept whose COMMIT had no answer, no one can tell. The client hears 503, and the idempotency key
of its next attempt decides.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any

from django.conf import settings
from django.db import (
    DEFAULT_DB_ALIAS,
    InterfaceError,
    InternalError,
    OperationalError,
    connections,
)

# What changes nothing, a lock of rows included. Anything else counts as a write.
_READS = re.compile(r"\s*(SELECT|SHOW|SET|SAVEPOINT|RELEASE|ROLLBACK|BEGIN)\b", re.IGNORECASE)

# SQLSTATE of what another attempt may get over: a failed serialization, a deadlock, a server that
# is being stopped. A connection that broke has none.
_PASSING_STATES = {None, "40001", "40P01", "57P01", "57P02", "57P03"}
# The same of MySQL and MariaDB: a deadlock, and connections that are gone or closed.
_PASSING_NUMBERS = {1213, 2006, 2013, 1053, 0}


class StatementWatch:
    """What the statements of one request have done: one of Django's execute wrappers."""

    has_begun = False  # something that must not happen twice
    has_failed = False  # in a way that passes

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        if many or not _READS.match(str(sql)):
            self.has_begun = True
        began = time.monotonic()
        try:
            return execute(sql, params, many, context)
        except (OperationalError, InterfaceError) as error:
            # What took as long as a request may would do so again.
            if time.monotonic() - began < (settings.DATABASE_TIMEOUT or inf):
                self.has_failed = self.has_failed or passes(error, context["connection"].vendor)
            raise
        except InternalError as error:
            if is_read_only(error):
                leave_server(context["connection"])
            raise

    @property
    def allows_another(self) -> bool:
        """Tell whether the request may be tried again, and it would help."""
        return self.has_failed and not self.has_begun


def passes(error: Exception, vendor: str) -> bool:
    """Tell whether a statement failed that would succeed on another connection, or a moment later.

    Not what found no connection at all: that is no statement's failure.
    """
    cause = error.__cause__
    if vendor == "postgresql":
        # psycopg says so of a connection that broke, and has no class of its own for it.
        return getattr(cause, "sqlstate", "") in _PASSING_STATES
    if vendor == "mysql":
        return bool(error.args) and error.args[0] in _PASSING_NUMBERS
    return False  # SQLite waits by itself for its one writer


def is_read_only(error: BaseException | None) -> bool:
    """Tell whether PostgreSQL refused a write, since it is a standby by now, or was set so."""
    return isinstance(error, InternalError) and getattr(error.__cause__, "sqlstate", "") == "25006"


def leave_server(connection: Any) -> None:
    """Let the requests to come connect anew: to the server that takes writes, once there is one."""
    connection.close_at = 0  # this one, when its request has ended
    if pool := getattr(connection, "pool", None):
        pool.drain()


_watch: ContextVar[StatementWatch | None] = ContextVar("watch", default=None)


@contextmanager
def watched() -> Iterator[StatementWatch]:
    """Watch the statements of this thread within the block."""
    watch = StatementWatch()
    token = _watch.set(watch)
    try:
        with connections[DEFAULT_DB_ALIAS].execute_wrapper(watch):
            yield watch
    finally:
        _watch.reset(token)


def note_effect() -> None:
    """Note that the request does something outside the watched statements that must not happen
    twice, such as a call to WeChat."""
    if (watch := _watch.get()) is not None:
        watch.has_begun = True
