"""A request is answered anew where its connection was lost before it had done anything, and only
there.

The database's own other connection holds a lock, so that a request stands where the test wants it,
and then ends that request's connection. SQLite has no connections to lose.
"""

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import InternalError, OperationalError, connection
from django.test import Client as Browser

from core.retries import is_read_only, note_effect, passes, watched
from tests.cast import Person, refused
from tests.servers import (
    MAKE_BOARD,
    PATIENCE,
    Caller,
    Relay,
    Site,
    scratch_database,
    serving,
    wait_for,
)
from tests.settings import APP_ID, DATABASE_URL
from wechat.sandbox import Sandbox

pytestmark = pytest.mark.xdist_group("retries")

SCHEME = urlsplit(DATABASE_URL).scheme
on_servers = pytest.mark.skipif(SCHEME == "sqlite", reason="SQLite has no connections to lose")
on_postgresql = pytest.mark.skipif(SCHEME != "postgres", reason="as PostgreSQL's protocol says it")

WAITING = {
    "postgres": "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND datname = current_database()",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = DATABASE()"
    " AND command = 'Query' AND id <> CONNECTION_ID() AND info NOT LIKE '%processlist%'",
}
END = {"postgres": "SELECT pg_terminate_backend({})", "mysql": "KILL CONNECTION {}"}


class CommitEater(Relay):
    """A relay that, once it is armed, passes the next COMMIT on and cuts instead of the answer."""

    armed = eats = False

    def forward(self, source: Any, target: Any) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.eats:  # the answer
                    self.eats = False
                    break
                if self.armed and re.search(rb"\bCOMMIT\b", data):  # and not COMMITTED
                    self.armed, self.eats = False, True
                target.sendall(data)
        self.drop(source, target)


@dataclass
class Place:
    """A server on a database of its own, and the line between the two."""

    site: Site
    line: CommitEater
    url: str

    @contextmanager
    def other(self) -> Iterator[Any]:
        """Connect to the database beside the server."""
        parts = urlsplit(self.url)
        if SCHEME == "postgres":
            import psycopg

            with psycopg.connect(self.url) as other:
                yield other
        else:
            import pymysql

            where = {"host": parts.hostname, "port": parts.port or 3306, "user": parts.username}
            name = parts.path[1:]
            with pymysql.connect(**where, password=parts.password or "", database=name) as other:
                yield other

    def rows(self, statement: str) -> list[Any]:
        with self.other() as other, other.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    @contextmanager
    def held(self, statement: str) -> Iterator[Any]:
        """Hold the locks that a statement takes; yield the cursor that holds them."""
        with self.other() as other, other.cursor() as cursor:
            cursor.execute(statement)
            yield cursor
            other.rollback()

    def end_the_waiting(self) -> None:
        """End the connection of the request that waits for a lock."""
        wait_for(lambda: self.rows(WAITING[SCHEME]))
        [[number]] = self.rows(WAITING[SCHEME])
        self.rows(END[SCHEME].format(number))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("retries")
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox({APP_ID: "secret"}))
        url = stack.enter_context(scratch_database(directory))
        port = {"postgres": 5432, "mysql": 3306}[urlsplit(url).scheme]
        line = stack.enter_context(CommitEater(url, port))
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "groupsite.settings",
            "DATABASE_URL": line.url,
            "DATABASE_TIMEOUT": "30",
            "REDIS_URL": "",
            "WECHAT_APPS": f"{APP_ID}:secret",
            "WECHAT_API_URL": sandbox.url,
        }
        log = directory / "server.log"
        site = Site(environment, [], [log], sandbox)
        stack.callback(site.close)
        site.run("manage.py", "migrate", "--verbosity", "0")
        site.urls.append(stack.enter_context(serving(environment, log)))
        site.ask(MAKE_BOARD.format(app=APP_ID, key="laps", order="desc", policy="sum"))
        yield Place(site, line, url)


@contextmanager
def under_way(call: Callable[[], tuple[int, Any]]) -> Iterator[Future[tuple[int, Any]]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(call)


def lap(who: Caller, key: str, value: int = 5) -> tuple[int, Any]:
    return who.post("scores", {"board": "laps", "value": value, "idempotencyKey": key})


def id_of(who: Caller) -> int:
    return int(who.get("me")[1]["id"])


def total(who: Caller) -> int:
    scores = f"Score.objects.filter(user={id_of(who)}, window='all', board__key='laps')"
    return sum(who.site.ask(f"list({scores}.values_list('value', flat=True))"))


def seconds_of(place: Place) -> int:
    """Return how many requests were answered at the second attempt."""
    return place.site.said().count("answering anew")


def row_of(who: Caller) -> str:
    return f"SELECT id FROM accounts_wechatuser WHERE id = {id_of(who)} FOR UPDATE"


@on_servers
def test_a_connection_lost_before_the_first_write_costs_the_client_nothing(place: Place) -> None:
    alice = place.site.log_in("alice")
    before = seconds_of(place)
    row = row_of(alice)
    with place.held(row) as lock, under_way(lambda: lap(alice, "first")) as answer:
        place.end_the_waiting()
        wait_for(lambda: place.rows(WAITING[SCHEME]))  # the second attempt
        lock.connection.rollback()
    assert answer.result(PATIENCE)[0] == 200
    assert total(alice) == 5
    assert seconds_of(place) == before + 1


@on_servers
def test_a_connection_lost_after_the_first_write_is_503_and_the_key_decides(place: Place) -> None:
    bob = place.site.log_in("bob")
    assert lap(bob, "before")[0] == 200
    before = seconds_of(place)
    table = {
        "postgres": "LOCK TABLE groups_idempotencykey IN SHARE MODE",
        # MariaDB's LOCK TABLES would end the transaction that is to hold it.
        "mysql": "SELECT id FROM groups_idempotencykey WHERE id > 0 FOR UPDATE",
    }
    with place.held(table[SCHEME]), under_way(lambda: lap(bob, "second")) as answer:
        place.end_the_waiting()
        status, said = answer.result(PATIENCE)
    assert (status, said["code"], said["retryAfter"]) == (503, "unavailable", 3)
    assert (total(bob), seconds_of(place)) == (5, before)
    assert [lap(bob, "second")[0] for _again in range(2)] == [200, 200]
    assert total(bob) == 10


@on_servers
def test_a_commit_without_an_answer_is_503_and_counts_once(place: Place) -> None:
    carol = place.site.log_in("carol")
    before, place.line.armed = seconds_of(place), True
    status, said = lap(carol, "only")
    assert (status, said["code"]) == (503, "unavailable")
    assert seconds_of(place) == before
    assert total(carol) == 5  # it was kept, which the server could not know
    assert lap(carol, "only")[0] == 200
    assert total(carol) == 5


@on_servers
def test_a_deadlock_before_the_first_write_is_got_over(place: Place) -> None:
    dave, erin = place.site.log_in("dave"), place.site.log_in("erin")
    for who in (dave, erin):
        group = who.post("groups/bind", who.envelope("family"))[1]["openGId"]
    members = dave.get(f"groups/{group}/ranking")[1]["entries"]
    [other] = [each["member"]["id"] for each in members if not each["isMe"]]
    # Who reports locks both people, in the order of their ids: dave, who is held up at erin.
    path, body = f"groups/{group}/reports", {"member": other, "reason": "advert"}
    first = row_of(erin)
    # A table's lock goes to who waits for it. PostgreSQL's lock of a row may go to who comes in the
    # very moment it is free: to the second attempt, and both are in each other's way again.
    second = {"postgres": "LOCK TABLE accounts_wechatuser", "mysql": row_of(dave)}[SCHEME]
    with place.held(first) as cursor:
        if SCHEME == "mysql":  # which ends the transaction that has written less
            cursor.execute("UPDATE groups_board SET unit_en = 'laps'")
        # PostgreSQL ends the one that has waited for a second: the request, which waits already.
        with under_way(lambda: dave.post(path, body)) as answer:
            wait_for(lambda: place.rows(WAITING[SCHEME]))
            cursor.execute(second)
            cursor.connection.rollback()
    assert answer.result(PATIENCE)[0] == 204
    reports = "SELECT count(*) FROM groups_report"
    assert [tuple(row) for row in place.rows(reports)] == [(1,)]


# What counts as what


class Cause(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        self.sqlstate = sqlstate


@pytest.mark.no_service
@pytest.mark.parametrize(
    ("vendor", "sign", "expected"),
    [
        ("postgresql", None, True),  # the connection broke
        ("postgresql", "40001", True),
        ("postgresql", "40P01", True),
        ("postgresql", "57P01", True),
        ("postgresql", "57014", False),  # DATABASE_TIMEOUT
        ("postgresql", "53100", False),  # the disk is full
        ("mysql", 1213, True),
        ("mysql", 2013, True),
        ("mysql", 0, True),
        ("mysql", 1205, False),  # waited too long for a lock
        ("mysql", 1969, False),  # DATABASE_TIMEOUT
        ("sqlite", "database is locked", False),
    ],
)
def test_another_attempt_is_for_what_passes_and_not_for_what_takes_too_long(
    vendor: str, sign: Any, expected: bool
) -> None:
    error = OperationalError(sign)
    error.__cause__ = Cause(sign)
    assert passes(error, vendor) is expected


class Failing:
    """The execution of statements, which fails the first times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, at: str, times: int = 1) -> None:
        from django.db.backends.utils import CursorWrapper

        self.at, self.left, self.real = at, times, CursorWrapper._execute
        execute: Any = lambda cursor, *given: self.execute(cursor, *given)  # noqa: E731
        monkeypatch.setattr(CursorWrapper, "_execute", execute)
        monkeypatch.setattr("core.retries.passes", lambda error, vendor: True)

    def execute(self, cursor: Any, sql: str, *more: Any) -> Any:
        if self.left and self.at in sql.replace("`", '"'):
            self.left -= 1
            raise OperationalError("the connection is lost")
        return self.real(cursor, sql, *more)


@pytest.fixture
def patient(olga: Browser) -> Browser:
    olga.raise_request_exception = False
    return olga


@pytest.mark.no_service
def test_pages_are_answered_anew_as_well(patient: Browser, monkeypatch: Any) -> None:
    failing = Failing(monkeypatch, at='FROM "groups_group"')
    assert patient.get("/groups/").status_code == 200
    assert failing.left == 0


@pytest.mark.no_service
def test_what_fails_twice_is_not_asked_a_third_time(patient: Browser, monkeypatch: Any) -> None:
    failing = Failing(monkeypatch, at='FROM "groups_group"', times=3)
    assert patient.get("/groups/").status_code == 503
    assert failing.left == 1


@pytest.mark.no_service
def test_a_body_is_read_again_for_the_second_answer(alice: Person, monkeypatch: Any) -> None:
    alice.browser.raise_request_exception = False
    Failing(monkeypatch, at='UPDATE "accounts_wechatuser"')  # a write: not asked again
    refused(alice.put("me", {"nickname": "小明"}), 503, "unavailable")
    monkeypatch.undo()
    Failing(monkeypatch, at='FROM "groups_board"')
    refused(alice.post("scores", {"board": "nothing", "value": 1}), 404, "not_found")


@pytest.mark.no_service
def test_a_request_that_has_asked_wechat_is_not_answered_anew(monkeypatch: Any, db: None) -> None:
    Failing(monkeypatch, at="SELECT 1")
    with watched() as watch:
        with pytest.raises(OperationalError), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert watch.allows_another
        note_effect()
        assert not watch.allows_another


@pytest.mark.no_service
@pytest.mark.parametrize(
    ("statement", "is_write"),
    [
        ("SELECT 1", False),
        ("\n  select id from groups_group for update", False),
        ("SAVEPOINT s", False),
        ("INSERT INTO t VALUES (1)", True),
        ("WITH moved AS (DELETE FROM t RETURNING 1) SELECT 1", True),
        ("CALL anything()", True),
    ],
)
def test_whatever_may_write_counts_as_a_write(statement: str, is_write: bool) -> None:
    with watched() as watch:
        watch(lambda *given: None, statement, None, False, {"connection": connection})
    assert watch.has_begun is is_write


@on_postgresql
def test_a_server_that_became_read_only_is_503_and_is_left(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        with pytest.raises(InternalError) as caught, watched():
            cursor.execute("CREATE TABLE anything (id int)")
    assert is_read_only(caught.value)
    assert connection.close_at == 0
