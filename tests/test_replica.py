"""DATABASE_REPLICA_URL: lists are read there, whatever decides is not, and each says how old it is.

With SQLite a frozen copy of the file plays the replica: in it everyone and everything has another
name, so that a page tells where it was read. With PostgreSQL a real standby stays five seconds
behind.
"""

import csv
import io
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.core.checks import run_checks

from core.routing import LISTED
from prove.servers import MariaDB, MissingProgram, PostgreSQL, PostgreSQLStandby, scratch
from tests.scrapes import TOKEN, Key, numbers_in, value_of
from tests.servers import (
    PATIENCE,
    Relay,
    Site,
    send_form,
    serving,
    superusers,
    wait_for,
)
from tests.settings import APP_ID, DATABASE_URL
from tests.site_map import READ_FROM, path_of, routes
from wechat.sandbox import Sandbox

pytestmark = pytest.mark.xdist_group("replica")

UNKNOWN = "Read from a replica of the database; how old that is, is not known"
NOW, THEN = "Nowadays", "Formerly"  # in every name: on the primary, and in the frozen copy

NAMES = """
from groups.models import *
from accounts.models import *
from audit.models import *
from django.db.models import F
WeChatUser.objects.update(nickname={0!r})
Group.objects.update(label={0!r})
Board.objects.update(title_zh={0!r}, title_en={0!r})
AuditEvent.objects.update(reason={0!r})
ServerKey.objects.update(name={0!r})
VerificationFile.objects.update(content={0!r})
"""

FIRST_ROWS = """
from django.utils import timezone
from audit.models import *
from groups.models import *
AuditEvent.objects.create(action="block", target="wechatuser", reason="x")
ServerKey.objects.issue({app!r}, "backend", timezone.now())
VerificationFile.objects.create(name="abc.txt", content="x")
"""

KEYS = """{
    "accounts/wechatuser": WeChatUser.objects.first().pk,
    "audit/auditevent": __import__("audit").models.AuditEvent.objects.first().pk,
    "groups/board": Board.objects.first().pk,
    "groups/group": Group.objects.first().pk,
    "groups/membership": Membership.objects.first().pk,
    "groups/score": Score.objects.first().pk,
    "groups/serverkey": ServerKey.objects.first().pk,
    "groups/verificationfile": VerificationFile.objects.first().pk,
    "auth/user": User.objects.first().pk,
    "auth/group": __import__("django").contrib.auth.models.Group.objects.first().pk,
}"""


@contextmanager
def opened(url: str, **settings: str) -> Iterator[Site]:
    """Yield a site on a new database; its servers are for the caller to start."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox({APP_ID: "secret"}))
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.server_settings",
            "DATABASE_URL": url,
            "REDIS_URL": "",
            "THROTTLES": "off",
            "WECHAT_APPS": f"{APP_ID}:secret",
            "WECHAT_API_URL": sandbox.url,
            **settings,
        }
        site = Site(environment, [], [], sandbox)
        stack.callback(site.close)
        site.run("manage.py", "migrate", "--verbosity", "0")
        yield site


@contextmanager
def served(site: Site, folder: Path, replica: str, **settings: str) -> Iterator[Site]:
    """Serve the site in a process of its own, with this replica."""
    environment = site.environment | {"DATABASE_REPLICA_URL": replica, **settings}
    log = folder / f"{time.monotonic_ns()}.log"
    with serving(environment, log) as url:
        yield Site(environment, [url], [log], site.sandbox)


def look(site: Site, session: str, path: str, **more: Any) -> requests.Response:
    """Read a page of the console, in English."""
    headers = {"Cookie": f"__Host-sessionid={session}", "Accept-Language": "en"}
    address = site.urls[0].replace("/api/v1/", path)
    found = requests.get(address, headers=headers, allow_redirects=False, timeout=PATIENCE, **more)
    found.encoding = "utf-8"
    return found


def numbers(site: Site) -> dict[Key, float]:
    """Return what Prometheus reads."""
    path = site.urls[0].replace("/api/v1/", "/metrics")
    found = requests.get(path, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=PATIENCE)
    assert found.status_code == 200, found.text
    return numbers_in(found.text)


def reads(site: Site) -> dict[str, int]:
    """Return how many pages were read from the replica and how many were not, as it is counted."""
    name, found = "groupsite_replica_reads_total", numbers(site)
    outcomes = {outcome: int(value_of(found, name, outcome=outcome)) for outcome in OUTCOMES}
    return {outcome: count for outcome, count in outcomes.items() if count}


OUTCOMES = ("ok", "behind", "away")
UP, AGE_NOW = ("groupsite_replica_up", ()), ("groupsite_replica_age_seconds", ())


def alarms(site: Site) -> int:
    return site.said().count('"alarm": "replica"')


# A frozen copy


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path]]:
    """Make a site with someone in a group, and a copy of its file in which all have other names."""
    folder = tmp_path_factory.mktemp("frozen")
    with opened(f"sqlite:///{folder / 'site.sqlite3'}") as site:
        with served(site, folder, "") as first:
            alice = first.log_in("alice")
            assert alice.post("groups/bind", alice.envelope("family"))[0] == 201
        site.execute(FIRST_ROWS.format(app=APP_ID))
        superusers(site, "olga", "mona")
        site.execute(NAMES.format(THEN))
        with (
            closing(sqlite3.connect(folder / "site.sqlite3")) as there,
            closing(sqlite3.connect(folder / "copy.sqlite3")) as copy,
        ):
            there.backup(copy)
        site.execute(NAMES.format(NOW))
        yield site, folder


@pytest.fixture(scope="module")
def site(past: tuple[Site, Path]) -> Iterator[Site]:
    with served(*past, f"sqlite:///{past[1] / 'copy.sqlite3'}") as site:
        yield site
        site.close()
        assert "Traceback" not in site.said()


SESSION = """
from django.contrib.auth.models import User
from django.test import Client

browser = Client()
browser.force_login(User.objects.get(username={name!r}))
print(browser.cookies["__Host-sessionid"].value)
"""


def session_of(site: Site, name: str) -> str:
    return site.execute(SESSION.format(name=name)).strip()


@pytest.fixture
def olga(site: Site) -> str:
    """Sign in Olga, who has changed nothing yet."""
    return session_of(site, "olga")


@pytest.fixture
def mona(site: Site) -> str:
    return session_of(site, "mona")


@pytest.fixture(scope="module")
def keys(site: Site) -> dict[str, int]:
    return dict(site.ask(KEYS))


CONSOLE = {route for route, _pattern in routes() if route.startswith(("admin/", "groups/"))}


@pytest.mark.no_service
def test_each_page_of_the_console_says_which_database_it_reads() -> None:
    assert READ_FROM["replica"] | READ_FROM["primary"] == CONSOLE
    assert not READ_FROM["replica"] & READ_FROM["primary"]


def path_in(route: str, keys: dict[str, int]) -> str:
    """Return the path of a page of the console, about rows that there are."""
    found = re.match(r"admin/((?:accounts|audit|groups|auth)/\w+)/", route)
    subject = found[1] if found else "groups/group"
    if route.startswith(("admin/act/", "admin/openid/")):
        subject = "accounts/wechatuser"
    pk = str(keys[subject])
    values = {"content_type_id": "1", "object_id": pk, "id": pk, "pk": pk}
    values |= {"key": "block", "what": "members", "form": "csv"}
    route = re.sub(r"\^\(\?P<app_label>[^)]+\)/\$", "groups/", route)
    path = path_of(route.replace(r"(?P<url>.*)$", "nothing"), **values)
    return f"{path}?group={pk}" if route == "groups/labels/" else path


@pytest.mark.no_service
@pytest.mark.parametrize("route", sorted(READ_FROM["replica"]))
def test_a_list_is_read_from_the_replica(
    site: Site, olga: str, keys: dict[str, int], route: str
) -> None:
    found = look(site, olga, path_in(route, keys))
    if route == "admin/groups/group/":  # which redirects to /groups/
        assert found.status_code == 302
        return
    assert found.status_code == 200, found.text
    assert NOW not in found.text
    is_file = route.endswith("<slug:form>")
    assert THEN in found.text or route == "admin/export/<slug:what>/"
    assert (UNKNOWN in found.text) is not is_file


@pytest.mark.no_service
@pytest.mark.parametrize("route", sorted(READ_FROM["primary"]))
def test_everything_else_is_read_from_the_primary(
    site: Site, olga: str, keys: dict[str, int], route: str
) -> None:
    found = look(site, olga, path_in(route, keys))
    assert found.status_code in {200, 204, 302, 403, 404, 405}, found.text
    assert THEN not in found.text and UNKNOWN not in found.text


@pytest.mark.no_service
@pytest.mark.parametrize("name", ["page", "file"])
def test_the_ranking_of_a_group_is_that_of_now(
    site: Site, olga: str, keys: dict[str, int], name: str
) -> None:
    path = {"page": "/groups/{}/", "file": "/admin/export/ranking/{}.csv"}[name]
    assert NOW in look(site, olga, path.format(keys["groups/group"])).text


@pytest.mark.no_service
def test_members_see_what_there_is_now(site: Site) -> None:
    alice = site.log_in("alice")
    status, found = alice.post("groups/bind", alice.envelope("family"))
    assert (status, found["group"]["title"], found["user"]["nickname"]) == (200, NOW, NOW)
    _status, ranking = alice.get(f"groups/{found['openGId']}/ranking")
    assert ranking["entries"][0]["member"]["nickname"] == NOW
    assert "old" not in str(ranking).lower()


@pytest.mark.no_service
def test_what_an_operator_did_shows_in_their_next_list_and_not_in_others(
    site: Site, olga: str, mona: str, keys: dict[str, int]
) -> None:
    members, who = "/admin/accounts/wechatuser/", keys["accounts/wechatuser"]
    assert THEN in look(site, olga, members).text
    for verb in ("block", "unblock"):
        assert send_form(site, olga, 0, f"/admin/act/{verb}/{who}/", reason="spam") == 302
        shown = look(site, olga, members)
        assert NOW in shown.text and UNKNOWN not in shown.text
    assert THEN in look(site, mona, members).text


@pytest.mark.no_service
def test_a_change_of_nothing_that_lists_show_leaves_them_where_they_are(
    site: Site, olga: str
) -> None:
    assert send_form(site, olga, 0, "/admin/language/", language="en") == 302
    assert THEN in look(site, olga, "/groups/").text


@pytest.mark.no_service
def test_a_download_is_in_its_readers_audit_at_once(site: Site, mona: str) -> None:
    assert THEN in look(site, mona, "/admin/export/members.csv").text
    assert "Export" in (shown := look(site, mona, "/admin/audit/auditevent/").text)
    assert NOW in shown and UNKNOWN not in shown


@pytest.mark.no_service
def test_the_line_is_in_the_readers_language(site: Site, olga: str) -> None:
    headers = {"Cookie": f"__Host-sessionid={olga}", "Accept-Language": "zh-hans"}
    found = requests.get(site.urls[0].replace("/api/v1/", "/groups/"), headers=headers, timeout=9)
    assert '<p class="as-of">数据来自数据库只读副本，延迟未知</p>' in found.content.decode()


@pytest.mark.no_service
@pytest.mark.parametrize("what", ["nothing", "a file without tables", "no file"])
def test_a_replica_that_cannot_be_read_is_an_alarm_and_no_error(
    past: tuple[Site, Path], olga: str, what: str
) -> None:
    site, folder = past
    there = {
        "nothing": folder / "none" / "copy.sqlite3",
        "a file without tables": folder / "empty.sqlite3",
        "no file": folder,
    }[what]
    with served(site, folder, f"sqlite:///{there}") as site:
        for path in (
            "/groups/",
            "/admin/",
            "/admin/export/members/",
            "/admin/accounts/wechatuser/",
        ):
            found = look(site, olga, path)
            assert (found.status_code, UNKNOWN in found.text) == (200, False)
            assert THEN not in found.text
        assert NOW in look(site, olga, "/admin/export/members.csv").text
        assert alarms(site) == 1


@pytest.mark.no_service
def test_prometheus_hears_whether_the_replica_is_read(past: tuple[Site, Path]) -> None:
    site, folder = past
    olga = session_of(site, "olga")
    with served(site, folder, f"sqlite:///{folder / 'copy.sqlite3'}", METRICS_TOKEN=TOKEN) as there:
        assert THEN in look(there, olga, "/admin/export/members.csv").text
        assert NOW in look(there, olga, "/admin/audit/auditevent/").text  # with that download
        now = numbers(there)
        assert now[UP] == 1 and AGE_NOW not in now
        assert reads(there) == {"ok": 1, "behind": 1}
    with served(site, folder, f"sqlite:///{folder / 'none' / 'x'}", METRICS_TOKEN=TOKEN) as away:
        for _turn in range(2):
            assert NOW in look(away, olga, "/groups/").text
        now = numbers(away)
        assert now[UP] == 0 and AGE_NOW not in now
        assert reads(away) == {"away": 2}
    with served(site, folder, "", METRICS_TOKEN=TOKEN) as alone:
        assert UP not in numbers(alone)


@pytest.mark.no_service
def test_a_replica_of_another_kind_is_refused(db: None, settings: Any) -> None:
    from core import checks

    assert [m for m in run_checks() if m.id == "core.E004"] == []
    kinds = {
        "default": type("Kind", (), {"vendor": "a"}),
        "replica": type("Kind", (), {"vendor": "b"}),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "has_replica", lambda: True)
        patch.setattr(checks, "connections", kinds)
        [found] = checks.replica(None)
    assert found.id == "core.E004" and "只读副本" in str(found.hint)


@pytest.mark.no_service
def test_without_the_setting_there_is_neither_router_nor_middleware(settings: Any) -> None:
    from django.core.exceptions import MiddlewareNotUsed

    from console.replica import OwnChangesMiddleware

    assert set(settings.DATABASES) == {"default"} and settings.DATABASE_ROUTERS == []
    with pytest.raises(MiddlewareNotUsed):
        OwnChangesMiddleware(lambda request: None)  # type: ignore[arg-type,return-value]


@pytest.mark.no_service
def test_nothing_of_operators_is_read_from_a_replica() -> None:
    assert not LISTED & {"auth", "sessions", "contenttypes", "console", "otp_totp", "admin"}


# A standby

on_postgresql = pytest.mark.skipif(
    urlsplit(DATABASE_URL).scheme not in {"postgres", "postgresql"}, reason="needs PostgreSQL"
)
DELAY = 5  # seconds
TIMEOUT = 2  # seconds: DATABASE_TIMEOUT
SLACK = 4  # seconds for a busy machine

AGE = re.compile(
    r'<p class="as-of">As of <time datetime="([^"]+)">[\d:]+</time>,'
    r" (\d+) (second|minute|hour)s? ago"
)
LABEL = re.compile(r"label ([\d.]+)")

RENAME = "from groups.models import *; Group.objects.update(label={!r})"


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Site, Path, Any, Any]]:
    """Run a PostgreSQL, a standby that stays behind, and a site with someone in a group."""
    with scratch() as (folder, stack):
        try:
            primary = stack.enter_context(PostgreSQL(folder / "primary"))
            standby = stack.enter_context(PostgreSQLStandby(folder / "standby", primary, DELAY))
        except MissingProgram as missing:
            pytest.skip(str(missing))
        site = stack.enter_context(opened(primary.url, DATABASE_TIMEOUT=str(TIMEOUT)))
        with served(site, folder, "") as first:
            alice = first.log_in("alice")
            assert alice.post("groups/bind", alice.envelope("family"))[0] == 201
        superusers(site, "olga")
        yield site, folder, primary, standby


@pytest.fixture
def behind(pair: tuple[Site, Path, Any, Any]) -> Iterator[Site]:
    site, folder, _primary, standby = pair
    with served(site, folder, standby.url) as site:
        yield site
        site.close()
        assert "Traceback" not in site.said()


@pytest.fixture
def session(pair: tuple[Site, Path, Any, Any]) -> str:
    """Sign in Olga, and wait until the standby has everything."""
    session = session_of(pair[0], "olga")
    wait_for_standby(pair)
    return session


def wait_for_standby(pair: tuple[Site, Path, Any, Any]) -> None:
    """Wait until the standby has replayed what has been written by now."""
    import psycopg

    _site, _folder, *servers = pair
    with ExitStack() as stack:
        primary, standby = (
            stack.enter_context(psycopg.connect(each.url, autocommit=True)) for each in servers
        )
        [place] = primary.execute("SELECT pg_current_wal_lsn()").fetchone() or ()
        behind = f"SELECT pg_last_wal_replay_lsn() >= '{place}'"
        wait_for(lambda: standby.execute(behind).fetchone() == (True,))


@contextmanager
def paused(pair: tuple[Site, Path, Any, Any]) -> Iterator[None]:
    """Let the standby replay nothing."""
    import psycopg

    with psycopg.connect(pair[3].url, autocommit=True) as line:
        line.execute("SELECT pg_wal_replay_pause()")
        state = "SELECT pg_get_wal_replay_pause_state()"
        wait_for(lambda: line.execute(state).fetchone() == ("paused",))
        try:
            yield
        finally:
            line.execute("SELECT pg_wal_replay_resume()")


@on_postgresql
def test_a_standby_that_has_everything_is_not_old_however_quiet_it_is(
    behind: Site, session: str
) -> None:
    time.sleep(DELAY)
    # The site writes nothing meanwhile, but PostgreSQL may, as its autovacuum does.
    wait_for(lambda: 'class="as-of"' not in look(behind, session, "/groups/").text)


@on_postgresql
def test_a_list_says_how_old_it_is(
    pair: tuple[Site, Path, Any, Any], behind: Site, session: str
) -> None:
    """Change a label again and again: the list shows that of a moment, and says which."""
    stop = Event()
    made: list[tuple[float, float]] = []  # each label, and when it was there for certain

    def change() -> None:
        while not stop.is_set():
            label = round(time.time(), 3)
            behind.execute(RENAME.format(f"label {label:.3f}"))
            made.append((label, time.time()))
            time.sleep(0.1)

    thread = Thread(target=change)
    thread.start()
    try:
        wait_for(lambda: LABEL.search(look(behind, session, "/groups/").text))
        with paused(pair):
            count = len(made)
            wait_for(lambda: len(made) > count + 1)
            time.sleep(DELAY)
            began = time.time()
            found = look(behind, session, "/groups/").text
            ended = time.time()
            download = look(behind, session, "/admin/export/members.csv")
    finally:
        stop.set()
        thread.join()
    label, said = LABEL.search(found), AGE.search(found)
    assert label and said, found
    shown, as_of = float(label[1]), datetime.fromisoformat(said[1]).timestamp()
    following = min(there for given, there in made if given > shown)
    assert int(shown) <= as_of <= following <= began - DELAY
    assert said[3] == "second" and began - as_of - 2 < int(said[2]) < ended - as_of + 1
    assert "Last-Modified" in download.headers
    assert re.search(
        r"members-[\d-]+-\d\d\.\d\d\.\d\d\.csv", download.headers["Content-Disposition"]
    )


@on_postgresql
def test_what_i_did_shows_at_once_and_is_read_from_the_standby_later(
    pair: tuple[Site, Path, Any, Any], behind: Site, session: str
) -> None:
    pk = behind.ask("Group.objects.get().pk")
    with paused(pair):
        assert "my own label" not in look(behind, session, "/groups/").text
        assert send_form(behind, session, 0, f"/groups/{pk}/", label="my own label") == 302
        shown = look(behind, session, "/groups/").text
        assert "my own label" in shown and 'class="as-of"' not in shown
        assert "my own label" not in look(behind, session_of(behind, "olga"), "/groups/").text
    wait_for_standby(pair)
    with paused(pair):
        behind.execute(RENAME.format("another's label"))
        assert "my own label" in look(behind, session, "/groups/").text  # of the standby again
    wait_for_standby(pair)
    assert "another&#x27;s label" in look(behind, session, "/groups/").text


@on_postgresql
def test_rankings_keep_their_promises_while_the_replica_is_behind(
    behind: Site, session: str
) -> None:
    alice = behind.log_in("alice")
    _status, bound = alice.post("groups/bind", alice.envelope("family"))
    path = f"groups/{bound['openGId']}/ranking"
    member = bound["user"]["id"]
    for name in ("赵一", "钱二", "孙三"):
        assert alice.call("PUT", "me", 0, json={"nickname": name})[0] == 200
        assert alice.get(path)[1]["me"]["member"]["nickname"] == name
    assert send_form(behind, session, 0, f"/admin/act/block/{member}/", reason="spam") == 302
    assert alice.get(path)[0] == 403
    blocked = '<span class="pill off">'
    assert blocked in look(behind, session, "/admin/accounts/wechatuser/?q=孙三").text
    assert send_form(behind, session, 0, f"/admin/act/unblock/{member}/", reason="ok") == 302
    assert alice.get(path)[0] == 200


@on_postgresql
def test_a_standby_that_hangs_costs_no_more_than_the_timeout(
    pair: tuple[Site, Path, Any, Any], session: str
) -> None:
    site, folder, _primary, standby = pair
    with Relay(standby.url, 5432) as relay, served(site, folder, relay.url) as site:
        assert look(site, session, "/groups/").status_code == 200
        assert alarms(site) == 0
        relay.freeze()
        took = []
        for _ in range(3):
            began = time.monotonic()
            assert look(site, session, "/groups/").status_code == 200
            took.append(time.monotonic() - began)
        assert TIMEOUT - 0.5 < took[0] < TIMEOUT + SLACK and max(took[1:]) < TIMEOUT
        assert alarms(site) == 1


@on_postgresql
def test_prometheus_hears_how_old_a_standby_is_and_does_not_wait_for_one_that_hangs(
    pair: tuple[Site, Path, Any, Any], session: str
) -> None:
    site, folder, _primary, standby = pair
    watched = {"METRICS_TOKEN": TOKEN, "DATABASE_POOL": "1"}
    with Relay(standby.url, 5432) as relay, served(site, folder, relay.url, **watched) as site:
        wait_for(lambda: numbers(site)[UP] == 1)
        assert look(site, session, "/groups/").status_code == 200
        connections = "groupsite_replica_connections"
        now = numbers(site)
        assert [value_of(now, connections, state=each) for each in ("most", "used")] == [1, 0]
        assert value_of(now, "groupsite_replica_wait_seconds_count") >= 2
        pair[0].execute(RENAME.format("a label for the age"))
        wait_for(lambda: numbers(site).get(AGE_NOW, 0) > DELAY - 2)
        relay.freeze()
        took = []
        for _turn in range(3):
            began = time.monotonic()
            now = numbers(site)
            took.append(time.monotonic() - began)
            assert now[UP] == 0 and AGE_NOW not in now
        assert max(took) < TIMEOUT
        relay.restore()
        wait_for(lambda: numbers(site)[UP] == 1)


@on_postgresql
def test_a_server_that_takes_writes_is_no_replica(
    pair: tuple[Site, Path, Any, Any], session: str
) -> None:
    site, folder, primary, standby = pair
    with served(site, folder, primary.url) as site:
        found = look(site, session, "/groups/")
        assert found.status_code == 200 and 'class="as-of"' not in found.text
        assert alarms(site) == 1
    said = {}
    for url in (primary.url, standby.url, "postgres://someone@127.0.0.1:9/none"):
        doctored = Site(site.environment | {"DATABASE_REPLICA_URL": url}, [], [], site.sandbox)
        said[url] = examined(doctored)
    assert said[primary.url][0] == "error" and "no replica" in said[primary.url][1]
    assert said[standby.url][0] == "ok" and "behind" in said[standby.url][1]
    assert said["postgres://someone@127.0.0.1:9/none"][0] == "error"


EXAMINED = """
from django.utils.translation import override
from core.examinations import examine_replica
with override("en"):
    for found in examine_replica():
        print(found.state, found.saw)
"""


def examined(site: Site) -> tuple[str, str]:
    """Return what the doctor finds of the replica."""
    try:
        state, _space, saw = site.execute(EXAMINED).partition(" ")
    finally:
        site.close()
    return state, saw


PEOPLE = 60_000


@on_postgresql
def test_a_download_goes_on_where_its_standby_is_lost(
    pair: tuple[Site, Path, Any, Any],
) -> None:
    site, folder, _primary, standby = pair
    site.execute(
        "from accounts.models import *\n"
        f"WeChatUser.objects.bulk_create([WeChatUser(app_id={APP_ID!r}, openid=f'many-{{n}}',"
        f" nickname='某某' * 8) for n in range({PEOPLE})], batch_size=5000)"
    )
    session = session_of(site, "olga")
    wait_for_standby(pair)
    there = site.ask("WeChatUser.objects.count()")
    with served(site, folder, standby.url) as site:
        answer = look(site, session, "/admin/export/members.csv", stream=True)
        read = answer.iter_content(4096)
        begun = next(read)
        standby.kill()
        try:
            whole = (begun + b"".join(read)).decode("utf-8-sig")
            assert alarms(site) == 1
        finally:
            standby.start()
    ids = [row[0] for row in csv.reader(io.StringIO(whole))][1:]
    assert len(ids) == len(set(ids)) == there > PEOPLE


# MariaDB

on_mariadb = pytest.mark.skipif(urlsplit(DATABASE_URL).scheme != "mysql", reason="needs MariaDB")


class LoggedMariaDB(MariaDB):
    """A primary, which writes what others replay."""

    def command(self) -> list[str]:
        return [*super().command(), "--server-id=1", "--log-bin=log", "--binlog-format=ROW"]


class DelayedMariaDB(MariaDB):
    """A replica of it."""

    def command(self) -> list[str]:
        return [*super().command(), "--server-id=2"]

    def follow(self, primary: MariaDB) -> None:
        there = f"MASTER_HOST='127.0.0.1', MASTER_PORT={primary.port}, MASTER_USER='root'"
        self.execute(f"CHANGE MASTER TO {there}, MASTER_DELAY={DELAY}", "START SLAVE")

    def execute(self, *statements: str) -> Any:
        import pymysql

        address = {"host": "127.0.0.1", "port": self.port, "user": "root"}
        with pymysql.connect(**address) as line, line.cursor() as cursor:
            for each in statements:
                cursor.execute(each)
            return cursor.fetchall()

    def has(self, session: str) -> bool:
        """Tell whether it has replayed a session, and so all that was written before."""
        import pymysql

        rows = f"SELECT 1 FROM groupsite.console_operatorsession WHERE session_key = '{session}'"
        with suppress(pymysql.Error):  # it has no tables yet
            return bool(self.execute(rows))
        return False


@on_mariadb
def test_mariadb_says_how_far_it_is_behind_to_an_account_that_may_ask() -> None:
    with scratch() as (folder, stack):
        try:
            primary = stack.enter_context(LoggedMariaDB(folder / "primary"))
            replica = stack.enter_context(DelayedMariaDB(folder / "replica"))
        except MissingProgram as missing:
            pytest.skip(str(missing))
        replica.follow(primary)
        site = stack.enter_context(opened(primary.url, DATABASE_TIMEOUT=str(TIMEOUT)))
        superusers(site, "olga")
        session = session_of(site, "olga")
        replica.execute(
            "CREATE USER reader@localhost", "GRANT SELECT ON groupsite.* TO reader@localhost"
        )
        modest = replica.url.replace("root@", "reader@")
        wait_for(lambda: replica.has(session))
        with served(site, folder, replica.url) as first, served(site, folder, modest) as second:

            def says_its_age() -> bool:
                """Ask after another write: a replica of which nothing is behind is not old."""
                group = f"Group.objects.create(app_id='x', open_gid='{time.time()}')"
                site.execute(f"from groups.models import *; {group}")
                return bool(AGE.search(look(first, session, "/groups/").text))

            wait_for(says_its_age)
            assert UNKNOWN in look(second, session, "/groups/").text
            assert (alarms(first), alarms(second)) == (0, 0)
            replica.execute("STOP SLAVE")
            assert UNKNOWN in look(first, session, "/groups/").text
            replica.kill()
            for each in (first, second):
                assert look(each, session, "/groups/").status_code == 200
                assert alarms(each) == 1
