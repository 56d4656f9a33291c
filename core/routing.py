"""Which database is read and which is written: DATABASE_URL's, or for lists DATABASE_REPLICA_URL's.

Installed by settings only where there is a replica. Everything goes to the primary, but what pages
read within `reading_replica`; console/replica.py says which pages those are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

REPLICA = "replica"

# The apps whose rows lists show. Who the operator is, what they may do, and their session are not
# among them: a right that was taken away must be gone in the next request.
LISTED = {"accounts", "groups", "audit"}

_reads_replica: ContextVar[bool] = ContextVar("reads_replica", default=False)
_has_written: ContextVar[bool] = ContextVar("has_written", default=False)


@contextmanager
def reading_replica() -> Iterator[None]:
    """Let what is read within come from the replica."""
    before = _reads_replica.set(True)
    try:
        yield
    finally:
        _reads_replica.reset(before)


def read_from() -> str:
    """Return the alias that rows of LISTED are read from at this moment.

    Within a transaction of the primary, and after a write, that is the primary: what was written
    is what is read next.
    """
    if not _reads_replica.get() or _has_written.get():
        return DEFAULT_DB_ALIAS
    return DEFAULT_DB_ALIAS if connections[DEFAULT_DB_ALIAS].in_atomic_block else REPLICA


def begin_noting_writes() -> None:
    """Forget what an earlier request of this thread has written."""
    _has_written.set(False)


def has_written() -> bool:
    """Return whether this request has written, or locked, what lists show."""
    return _has_written.get()


class ReplicaRouter:
    """Django's question where to read and write; rows carry no answer of their own with them."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return read_from() if model._meta.app_label in LISTED else DEFAULT_DB_ALIAS

    def db_for_write(self, model: Any, **hints: Any) -> str:
        if model._meta.app_label in LISTED:
            _has_written.set(True)
        return DEFAULT_DB_ALIAS

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db != REPLICA
