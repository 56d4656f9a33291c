"""The database is lost and comes back: the site answers that it is unavailable, and recovers.

SQLite is cut off by moving its folder and frozen by a lock; PostgreSQL and MariaDB, where
DATABASE_URL names one, are behind a relay that is cut or stops forwarding.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
import requests
from django.contrib.auth import get_user_model
from django.db import InterfaceError, OperationalError
from django.test import Client as Browser

from tests.cast import Person, refused
from tests.servers import PATIENCE, Relay, Site, scratch_database, serving, wait_for
from tests.settings import APP_ID
from wechat.sandbox import Phone, Sandbox

pytestmark = pytest.mark.xdist_group("outage")

RECOVERY = 5  # seconds after which all is well again

LOG_IN, PASSWORD = "/admin/login/", "long and secret"
OPERATOR = f"""
import django
django.setup()
from django.contrib.auth.models import User
from django.test import Client
from console.sign_in import sign_in_path

olga, browser = User.objects.create_superuser("olga", password="{PASSWORD}"), Client()
browser.force_login(olga)
otto = User.objects.create_superuser("otto")
print(browser.cookies["__Host-sessionid"].value, sign_in_path(otto))
"""


# Databases that can be cut off


class SQLiteFile:
    """A database whose folder can be moved elsewhere."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.path = Path(url.removeprefix("sqlite:///"))
        self.elsewhere = self.path.parent.with_name("elsewhere")
        self.lock: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.restore()

    def cut(self) -> None:
        self.path.parent.rename(self.elsewhere)

    def freeze(self) -> None:
        self.lock = sqlite3.connect(self.path, isolation_level=None)
        self.lock.execute("BEGIN EXCLUSIVE")

    def restore(self) -> None:
        if self.elsewhere.exists():
            self.elsewhere.rename(self.path.parent)
        if self.lock:
            self.lock.close()
            self.lock = None


def removable(url: str) -> SQLiteFile | Relay:
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        return SQLiteFile(url)
    return Relay(url, {"postgres": 5432, "mysql": 3306}[scheme])


# A site on such a database, and all kinds of requests


@dataclass(frozen=True)
class Ask:
    """One kind of request, with its statuses while all is well."""

    method: str
    path: str
    well: set[int]
    headers: dict[str, str] = field(default_factory=dict)
    body: Callable[[], dict[str, Any]] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def send(self, http: requests.Session, server: str) -> requests.Response:
        sent: dict[str, Any] = {}
        if self.body:
            kind = "json" if self.path.startswith("/api/") else "data"
            sent[kind] = self.body()
        return http.request(
            self.method,
            server + self.path,
            headers=self.headers,
            timeout=PATIENCE,
            allow_redirects=False,
            **sent,
        )


@dataclass
class Place:
    """Two servers, one of them with DEBUG on, and the way to their database."""

    database: SQLiteFile | Relay
    servers: list[str]
    asks: list[Ask]
    keeps_connections: bool

    def visitor(self) -> requests.Session:
        """Open a session: a thread of the server's, with its own connection to the database."""
        http = requests.Session()
        http.trust_env = False
        return http

    def status(self, ask: Ask, server: str) -> int:
        with self.visitor() as http:
            return ask.send(http, server).status_code

    def failing(self) -> list[str]:
        """List the requests that fail, each with its status; both servers are asked at a time."""

        def statuses(server: str) -> list[tuple[Ask, int]]:
            return [(ask, self.status(ask, server)) for ask in self.asks]

        with ThreadPoolExecutor(len(self.servers)) as pool:
            found = chain.from_iterable(pool.map(statuses, self.servers))
        return [f"{ask}: {status}" for ask, status in found if status not in ask.well]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("outage")
    (directory / "database").mkdir()
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox({APP_ID: "secret"}))
        real = stack.enter_context(scratch_database(directory / "database"))
        database = stack.enter_context(removable(real))
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.server_settings",
            "DATABASE_URL": database.url,
            "REDIS_URL": "",
            "THROTTLES": "off",
            "WECHAT_APPS": f"{APP_ID}:secret",
            "WECHAT_API_URL": sandbox.url,
        }
        logs = [directory / f"server-{number}.log" for number in (0, 1)]
        site = Site(environment, [], logs, sandbox)
        site.run("manage.py", "migrate", "--verbosity", "0")
        for debug, log in zip(("False", "True"), logs, strict=True):
            site.urls.append(stack.enter_context(serving(environment | {"DEBUG": debug}, log)))
        servers = [url.removesuffix("/api/v1/") for url in site.urls]
        yield Place(database, servers, list(requests_of(site)), not real.startswith("sqlite"))


def requests_of(site: Site) -> Iterator[Ask]:
    """Yield a request of each kind that needs the database, from a caller who may make it."""
    session, sign_in = site.run("-c", OPERATOR).split()
    bob, alice = Phone(site.sandbox.url, "bob", APP_ID), site.log_in("alice")
    open_gid = alice.post("groups/bind", alice.envelope("family"))[1]["openGId"]
    link = alice.post(f"groups/{open_gid}/link", {})[1]["url"]
    bearer = {"Authorization": f"Bearer {alice.token}"}
    yield Ask("POST", "/api/v1/login", {200}, {}, lambda: {"code": bob.login()})
    for path in ("me", "groups", "boards", f"groups/{open_gid}", f"groups/{open_gid}/ranking"):
        yield Ask("GET", f"/api/v1/{path}", {200}, bearer)
    yield Ask("PUT", "/api/v1/me", {200}, bearer, lambda: {"nickname": "小明"})
    yield Ask("POST", f"/api/v1/groups/{open_gid}/link", {200}, bearer)
    yield Ask("POST", "/api/v1/groups/bind", {200}, bearer, lambda: alice.envelope("family"))
    yield Ask("GET", urlsplit(link).path, {200})
    # One of the servers has DEBUG on, and so other names of cookies.
    olga = {"Cookie": f"__Host-sessionid={session}; sessionid={session}"}
    for path in ("/groups/", "/groups/1/", "/admin/", "/admin/groups/board/"):
        yield Ask("GET", path, {200}, olga)
    yield Ask("GET", sign_in, {200})
    csrf = {"Cookie": f"__Host-csrftoken={'x' * 32}; csrftoken={'x' * 32}"}
    form = {"csrfmiddlewaretoken": "x" * 32, "username": "olga", "password": PASSWORD}
    yield Ask("POST", LOG_IN, {302}, csrf, lambda: form)
    yield Ask("GET", "/readyz", {200})


WITHOUT_DATABASE = ("/livez", "/static/site.css", "/api/docs/", "/api/schema/", "/sign-in")


@pytest.fixture(autouse=True)
def _well_before_and_after(request: pytest.FixtureRequest) -> Iterator[None]:
    if "place" not in request.fixturenames:
        yield
        return
    place = request.getfixturevalue("place")
    assert place.failing() == []
    try:
        yield
    finally:
        place.database.restore()


def test_without_the_database_every_route_answers_503_and_when_to_retry(place: Place) -> None:
    place.database.cut()
    for server in place.servers:
        for ask in place.asks:
            with place.visitor() as http:
                answer = ask.send(http, server)
            assert answer.status_code == 503, str(ask)
            assert answer.headers["X-Request-ID"] and answer.headers["Content-Security-Policy"]
            if ask.path == "/readyz":
                continue
            assert answer.headers["Retry-After"] == "3", str(ask)
            if ask.path.startswith("/api/"):
                assert (answer.json()["code"], answer.json()["retryAfter"]) == ("unavailable", 3)
            else:
                assert "<h1>" in answer.text and "Traceback" not in answer.text, str(ask)


def test_routes_that_need_no_database_work_without_it(place: Place) -> None:
    place.database.cut()
    for server in place.servers:
        for path in WITHOUT_DATABASE:
            assert place.status(Ask("GET", path, {200}), server) != 503, path
        assert place.status(Ask("GET", "/livez", {200}), server) == 200


def test_the_site_recovers_within_five_seconds_after_the_database(place: Place) -> None:
    place.database.cut()
    assert len(place.failing()) == len(place.asks) * len(place.servers)
    place.database.restore()
    well_soon(place)


def well_soon(place: Place) -> None:
    deadline = time.monotonic() + RECOVERY
    while (failing := place.failing()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not failing or place.failing() == []


def test_under_load_a_cut_causes_503_and_no_other_error(
    place: Place,
) -> None:
    """Keep the connections, as a server's threads do; but for SQLite, where an open connection
    does not notice that its file has moved."""
    asks = [ask for ask in place.asks if ask.path != LOG_IN]  # all write the row of one operator
    stop, seen = Event(), {str(ask): set[int]() for ask in asks}
    wrong: list[str] = []

    def keep_asking(ask: Ask, server: str) -> None:
        http = place.visitor()
        while not stop.is_set():
            status = ask.send(http, server).status_code
            seen[str(ask)].add(status)
            if status not in {503, *ask.well}:
                wrong.append(f"{ask}: {status}")
            if not place.keeps_connections:
                http.close()
        http.close()

    with ThreadPoolExecutor(len(asks)) as pool:
        for number, ask in enumerate(asks):
            pool.submit(keep_asking, ask, place.servers[number % 2])
        try:
            wait_for(lambda: all(seen.values()))
            for _ in range(3):
                place.database.cut()
                for statuses in seen.values():
                    statuses.clear()
                wait_for(lambda: all(503 in statuses for statuses in seen.values()))
                place.database.restore()
                well_soon(place)
        finally:
            stop.set()
    assert wrong == []


def test_a_database_that_hangs_causes_no_other_error_and_the_site_recovers(
    place: Place,
) -> None:
    place.database.freeze()
    with ThreadPoolExecutor(len(place.asks)) as pool:
        waiting = [pool.submit(place.status, ask, place.servers[0]) for ask in place.asks]
        time.sleep(1)  # until they wait
        place.database.restore()
        statuses = [answer.result(PATIENCE) for answer in waiting]
    for ask, status in zip(place.asks, statuses, strict=True):
        assert status in {503, *ask.well}, str(ask)
    well_soon(place)


KEEPS_OPEN = """
import django
django.setup()
from django.db import connection, connections
with connection.cursor() as cursor:
    cursor.execute("SELECT 1")
connections.close_all()
import os
print(*sorted(os.listdir(os.path.dirname(connection.settings_dict["NAME"]))), flush=True)
if not os.fork():  # which must not touch the locks of its parent
    from core import database
    print(len(database._keepers), flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.no_service
def test_an_sqlite_file_keeps_what_reading_on_a_full_disk_needs(tmp_path: Path) -> None:
    """Where no request is under way, the next one must not have to make the files anew."""
    url = f"sqlite:///{tmp_path / 'site.sqlite3'}"
    environment = os.environ | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "groupsite.settings"}
    site = Site(environment, [], [], None)
    site.run("manage.py", "migrate", "--verbosity", "0")
    *files, inherited = site.run("-c", KEEPS_OPEN).split()
    assert files == [f"site.sqlite3{ending}" for ending in ("", "-shm", "-wal")]
    assert inherited == "0"


# Places where the outage is noticed


def away(*args: Any, **kwargs: Any) -> Any:
    raise OperationalError("the canary's database is locked")


def lost(*args: Any, **kwargs: Any) -> Any:
    raise InterfaceError("the canary's connection already closed")


PLACES = {
    "a call's view": ("accounts.api.MeView.get", "/api/v1/me"),
    "authentication": ("accounts.models.TokenManager.valid", "/api/v1/me"),
    "writing JSON": ("core.renderers.JSONRenderer.render", "/api/v1/me"),
    "a page's view": ("console.groups.rows_of", "/groups/"),
    "a page's template": ("django.template.defaulttags.CsrfTokenNode.render", "/groups/"),
    "who the operator is": ("django.contrib.auth.middleware.get_user", "/groups/"),
    "the session": ("console.sessions.SessionStore.load", "/admin/"),
    "saving the session": ("console.models.OperatorSession.save", "/groups/"),
    "a middleware": ("django.middleware.common.CommonMiddleware.process_request", "/nothing"),
    "the outer middleware": (
        "django.middleware.security.SecurityMiddleware.process_request",
        "/api/nothing",
    ),
    "on the way back": (
        "django.middleware.locale.LocaleMiddleware.process_response",
        "/admin/login/",
    ),
    "a member's page": ("groups.links.Link.open", "/g/x/"),
    "a sign-in link": ("console.sign_in.sign_in_tokens.check_token", "/sign-in/{}/x-y/"),
}


@pytest.mark.no_service
@pytest.mark.parametrize("debug", [False, True], ids=["DEBUG off", "DEBUG on"])
@pytest.mark.parametrize("failure", [away, lost])
@pytest.mark.parametrize("where", PLACES)
def test_the_answer_is_the_same_wherever_the_outage_is_noticed(
    alice: Person,
    olga: Browser,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    failure: Any,
    debug: bool,
) -> None:
    settings.DEBUG, settings.SESSION_SAVE_EVERY_REQUEST = debug, True
    target, path = PLACES[where]
    path = path.format(get_user_model().objects.get().pk)
    monkeypatch.setattr(target, failure)
    olga.raise_request_exception = False
    answer = olga.get(path, headers={"Authorization": f"Bearer {alice.token}"})
    assert "canary" not in answer.content.decode()
    if path.startswith("/api/"):
        refused(answer, 503, "unavailable")
    else:
        assert (answer.status_code, answer["Retry-After"]) == (503, "3")
        assert answer["Content-Type"].startswith("text/html")
        assert "Content-Security-Policy" in answer and "X-Request-ID" in answer


@pytest.mark.no_service
def test_with_debug_on_no_variable_of_a_failed_view_is_looked_at(
    olga: Browser, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many of them would ask the database anew, and wait for it again."""

    class Asking:
        def __repr__(self) -> str:
            looked.append(1)
            return "rows"

    def rows_of(*args: Any, rows: Any = Asking(), **kwargs: Any) -> Any:  # noqa: B008
        away()

    looked: list[int] = []
    settings.DEBUG, olga.raise_request_exception = True, False
    monkeypatch.setattr("console.groups.rows_of", rows_of)
    assert olga.get("/groups/").status_code == 503
    assert looked == []


def test_the_page_about_an_outage_is_in_the_readers_language(
    olga: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    olga.raise_request_exception = False
    monkeypatch.setattr("console.groups.rows_of", away)
    pages = {
        language: olga.get("/groups/", headers={"Accept-Language": language}).content.decode()
        for language in ("zh-CN", "en")
    }
    assert 'lang="zh-hans"' in pages["zh-CN"]
    assert 'lang="en"' in pages["en"] and "Back in a moment" in pages["en"]


def test_an_outage_is_logged_as_a_warning_and_once_a_minute_as_an_error(
    olga: Browser, monkeypatch: pytest.MonkeyPatch, log_output: Any
) -> None:
    olga.raise_request_exception = False
    monkeypatch.setattr("console.groups.rows_of", away)
    for _ in range(3):
        olga.get("/groups/")
    logged = log_output.getvalue()
    assert logged.count("OperationalError: the canary's database is locked") == 3
    assert "Traceback" not in logged
    assert (logged.count('"ERROR"'), logged.count('"alarm": "database"')) == (1, 1)


@pytest.mark.parametrize(
    "key", [r'"abcdefgh\000"', "ABCDEFGH12345678", "abcdefgh-1234567", "' OR 1=1 OR '"]
)
def test_a_malformed_session_key_does_not_reach_the_database(
    key: str, django_assert_num_queries: Any, db: None
) -> None:
    """Send one with a NUL too, at which PostgreSQL fails."""
    with django_assert_num_queries(0):
        answer = Browser().get("/admin/", headers={"Cookie": f"__Host-sessionid={key}"})
    assert answer.status_code == 302


def test_a_session_that_ended_meanwhile_is_no_outage(
    olga: Browser, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from console.models import OperatorSession

    settings.SESSION_SAVE_EVERY_REQUEST = True

    def end_it(*args: Any) -> list[Any]:
        OperatorSession.objects.all().delete()
        return []

    monkeypatch.setattr("console.groups.rows_of", end_it)
    assert olga.get("/groups/").status_code == 400
