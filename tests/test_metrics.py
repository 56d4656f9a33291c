"""What Prometheus reads at /metrics: who may, what is counted, and that it is right."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.core.checks import run_checks
from django.db import OperationalError
from django.test import Client as Browser
from django.utils import timezone

from accounts.models import WeChatUser
from core import metrics
from groups import ranking
from groupsite import monitoring
from tests.cast import DOUBTFUL, FAMILY, GARBAGE, Person, fault, refused, sealed_for, ticket
from tests.scrapes import TOKEN, Scrape, Served, gunicorn, is_ready, numbers_in, scrape, value_of
from tests.servers import wait_for
from tests.settings import APP_ID, DATABASE_URL
from wechat.client import client_for
from wechat.errors import WeChatError
from wechat.gate import BREAK_AFTER
from wechat.sandbox import Phone, Sandbox

pytestmark = pytest.mark.usefixtures("db")

REQUESTS = "groupsite_request_seconds_count"
CALLS = "groupsite_wechat_call_seconds_count"


@pytest.fixture
def counting(settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN


@pytest.fixture
def risen(counting: None) -> Scrape:
    return Scrape()


# Who may


@pytest.mark.no_service
def test_without_a_token_of_ones_own_there_is_no_such_page(settings: Any) -> None:
    for sent in ("", "Bearer ", "Bearer x"):
        answer = Browser().get("/metrics", headers={"Authorization": sent} if sent else {})
        assert answer.status_code == 404, sent


@pytest.mark.no_service
@pytest.mark.parametrize(
    "sent",
    ["", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer é", "Bearer"],
)
def test_only_the_token_opens_it(counting: None, sent: str) -> None:
    answer = Browser().get("/metrics", headers={"Authorization": sent} if sent else {})
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    assert b"groupsite_" not in answer.content
    assert scrape().status_code == 200
    assert Browser().post("/metrics").status_code == 405


@pytest.mark.no_service
def test_prometheus_asks_one_machine_by_its_address_and_often(
    counting: None, settings: Any
) -> None:
    settings.NUM_PROXIES, settings.SECURE_SSL_REDIRECT = 1, True
    settings.THROTTLES = "address=300/minute"
    for _turn in range(301):
        answer = scrape(Host="10.0.0.7:8000")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=")
    assert "no-store" in answer["Cache-Control"]
    assert not answer.cookies and not hasattr(answer.wsgi_request, "session")


@pytest.mark.no_service
@pytest.mark.parametrize(("token", "found"), [("", []), ("x" * 19, ["groupsite.E020"])])
def test_a_token_that_can_be_guessed_is_refused(
    settings: Any, token: str, found: list[str]
) -> None:
    settings.METRICS_TOKEN = token
    assert [problem.id for problem in run_checks()] == found


@pytest.mark.no_service
def test_the_package_is_asked_for_where_it_is_needed(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groupsite.checks.find_spec", lambda name: None)
    assert "groupsite.E021" not in [problem.id for problem in run_checks()]
    settings.METRICS_TOKEN = TOKEN
    assert "groupsite.E021" in [problem.id for problem in run_checks()]


# Requests


def test_requests_are_counted_by_route_and_never_by_path(
    risen: Scrape, alice: Person, group: Any
) -> None:
    link = urlsplit(alice.post(f"groups/{FAMILY}/link", {}).json()["url"]).path
    for path in (f"groups/{FAMILY}/ranking", "groups/tGunknown/ranking", link, "/nothing/7"):
        alice.get(path)
    alice.browser.generic("BREW", "/livez")
    found = risen.rises(REQUESTS, "route", "method", "status")
    route = "/api/v1/groups/<opaque:openGId>/ranking"
    assert (found[route, "GET", "2xx"], found[route, "GET", "4xx"]) == (1, 1)
    assert found["/g/<str:signed>/", "GET", "2xx"] == 1
    assert found["-", "GET", "4xx"] == 1
    assert found["/livez", "other", "4xx"] == 1
    text = scrape().content.decode()
    for secret in (FAMILY, alice.openid, alice.token, link.split("/")[-2], "/nothing", "BREW"):
        assert secret not in text


def test_a_refusal_by_limits_and_an_outage_are_classes_of_their_own(
    risen: Scrape, alice: Person, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.THROTTLES = "call=30/minute"
    for _turn in range(31):
        alice.get("me")
    monkeypatch.setattr("accounts.serializers.UserOutput.to_representation", _crash)
    settings.THROTTLES = ""
    alice.browser.raise_request_exception = False
    alice.get("me")
    monkeypatch.setattr("accounts.serializers.UserOutput.to_representation", _away)
    alice.get("me")
    found = risen.rises(REQUESTS, "route", "method", "status")
    numbers = {"2xx": 30, "429": 1, "5xx": 1, "503": 1}
    assert {status: found["/api/v1/me", "GET", status] for status in numbers} == numbers


def _crash(*args: Any) -> Any:
    raise RuntimeError


def _away(*args: Any) -> Any:
    raise OperationalError


# Log-ins and binds


def test_log_ins_and_binds_are_counted_by_outcome(
    risen: Scrape, alice: Person, sandbox: Sandbox, settings: Any
) -> None:
    alice.enter("family")
    alice.enter("family")
    refused(alice.post("groups/bind", GARBAGE), 409, "session_stale")
    single = sealed_for(alice, {"opensingleroomid": "x" * 28, "chat_type": 1})
    assert alice.post("groups/bind", single).status_code == 409
    resolved = alice.post("groups/resolve", alice.envelope("family")).json()
    alice.post("groups/bind", ticket(resolved))
    alice.post("groups/bind", ticket(resolved, ticket="x"))
    alice.post("groups/bind", {"iv": 5})
    code = alice.phone.login()
    for _turn in range(2):
        Person("alice", alice.phone).post("login", {"code": code})
    fault(sandbox, errcode=45011)
    Person("alice", alice.phone).post("login", {"code": alice.phone.login()})
    assert risen.rises("groupsite_attempts_total", "kind", "outcome") == {
        ("login", "ok"): 2,
        ("login", "invalid_code"): 1,
        ("login", "throttled"): 1,
        ("bind", "ok"): 1,
        ("bind", "again"): 1,
        ("bind", "session_stale"): 1,
        ("bind", "not_a_group"): 1,
        ("bind", "invalid"): 1,
        ("resolve", "ok"): 1,
        ("redeem", "again"): 1,
        ("redeem", "group_not_proven"): 1,
    }


def test_a_locked_bind_and_one_without_a_database_are_counted(
    risen: Scrape, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groups.api.bind", _away)
    alice.browser.raise_request_exception = False
    assert alice.post("groups/bind", alice.envelope("family")).status_code == 503
    monkeypatch.undo()
    for _turn in range(11):
        alice.post("groups/bind", GARBAGE)
    found = risen.rises("groupsite_attempts_total", "kind", "outcome")
    del found["login", "ok"]
    assert found == {
        ("bind", "unavailable"): 1,
        ("bind", "session_stale"): 10,
        ("bind", "bind_locked"): 1,
    }


# WeChat


def call_wechat(phone: Phone) -> None:
    with suppress(WeChatError):
        client_for(APP_ID).code_to_session(phone.login())


@pytest.mark.no_service
def test_calls_to_wechat_are_counted_by_result(risen: Scrape, sandbox: Sandbox) -> None:
    phone, client = Phone(sandbox.url, "alice", APP_ID), client_for(APP_ID)
    openid = client.code_to_session(phone.login()).openid
    for errcode in (40029, 40125, 12345):
        fault(sandbox, errcode=errcode)
        call_wechat(phone)
    fault(sandbox, errcode=-1)  # and once more, which works
    call_wechat(phone)
    fault(sandbox, status=502)
    call_wechat(phone)
    client.check_text(openid, "你好")
    found = risen.rises(CALLS, "call", "result")
    found.pop(("stable_token", "ok"), None)  # the process may have one already
    assert found == {
        ("jscode2session", "ok"): 2,
        ("jscode2session", "40029"): 1,
        ("jscode2session", "40125"): 1,
        ("jscode2session", "other"): 1,
        ("jscode2session", "-1"): 1,
        ("jscode2session", "http"): 1,
        ("msg_sec_check", "ok"): 1,
    }


@pytest.mark.no_service
def test_the_breaker_and_what_it_refuses_are_counted(risen: Scrape, sandbox: Sandbox) -> None:
    def is_open() -> float:
        now, name = risen.now(), "groupsite_wechat_breakers_open"
        return value_of(now, name) - value_of(risen.before, name)

    phone = Phone(sandbox.url, "alice", APP_ID)
    fault(sandbox, times=BREAK_AFTER, status=502)
    for _turn in range(BREAK_AFTER - 1):
        call_wechat(phone)
    assert is_open() == 0
    call_wechat(phone)
    assert is_open() == 1
    call_wechat(phone)
    assert risen.rises("groupsite_wechat_calls_not_made_total", "reason") == {"resting": 1}
    time.sleep(2.1)
    call_wechat(phone)
    assert is_open() == 0


@pytest.mark.no_service
def test_calls_under_way_are_seen_and_those_without_a_place_are_counted(
    risen: Scrape, sandbox: Sandbox, settings: Any
) -> None:
    settings.WECHAT_MAX_IN_FLIGHT = 1
    phone = Phone(sandbox.url, "alice", APP_ID)
    fault(sandbox, delay=2)
    with ThreadPoolExecutor(3) as pool:
        slow = pool.submit(call_wechat, phone)
        wait_for(lambda: value_of(risen.now(), "groupsite_wechat_calls_in_flight") == 1)
        others = [pool.submit(call_wechat, phone) for _turn in range(2)]
        for each in [*others, slow]:
            each.result()
    assert risen.rises("groupsite_wechat_calls_not_made_total", "reason") == {"crowded": 2}
    assert value_of(risen.now(), "groupsite_wechat_calls_in_flight") == 0


# Rankings


def test_rankings_are_counted_by_source(
    risen: Scrape, alice: Person, bob: Person, group: Any
) -> None:
    ranking.recent.clear()
    for person in (alice, bob, alice):
        assert person.get(f"groups/{FAMILY}/ranking").status_code == 200
    assert risen.rises("groupsite_rankings_total", "source") == {"read": 1, "kept": 2}


@pytest.mark.no_service
def test_who_waits_for_anothers_ranking_is_counted(risen: Scrape) -> None:
    recent, now, begun, may_end = ranking.Recent(len), timezone.now(), Event(), Event()

    def make() -> str:
        begun.set()
        may_end.wait(5)
        return "made"

    def get() -> str:
        return recent.get("key", 1, now, lambda made: True, make)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(get)
        begun.wait(5)
        second = pool.submit(get)
        time.sleep(0.2)
        may_end.set()
        assert (first.result(), second.result()) == ("made", "made")
    assert risen.rises("groupsite_rankings_total", "source") == {"read": 1, "waited": 1}


# What is read when Prometheus asks


def test_the_review_queue_has_its_number_and_its_age(
    counting: None, alice: Person, bob: Person, group: Any
) -> None:
    alice.put("me", {"nickname": DOUBTFUL})
    bob.put("me", {"nickname": DOUBTFUL})
    hour_ago = timezone.now() - timedelta(hours=1)
    WeChatUser.objects.filter(pk=bob.user.pk).update(review_since=hour_ago)
    alice.post(f"groups/{FAMILY}/reports", {"member": bob.body["user"]["id"], "reason": "abuse"})
    now = numbers_in(scrape().content.decode())

    def waiting(kind: str) -> tuple[float, int]:
        number = value_of(now, "groupsite_review_waiting", kind=kind)
        seconds = value_of(now, "groupsite_review_oldest_seconds", kind=kind)
        return number, int(seconds) // 60

    assert waiting("nickname") == (2, 60)
    assert waiting("report") == (1, 0)
    assert waiting("avatar") == waiting("alias") == (0, 0)
    assert value_of(now, "groupsite_database_up") == 1


@pytest.mark.no_service
def test_the_disk_is_read_where_this_machine_keeps_something(
    counting: None, settings: Any, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    now = numbers_in(scrape().content.decode())
    size = value_of(now, "groupsite_disk_size_bytes", place="avatars")
    assert 0 < value_of(now, "groupsite_disk_free_bytes", place="avatars") < size
    settings.S3_BUCKET = "avatars"
    assert 'place="avatars"' not in scrape().content.decode()


@pytest.mark.no_service
def test_without_a_database_the_rest_is_still_served(
    counting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "waiting", _away)
    now = numbers_in(scrape().content.decode())
    assert ("groupsite_database_up", ()) in now and value_of(now, "groupsite_database_up") == 0
    assert not [name for name, _labels in now if name.startswith("groupsite_review")]
    assert value_of(now, REQUESTS) > 0


@pytest.mark.no_service
def test_a_database_that_does_not_say_where_it_is_still_answers(
    counting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "has_replica", lambda: True)
    monkeypatch.setattr("core.replica._moment_of_primary", _away)
    now = numbers_in(scrape().content.decode())
    assert value_of(now, "groupsite_database_up") == 1
    assert value_of(now, "groupsite_replica_up") == 0
    assert value_of(now, "groupsite_review_waiting", kind="report") == 0


# Several processes


def folders_of(served: Served) -> list[Path]:
    """Return the folders in which its workers write: in memory, or where that is not to be had."""
    name = f"groupsite-metrics-*-{served.master}"
    return [folder for where in (Path("/dev/shm"), served.folder) for folder in where.glob(name)]


def test_two_processes_are_summed_also_after_one_was_killed(tmp_path: Path) -> None:
    with (
        Sandbox({APP_ID: "secret"}) as sandbox,
        gunicorn(tmp_path, WECHAT_APPS=f"{APP_ID}:secret", WECHAT_API_URL=sandbox.url) as served,
    ):

        def livez() -> float:
            return value_of(served.numbers(), REQUESTS, route="/livez", status="2xx")

        with ThreadPoolExecutor(8) as pool:
            assert {answer.status_code for answer in pool.map(served.get, ["/livez"] * 200)} == {
                200
            }
        assert {livez() for _turn in range(10)} == {200}, "whichever is asked"
        [folder] = folders_of(served)
        counting = [f"histogram_{pid}.db" for pid in served.workers()]
        assert all((folder / name).exists() for name in counting), "both of them counted"

        def log_in() -> None:
            body = {"code": Phone(sandbox.url, "alice", APP_ID).login()}
            with_one = requests.post(f"{served.url}/api/v1/login", json=body, timeout=30)
            assert with_one.status_code == 200

        # One of them is killed while it waits for WeChat.
        fault(sandbox, delay=2.5)
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(log_in)
            wait_for(lambda: value_of(served.numbers(), "groupsite_wechat_calls_in_flight") == 1)
            for pid in served.workers():
                os.kill(pid, signal.SIGKILL)
            with pytest.raises(requests.ConnectionError):
                call.result()
        wait_for(lambda: is_ready(served))
        assert livez() == 200, "what they counted stays"
        # The other of them may not have been noticed yet.
        wait_for(lambda: value_of(served.numbers(), "groupsite_wechat_calls_in_flight") == 0)
        for _turn in range(50):
            served.get("/livez")
        assert livez() == 250
        os.kill(served.master, signal.SIGHUP)
        wait_for(lambda: is_ready(served))
        assert livez() == 250, "a reload forgets nothing"
    assert not folders_of(served), "deleted at the end"


@pytest.mark.skipif(not DATABASE_URL.startswith("postgres"), reason="a pool is PostgreSQL's")
def test_the_pool_of_connections_is_counted(tmp_path: Path) -> None:
    import psycopg

    with gunicorn(tmp_path, DATABASE_POOL="3", DATABASE_TIMEOUT="8") as served:
        name = "groupsite_database_connections"

        def connections() -> tuple[float, ...]:
            now = served.numbers()
            return tuple(value_of(now, name, state=state) for state in ("most", "used", "waiting"))

        def both_were_asked() -> bool:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(served.get, ["/readyz"] * 20))
            return connections() == (6, 0, 0)

        wait_for(both_were_asked)
        assert value_of(served.numbers(), "groupsite_database_wait_seconds_count") >= 20
        url = served.environment["DATABASE_URL"]
        # Fewer than a process has threads: one of them may get all, and has to answer /metrics too.
        with psycopg.connect(url) as line, ThreadPoolExecutor(12) as pool:
            line.execute("LOCK TABLE django_migrations IN ACCESS EXCLUSIVE MODE")
            asked = [pool.submit(served.get, "/readyz") for _turn in range(12)]

            def is_full() -> bool:
                _most, used, waiting = connections()
                return used >= 3 and waiting > 0

            wait_for(is_full)
            line.rollback()
            assert {200, 503} >= {each.result().status_code for each in asked}
        wait_for(lambda: connections() == (6, 0, 0))


@pytest.mark.no_service
def test_no_request_fails_where_the_numbers_cannot_be_written(
    counting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: Any, labels: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr(metrics.Metric, "child", gone)
    assert Browser().get("/livez").status_code == 200


# Every name


@pytest.mark.no_service
def test_metrics_are_declared_once_and_named_as_prometheus_wants() -> None:
    for name, metric in metrics.Metric.declared.items():
        assert name.startswith("groupsite_") and metric.text
        assert name.endswith("_total") == isinstance(metric, metrics.Counter)
        assert not isinstance(metric, metrics.Histogram) or name.endswith("_seconds")
