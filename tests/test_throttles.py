"""Throttles: by user, token, call and address, in one process and in several."""

import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import requests
import time_machine
from django.test import Client as Browser
from django.test import RequestFactory
from django.utils import timezone

from core import limits
from groups.models import ServerKey
from tests.cast import API, Person, refused
from tests.servers import PATIENCE, ROOT, at_once, find_program, serving, unused_port, wait_for
from tests.settings import APP_ID


def calls(person: Person, path: str, times: int, method: str = "GET") -> Counter[int]:
    """Call so many times; count the answers by status."""
    return Counter(person.call(method, path).status_code for _ in range(times))


def throttled(answer: Any) -> int:
    """Check that a call was throttled; return the seconds to wait."""
    seconds: int = refused(answer, 429, "throttled")["retryAfter"]
    assert 1 <= seconds <= 60
    return seconds


# By user, token and call


def test_a_call_made_too_often_is_refused_and_others_are_not(
    alice: Person, bob: Person, settings: Any
) -> None:
    settings.THROTTLES = "call=30/minute"
    assert calls(alice, "me", 30) == {200: 30}
    throttled(alice.get("me"))
    assert alice.get("boards").status_code == 200
    assert alice.put("me", {"nickname": "小明"}).status_code == 200
    assert bob.get("me").status_code == 200


def test_head_counts_as_get(alice: Person, settings: Any) -> None:
    settings.THROTTLES = "call=30/minute"
    assert calls(alice, "me", 30, "HEAD") == {200: 30}
    throttled(alice.get("me"))


def test_a_token_used_too_often_is_refused_and_the_users_other_token_is_not(
    alice: Person, settings: Any
) -> None:
    settings.THROTTLES = "token=300/minute,user=off,call=off"
    assert calls(alice, "boards", 300) == {200: 300}
    throttled(alice.get("boards"))
    assert alice.log_in().get("boards").status_code == 200


def test_two_tokens_of_one_user_share_the_users_limit(
    alice: Person, bob: Person, settings: Any
) -> None:
    settings.THROTTLES = "user=300/minute,token=off,call=off"
    assert calls(alice, "boards", 150) == {200: 150}
    alice.log_in()
    assert calls(alice, "me", 200) == {200: 150, 429: 50}
    throttled(alice.log_in().get("groups"))
    assert bob.get("boards").status_code == 200


def test_a_costly_method_has_a_limit_of_its_own(
    alice: Person, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounts.api.MeView.costly", {"PUT"})
    settings.THROTTLES = "costly=30/minute"
    assert calls(alice, "me", 40, "PUT") == {400: 30, 429: 10}
    assert calls(alice, "me", 40) == {200: 40}
    settings.THROTTLES = "costly=off,call=50/minute"
    assert calls(alice, "me", 60, "PUT") == {400: 50, 429: 10}


def test_a_limit_that_is_off_refuses_no_call(alice: Person, settings: Any) -> None:
    settings.THROTTLES = "call=30/minute"
    assert calls(alice, "me", 40) == {200: 30, 429: 10}
    settings.THROTTLES = "call=off"
    assert calls(alice, "me", 300) == {200: 300}
    settings.THROTTLES = "off"
    assert calls(alice, "me", 600) == {200: 600}


# What a refusal costs, and how long it lasts


def test_a_refusal_says_when_to_retry_and_does_not_count(alice: Person, settings: Any) -> None:
    settings.THROTTLES = "call=30/minute"
    with time_machine.travel(time.time(), tick=False) as clock:
        assert calls(alice, "me", 10) == {200: 10}
        clock.shift(40)
        assert calls(alice, "me", 20) == {200: 20}
        assert throttled(alice.get("me")) == 20
        clock.shift(15)
        assert calls(alice, "me", 50) == {429: 50}
        assert throttled(alice.get("me")) == 5
        clock.shift(5.1)
        assert calls(alice, "me", 11) == {200: 10, 429: 1}
        assert throttled(alice.get("me")) == 40


def test_a_clock_that_is_set_back_locks_no_one_out(alice: Person, settings: Any) -> None:
    settings.THROTTLES = "call=30/minute"
    with time_machine.travel(time.time() + 86_400):
        assert calls(alice, "me", 30) == {200: 30}
        throttled(alice.get("me"))
    if limits.limiter_on(settings.REDIS_URL).shared:
        throttled(alice.get("me"))  # for as long as Redis keeps the counts: a minute at most
    else:
        assert calls(alice, "me", 30) == {200: 30}


def test_a_call_that_one_limit_refuses_does_not_count_for_another(
    alice: Person, settings: Any
) -> None:
    settings.THROTTLES = "user=300/minute,call=240/minute"
    with time_machine.travel(time.time(), tick=False) as clock:
        assert calls(alice, "me", 240) + calls(alice, "boards", 60) == {200: 300}
        clock.shift(50)
        assert calls(alice, "groups", 240) == {429: 240}
        clock.shift(11)
        assert calls(alice, "groups", 240) == {200: 240}


def test_the_answer_names_the_longer_of_two_waits(alice: Person, settings: Any) -> None:
    settings.THROTTLES = "user=300/minute,call=60/90second"
    with time_machine.travel(time.time(), tick=False) as clock:
        for method, path in (
            ("GET", "me"),
            ("PUT", "groups/tG/membership"),
            ("GET", "boards"),
            ("GET", "groups"),
            ("POST", "groups/resolve"),
        ):
            assert calls(alice, path, 60, method)[429] == 0
        clock.shift(40)
        assert throttled(alice.post("groups/bind", {})) == 20
        assert throttled(alice.get("me")) == 50


# By row


@pytest.fixture
def backend(db: None) -> Person:
    no_phone: Any = None
    text, _row = ServerKey.objects.issue(APP_ID, "backend", timezone.now())
    return Person("backend", no_phone, token=text)


def post_rows(backend: Person, name: str, rows: Any) -> Any:
    headers = {"Authorization": f"Key {backend.token}"}
    return backend.post(f"server/{name}", rows, **headers)


def some_rows(name: str, number: int) -> Any:
    """Make so many rows that are quickly refused, or one person."""
    if name == "sessions":
        return {"openid": "oNew"}
    row = {"openid": "oNew"} if name == "users" else {"openid": "oNoOne", "board": "x", "value": 1}
    return {name: [row | ({"idempotencyKey": "k"} if name == "scores" else {})] * number}


def test_the_calls_of_rows_share_a_limit_that_counts_rows(backend: Person, settings: Any) -> None:
    settings.THROTTLES = "rows=12000/minute"
    with time_machine.travel(time.time(), tick=False) as clock:
        for _ in range(11):
            assert post_rows(backend, "scores", some_rows("scores", 500)).status_code == 200
            assert post_rows(backend, "users", some_rows("users", 500)).status_code == 200
        clock.shift(20)
        assert post_rows(backend, "sessions", some_rows("sessions", 1)).status_code == 200
        assert post_rows(backend, "users", some_rows("users", 499)).status_code == 200
        assert post_rows(backend, "scores", some_rows("scores", 500)).status_code == 200
        # Full: the first 500 rows have room once the first have lapsed; the calls do not count.
        for name in ("users", "scores", "sessions"):
            assert throttled(post_rows(backend, name, some_rows(name, 500))) == 40
        clock.shift(40.1)
        assert post_rows(backend, "scores", some_rows("scores", 500)).status_code == 200


def test_a_batch_waits_until_it_has_room_for_all_its_rows(backend: Person, settings: Any) -> None:
    settings.THROTTLES = "rows=12000/minute"
    with time_machine.travel(time.time(), tick=False) as clock:
        assert post_rows(backend, "users", some_rows("users", 100)).status_code == 200
        clock.shift(30)
        for _ in range(23):
            assert post_rows(backend, "scores", some_rows("scores", 500)).status_code == 200
        # 400 are left.
        assert post_rows(backend, "users", some_rows("users", 300)).status_code == 200
        assert throttled(post_rows(backend, "users", some_rows("users", 150))) == 30
        assert throttled(post_rows(backend, "users", some_rows("users", 400))) == 60


def test_a_body_that_cannot_be_read_counts_as_a_row(backend: Person, settings: Any) -> None:
    settings.THROTTLES = "rows=12000/minute"
    headers = {"Authorization": f"Key {backend.token}"}

    def send_unreadable() -> Any:
        path = API + "server/scores"
        return Browser().post(path, "{", content_type="application/json", headers=headers)

    for body in ([], {"scores": None}, {"scores": {}}, {"hat": 1}):
        refused(post_rows(backend, "scores", body), 400, "invalid")
    refused(send_unreadable(), 400, "invalid")
    # More than a batch holds are as many as it holds, and refused.
    for _ in range(23):
        refused(post_rows(backend, "users", some_rows("users", 501)), 400, "invalid")
    throttled(post_rows(backend, "users", some_rows("users", 496)))
    assert post_rows(backend, "users", some_rows("users", 495)).status_code == 200
    throttled(send_unreadable())


def test_a_server_may_log_in_as_many_people_as_rows_from_its_one_address(
    backend: Person, settings: Any
) -> None:
    settings.THROTTLES = "address=300/minute,token=300/minute"
    for _ in range(320):
        assert post_rows(backend, "sessions", {"openid": "a b"}).status_code == 400
    path, headers = "server/users/oNew/groups", {"Authorization": f"Key {backend.token}"}
    got = Counter(backend.get(path, **headers).status_code for _ in range(301))
    assert got == {404: 300, 429: 1}, "other calls have the limits of every token"


def test_two_servers_have_a_limit_each(backend: Person, settings: Any) -> None:
    settings.THROTTLES = "rows=12000/minute"
    text, _row = ServerKey.objects.issue(APP_ID, "another", timezone.now())
    for _ in range(24):
        assert post_rows(backend, "users", some_rows("users", 500)).status_code == 200
    throttled(post_rows(backend, "users", some_rows("users", 1)))
    no_phone: Any = None
    other = Person("other", no_phone, token=text)
    assert post_rows(other, "users", some_rows("users", 500)).status_code == 200


def test_by_default_12000_rows_a_minute_are_let_through(backend: Person) -> None:
    for _ in range(12):
        assert post_rows(backend, "users", some_rows("users", 500)).status_code == 200
        assert post_rows(backend, "scores", some_rows("scores", 500)).status_code == 200


@pytest.mark.no_service
@pytest.mark.parametrize("rate", ["11999/minute", "199/second", "200/second", "499/second"])
def test_a_limit_by_rows_below_the_contract_or_a_batch_is_refused(rate: str) -> None:
    with pytest.raises(ValueError, match="rows"):
        limits.limits_in(f"rows={rate}")
    assert limits.limits_in("rows=500/second")["rows"].amount == 500


# By address


def test_log_ins_are_counted_by_address(db: None, settings: Any) -> None:
    settings.THROTTLES = "login=120/minute"
    visitor = Person("visitor", phone=None)  # type: ignore[arg-type]
    assert calls(visitor, "login", 120, "POST") == {400: 120}
    throttled(visitor.post("login", {"code": "x"}))
    elsewhere = Browser(REMOTE_ADDR="192.0.2.7")
    assert elsewhere.post(API + "login", {}, "application/json").status_code == 400


def test_an_address_has_one_limit_for_everything_that_is_costly(
    alice: Person, bob: Person, settings: Any
) -> None:
    settings.THROTTLES = "address=300/minute"
    bob.token = "an invalid token"
    assert calls(bob, "me", 200) == {401: 200}
    assert calls(bob, "/admin/", 50) == {302: 50}
    assert calls(bob, "/wp-login.php", 50) == {404: 50}
    for path in ("me", "nothing", "/api/", "/api/schema/"):
        throttled(alice.get(path))
    for path in ("/livez", "/readyz", alice.user.avatar_path, "/static/site.css"):
        answer = alice.get(path)
        assert answer.status_code == 200, path
    answer.close()  # the file; closing an answer within a test ends the database's connection


def test_a_throttled_browser_gets_a_page_in_its_language(db: None, settings: Any) -> None:
    settings.THROTTLES = "address=300/minute"
    browser = Browser()
    assert {browser.get("/").status_code for _ in range(300)} == {302}
    answer = browser.get("/groups/")
    assert (answer.status_code, answer["Content-Type"]) == (429, "text/html; charset=utf-8")
    assert 1 <= int(answer["Retry-After"]) <= 60
    assert 'lang="zh-hans"' in answer.content.decode()
    english = browser.get("/groups/", headers={"Accept-Language": "en"}).content.decode()
    assert 'lang="en"' in english and "Too many requests" in english


ADDRESSES: dict[str, tuple[int, str | None, str]] = {
    "without proxies the header is not read": (0, "192.0.2.1", "203.0.113.9"),
    "one proxy": (1, "192.0.2.1", "192.0.2.1"),
    "one proxy, and an invention": (1, "198.51.100.1, 192.0.2.1", "192.0.2.1"),
    "two proxies": (2, "192.0.2.1, 10.0.0.1", "192.0.2.1"),
    "two proxies, and inventions": (2, "1.1.1.1, 2.2.2.2,192.0.2.1 ,10.0.0.1", "192.0.2.1"),
    "fewer entries than proxies": (2, "192.0.2.1", "203.0.113.9"),
    "no header": (1, None, "203.0.113.9"),
    "an empty header": (1, "", "203.0.113.9"),
    "garbage": (1, "192.0.2.1, <script>", "203.0.113.9"),
    "half a bracket": (1, "[2001:db8::1", "203.0.113.9"),
    "a name": (1, "localhost", "203.0.113.9"),
    "an endless number": (1, "9" * 9000, "203.0.113.9"),
    "a port": (1, "192.0.2.1:4711", "192.0.2.1"),
    "IPv6": (1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    "IPv6, the same network": (1, "2001:DB8:1:2:ffff::1", "2001:db8:1:2::/64"),
    "IPv6 with a port": (1, "[2001:db8:1:2::1]:4711", "2001:db8:1:2::/64"),
    "IPv4 spelled as IPv6": (1, "::ffff:192.0.2.1", "192.0.2.1"),
}


@pytest.mark.no_service
@pytest.mark.parametrize("what", ADDRESSES)
def test_the_address_of_the_client_is_found_behind_proxies(settings: Any, what: str) -> None:
    settings.NUM_PROXIES, header, address = ADDRESSES[what]
    headers = {} if header is None else {"X-Forwarded-For": header}
    request = RequestFactory().get("/", headers=headers, REMOTE_ADDR="203.0.113.9")
    assert limits.client_address(request) == address


@pytest.mark.no_service
def test_all_clients_of_a_unix_socket_share_one_address(settings: Any) -> None:
    assert limits.client_address(RequestFactory().get("/", REMOTE_ADDR="")) == "unknown"


@pytest.mark.no_service
def test_a_process_forgets_the_counts_of_old_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CALLERS", 100)
    limiter = limits.Limiter("")
    limit = limits.limits_in("")["address"]
    for minute in range(3):
        with time_machine.travel(time.time() + 61 * minute, tick=False):
            for number in range(99):
                assert not limiter.wait([limits.Count(limit, "address", f"{minute} {number}")])
            assert len(limiter.local.windows) <= 100
    for number in range(1000):
        assert not limiter.wait([limits.Count(limit, "address", f"many at once {number}")])
    assert len(limiter.local.windows) <= 101


def test_a_process_forgets_a_caller_who_has_not_come_for_long() -> None:
    limiter, limit = limits.Limiter(""), limits.limits_in("")["address"]
    for minute in range(3):
        with time_machine.travel(time.time() + 61 * minute, tick=False):
            assert not limiter.wait([limits.Count(limit, "address", f"{minute}")] * 7)
    assert len(limiter.local.windows) == 1


# Real servers


@contextmanager
def servers(directory: Path, number: int = 1, **changed: str) -> Iterator[list[str]]:
    """Run so many servers with the same settings; yield their URLs. Logs are in the directory."""
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "groupsite.settings",
        "DATABASE_URL": f"sqlite:///{directory / 'nothing.sqlite3'}",
        "REDIS_URL": "",
        "WECHAT_APPS": f"{APP_ID}:secret",
        "THROTTLES": "login=120/minute",
        **changed,
    }
    with ExitStack() as stack:
        logs = [directory / f"server-{place}.log" for place in range(number)]
        yield [stack.enter_context(serving(environment, log)) for log in logs]


def guess(url: str, **headers: str) -> int:
    """Send an invalid log-in: 400 is a guess that was let through."""
    with requests.Session() as http:  # one each, since a kept connection waits for delayed ACKs
        http.trust_env = False
        answer = http.post(f"{url}login", json={}, headers=headers, timeout=PATIENCE)
    assert answer.status_code != 429 or throttled(Answer(answer))
    return answer.status_code


class Answer:
    """An answer of `requests` with the attributes of one of Django's test client."""

    def __init__(self, answer: requests.Response) -> None:
        self.status_code, self.content, self.json = answer.status_code, answer.text, answer.json
        self.headers = answer.headers

    def __getitem__(self, name: str) -> str:
        return self.headers[name]


@pytest.mark.no_service
@pytest.mark.parametrize("proxies", [0, 1])
def test_a_thousand_forged_addresses_count_as_one(tmp_path: Path, proxies: int) -> None:
    def header(number: int) -> str:
        invented = f"10.0.{number // 256}.{number % 256}"
        return f"{invented}, 192.0.2.1" if proxies else invented

    with servers(tmp_path, NUM_PROXIES=str(proxies)) as [url]:
        headers = [{"X-Forwarded-For": header(number)} for number in range(1000)]
        got = Counter(guess(url, **header) for header in headers)
        assert got == {400: 120, 429: 880}
        other = {"X-Forwarded-For": "192.0.2.1, 192.0.2.2"}
        assert guess(url, **other) == (400 if proxies else 429)


@contextmanager
def redis_server(directory: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run an empty Redis of our own."""
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with subprocess.Popen(
        [find_program("redis-server"), *arguments, "--dir", str(directory)],
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            wait_for(lambda: can_connect(port))
            yield process
        finally:
            process.kill()


def can_connect(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def port() -> int:
    return unused_port()


def guess_everywhere(urls: list[str], times: int, stop: Event | None = None) -> Counter[int]:
    """Guess from eight clients at once, which take the servers in turn."""

    def guesses(first: int) -> Counter[int]:
        got = Counter[int]()
        for number in range(first, first + times) if stop is None else count(first):
            got[guess(urls[number % len(urls)])] += 1
            if stop is not None and stop.is_set():
                break
        return got

    return sum(at_once([lambda first=first: guesses(first) for first in range(8)]), Counter())


@pytest.mark.no_service
def test_two_processes_together_let_the_limit_through(tmp_path: Path, port: int) -> None:
    with (
        redis_server(tmp_path, port),
        servers(tmp_path, 2, REDIS_URL=f"redis://127.0.0.1:{port}/0") as urls,
    ):
        assert guess_everywhere(urls, 40) == {400: 120, 429: 200}


@pytest.mark.no_service
def test_when_redis_dies_under_load_no_call_fails_and_each_process_keeps_the_limit(
    tmp_path: Path, port: int
) -> None:
    def logged(sentence: str) -> list[int]:
        return [path.read_text().count(sentence) for path in sorted(tmp_path.glob("*.log"))]

    redis_url = f"redis://127.0.0.1:{port}/0"
    stop = Event()
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(tmp_path, port))
        # An hour's limit, so that how long it takes does not matter.
        urls = stack.enter_context(
            servers(tmp_path, 2, REDIS_URL=redis_url, THROTTLES="login=7200/hour,address=off")
        )
        pool = stack.enter_context(ThreadPoolExecutor(1))
        assert guess_everywhere(urls, 20) == {400: 160}
        load = pool.submit(guess_everywhere, urls, 0, stop)
        try:
            redis.kill()
            redis.wait(PATIENCE)
            wait_for(lambda: logged("Redis is away") == [1, 1])
            stack.enter_context(redis_server(tmp_path, port))
            wait_for(lambda: logged("Redis answers again") == [1, 1])
        finally:
            stop.set()
        during = load.result(PATIENCE)
        assert set(during) <= {400, 429}
        assert logged("Redis is away") == [1, 1], "once, not at every request"
        assert logged("Traceback") == [0, 0]


@pytest.mark.no_service
def test_each_process_counts_by_itself_when_redis_is_gone(tmp_path: Path, port: int) -> None:
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(tmp_path, port))
        urls = stack.enter_context(servers(tmp_path, 2, REDIS_URL=f"redis://127.0.0.1:{port}/0"))
        before = guess_everywhere(urls, 10)
        assert before == {400: 80}
        redis.kill()
        redis.wait(PATIENCE)
        after = guess_everywhere(urls, 60)
        assert set(after) == {400, 429}
        assert before[400] + after[400] == 2 * 120, (
            "the limit of each, with what it let through before"
        )


@pytest.mark.no_service
def test_a_redis_that_never_answers_is_asked_rarely_and_delays_few_calls(
    tmp_path: Path,
) -> None:
    asked: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):  # the socket has been closed
            while True:
                asked.append(silent.accept()[0])

    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        stack.enter_context(ThreadPoolExecutor(1)).submit(accept)
        stack.callback(silent.shutdown, socket.SHUT_RDWR)
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with servers(tmp_path, REDIS_URL=url) as urls:
            start = time.monotonic()
            assert guess_everywhere(urls, 40) == {400: 120, 429: 200}
            pauses = (time.monotonic() - start) / limits.REDIS_PAUSE
    for line in asked:
        line.close()
    # Eight at the same moment, before any of them knew; then one after each pause.
    assert 1 <= len(asked) <= 8 + 1 + pauses


@pytest.mark.no_service
def test_a_call_that_is_refused_does_not_count_in_redis_either(tmp_path: Path, port: int) -> None:
    rates = limits.limits_in("user=300/minute,call=240/minute")

    def count(call: str) -> list[limits.Count]:
        by_call = limits.Count(rates["call"], "call", call)
        return [by_call, limits.Count(rates["user"], "user", "alice")]

    with redis_server(tmp_path, port), time_machine.travel(time.time(), tick=False) as clock:
        one, other = (limits.Limiter(f"redis://127.0.0.1:{port}/0") for _ in range(2))
        assert not any(one.wait(count("me")) for _ in range(240))
        assert not any(one.wait(count("boards")) for _ in range(60))
        clock.shift(50)
        assert {round(other.wait(count("groups"))) for _ in range(240)} == {10}
        clock.shift(11)
        assert not any(other.wait(count("groups")) for _ in range(240))
        for limiter in (one, other):
            limiter.shared.client.close()


def test_a_request_asks_redis_once(alice: Person, settings: Any, tmp_path: Path, port: int) -> None:
    """Try a call, one that is refused before its caller is known, a page, and a log-in."""
    import redis

    with redis_server(tmp_path, port):
        settings.REDIS_URL = f"redis://127.0.0.1:{port}/0"
        alice.get("me")  # the script is sent once
        stranger = Person("stranger", alice.phone, token="invalid")
        with redis.Redis(port=port) as client:
            client.config_resetstat()
            assert calls(alice, "me", 3) == {200: 3}
            assert calls(stranger, "me", 2) == {401: 2}
            assert calls(stranger, "/groups/", 2) == {302: 2}
            assert calls(stranger, "login", 2, "POST") == {400: 2}
            asked = {name: each["calls"] for name, each in client.info("commandstats").items()}
            [address] = client.scan_iter("*:address/*")
            assert client.llen(address) == 10
        limits.limiter_on(settings.REDIS_URL).shared.client.close()
    assert asked["cmdstat_evalsha"] == 9
    assert not set(asked) & {"cmdstat_eval", "cmdstat_script|load"}


def test_a_redis_that_has_lost_the_script_is_sent_it_again(tmp_path: Path, port: int) -> None:
    counts = [limits.Count(limits.Limit(2, 60), "user", "alice")]
    with redis_server(tmp_path, port), time_machine.travel(time.time(), tick=False):
        one, other = (limits.Limiter(f"redis://127.0.0.1:{port}/0") for _ in range(2))
        assert not one.wait(counts)
        one.shared.client.script_flush()
        assert not one.wait(counts)
        assert other.wait(counts) == 60
        for limiter in (one, other):
            limiter.shared.client.close()


def test_an_address_that_others_have_filled_is_answered_once_more_and_then_refused_early(
    tmp_path: Path, port: int
) -> None:
    def visit(limiter: limits.Limiter) -> float | None:
        """Ask for a page, which no throttle counts but that of the address."""
        owed = [limits.Count(limits.Limit(3, 60), "address", "192.0.2.1")]
        wait = limiter.enter(owed)
        if not wait:
            limiter.leave(owed)
        return wait

    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(tmp_path, port))
        clock = stack.enter_context(time_machine.travel(time.time(), tick=False))
        one, other = (limits.Limiter(f"redis://127.0.0.1:{port}/0") for _ in range(2))
        assert [visit(one) for _ in range(3)] == [None] * 3
        assert visit(other) is None, "Redis has no room, which the process learns afterwards"
        clock.shift(20)
        assert visit(other) == pytest.approx(40)
        clock.shift(41)
        assert [visit(one) for _ in range(3)] == [None] * 3
        assert visit(other) == pytest.approx(60), "where it was full lately, Redis is asked first"
        redis.kill()
        redis.wait(PATIENCE)
        clock.shift(10)
        assert visit(other) == pytest.approx(50), "as Redis said"
        clock.shift(51)
        assert [visit(other) for _ in range(4)] == [None] * 3 + [60]
        for limiter in (one, other):
            limiter.shared.client.close()


def test_what_the_address_refuses_in_redis_counts_nowhere(tmp_path: Path, port: int) -> None:
    address = limits.Count(limits.Limit(2, 60), "address", "192.0.2.1")
    caller = limits.Count(limits.Limit(4, 60), "user", "alice")

    def call(limiter: limits.Limiter, *counts: limits.Count) -> float | None:
        owed = [address]
        wait = limiter.enter(owed) or limiter.wait(counts, owed)
        limiter.leave(owed)
        return wait

    with redis_server(tmp_path, port), time_machine.travel(time.time(), tick=False) as clock:
        one, other = (limits.Limiter(f"redis://127.0.0.1:{port}/0") for _ in range(2))
        assert not any(call(one, caller) for _ in range(2))
        assert [call(other, caller) for _ in range(9)] == [60] * 9
        assert len(one.shared.client.keys()) == 2
        assert not any(one.wait([caller]) for _ in range(2)), "two were let through"
        assert one.wait([caller]) == 60
        clock.shift(61)
        # What the caller's limit refuses has cost something, and counts for the address.
        assert not any(one.wait([caller]) for _ in range(4))
        assert [call(other, caller) for _ in range(3)] == [60] * 3
        assert one.shared.client.llen(one.shared.prefix + address.key) == 2
        for limiter in (one, other):
            limiter.shared.client.close()


def test_the_keys_in_redis_name_people_by_our_ids_alone(
    alice: Person, settings: Any, tmp_path: Path, port: int
) -> None:
    import redis

    with redis_server(tmp_path, port):
        settings.REDIS_URL = f"redis://127.0.0.1:{port}/0"
        assert calls(alice, "me", 3) == {200: 3}
        alice.log_in()
        with redis.Redis(port=port) as client:
            keys = [key.decode() for key in client.scan_iter()]
            assert all(0 < client.ttl(key) <= 60 for key in keys)
        limits.limiter_on(settings.REDIS_URL).shared.client.close()
    scopes = sorted(re.fullmatch(r"groupsite:\{\w+\}:(\w+)/.*", key)[1] for key in keys)
    assert scopes == ["address", "call", "login", "token", "user"]
    assert not any(secret in key for key in keys for secret in (alice.openid, alice.token))


# Guessing an operator's password


OTTO = """
import django
django.setup()
from django.contrib.auth.models import User
User.objects.create_superuser("otto", password="a password only otto knows")
"""


def log_in(url: str, password: str) -> int:
    """Send the sign-in form of operators; return the status of the answer."""
    form = {"username": "otto", "password": password, "csrfmiddlewaretoken": "x" * 32}
    cookie = {"Cookie": f"__Host-csrftoken={'x' * 32}"}
    address = url.replace("/api/v1/", "/admin/login/")
    with requests.Session() as http:
        http.trust_env = False
        sent = {"headers": cookie, "timeout": PATIENCE, "allow_redirects": False}
        return http.post(address, data=form, **sent).status_code  # type: ignore[arg-type]


@pytest.mark.no_service
@pytest.mark.parametrize("processes", [1, 2])
def test_wrong_passwords_at_the_same_moment_get_no_more_guesses(
    tmp_path: Path, port: int, processes: int
) -> None:
    """Try it with two processes on one Redis too; right passwords are not counted."""
    redis_url = f"redis://127.0.0.1:{port}/0" if processes > 1 else ""
    changed = {"REDIS_URL": redis_url, "THROTTLES": "", "OPERATOR_TOTP": "False"}
    with redis_server(tmp_path, port), servers(tmp_path, processes, **changed) as urls:
        make_otto(tmp_path)
        wrong = [partial(log_in, url, "wrong") for url in urls]
        right = [partial(log_in, url, "a password only otto knows") for url in urls]
        for _ in range(3):
            assert set(at_once(right)) == {302}
        assert at_once(wrong * (2 // processes)) == [200, 200]
        assert set(at_once(right)) == {302}
        assert Counter(at_once(wrong * (60 // processes))) == {200: 3, 429: 57}
        assert set(at_once(right)) == {429}


def make_otto(directory: Path) -> None:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "groupsite.settings",
        "DATABASE_URL": f"sqlite:///{directory / 'nothing.sqlite3'}",
    }
    for arguments in (["manage.py", "migrate", "--verbosity", "0"], ["-c", OTTO]):
        subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, check=True)


ASK_CACHE = """
import time
import django
django.setup()
from django.core.cache import cache
began = time.monotonic()
try:
    cache.get("x")
except Exception as error:
    print(type(error).__name__, time.monotonic() - began)
"""


@pytest.mark.no_service
def test_the_cache_waits_for_redis_no_longer_than_the_throttles_do() -> None:
    """Ask in a process of its own: a Redis that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "REDIS_URL": f"redis://127.0.0.1:{silent.getsockname()[1]}/0",
        }
        run = subprocess.run(
            [sys.executable, "-c", ASK_CACHE],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert run.returncode == 0, run.stderr
    kind, seconds = run.stdout.split()
    assert kind == "TimeoutError" and 0.4 < float(seconds) < 2
