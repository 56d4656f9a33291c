"""What requests may take of the database: DATABASE_POOL connections, DATABASE_TIMEOUT seconds.

A server of its own, since a test's connections are not bound; PostgreSQL and MariaDB alone know
either, so with SQLite only the settings are tested.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.conf import settings as django_settings
from django.core.checks import run_checks
from django.db import DEFAULT_DB_ALIAS, connection, connections

from core import database
from tests.servers import Caller, Relay, Site, at_once, scratch_database, serving
from tests.settings import APP_ID, DATABASE_URL
from wechat.sandbox import Fault, Sandbox

pytestmark = pytest.mark.xdist_group("bounds")

SCHEME = urlsplit(DATABASE_URL).scheme
TIMEOUT, POOL = 2, 2
SLACK = 5  # seconds that a request may take besides, on a busy machine
LOCKED_FOR = TIMEOUT + 3  # seconds

on_servers = pytest.mark.skipif(SCHEME == "sqlite", reason="SQLite has neither")
on_postgresql = pytest.mark.skipif(SCHEME != "postgres", reason="only PostgreSQL is pooled")

OPERATOR = """
import django
django.setup()
from django.contrib.auth.models import User
from django.test import Client

olga, browser = User.objects.create_superuser("olga"), Client()
browser.force_login(olga)
print(browser.cookies["__Host-sessionid"].value)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("bounds")
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox({APP_ID: "secret"}))
        url = stack.enter_context(scratch_database(directory))
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "groupsite.settings",
            "DATABASE_URL": url,
            "DATABASE_TIMEOUT": str(TIMEOUT),
            "DATABASE_POOL": str(POOL),
            "REDIS_URL": "",
            "THROTTLES": "off",
            "WECHAT_APPS": f"{APP_ID}:secret",
            "WECHAT_API_URL": sandbox.url,
        }
        site = Site(environment, [], [directory / "server.log"], sandbox)
        site.run("manage.py", "migrate", "--verbosity", "0")
        site.urls.append(stack.enter_context(serving(environment, site.logs[0])))
        yield site


@pytest.fixture(scope="module")
def alice(site: Site) -> Caller:
    return site.log_in("alice")


@pytest.fixture(scope="module")
def ranking(alice: Caller) -> str:
    open_gid = alice.post("groups/bind", alice.envelope("family"))[1]["openGId"]
    return f"groups/{open_gid}/ranking"


def timed(caller: Caller, method: str, path: str, **sent: Any) -> tuple[int, float]:
    """Return the status of a call, and the seconds it took."""
    began = time.monotonic()
    status, _body = caller.call(method, path, 0, **sent)
    return status, time.monotonic() - began


@contextmanager
def connected(site: Site) -> Iterator[Any]:
    """Open a connection of the test's own, and yield its cursor; what it locks ends with it."""
    url = urlsplit(site.environment["DATABASE_URL"])
    if SCHEME == "postgres":
        import psycopg

        with psycopg.connect(url.geturl()) as line, line.cursor() as cursor:
            yield cursor
            line.rollback()
        return
    import pymysql

    line = pymysql.connect(
        host=url.hostname,
        port=url.port or 3306,
        user=url.username,
        password=url.password or "",
        database=url.path.strip("/"),
    )
    with line, line.cursor() as cursor:
        yield cursor


def lock_table(cursor: Any, table: str) -> None:
    cursor.execute(
        f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"
        if SCHEME == "postgres"
        else f"LOCK TABLES {table} WRITE"
    )


@on_servers
def test_a_locked_table_holds_a_request_no_longer_than_the_timeout(
    site: Site, alice: Caller, ranking: str
) -> None:
    with connected(site) as cursor:
        lock_table(cursor, "groups_score")
        answers = at_once([lambda: timed(alice, "GET", ranking)] * 6)
        assert [status for status, _took in answers] == [503] * 6
        # Those that wait for a connection first, wait for it as long.
        assert max(took for _status, took in answers) < 2 * TIMEOUT + SLACK
        probe = requests.get(site.urls[0].replace("/api/v1/", "/livez"), timeout=5)
        assert probe.status_code == 200
    assert timed(alice, "GET", ranking)[0] == 200
    lines = site.said()
    assert "OperationalError" in lines and "Traceback" not in lines


@on_servers
def test_a_server_that_hangs_whole_is_given_up_two_seconds_later(
    site: Site, alice: Caller, tmp_path: Path
) -> None:
    """It ends nothing by itself, neither a statement nor a connection."""
    port = {"postgres": 5432, "mysql": 3306}[SCHEME]
    with ExitStack() as stack:
        relay = stack.enter_context(Relay(site.environment["DATABASE_URL"], port))
        environment = site.environment | {"DATABASE_URL": relay.url}
        log = tmp_path / "server.log"
        url = stack.enter_context(serving(environment, log))
        behind = Caller(Site(environment, [url], [], site.sandbox), alice.phone, alice.token)
        assert timed(behind, "GET", "me")[0] == 200
        relay.freeze()
        stack.callback(relay.restore)
        status, took = timed(behind, "GET", "me")
        assert status == 503
        assert TIMEOUT + 1 < took < TIMEOUT + 2 + SLACK
        assert "answering anew" not in log.read_text()  # which would take as long again
        relay.restore()
        assert timed(behind, "GET", "me")[0] == 200


@on_postgresql
def test_a_server_that_is_away_is_noticed_at_once_also_by_those_who_had_a_connection(
    site: Site, alice: Caller, tmp_path: Path
) -> None:
    """The pool itself would try to replace it for as long as a request waits."""
    with ExitStack() as stack:
        relay = stack.enter_context(Relay(site.environment["DATABASE_URL"], 5432))
        environment = site.environment | {"DATABASE_URL": relay.url}
        url = stack.enter_context(serving(environment, tmp_path / "server.log"))
        behind = Caller(Site(environment, [url], [], site.sandbox), alice.phone, alice.token)
        assert timed(behind, "GET", "me")[0] == 200
        relay.cut()
        status, took = timed(behind, "GET", "me")
        assert status == 503 and took < TIMEOUT - 0.5


@on_servers
def test_a_locked_row_holds_a_request_no_longer_than_the_timeout(site: Site, alice: Caller) -> None:
    with connected(site) as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM accounts_wechatuser FOR UPDATE")
        status, took = timed(alice, "PUT", "me", json={"nickname": "小明"})
        assert (status, took < TIMEOUT + SLACK) == (503, True)
        assert timed(alice, "GET", "me")[0] == 200, "reading waits for no row"
    assert timed(alice, "PUT", "me", json={"nickname": "小明"})[0] == 200


@on_servers
def test_commands_wait_for_a_table_as_long_as_it_takes(site: Site) -> None:
    with connected(site) as cursor, ThreadPoolExecutor(1) as threads:
        lock_table(cursor, "groups_score")
        purged = threads.submit(site.run, "manage.py", "purge")
        time.sleep(LOCKED_FOR)
        assert not purged.done()
        cursor.execute("ROLLBACK" if SCHEME == "postgres" else "UNLOCK TABLES")
        purged.result(60)


@on_servers
def test_downloads_wait_for_a_table_as_long_as_it_takes(site: Site) -> None:
    session = site.run("-c", OPERATOR).strip()
    address = site.urls[0].replace("/api/v1/", "/admin/export/scores.csv")

    def download() -> requests.Response:
        with requests.Session() as http:
            http.trust_env = False
            return http.get(address, cookies={"__Host-sessionid": session}, timeout=60)

    with connected(site) as cursor, ThreadPoolExecutor(1) as threads:
        lock_table(cursor, "groups_score")
        answer = threads.submit(download)
        time.sleep(LOCKED_FOR)
        assert not answer.done()
        cursor.execute("ROLLBACK" if SCHEME == "postgres" else "UNLOCK TABLES")
        assert (answer.result(60).status_code, answer.result().text[1:3]) == (200, "成员")


@on_postgresql
def test_a_process_holds_no_more_connections_than_its_pool(
    site: Site, alice: Caller, ranking: str
) -> None:
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    with connected(site) as cursor, ThreadPoolExecutor(16) as threads:
        calls = [threads.submit(alice.get, ranking) for _ in range(60)]
        most = 0
        while not all(call.done() for call in calls):
            cursor.execute(count)
            most = max(most, cursor.fetchone()[0])
            cursor.connection.rollback()
        assert [call.result()[0] for call in calls] == [200] * 60
        assert 2 <= most <= 1 + POOL  # ours is one


@on_postgresql
def test_calls_that_wait_for_wechat_hold_no_connection(
    site: Site, alice: Caller, ranking: str
) -> None:
    """Let eight calls hang, with a pool of two: names, and log-ins."""
    people = [site.log_in(f"person-{number}") for number in range(4)]
    codes = [person.phone.login() for person in people]
    for path in ("/wxa/msg_sec_check", "/sns/jscode2session"):
        site.sandbox.state.request_fault(path, Fault(delay=2.5), 4)
    waiting = [
        lambda person=person: person.call("PUT", "me", 0, json={"nickname": "小明"})[0]
        for person in people
    ] + [lambda code=code: alice.post("login", {"code": code})[0] for code in codes]
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(call) for call in waiting]
        time.sleep(0.5)
        assert alice.get(ranking)[0] == 200
        assert not any(call.done() for call in calls), "they hang for longer than we asked"
        assert {call.result() for call in calls} == {200}


@on_postgresql
def test_a_refused_connection_is_an_error_at_once(site: Site, alice: Caller) -> None:
    """Ask a server whose database has never answered: a pool alone would wait out its patience."""
    away = {"DATABASE_URL": "postgres://someone@127.0.0.1:9/none", "DATABASE_TIMEOUT": "30"}
    environment = site.environment | away
    with serving(environment, site.logs[0].with_name("away.log")) as url:
        caller = Caller(Site(environment, [url], [], site.sandbox), alice.phone, alice.token)
        status, took = timed(caller, "GET", "me")
    assert (status, took < 15) == (503, True)


# The settings


@pytest.fixture
def options(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Bound a database of another engine; return what became of it."""
    monkeypatch.setattr(database, "_unbound", {})

    def bound(engine: str, pool: int = 4, timeout: int = 3, **given: Any) -> dict[str, Any]:
        settings.DATABASE_POOL, settings.DATABASE_TIMEOUT = pool, timeout
        before = {"ENGINE": f"django.db.backends.{engine}", "CONN_MAX_AGE": 60, "OPTIONS": given}
        after = deepcopy(before)
        monkeypatch.setattr(django_settings, "DATABASES", {DEFAULT_DB_ALIAS: after})
        database.bound_requests()
        database.bound_requests()  # again, as a server that reloads does
        return after

    return bound


def test_postgresql_is_pooled_and_bounded(options: Any) -> None:
    found = options("postgresql", options="-c jit=off")
    assert (found["ENGINE"], found["CONN_MAX_AGE"]) == ("core.postgresql", 0)
    assert found["OPTIONS"]["options"] == "-c jit=off -c statement_timeout=3000"
    assert found["OPTIONS"]["pool"] == {
        "min_size": 0,
        "max_size": 4,
        "timeout": 3,
        "reconnect_timeout": 1,
    }


def test_without_a_pool_a_thread_keeps_its_connection(options: Any) -> None:
    found = options("postgresql", pool=0, timeout=0)
    assert (found["ENGINE"], found["CONN_MAX_AGE"]) == ("django.db.backends.postgresql", 60)
    assert found["OPTIONS"] == {}


def test_mysql_is_bounded(options: Any) -> None:
    assert options("mysql", timeout=0)["OPTIONS"] == {}


def test_mysql_keeps_what_else_a_connection_begins_with(options: Any) -> None:
    found = options("mysql", timeout=7, init_command="SET time_zone='+08:00'")
    assert found["OPTIONS"]["init_command"] == (
        "SET time_zone='+08:00', SESSION lock_wait_timeout=7, innodb_lock_wait_timeout=7"
        "/*M!100101 , max_statement_time=7 */"
        "/*!80000 , max_execution_time=7000 */"
    )
    assert (found["OPTIONS"]["read_timeout"], found["OPTIONS"]["write_timeout"]) == (9, 9)


def test_sqlite_waits_for_its_one_writer_as_before(options: Any) -> None:
    assert options("sqlite3", timeout=7)["OPTIONS"] == {}


def test_a_connection_of_its_own_is_closed_and_the_threads_own_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bound = connections[DEFAULT_DB_ALIAS]
    before = {DEFAULT_DB_ALIAS: deepcopy(bound.settings_dict)}
    monkeypatch.setattr(database, "_unbound", before)
    with database.unbound_connection():
        own = connections[DEFAULT_DB_ALIAS]
        assert own is not bound
    assert connections[DEFAULT_DB_ALIAS] is bound
    assert own.connection is None


@pytest.mark.parametrize("name", ["DATABASE_POOL", "DATABASE_TIMEOUT"])
def test_a_negative_bound_is_refused(db: None, settings: Any, name: str) -> None:
    setattr(settings, name, -1)
    assert [m.id for m in run_checks() if name in m.msg] == ["groupsite.E005"]
    setattr(settings, name, 0)
    assert [m for m in run_checks() if name in m.msg] == []


def test_more_connections_than_the_database_gives_are_found(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> list[Any]:
        return [m for m in run_checks(include_deployment_checks=True) if m.id == "groupsite.W002"]

    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    assert found() == []
    monkeypatch.setenv("WEB_CONCURRENCY", "500")
    if connection.vendor == "sqlite":
        assert found() == []
    else:
        [warning] = found()
        each = 4 + 2 if connection.vendor == "postgresql" else 16 + 2
        assert str(500 * each) in warning.hint and "max_connections" in warning.hint
