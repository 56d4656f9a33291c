"""Several hosts in DATABASE_URL: the one that takes writes is found, lost, and found again."""

import http.client
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from groupsite.settings import hosts_in
from prove.kills import FINE
from prove.people import BOARD
from prove.servers import (
    KillableSite,
    MissingProgram,
    PostgreSQL,
    PostgreSQLStandby,
    Visitor,
    scratch,
    wait_for,
)
from tests.servers import ROOT
from tests.settings import DATABASE_URL

on_postgresql = pytest.mark.skipif(
    urlsplit(DATABASE_URL).scheme != "postgres", reason="only PostgreSQL's driver takes several"
)
THERE = "postgres://groupsite:p%40ss@"


# How they are read


@pytest.mark.no_service
@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("one", {}),
        ("one:5433", {}),
        ("one,two", ("one,two", "5432,5432")),
        ("one:5433,two:5434,three", ("one,two,three", "5433,5434,5432")),
        ("[::1]:5433,[fe80::2]", ("::1,fe80::2", "5433,5432")),
    ],
)
def test_each_host_has_its_port(hosts: str, expected: Any) -> None:
    found = hosts_in(f"{THERE}{hosts}/groupsite")
    assert tuple(found.values()) == tuple(expected)


def settings_of(url: str) -> subprocess.CompletedProcess[str]:
    code = (
        "from groupsite.settings import DATABASES as d; import json; print(json.dumps({k: v for k,"
    )
    code += " v in d['default'].items() if k in ('HOST', 'PORT', 'NAME', 'OPTIONS')}))"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
    )


@pytest.mark.no_service
@pytest.mark.parametrize(
    "url",
    [
        "mysql://groupsite:secret@one:3306,two:3306/groupsite",
        "postgres://groupsite:secret@one:x,two/groupsite",
        "postgres://groupsite:secret@one,,two/groupsite",
        "postgres://groupsite:secret@one,two:99999/groupsite",
    ],
)
def test_hosts_that_no_driver_takes_are_refused_in_words(url: str) -> None:
    said = settings_of(url)
    assert said.returncode != 0
    assert "host1:5432,host2:5432" in said.stderr and "secret" not in said.stderr


@pytest.mark.no_service
def test_of_several_hosts_of_a_replica_a_standby_is_wanted() -> None:
    code = "from groupsite.settings import DATABASES as d; print(d['replica']['OPTIONS'])"
    urls = {"DATABASE_URL": f"{THERE}one/groupsite"}
    urls |= {"DATABASE_REPLICA_URL": f"{THERE}one,two/groupsite"}
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | urls,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'target_session_attrs': 'prefer-standby'" in said.stdout


@pytest.mark.no_service
@pytest.mark.parametrize(
    ("query", "expected"),
    [("", "read-write"), ("?target_session_attrs=primary&connect_timeout=2", "primary")],
)
def test_of_several_hosts_the_one_that_takes_writes_is_wanted(query: str, expected: str) -> None:
    found = json.loads(settings_of(f"{THERE}one,two:5433/groupsite{query}").stdout)
    assert (found["HOST"], found["PORT"], found["NAME"]) == ("one,two", "5432,5433", "groupsite")
    assert found["OPTIONS"]["target_session_attrs"] == expected
    assert found["OPTIONS"]["connect_timeout"] == (2 if query else 3)


# How they are used


@pytest.fixture
def pair() -> Iterator[tuple[PostgreSQL, PostgreSQLStandby, Path, ExitStack]]:
    """A primary, and a standby without which it acknowledges nothing."""
    try:
        with scratch() as (folder, stack):
            primary = stack.enter_context(PostgreSQL(folder / "one"))
            standby = stack.enter_context(PostgreSQLStandby(folder / "two", primary))
            execute(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
            execute(primary, "SELECT pg_reload_conf()")
            yield primary, standby, folder, stack
    except MissingProgram as missing:
        tell_missing(str(missing))


def tell_missing(text: str) -> None:
    """Skip the test, but fail it in CI."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(text)


def execute(server: PostgreSQL, statement: str) -> Any:
    with psycopg.connect(server.url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else None


class Laps:
    """Someone who sends scores, each again until it is acknowledged."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.token = port, token
        self.acknowledged = 0
        self.answers: Counter[Any] = Counter()
        self.stop = Event()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        thread = Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self.stop.set()
            thread.join(30)

    def run(self) -> None:
        with Visitor(self.port, self.token) as visitor:
            while not self.stop.is_set():
                body = {"board": BOARD, "value": 1, "idempotencyKey": f"{self.acknowledged}"}
                status = None
                with suppress(OSError, http.client.HTTPException):
                    status, said = visitor.ask("POST", "/api/v1/scores", body)
                    if status == 503:
                        assert (said["code"], said["retryAfter"]) == ("unavailable", 3)
                self.answers[status] += 1
                self.acknowledged += status in FINE


@on_postgresql
def test_the_site_follows_the_server_that_takes_writes(pair: Any) -> None:
    """Also where the old one comes back as a server that answers and takes none: the first."""
    primary, standby, folder, stack = pair
    hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    site = KillableSite(folder / "site", f"postgres://groupsite@{hosts}/postgres", 1)
    stack.enter_context(site)
    [person] = json.loads(site.python("-m", "prove.people", "1"))
    laps = Laps(site.ports[0], person["token"])
    with laps.under_way():
        wait_for(lambda: laps.acknowledged > 20, "writes are acknowledged")
        primary.kill()
        wait_for(lambda: laps.answers[503] > 3, "writes are refused without a server for them")
        execute(standby, "ALTER SYSTEM SET synchronous_standby_names = ''")
        execute(standby, "SELECT pg_reload_conf(), pg_promote()")
        before = laps.acknowledged
        wait_for(lambda: laps.acknowledged > before + 20, "the site finds the new server")
        # The old one as a server that takes no writes, found first and passed over.
        (folder / "one" / "data" / "standby.signal").touch()
        primary.start()
        with psycopg.connect(standby.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
        before = laps.acknowledged
        wait_for(lambda: laps.acknowledged > before + 20, "the site passes over the old server")
    assert set(laps.answers) <= {200, 503}
    [[total]] = execute(standby, "SELECT value FROM groups_score WHERE period = 'all'")
    assert total == laps.acknowledged
    assert "Traceback" not in site.log()


def doctor_says(site: KillableSite) -> dict[str, str]:
    """Return what the doctor says of each host, with how bad that is."""
    done = subprocess.run(
        [sys.executable, "-m", "django", "doctor", "--language", "en", "--json"],
        cwd=ROOT,
        env=site.environment,
        capture_output=True,
        text=True,
    )
    found = map(json.loads, done.stdout.splitlines())
    return {each["saw"]: each["state"] for each in found if each["name"] == "database"}


@on_postgresql
def test_the_doctor_says_which_host_leads_and_which_is_away(pair: Any) -> None:
    primary, standby, folder, _stack = pair
    one, two = (f"127.0.0.1:{server.port}" for server in (primary, standby))
    site = KillableSite(folder / "site", f"postgres://groupsite@{one},{two}/postgres", 0)
    site.folder.mkdir()
    site.python("-m", "django", "migrate", "--verbosity", "0")
    assert doctor_says(site)[f"{one} takes writes, of 2 hosts."] == "ok"
    primary.kill()
    [(text, level)] = doctor_says(site).items()
    assert level == "error"
    assert text.startswith(f"None of the hosts of DATABASE_URL takes writes: {one}: connection")
    assert f"{two}: standby" in text
    execute(standby, "ALTER SYSTEM SET synchronous_standby_names = ''")
    execute(standby, "SELECT pg_reload_conf(), pg_promote()")
    said = doctor_says(site)
    assert said[f"{two} takes writes, of 2 hosts."] == "ok"
    assert any(text.startswith(f"A host of DATABASE_URL is away: {one} (") for text in said)
    primary.start()  # as it was: nothing has made it a standby
    said = doctor_says(site)
    assert said[f"Several hosts take writes, so the site is split: {one}, {two}."] == "error"


@on_postgresql
def test_a_restore_finds_the_server_that_takes_writes(pair: Any, tmp_path: Path) -> None:
    primary, standby, folder, _stack = pair
    hosts = f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}"
    site = KillableSite(folder / "site", f"postgres://groupsite@{hosts}/postgres", 0)
    site.folder.mkdir()
    site.python("-m", "django", "migrate", "--verbosity", "0")
    site.python("-m", "django", "backup", str(tmp_path))
    [backup] = tmp_path.glob("*/backup.json")
    site.python("-m", "django", "restore", str(backup.parent))
    assert execute(primary, "SELECT count(*) FROM groups_board") == [(1,)]
