"""`manage.py doctor`: each examination by the real fault that it is for."""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection
from django.test import Client as Browser
from django.test import override_settings
from django.utils import translation

from console.management.commands import sign_in_link
from core import doctor, examinations
from core.alarms import ALARMS
from core.doctor import EXAMINATIONS, Finding, Health, error, examine_all, ok, warning
from core.serializers import known_origins
from groupsite import examinations as site_examinations
from tests.cast import fault
from tests.certificates import write_certificate
from tests.servers import ROOT, unused_port
from tests.settings import APP_ID, DATABASE_URL, REDIS_URL
from wechat.client import Client
from wechat.sandbox import Sandbox
from wechat.transport import http_session

OK, WARNING, ERROR = Health.OK, Health.WARNING, Health.ERROR

TOKEN = "/cgi-bin/stable_token"


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Begin with no examination; return where to add some."""
    none: dict[str, Any] = {}
    monkeypatch.setattr(doctor, "EXAMINATIONS", none)
    return none


def run(**options: Any) -> tuple[int, str]:
    """Run the command; return its exit code and what it wrote."""
    written = StringIO()
    try:
        call_command("doctor", stdout=written, no_color=True, **options)
    except SystemExit as end:
        return int(end.code or 0), written.getvalue()
    return 0, written.getvalue()


def test_each_finding_is_a_line_with_its_fix(own: dict[str, Any]) -> None:
    own["one"] = lambda: [ok("It is well.")]
    own["two"] = lambda: [warning("It is slow.", "Make it faster.")]
    code, said = run()
    assert (code, said) == (
        0,
        "ok      one: It is well.\nwarning two: It is slow.\n        → Make it faster.\n",
    )


def test_an_error_ends_the_command_with_1_and_json_is_for_machines(
    own: dict[str, Any],
) -> None:
    own["one"] = lambda: [error("坏了", "修好它"), ok("It is well.")]
    code, said = run(json=True)
    assert code == 1
    assert [json.loads(line) for line in said.splitlines()] == [
        {"name": "one", "state": "error", "saw": "坏了", "fix": "修好它"},
        {"name": "one", "state": "ok", "saw": "It is well.", "fix": ""},
    ]


def test_a_crash_is_a_finding_that_quotes_nothing(own: dict[str, Any]) -> None:
    def crash() -> Iterator[Finding]:
        yield ok("So far.")
        raise RuntimeError("the password is canary")

    own["crash"] = crash
    own["next"] = lambda: [ok("It is well.")]
    code, said = run(language="en")
    assert code == 1
    assert "ok      crash: So far.\n" in said
    assert "error   crash: The examination itself crashed: RuntimeError, tests/test_doctor" in said
    assert "ok      next: It is well." in said and "canary" not in said


def test_one_that_hangs_is_given_up_and_the_others_are_not(own: dict[str, Any]) -> None:
    def hang() -> list[Finding]:
        time.sleep(30)
        return []

    own["hangs"] = hang
    own["next"] = lambda: [ok("It is well.")]
    began = time.monotonic()
    found = list(examine_all(patience=0.3))
    assert time.monotonic() - began < 5
    assert [(name, finding.state) for name, finding in found] == [
        ("hangs", Health.ERROR),
        ("next", Health.OK),
    ]


def test_two_examinations_never_share_a_name(own: dict[str, Any]) -> None:
    doctor.examination("one")(list)
    with pytest.raises(ValueError, match="one"):
        doctor.examination("one")(list)


def examine(name: str) -> list[tuple[Health, str, str]]:
    """Run one examination; return each finding's state, what it saw and its fix, in English."""
    with translation.override("en"):
        found = [(each.state, str(each.saw), str(each.fix)) for each in EXAMINATIONS[name]()]
    assert all(bool(fix) == (state != OK) for state, _saw, fix in found), "each fault has its fix"
    return found


def only(name: str) -> tuple[Health, str, str]:
    [finding] = examine(name)
    return finding


# The whole command


def manage(tmp_path: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command of a site of its own, as an operator does."""
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "groupsite.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'site.sqlite3'}",
        "MEDIA_ROOT": str(tmp_path / "media"),
        "REDIS_URL": "",
        "WEB_CONCURRENCY": "1",
        **changes,
    }
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.no_service
def test_a_site_that_is_well_is_said_to_be_so_in_either_language(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    assert manage(tmp_path, "migrate", "--verbosity", "0").returncode == 0
    good = {"WECHAT_API_URL": sandbox.url, "NUM_PROXIES": "1", "OPERATOR_TOTP": "True"}
    done = manage(tmp_path, "doctor", "--json", "--language", "en", **good)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert {line["name"] for line in lines} >= set(EXAMINATIONS)
    assert {line["state"] for line in lines} == {"ok"}, lines
    done = manage(tmp_path, "doctor", **good)
    assert done.returncode == 0 and "数据库迁移齐全。" in done.stdout


@pytest.mark.no_service
def test_a_site_without_its_services_is_examined_to_the_end(tmp_path: Path) -> None:
    nowhere = f"127.0.0.1:{unused_port()}"
    done = manage(
        tmp_path,
        *("doctor", "--json", "--language", "en"),
        DATABASE_URL=f"postgres://site:canary@{nowhere}/site",
        REDIS_URL=f"redis://:canary@{nowhere}/0",
        WECHAT_API_URL=f"http://{nowhere}",
        MEDIA_ROOT="/dev/null",
    )
    assert done.returncode == 1 and "canary" not in done.stdout + done.stderr
    states = {(line["name"], line["state"]) for line in map(json.loads, done.stdout.splitlines())}
    assert {(name, "error") for name in ("database", "cache", "wechat", "storage")} <= states
    assert ("clock", "warning") in states and ("disk", "ok") in states
    assert "Traceback" not in done.stderr


# Settings and database


@pytest.mark.django_db
def test_settings_are_what_check_deploy_says(settings: Any) -> None:
    settings.THROTTLES = "off"
    found = examine("settings")
    assert (WARNING, True) in [(state, "groupsite.W004" in saw) for state, saw, _fix in found]
    settings.FIELD_KEYS = []
    assert ERROR in [state for state, _saw, _fix in examine("settings")]


@pytest.mark.no_service
def test_a_database_without_tables_or_a_migration_is_an_error(tmp_path: Path) -> None:
    def database() -> list[dict[str, str]]:
        said = manage(tmp_path, "doctor", "--json", "--language", "en").stdout
        return [line for line in map(json.loads, said.splitlines()) if line["name"] == "database"]

    first, tables = database()
    assert first["state"] == "ok" and re.fullmatch(r"SQLite 3[\d.]+ answers\.", first["saw"])
    assert (tables["state"], tables["fix"]) == ("error", "Run manage.py migrate.")
    manage(tmp_path, "migrate", "--verbosity", "0")
    manage(tmp_path, "migrate", "--fake", "groups", "0001", "--verbosity", "0")
    _answers, migrations = database()
    assert migrations["state"] == "error" and "groups.0002" in migrations["saw"]


@pytest.mark.django_db
def test_the_database_of_the_tests_is_well() -> None:
    [answers, migrations] = examine("database")
    assert (answers[0], migrations[:2]) == (OK, (OK, "The database has all migrations."))
    assert connection.display_name in answers[1]


@pytest.mark.django_db
def test_processes_that_may_open_more_connections_than_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    assert only("connections")[0] == OK
    monkeypatch.setenv("WEB_CONCURRENCY", "500")
    state, saw, fix = only("connections")
    if connection.vendor == "sqlite":
        assert state == OK
    else:
        each = 4 + 2 if connection.vendor == "postgresql" else 16 + 2
        assert (state, str(500 * each) in saw) == (ERROR, True) and "max_connections" in fix


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not DATABASE_URL.startswith("postgres"), reason="only PostgreSQL has them")
def test_the_limit_of_one_database_counts() -> None:
    limit = "ALTER DATABASE {} CONNECTION LIMIT {}"
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    try:
        with connection.cursor() as cursor:
            cursor.execute(limit.format(name, 7))
        assert only("connections")[0] == ERROR and "grants 7" in only("connections")[1]
    finally:
        with connection.cursor() as cursor:
            cursor.execute(limit.format(name, -1))


# The cache


@contextmanager
def redis_that(answers: Callable[[bytes], bytes]) -> Iterator[str]:
    """Run a server that speaks just enough of Redis's protocol; yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            while True:
                try:
                    line, _address = door.accept()
                except OSError:
                    return
                with line:
                    while received := line.recv(4096):
                        line.sendall(answers(received))

        Thread(target=serve, daemon=True).start()
        yield f"redis://127.0.0.1:{door.getsockname()[1]}/0?protocol=2"


def test_a_redis_that_is_away_silent_or_locked_is_an_error(settings: Any) -> None:
    settings.REDIS_OPTIONS = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
    settings.REDIS_URL = f"redis://127.0.0.1:{unused_port()}/0"
    assert only("cache")[0] == ERROR and "ConnectionError" in only("cache")[1]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.REDIS_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        began = time.monotonic()
        assert only("cache")[0] == ERROR
        assert time.monotonic() - began < 10
    with redis_that(lambda _sent: b"-NOAUTH Authentication required.\r\n" * 2) as url:
        settings.REDIS_URL = url
        state, saw, fix = only("cache")
        assert (state, "AuthenticationError" in saw, "password" in fix) == (ERROR, True, True)


def test_a_redis_that_is_slow_is_a_warning(settings: Any) -> None:
    settings.REDIS_OPTIONS = {"socket_timeout": 5}

    def slowly(sent: bytes) -> bytes:
        time.sleep(0.06)
        return b"$4\r\nkept\r\n" if b"GET" in sent else b"+OK\r\n" * sent.count(b"*")

    with redis_that(slowly) as url:
        settings.REDIS_URL = url
        assert only("cache")[:1] == (WARNING,) and "slow" in only("cache")[1]


@pytest.mark.skipif(not REDIS_URL, reason="needs Redis")
def test_a_redis_that_answers_is_well(settings: Any) -> None:
    settings.REDIS_URL = REDIS_URL
    assert only("cache")[0] == OK


def test_several_processes_without_redis_are_a_warning(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = ""
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    assert only("cache")[0] == WARNING and "4 processes" in only("cache")[1]
    monkeypatch.setenv("WEB_CONCURRENCY", "1")
    assert only("cache")[0] == OK


# Files


@contextmanager
def serving(handler: Any, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve with a handler of http.server, over TLS if there is a context; yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Folder(SimpleHTTPRequestHandler):
    """Serves a folder, and logs nothing."""

    def log_message(self, *args: Any) -> None:
        pass


def test_a_file_is_written_read_and_deleted_again(media: Path) -> None:
    found = examine("storage")
    assert [state for state, *_rest in found] == [OK, OK]
    assert "written, read and deleted" in found[-1][1]
    assert [each for each in media.rglob("*") if each.is_file()] == []


def test_a_directory_that_cannot_be_written_is_an_error(settings: Any) -> None:
    settings.MEDIA_ROOT = "/dev/null"
    state, saw, fix = only("storage")
    assert (state, "no file can be written" in saw, "chown" in fix) == (ERROR, True, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes what others cannot")
def test_root_writes_nothing_into_the_directory_of_the_service(media: Path) -> None:
    media.mkdir()
    os.chown(media, 12345, 12345)
    state, saw, fix = only("storage")
    assert (state, "sudo -u" in fix, list(media.iterdir())) == (WARNING, True, []) and saw


def test_a_file_that_is_written_and_not_read_is_deleted_all_the_same(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_args: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(default_storage, "open", unreadable)
    state, saw, _fix = only("storage")
    assert (state, saw) == (ERROR, f"In {media} a file cannot be read (Permission denied).")
    assert [each for each in media.rglob("*") if each.is_file()] == []


def test_the_public_address_of_pictures_is_tried(settings: Any, media: Path) -> None:
    (media / "elsewhere").mkdir(parents=True)
    with serving(partial(Folder, directory=str(media))) as address:
        settings.MEDIA_URL = f"{address}/"
        assert [state for state, *_rest in examine("storage")] == [OK, OK]
        settings.MEDIA_URL = f"{address}/elsewhere/"
        first, _kept = examine("storage")
        assert first[0] == ERROR and "answers 404" in first[1]
    state, saw, _fix = examine("storage")[0]
    assert (state, "unreachable" in saw) == (ERROR, True)
    assert [each for each in media.rglob("*") if each.is_file()] == []


def test_a_disk_that_is_full_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {state for state, *_rest in examine("disk")} <= {OK, WARNING}
    room = os.statvfs_result((4096, 4096, 2**20, 2**16, 0, 9, 9, 9, 0, 255))
    monkeypatch.setattr(examinations.os, "statvfs", lambda _path: room)
    assert {state for state, *_rest in examine("disk")} == {ERROR}
    room = os.statvfs_result((4096, 4096, 2**22, 2**19, 2**18, 9, 9, 9, 0, 255))
    assert {state for state, *_rest in examine("disk")} == {WARNING}
    assert "1024 MiB of 16384 MiB" in examine("disk")[0][1]


# WeChat


@pytest.mark.parametrize("errcode", [40013, 40125, 40164, 40243, 45009, 48001, 50007, 89503, 40001])
def test_what_wechat_says_of_the_credentials_is_an_error_with_its_fix(
    sandbox: Sandbox, errcode: int
) -> None:
    fault(sandbox, path=TOKEN, errcode=errcode)
    state, saw, fix = only("wechat")
    with translation.override("en"):
        assert state == ERROR and saw == f"{APP_ID}: {ALARMS[str(errcode)].means}"
        assert fix.startswith(str(ALARMS[str(errcode)].todo))
    assert re.search(rf"errcode {errcode}, rid [\w-]+", fix)
    assert ("address 203.0.113.7" in fix) == (errcode == 40164)


def test_good_credentials_are_well_and_the_token_stays_valid(
    sandbox: Sandbox, settings: Any
) -> None:
    secret = settings.WECHAT_APPS[APP_ID]["SECRET"]
    token = Client(APP_ID, secret, sandbox.url).access_token()
    assert only("wechat")[0] == OK
    assert Client(APP_ID, secret, sandbox.url).access_token() == token
    settings.WECHAT_APPS = {APP_ID: {"SECRET": "another"}, "wxunknown": {"SECRET": "x"}}
    assert [(state, saw[:9]) for state, saw, _fix in examine("wechat")] == [
        (ERROR, APP_ID[:9]),
        (ERROR, "wxunknown"),
    ]
    settings.WECHAT_APPS = {}
    assert only("wechat")[0] == ERROR


def test_a_wechat_that_is_busy_or_away_differs_from_a_proxy_that_is(
    sandbox: Sandbox, settings: Any
) -> None:
    fault(sandbox, times=2, path=TOKEN, errcode=-1)
    assert only("wechat")[0] == WARNING
    settings.WECHAT_PROXY = f"http://127.0.0.1:{unused_port()}"
    assert only("wechat")[:2] == (ERROR, f"{APP_ID}: WECHAT_PROXY does not lead to WeChat.")
    settings.WECHAT_PROXY = ""
    settings.WECHAT_API_URL = f"http://127.0.0.1:{unused_port()}"
    assert only("wechat")[:2] == (ERROR, f"{APP_ID}: WeChat was not reached (unreachable).")
    assert only("clock")[0] == WARNING, "there was nothing to compare the clock with"


@pytest.mark.parametrize(
    ("seconds", "state", "says"),
    [
        (0, OK, "agrees"),
        (30, WARNING, "s behind"),
        (-30, WARNING, "s ahead"),
        (65, ERROR, "65 s behind"),
        (-65, ERROR, "65 s ahead"),
    ],
)
def test_the_clock_is_compared_with_wechats(
    settings: Any, seconds: int, state: Health, says: str
) -> None:
    class Clock(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(404)
            theirs = datetime.now(UTC) + timedelta(seconds=seconds)
            self.send_header("Date", format_datetime(theirs, usegmt=True))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with serving(Clock) as settings.WECHAT_API_URL:
        found, saw, fix = only("clock")
    if abs(seconds) > 60:
        saw = re.sub(r"\b6[4-6] s", "65 s", saw)  # the header has whole seconds
    assert (found, says in saw) == (state, True)
    assert ("NTP" in fix) == (state != OK)


# PUBLIC_URL


class Site(BaseHTTPRequestHandler):
    """Answers what this site answers."""

    def do_GET(self) -> None:
        answer = Browser().get(self.path)
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer["Content-Type"])
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *args: Any) -> None:
        pass


class AnotherSite(Site):
    """Is alive as well, and knows none of our addresses."""

    def do_GET(self) -> None:
        self.path = self.path if self.path == "/livez" else "/nothing-here"
        super().do_GET()


class BrokenSite(Site):
    def do_GET(self) -> None:
        self.send_error(502)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return write_certificate(tmp_path)


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_the_public_address_is_tried_over_https(
    settings: Any, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PUBLIC_URL = ""
    assert only("public_url")[0] == OK
    settings.PUBLIC_URL = "http://api.example.com"
    assert only("public_url")[0] == ERROR and "not HTTPS" in only("public_url")[1]
    with serving(Site, tls) as settings.PUBLIC_URL:
        state, saw, fix = only("public_url")
        assert (state, "certificate" in saw, "Renew" in fix) == (ERROR, True, True)
        monkeypatch.setattr(http_session(), "verify", str(certificate))
        assert only("public_url")[:2] == (
            OK,
            f"{settings.PUBLIC_URL} answers over HTTPS, and is this site.",
        )
    assert only("public_url")[0] == ERROR and "did not answer" in only("public_url")[1]
    with serving(AnotherSite, tls) as settings.PUBLIC_URL:
        assert only("public_url")[0] == ERROR and "another site" in only("public_url")[1]
    with serving(BrokenSite, tls) as settings.PUBLIC_URL:
        assert only("public_url")[0] == ERROR and "answers 502" in only("public_url")[1]


# WeChat Cloud Run


class TrustingSite(Site):
    """Has WECHAT_CLOUD, and answers publicly."""

    def do_GET(self) -> None:
        with override_settings(WECHAT_CLOUD="envelope"):
            super().do_GET()


class PublicSite(Site):
    """Ignores X-WX-*, as the other service of the same image does."""

    def do_GET(self) -> None:
        with override_settings(WECHAT_CLOUD=""):
            super().do_GET()


def test_a_service_that_trusts_the_gateway_must_not_answer_publicly(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    assert only("cloud_run")[:2] == (OK, "X-WX-* are ignored here.")
    settings.WECHAT_CLOUD, settings.ALLOWED_HOSTS = "envelope", []
    assert only("cloud_run")[0] == WARNING
    with serving(TrustingSite) as settings.PUBLIC_URL:
        state, saw, fix = only("cloud_run")
        assert (state, "public access off" in fix) == (ERROR, True)
        assert saw.startswith(f"{settings.PUBLIC_URL} answers to anyone")
    with serving(PublicSite) as settings.PUBLIC_URL:
        assert only("cloud_run")[0] == OK
    assert only("cloud_run")[0] == OK  # where nothing answers, no one is trusted


@pytest.mark.parametrize(
    ("public", "expected"),
    [
        ("", ["https://b.example.com", "https://a.example.com"]),
        ("https://a.example.com", ["https://a.example.com", "https://b.example.com"]),
    ],
)
def test_the_names_asked_are_those_that_a_sign_in_link_may_have(
    settings: Any, monkeypatch: pytest.MonkeyPatch, public: str, expected: list[str]
) -> None:
    settings.WECHAT_CLOUD, settings.PUBLIC_URL, settings.NUM_PROXIES = "envelope", public, 1
    settings.ALLOWED_HOSTS = [".example.com", "b.example.com", "*", "a.example.com"]
    asked: list[str] = []
    monkeypatch.setattr(site_examinations, "_trusts_anyone", asked.append)
    assert only("cloud_run")[0] == OK
    assert asked == known_origins() == expected
    assert sign_in_link.known_address() == expected[0]


def test_the_names_of_the_service_are_asked_as_well(
    settings: Any, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WECHAT_CLOUD, settings.PUBLIC_URL = "envelope", ""
    monkeypatch.setattr(http_session(), "verify", str(certificate))
    with serving(TrustingSite, tls) as address:
        settings.ALLOWED_HOSTS = [".example.com", address.removeprefix("https://"), "127.0.0.1"]
        assert only("cloud_run")[0] == ERROR
