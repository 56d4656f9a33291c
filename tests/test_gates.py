"""The cap on slow things, and the breaker of calls to WeChat."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Barrier, Event, Lock
from typing import Any

import pytest
from django.core.checks import run_checks

from audit.models import Attempt
from core import limits
from core.gates import Crowded, Gate
from tests.cast import Person, refused
from tests.settings import APP_ID, REDIS_URL
from wechat import client as client_module
from wechat import gate as gate_module
from wechat.client import Client
from wechat.errors import AccessTokenError, UnavailableError
from wechat.gate import BREAK_AFTER, CROWDED, RESTING, Breaker, one_call
from wechat.sandbox import Fault, Phone, Sandbox

PATH = "/sns/jscode2session"
APP, SECRET = "wx0000000000000001", "a secret"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


class Visit:
    """A thread in a gate, or on its way in."""

    def __init__(self, pool: ThreadPoolExecutor, gate: Gate, log: list[str], name: str) -> None:
        self.leave = Event()
        self.came_in = Event()
        self.result = pool.submit(self._visit, gate, log, name)

    def _visit(self, gate: Gate, log: list[str], name: str) -> str:
        try:
            with gate.place(is_urgent=name.startswith("urgent")):
                log.append(name)
                self.came_in.set()
                self.leave.wait(5)
                return "done"
        except Crowded:
            return "crowded"


def until(condition: Any) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_gate_lets_in_so_many_and_lets_as_many_wait(pool: ThreadPoolExecutor) -> None:
    gate, log = Gate(lambda: 2, patience=5), []
    inside = [Visit(pool, gate, log, f"inside {n}") for n in range(2)]
    for visit in inside:
        assert visit.came_in.wait(5)
    waiting = []
    for n in range(2):
        waiting.append(Visit(pool, gate, log, f"waiting {n}"))
        until(lambda: len(gate._waiting) == len(waiting))
    with pytest.raises(Crowded), gate.place():
        raise AssertionError("a fifth came in")
    assert len(log) == 2
    inside[0].leave.set()
    assert waiting[0].came_in.wait(5), "the place of the one who left"
    assert not waiting[1].came_in.is_set()
    for visit in [*inside, *waiting]:
        visit.leave.set()
    assert {visit.result.result() for visit in [*inside, *waiting]} == {"done"}
    with gate.place():
        assert gate._inside == 1, "all places are free again"


def test_those_who_are_urgent_come_first(pool: ThreadPoolExecutor) -> None:
    gate, log = Gate(lambda: 3, patience=5), []
    inside = [Visit(pool, gate, log, f"inside {n}") for n in range(3)]
    for visit in inside:
        assert visit.came_in.wait(5)
    waiting = []
    for name in ("name", "picture", "urgent log-in"):
        waiting.append(Visit(pool, gate, log, name))
        until(lambda: len(gate._waiting) == len(waiting))
    inside[0].leave.set()
    assert waiting[2].came_in.wait(5)
    assert log[3:] == ["urgent log-in"]
    for visit in [*inside, *waiting]:
        visit.leave.set()
        visit.result.result()


def test_an_urgent_thread_takes_the_place_of_a_patient_one_in_a_full_queue(
    pool: ThreadPoolExecutor,
) -> None:
    gate, log = Gate(lambda: 2, patience=5), []
    inside = [Visit(pool, gate, log, f"inside {n}") for n in range(2)]
    for visit in inside:
        assert visit.came_in.wait(5)
    first, second = Visit(pool, gate, log, "name"), None
    until(lambda: len(gate._waiting) == 1)
    second = Visit(pool, gate, log, "picture")
    until(lambda: len(gate._waiting) == 2)
    urgent = Visit(pool, gate, log, "urgent log-in")
    assert second.result.result(5) == "crowded", "the last of those who are not urgent"
    third = Visit(pool, gate, log, "urgent too")
    assert first.result.result(5) == "crowded"
    until(lambda: len(gate._waiting) == 2)
    assert Visit(pool, gate, log, "urgent as well").result.result(5) == "crowded"
    for visit in (*inside, urgent, third):
        visit.leave.set()
        assert visit.result.result(5) == "done"
    assert (gate._inside, gate._waiting) == (0, [])


def test_patience_ends(pool: ThreadPoolExecutor) -> None:
    gate, log = Gate(lambda: 1, patience=0.05), []
    inside = Visit(pool, gate, log, "inside")
    assert inside.came_in.wait(5)
    assert Visit(pool, gate, log, "waits").result.result(5) == "crowded"
    assert gate._waiting == []
    inside.leave.set()
    inside.result.result()
    with gate.place():
        pass


def test_a_place_is_given_back_after_an_error() -> None:
    gate = Gate(lambda: 1, patience=0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), gate.place():
            raise ZeroDivisionError
    with gate.place():
        pass


def test_no_place_is_lost_or_doubled_under_load(pool: ThreadPoolExecutor) -> None:
    gate, most, now, count = Gate(lambda: 4, patience=0.002), [0], [0], Lock()
    start = Barrier(16)

    def hurry() -> None:
        start.wait()
        for _ in range(200):
            try:
                with gate.place(is_urgent=random.random() < 0.3):
                    with count:
                        now[0] += 1
                        most[0] = max(most[0], now[0])
                    time.sleep(0.0002)
                    with count:
                        now[0] -= 1
            except Crowded:
                pass

    for done in [pool.submit(hurry) for _ in range(16)]:
        done.result(60)
    assert most[0] == 4
    assert (gate._inside, gate._waiting) == (0, [])


# The breaker


def fail(breaker: Breaker, reason: str = "timeout") -> str:
    """Fail within the breaker; return the reason of what came out."""
    with pytest.raises(UnavailableError) as refused, breaker.watch():
        raise UnavailableError("no", reason=reason)
    return refused.value.reason


def test_the_breaker_opens_after_failures_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(gate_module.time, "monotonic", lambda: now[0])
    breaker = Breaker()
    for _ in range(BREAK_AFTER - 1):
        assert fail(breaker) == "timeout"
    with breaker.watch():
        pass
    for _ in range(BREAK_AFTER):
        assert fail(breaker) == "timeout"
    assert fail(breaker) == RESTING, "no call is made any more"
    now[0] += gate_module.REST
    assert fail(breaker) == "timeout", "one call finds out whether WeChat is back"
    assert fail(breaker) == RESTING
    now[0] += gate_module.REST
    with breaker.watch():
        pass
    for _ in range(BREAK_AFTER):
        assert fail(breaker) == "timeout", "it is closed, and counts anew"
    assert fail(breaker) == RESTING


def test_one_call_at_a_time_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(gate_module.time, "monotonic", lambda: now[0])
    breaker = Breaker()
    for _ in range(BREAK_AFTER):
        fail(breaker)
    now[0] += gate_module.REST
    probe = ExitStack()
    probe.enter_context(breaker.watch())
    now[0] += 10 * gate_module.REST  # WeChat hangs, longer than the rest
    assert fail(breaker) == RESTING
    end_badly(probe)
    assert fail(breaker) == RESTING, "it rests again from the end of the probe"


def test_a_call_that_began_before_the_breaker_opened_ends_no_probe() -> None:
    breaker, straggler, probe = Breaker(), ExitStack(), ExitStack()
    straggler.enter_context(breaker.watch())
    for _ in range(BREAK_AFTER):
        fail(breaker)
    breaker._probe_at = 0
    probe.enter_context(breaker.watch())
    end_badly(straggler)
    breaker._probe_at = 0
    assert fail(breaker) == RESTING, "the probe is still under way"
    end_badly(probe)


def end_badly(call: ExitStack) -> None:
    """End a call that has been under way in a breaker: WeChat did not answer."""
    with pytest.raises(UnavailableError), call:
        raise UnavailableError("no", reason="timeout")


@pytest.mark.parametrize(
    "reason", ["unreachable", "proxy", "timeout", "broken", "http", "unreadable"]
)
def test_the_breaker_opens_for_what_says_that_wechat_is_away(reason: str) -> None:
    breaker = Breaker()
    for _ in range(BREAK_AFTER):
        fail(breaker, reason)
    assert fail(breaker) == ("timeout" if reason == "unreadable" else RESTING)


def test_refusals_of_wechat_do_not_open_the_breaker() -> None:
    breaker = Breaker()
    for _ in range(2 * BREAK_AFTER):
        with pytest.raises(UnavailableError), breaker.watch():
            raise UnavailableError("busy", -1)
    with breaker.watch():
        pass


def test_calls_beyond_the_cap_are_not_made(settings: Any, pool: ThreadPoolExecutor) -> None:
    settings.WECHAT_MAX_IN_FLIGHT = 2
    with Sandbox({APP: SECRET}) as sandbox:
        sandbox.state.request_fault(PATH, Fault(delay=1.0), 100)
        client = Client(APP, SECRET, sandbox.url, timeout=1.5)
        began = time.monotonic()
        calls = [pool.submit(client.code_to_session, "x") for _ in range(10)]
        reasons = [call.exception().reason for call in calls]  # type: ignore[union-attr]
        assert reasons.count(CROWDED) >= 6
        assert time.monotonic() - began < 4


def test_a_crowd_does_not_close_an_open_breaker(settings: Any, pool: ThreadPoolExecutor) -> None:
    settings.WECHAT_MAX_IN_FLIGHT = 1
    url = "http://platform.invalid"
    for _ in range(BREAK_AFTER - 1):
        with pytest.raises(UnavailableError), one_call(url):
            raise UnavailableError("no", reason="timeout")
    with occupied(pool), pytest.raises(UnavailableError) as crowded, one_call(url):
        pass
    assert crowded.value.reason == CROWDED
    with pytest.raises(UnavailableError), one_call(url):
        raise UnavailableError("no", reason="timeout")
    with pytest.raises(UnavailableError) as resting, one_call(url):
        pass
    assert resting.value.reason == RESTING


@contextmanager
def occupied(pool: ThreadPoolExecutor) -> Iterator[None]:
    """Hold the process's one place."""
    hold, held = Event(), Event()

    def occupy() -> None:
        with one_call("http://another.invalid"):
            held.set()
            hold.wait(5)

    busy = pool.submit(occupy)
    assert held.wait(5)
    yield
    hold.set()
    busy.result()


def test_no_call_waits_for_a_place_while_the_breaker_is_open(
    settings: Any, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor
) -> None:
    settings.WECHAT_MAX_IN_FLIGHT = 1
    monkeypatch.setattr(gate_module._gate, "_patience", 60)
    url = "http://platform.invalid"
    for _ in range(BREAK_AFTER):
        with pytest.raises(UnavailableError), one_call(url):
            raise UnavailableError("no", reason="timeout")
    with occupied(pool):
        began = time.monotonic()
        with pytest.raises(UnavailableError) as resting, one_call(url):
            pass
        assert time.monotonic() - began < 4
    assert resting.value.reason == RESTING


def test_each_platform_has_its_own_breaker() -> None:
    for _ in range(BREAK_AFTER):
        with pytest.raises(UnavailableError), one_call("http://down.invalid"):
            raise UnavailableError("no", reason="timeout")
    with one_call("http://up.invalid"):
        pass


# What clients see


def test_no_log_in_of_a_burst_is_refused() -> None:
    """Let a group open the card together: 25 within half a second, WeChat taking 100 ms each."""
    with Sandbox({APP: SECRET}) as sandbox, ThreadPoolExecutor(25) as threads:
        codes = [Phone(sandbox.url, f"person-{n}").login() for n in range(25)]
        sandbox.state.request_fault(PATH, Fault(delay=0.1), 25)
        client = Client(APP, SECRET, sandbox.url)

        def log_in(n: int) -> str:
            time.sleep(n * 0.02)
            return client.code_to_session(codes[n]).openid

        assert len(set(threads.map(log_in, range(25)))) == 25


def test_as_many_log_ins_again_wait_for_a_place(settings: Any) -> None:
    settings.WECHAT_MAX_IN_FLIGHT = 4
    with Sandbox({APP: SECRET}) as sandbox, ThreadPoolExecutor(8) as threads:
        codes = [Phone(sandbox.url, f"person-{n}").login() for n in range(8)]
        sandbox.state.request_fault(PATH, Fault(delay=0.1), 8)
        start = Barrier(8)

        def log_in(code: str) -> str:
            start.wait(5)
            return Client(APP, SECRET, sandbox.url).code_to_session(code).openid

        assert len(set(threads.map(log_in, codes))) == 8


@pytest.mark.django_db
def test_who_is_refused_for_the_crowd_hears_when_to_come_back_and_operators_why(
    settings: Any, sandbox: Sandbox, pool: ThreadPoolExecutor
) -> None:
    settings.WECHAT_MAX_IN_FLIGHT = 1
    visitor = Person("v", Phone(sandbox.url, "v", APP_ID))
    code = visitor.phone.login()
    with occupied(pool):
        body = refused(visitor.post("login", {"code": code}), 503, "wechat_unavailable")
    assert body["retryAfter"] > 0
    assert Attempt.objects.latest("pk").cause == CROWDED
    assert visitor.post("login", {"code": code}).status_code == 200, "the code is unused"
    for _ in range(BREAK_AFTER):
        with pytest.raises(UnavailableError), one_call(sandbox.url):
            raise UnavailableError("no", reason="timeout")
    code = visitor.phone.login()
    body = refused(visitor.post("login", {"code": code}), 503, "wechat_unavailable")
    assert body["retryAfter"] > 0
    assert Attempt.objects.latest("pk").cause == RESTING


@pytest.mark.parametrize("kind", ["log-in", "name", "picture", "credentials"])
def test_one_cap_counts_everything_that_is_asked_of_wechat(
    settings: Any, pool: ThreadPoolExecutor, kind: str
) -> None:
    settings.WECHAT_MAX_IN_FLIGHT = 1
    with Sandbox({APP: SECRET}) as sandbox, occupied(pool):
        client = Client(APP, SECRET, sandbox.url)
        ask: dict[str, Any] = {
            "log-in": lambda: client.code_to_session("x"),
            "name": lambda: client.check_text("o", "x"),
            "picture": lambda: client.check_media("o", "https://example.com/a.webp"),
            "credentials": client.try_credentials,
        }
        with pytest.raises(UnavailableError) as crowded:
            ask[kind]()
        assert crowded.value.reason == CROWDED


def test_a_renewal_of_the_token_rides_in_its_callers_place(settings: Any) -> None:
    settings.WECHAT_MAX_IN_FLIGHT = 1
    with Sandbox({APP: SECRET}) as sandbox:
        client = Client(APP, SECRET, sandbox.url)
        openid = client.code_to_session(Phone(sandbox.url, "alice").login()).openid
        assert client.check_text(openid, "x").suggestion == "pass"
        sandbox.state.revoke_token(APP)
        assert client.check_text(openid, "x").suggestion == "pass"


def test_renewals_by_force_are_counted_over_all_processes_that_share_a_redis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Let each of three processes be refused the token that WeChat then hands out again."""
    forced: list[bool] = []

    def answer(self: Client, *args: Any, **more: Any) -> dict[str, Any]:
        body = more["body"] if "body" in more else args[3]
        if "grant_type" not in body:
            raise AccessTokenError("refused", 40001)
        forced.append(body["force_refresh"])
        return {"access_token": "the-same", "expires_in": 7200}

    monkeypatch.setattr(Client, "_call", answer)
    for _process in range(3):
        monkeypatch.setattr(client_module, "_CACHED_TOKENS", {})
        limits.limiter_on.cache_clear()
        with pytest.raises(AccessTokenError):
            Client(APP, SECRET, "http://platform.invalid").check_text("o", "x")
    assert forced.count(True) == (1 if REDIS_URL else 3)


@pytest.mark.parametrize("least", [0, -1])
def test_a_cap_that_lets_nothing_through_is_refused(db: None, settings: Any, least: int) -> None:
    settings.WECHAT_MAX_IN_FLIGHT = least
    assert [m.id for m in run_checks() if "WECHAT_MAX_IN_FLIGHT" in m.msg] == ["groupsite.E005"]
    settings.WECHAT_MAX_IN_FLIGHT = 1
    assert [m for m in run_checks() if "WECHAT_MAX_IN_FLIGHT" in m.msg] == []
