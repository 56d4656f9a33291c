"""The replica of the database: whether it can be read, and how old what it shows is.

A page that lists things is read there as a whole, or from the primary as a whole: where the replica
is away, refuses, hangs or lacks a table, the page is made once more from the primary, and an alarm
rings. Nothing here is asked without DATABASE_REPLICA_URL.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, OperationalError, connections
from django.utils.translation import gettext_lazy as _

from .alarms import alarm
from .metrics import Counter
from .routing import REPLICA, reading_replica

SHOWN_FROM = timedelta(seconds=3)  # an age below this is not worth a word
CATCH_UP = 0.2  # seconds for which a replica that seems old may catch up
LOOK_AGAIN = 0.02
PAUSE = 10.0  # seconds for which one that failed is left alone
ACCESS_DENIED = 1227  # of MariaDB and MySQL
MOMENTS = 300  # of the primary's log that are remembered
GLANCE = 1.0  # seconds for which `glance` waits

UNREADABLE = alarm(
    "replica",
    _("The replica of the database cannot be read, so the console's lists burden the primary."),
    _("See DATABASE_REPLICA_URL, and whether it runs and replicates: manage.py doctor."),
)

READS = Counter(
    "groupsite_replica_reads_total",
    "Pages and downloads for the replica, by outcome; all but ok came from the primary",
    "outcome",
)

Page = TypeVar("Page")


class NotReplica(OperationalError):
    """A server that takes writes of its own, so that no one knows what its rows are worth."""


@dataclass(frozen=True)
class ReplicaAge:
    """How old what the replica shows is: the moment of the primary that it is at. None where that
    cannot be known.
    """

    as_of: datetime | None = None
    age: timedelta | None = None

    @property
    def is_shown(self) -> bool:
        """Return whether readers have to know."""
        return self.age is None or self.age > SHOWN_FROM


_shown: ContextVar[ReplicaAge | None] = ContextVar("shown", default=None)


def has_replica() -> bool:
    return REPLICA in settings.DATABASES


def age_shown() -> ReplicaAge | None:
    """Return how old what this page reads is; None for what comes from the primary."""
    return _shown.get()


def read(page: Callable[[], Page], is_past: Callable[[], bool]) -> Page:
    """Return what `page` makes of the replica, or of the primary where that cannot be read.

    The primary also where the replica is not past what its reader has seen: `is_past`. The page
    may be made twice.
    """
    if not _health.allows():
        READS.count("away")
        return page()
    try:
        age = measure()
        found = _made(page, age) if is_past() else None
    except Error as problem:
        _give_up()
        made = page()  # where the primary is away as well, that is the alarm
        missed(problem)
        return made
    _health.rose()
    READS.count("behind" if found is None else "ok")
    return page() if found is None else found


def missed(problem: Error) -> None:
    """Ring the alarm for what the replica did not answer, and leave it alone for a while."""
    _give_up()
    READS.count("away")
    UNREADABLE.ring(facts={"said": type(problem.__cause__ or problem).__name__})


def _give_up() -> None:
    _health.fell()
    with suppress(Error):
        connections[REPLICA].close()


def _made(page: Callable[[], Page], age: ReplicaAge) -> Page:
    before = _shown.set(age)
    try:
        with reading_replica():
            return page()
    finally:
        _shown.reset(before)


class _Health:
    """Whether the replica is worth a try: one that failed is tried by one thread in each PAUSE, so
    that a replica that hangs does not hold all of them. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._until: float | None = None

    def allows(self) -> bool:
        with self._lock:
            if self._until is not None:
                if time.monotonic() < self._until:
                    return False
                self._until = time.monotonic() + PAUSE
            return True

    def fell(self) -> None:
        self._until = time.monotonic() + PAUSE

    def rose(self) -> None:
        self._until = None


_health = _Health()


# The age


class _Moment(NamedTuple):
    """A place in the primary's log, and when it had got there."""

    place: int
    at: datetime


# Of this process, the latest last: a replica that is past a place is past all until that moment.
_moments: deque[_Moment] = deque(maxlen=MOMENTS)


def measure() -> ReplicaAge:
    """Return how old what the replica shows is.

    Raises Error where it cannot be read, and NotReplica where it is none.
    """
    return _measured_at(_moment_of_primary())


_glances = ThreadPoolExecutor(1, "replica")
_glancing = Lock()
_last_glance: Future[ReplicaAge] | None = None


def glance() -> ReplicaAge | None:
    """Return how old what the replica shows is; None where it cannot be read, or not at once.

    A thread of its own asks the replica, so that one that hangs holds up no one for longer than
    GLANCE. None too where the primary does not say where it is.
    """
    global _last_glance
    try:
        moment = _moment_of_primary()
        with _glancing:
            if _last_glance is None or _last_glance.done():
                _last_glance = _glances.submit(_glance_at, moment)
            asked = _last_glance
        return asked.result(GLANCE)
    except (Error, TimeoutError):
        return None


def _glance_at(moment: _Moment | None) -> ReplicaAge:
    try:
        return _measured_at(moment)
    finally:
        connections[REPLICA].close()


def _moment_of_primary() -> _Moment | None:
    """Ask the primary where it is, which only PostgreSQL says, and remember it."""
    if connections[DEFAULT_DB_ALIAS].vendor != "postgresql":
        return None
    statement = "SELECT (pg_current_wal_lsn() - '0/0')::bigint, clock_timestamp()"
    moment = _Moment(*_row(DEFAULT_DB_ALIAS, statement))
    _remember(moment)
    return moment


def _measured_at(moment: _Moment | None) -> ReplicaAge:
    if moment is not None:
        return _on_postgresql(moment.at)
    return _on_mysql() if connections[REPLICA].vendor == "mysql" else _unknown()


def _unknown() -> ReplicaAge:
    """Read something: a file that is gone must be noticed before the page begins."""
    _row(REPLICA, "SELECT 1")
    return ReplicaAge()


def _on_postgresql(now: datetime) -> ReplicaAge:
    """Compare the places in the log: it is at the last of the primary's that it is past, or at the
    last commit that it has replayed, whichever is later.

    The primary was asked first: a replica that has reached its place is not old, however long ago
    the last write was, and one that receives nothing does not reach it. After a quiet night both
    moments are hours ago though it is only milliseconds behind, so it may catch up before it is
    called old.
    """
    until = time.monotonic() + CATCH_UP
    while True:
        is_replica, replayed, committed = _row(
            REPLICA,
            "SELECT pg_is_in_recovery(), (pg_last_wal_replay_lsn() - '0/0')::bigint,"
            " pg_last_xact_replay_timestamp()",
        )
        if not is_replica:
            raise NotReplica("The server of DATABASE_REPLICA_URL is no replica.")
        passed = [each.at for each in tuple(_moments) if replayed and each.place <= replayed]
        known = [*passed, *([committed] if committed else [])]
        found = ReplicaAge(max(known), now - max(known)) if known else ReplicaAge()
        if not found.is_shown or time.monotonic() > until:
            return found
        time.sleep(LOOK_AGAIN)


def _remember(moment: _Moment) -> None:
    """Keep a place of the primary; where the log has become shorter, after a failover that lost
    some of it, nothing that was kept before says anything.
    """
    if _moments and moment.place < _moments[-1].place:
        _moments.clear()
    _moments.append(moment)


def _on_mysql() -> ReplicaAge:
    """Ask the replica how far it is behind, which its account may not be allowed to."""
    database: Any = connections[REPLICA]
    # Each has removed, or never had, the other's word.
    word = "SLAVE" if database.mysql_is_mariadb else "REPLICA"
    with database.cursor() as cursor:
        try:
            cursor.execute(f"SHOW {word} STATUS")
        except Error as problem:
            if problem.args[:1] != (ACCESS_DENIED,):
                raise
            return ReplicaAge()
        names = [each[0] for each in cursor.description or ()]
        for row in cursor.fetchall():
            # Seconds_Behind_Master or _Source; NULL while it does not replicate.
            behind = next(
                (value for name, value in zip(names, row, strict=True) if "Seconds_Behind" in name),
                None,
            )
            if behind is None:
                return ReplicaAge()
            age = timedelta(seconds=int(behind))
            return ReplicaAge(datetime.now(UTC) - age, age)
    return ReplicaAge()


def _row(alias: str, statement: str) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()
