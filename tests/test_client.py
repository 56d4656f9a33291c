"""The client of WeChat, against a server that fails in the ways of WeChat and of networks."""

import gzip
import json
import logging
import re
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Self

import pytest
import time_machine

from groupsite.logs import redact
from wechat import client as client_module
from wechat.client import DEADLINE, MAX_ANSWER, Client, Session, Suggestion, Verdict
from wechat.errors import (
    AccessTokenError,
    HighRiskUserError,
    InvalidCodeError,
    RateLimitError,
    RiskyContentError,
    UnavailableError,
    UnknownUserError,
    WeChatError,
)
from wechat.sandbox import Fault, Phone, Sandbox, openid_of

pytestmark = pytest.mark.no_service

APP, SECRET, CODE = "wx0000000000000001", "canary-of-the-secret", "canary-of-the-code"
SESSION_KEY = "Y2FuYXJ5LW9mLWEta2V5IQ=="
TOKEN = "canary-of-the-access-token"
SUCCESS = json.dumps({"openid": "o-alice", "session_key": SESSION_KEY}).encode()
BUSY = b'{"errcode": -1, "errmsg": "system error, rid: 6650a1b2-3c4d5e6f-77778888"}'
PATH = "/sns/jscode2session"

Reply = Callable[["ScriptedServer", socket.socket], None]


class ScriptedServer:
    """A server that answers each request with the next of `replies`, and goes on with the last.

    `requests` are the heads it received, `bodies` what followed them, `connections` is the number
    of connections made to it.
    """

    def __init__(self, *replies: Reply, listening: bool = True) -> None:
        self.replies = list(replies)
        self.requests: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        if listening:
            self.listen()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def listen(self) -> None:
        self._socket.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                line, _address = self._socket.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with suppress(OSError), line:
            while head := self._read_head(line):
                body = self._read_body(line, head)
                with self._lock:
                    self.requests.append(head)
                    self.bodies.append(body)
                    reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                reply(self, line)

    def _read_head(self, line: socket.socket) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = line.recv(1)
            if not byte:
                return b""
            head += byte
        return head

    def _read_body(self, line: socket.socket, head: bytes) -> bytes:
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        return line.recv(int(length[1]), socket.MSG_WAITALL) if length else b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.over.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def says(body: bytes, *headers: str, status: str = "200 OK") -> Reply:
    head = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return lambda server, line: line.sendall("\r\n".join(head).encode() + body)


def sends(raw: bytes) -> Reply:
    """Return a reply of these bytes that then ends the connection."""

    def reply(server: ScriptedServer, line: socket.socket) -> None:
        line.sendall(raw)
        line.shutdown(socket.SHUT_RDWR)

    return reply


def drips(raw: bytes, rest: bytes, pause: float = 0.05) -> Reply:
    """Return a reply that sends `raw` at once, then `rest` byte by byte."""

    def reply(server: ScriptedServer, line: socket.socket) -> None:
        line.sendall(raw)
        for byte in rest:
            if server.over.wait(pause):
                return
            line.sendall(bytes([byte]))

    return reply


def hangs(server: ScriptedServer, line: socket.socket) -> None:
    server.over.wait(30)


def hangs_up(server: ScriptedServer, line: socket.socket) -> None:
    line.shutdown(socket.SHUT_RDWR)


def resets(server: ScriptedServer, line: socket.socket) -> None:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


SLACK = 3  # seconds that a busy machine may take besides; without a deadline it would be ten

OK_HEAD = b"HTTP/1.1 200 OK\r\n"
SLOW: dict[str, Reply] = {
    "the status line drips": drips(b"", OK_HEAD * 1000),
    "the headers drip": drips(OK_HEAD, b"X-Slow: " + b"x" * 10_000),
    "ever more headers": drips(OK_HEAD, b"X-Slow: x\r\n" * 1000, pause=0.01),
    "the body drips": drips(OK_HEAD + b"Content-Length: 9999\r\n\r\n", b" " * 9999),
    "the chunks drip": drips(
        OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 1000, pause=0.01
    ),
    "bytes that come far apart": drips(OK_HEAD, b"X: x", pause=0.9),
    "nothing at all": hangs,
    "headers and nothing more": drips(OK_HEAD + b"Content-Length: 9999\r\n\r\n", b" ", pause=30),
}


def ask(url: str, timeout: float = 1.0) -> Session:
    return Client(APP, SECRET, url, timeout).code_to_session(CODE)


def failure(server: ScriptedServer | Sandbox, timeout: float = 1.0) -> WeChatError:
    """Return the error of a call; check that it holds no secret and came in time."""
    started = time.monotonic()
    with pytest.raises(WeChatError) as failed:
        ask(server.url, timeout)
    assert time.monotonic() - started < timeout + SLACK
    assert_holds_no_secret(failed.value)
    return failed.value


def assert_holds_no_secret(error: BaseException) -> None:
    text = "".join(traceback.format_exception(error))
    for link in causes(error):
        text += f"{link}{link!r}{link.args}{vars(link)}"
    for canary in (SECRET, CODE, SESSION_KEY, TOKEN):
        assert canary not in text


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.fixture(autouse=True)
def empty_token_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget all tokens: a port may belong to another server in the next test."""
    monkeypatch.setattr(client_module, "_CACHED_TOKENS", {})


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox({APP: SECRET}) as running:
        yield running


# Time


def test_no_slow_answer_holds_a_worker_longer_than_the_deadline() -> None:
    def waited(reply: Reply) -> float:
        with ScriptedServer(reply) as server:
            started = time.monotonic()
            assert isinstance(failure(server, timeout=DEADLINE), UnavailableError)
            assert len(server.requests) == 1, "it may have used the code up"
            return time.monotonic() - started

    assert DEADLINE <= 3
    with ThreadPoolExecutor(len(SLOW)) as pool:
        times = dict(zip(SLOW, pool.map(waited, SLOW.values()), strict=True))
    assert all(DEADLINE - 0.1 < taken < DEADLINE + SLACK for taken in times.values()), times


@pytest.mark.parametrize("reply", SLOW.values(), ids=SLOW)
def test_the_deadline_can_be_chosen(reply: Reply) -> None:
    with ScriptedServer(reply) as server:
        started = time.monotonic()
        assert isinstance(failure(server, timeout=0.2), UnavailableError)
        assert time.monotonic() - started > 0.15


def test_the_second_attempt_has_only_the_time_that_the_first_left() -> None:
    def busy_late(server: ScriptedServer, line: socket.socket) -> None:
        server.over.wait(0.3)
        says(BUSY)(server, line)

    with ScriptedServer(busy_late, hangs) as server:
        failure(server, timeout=0.6)


def test_a_slow_answer_in_time_is_accepted() -> None:
    raw = OK_HEAD + f"Content-Length: {len(SUCCESS)}\r\n\r\n".encode()
    with ScriptedServer(drips(raw, SUCCESS, pause=0.001)) as server:
        assert ask(server.url).openid == "o-alice"


def test_the_deadline_ends_a_slow_answer_of_the_sandbox_too(sandbox: Sandbox) -> None:
    for fault in (Fault(delay=30), Fault(drip=0.1)):
        sandbox.state.request_fault(PATH, fault)
        assert isinstance(failure(sandbox, timeout=0.2), UnavailableError)


# Size and shape


@pytest.mark.parametrize("spare", [0, 1])
def test_an_answer_has_at_most_64_kib(spare: int) -> None:
    assert MAX_ANSWER == 64 * 1024
    with ScriptedServer(says(SUCCESS.ljust(MAX_ANSWER + spare))) as server:
        if spare:
            assert "bytes" in str(failure(server))
        else:
            assert ask(server.url).openid == "o-alice"


def test_a_huge_answer_is_not_read_to_its_end() -> None:
    sent = 0

    def floods(server: ScriptedServer, line: socket.socket) -> None:
        nonlocal sent
        line.sendall(OK_HEAD + b"Content-Length: 1000000000\r\n\r\n")
        while True:
            sent += line.send(b" " * 65536)

    with ScriptedServer(floods) as server:
        assert isinstance(failure(server), UnavailableError)
        time.sleep(0.05)
        assert sent < 20_000_000, "what socket buffers hold, not the whole"


def test_a_compressed_bomb_is_a_huge_answer_too() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    with ScriptedServer(says(bomb, "Content-Encoding: gzip")) as server:
        assert "bytes" in str(failure(server))


UNREADABLE: dict[str, Reply] = {
    "an empty body": says(b""),
    "a list": says(b"[]"),
    "null": says(b"null"),
    "a string": says(b'"ok"'),
    "HTML with 200": says(b"<html>busy</html>", "Content-Type: text/html"),
    "not UTF-8": says(b'{"openid": "\xff"}'),
    "deep JSON": says(b"[" * 60_000),
    "half the JSON": says(SUCCESS[:20]),
    "no gzip": says(SUCCESS, "Content-Encoding: gzip"),
    "less than announced": sends(OK_HEAD + b"Content-Length: 999\r\n\r\n" + SUCCESS),
    "not HTTP": sends(b"SSH-2.0-OpenSSH\r\n\r\n"),
    "endless header": sends(OK_HEAD + b"X-Long: " + b"x" * 200_000),
    "a thousand headers": sends(OK_HEAD + b"X: y\r\n" * 1000 + b"\r\n"),
    "bad chunks": sends(OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "no key": says(b'{"openid": "o-alice"}'),
    "a short key": says(b'{"openid": "o-alice", "session_key": "QUJD"}'),
    "a key that is none": says(b'{"openid": "o-alice", "session_key": 5}'),
    "no openid": says(json.dumps({"session_key": SESSION_KEY}).encode()),
    "a bad openid": says(json.dumps({"openid": "a b", "session_key": SESSION_KEY}).encode()),
    "a gateway's page": says(b"<html>502</html>", status="502 Bad Gateway"),
    "a gateway's JSON": says(SUCCESS, status="500 Internal ScriptedServer Error"),
    "204": sends(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "hung up": hangs_up,
    "reset": resets,
}


@pytest.mark.parametrize("reply", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_answer_is_unavailable_and_the_call_is_not_repeated(reply: Reply) -> None:
    with ScriptedServer(reply) as server:
        error = failure(server)
        assert type(error) is UnavailableError
        assert error.errcode is None
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_redirects_are_not_followed(status: str) -> None:
    with ScriptedServer(says(SUCCESS)) as elsewhere:
        moved = says(b"", f"Location: {elsewhere.url}/x", status=status)
        with ScriptedServer(moved) as server:
            assert "HTTP 30" in str(failure(server))
        assert elsewhere.connections == 0


def test_json_as_plain_text_is_read() -> None:
    with ScriptedServer(says(SUCCESS, "Content-Type: text/plain")) as server:
        session = ask(server.url)
        assert (session.openid, session.session_key, session.unionid) == (
            "o-alice",
            SESSION_KEY,
            "",
        )
        assert SESSION_KEY not in repr(session)


# Trying again


def test_busy_at_first_is_a_success_at_the_second_attempt() -> None:
    with ScriptedServer(says(BUSY), says(SUCCESS)) as server:
        assert ask(server.url).openid == "o-alice"
        assert len(server.requests) == 2


def test_busy_twice_is_unavailable_with_its_rid() -> None:
    with ScriptedServer(says(BUSY)) as server:
        error = failure(server)
        assert (type(error), error.errcode) == (UnavailableError, -1)
        assert error.rid == "6650a1b2-3c4d5e6f-77778888"
        assert error.rid in str(error)
        assert len(server.requests) == 2


def pausing_with(action: Callable[[float], Any]) -> SimpleNamespace:
    """Return a `time` module for the client whose `sleep` is `action`."""
    return SimpleNamespace(monotonic=time.monotonic, sleep=action)


def test_a_refused_connection_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(says(SUCCESS), listening=False) as server:
        pauses: list[float] = []
        monkeypatch.setattr(
            client_module, "time", pausing_with(lambda s: (pauses.append(s), server.listen()))
        )
        assert ask(server.url).openid == "o-alice"
        assert len(pauses) == len(server.requests) == 1


def test_a_connection_refused_twice_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(says(SUCCESS), listening=False) as server:
        pauses: list[float] = []
        monkeypatch.setattr(client_module, "time", pausing_with(pauses.append))
        assert isinstance(failure(server), UnavailableError)
        assert len(pauses) == 1


def test_a_call_whose_answer_was_lost_is_not_repeated() -> None:
    for lost in (hangs_up, resets, sends(OK_HEAD + b"Content-Length: 99\r\n\r\n{")):
        with ScriptedServer(lost, says(SUCCESS)) as server:
            assert isinstance(failure(server), UnavailableError)
            assert len(server.requests) == 1


# Connections


def test_calls_share_a_connection() -> None:
    with ScriptedServer(says(SUCCESS)) as server:
        client = Client(APP, SECRET, server.url)
        assert [client.code_to_session(CODE).openid for _ in range(3)] == ["o-alice"] * 3
        assert (len(server.requests), server.connections) == (3, 1)


def test_a_kept_connection_has_the_deadline_of_the_next_call() -> None:
    with ScriptedServer(says(SUCCESS), drips(OK_HEAD, b"X" * 1000), says(SUCCESS)) as server:
        ask(server.url, timeout=0.2)
        time.sleep(0.25)
        failure(server, timeout=0.2)
        assert ask(server.url, timeout=0.5).openid == "o-alice"


def test_a_kept_connection_that_the_server_closed_is_replaced() -> None:
    def answers_and_closes(server: ScriptedServer, line: socket.socket) -> None:
        says(SUCCESS)(server, line)
        line.shutdown(socket.SHUT_RDWR)

    with ScriptedServer(answers_and_closes) as server:
        ask(server.url)
        time.sleep(0.05)
        assert ask(server.url).openid == "o-alice"
        assert server.connections == 2


def test_no_cookie_is_kept() -> None:
    with ScriptedServer(says(SUCCESS, "Set-Cookie: session=canary; Path=/")) as server:
        ask(server.url)
        ask(server.url)
        assert len(server.requests) == 2
        assert not any(b"cookie" in head.lower() for head in server.requests)


def test_the_environments_proxies_and_netrc_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login canary password canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with ScriptedServer(says(SUCCESS)) as proxy, ScriptedServer(says(SUCCESS)) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert ask(server.url)
        assert proxy.connections == 0
        assert b"\r\nauthorization:" not in server.requests[0].lower()


def test_the_request_is_what_wechat_documents() -> None:
    with ScriptedServer(says(SUCCESS)) as server:
        Client(APP, "s/e+c=r&et", server.url + "/").code_to_session("a b&c=d/é")
        line = server.requests[0].split(b"\r\n")[0]
        assert line == (
            b"GET /sns/jscode2session?appid=wx0000000000000001&secret=s%2Fe%2Bc%3Dr%26et"
            b"&js_code=a+b%26c%3Dd%2F%C3%A9&grant_type=authorization_code HTTP/1.1"
        )


# Errcodes


ERRCODES: dict[int, type[WeChatError]] = {
    -1: UnavailableError,
    40029: InvalidCodeError,
    40163: InvalidCodeError,
    41008: InvalidCodeError,
    40226: HighRiskUserError,
    45011: RateLimitError,
    40125: UnavailableError,
    40013: UnavailableError,
    40164: UnavailableError,
    45009: UnavailableError,
    61010: UnknownUserError,
    40003: UnknownUserError,
    43104: UnknownUserError,
    87014: RiskyContentError,
    40001: AccessTokenError,
    40014: AccessTokenError,
    42001: AccessTokenError,
    99999: UnavailableError,
}


@pytest.mark.parametrize(("errcode", "kind"), ERRCODES.items())
def test_every_errcode_has_its_error_class(
    sandbox: Sandbox, errcode: int, kind: type[WeChatError]
) -> None:
    sandbox.state.request_fault(PATH, Fault(errcode=errcode), times=2)
    error = failure(sandbox)
    assert (type(error), error.errcode) == (kind, errcode)
    assert error.rid and f"errcode {errcode}" in str(error) and error.rid in str(error)
    left = sandbox.state.take_fault(PATH).errcode
    assert left == (None if errcode == -1 else errcode), "only -1 is tried again"


def test_errcode_zero_is_no_error() -> None:
    body = json.dumps({"errcode": 0, "errmsg": "ok"} | json.loads(SUCCESS)).encode()
    with ScriptedServer(says(body)) as server:
        assert ask(server.url).openid == "o-alice"


@pytest.mark.parametrize("errcode", ['"40029"', "4.5", "true", "[1]", '{"a": 1}', "1" * 400])
def test_an_errcode_of_another_type_is_an_error_too(errcode: str) -> None:
    with ScriptedServer(says(b'{"errcode": %s}' % errcode.encode())) as server:
        assert type(failure(server)) is UnavailableError


def test_an_errmsg_that_repeats_the_request_is_not_repeated() -> None:
    message = f"invalid code {CODE}, secret={SECRET}, rid: 1-2-3 {CODE}"
    body = json.dumps({"errcode": 40029, "errmsg": message}).encode()
    with ScriptedServer(says(body)) as server:
        error = failure(server)
        assert (type(error), error.rid) == (InvalidCodeError, "1-2-3")


def test_the_client_itself_prints_no_secret() -> None:
    assert SECRET not in repr(Client(APP, SECRET, "http://127.0.0.1:9"))


# Access tokens


TEXT_CHECK, MEDIA_CHECK, TOKEN_PATH = (
    "/wxa/msg_sec_check",
    "/wxa/media_check_async",
    "/cgi-bin/stable_token",
)
ALICE = openid_of(APP, "alice")
PASSED = b'{"errcode": 0, "errmsg": "ok", "result": {"suggest": "pass", "label": 100}}'
REJECTED = [40001, 40014, 42001]


def token_answer(token: str = TOKEN, life: Any = 7200) -> bytes:
    return json.dumps({"access_token": token, "expires_in": life}).encode()


def rejected(errcode: int = 40001) -> bytes:
    return json.dumps({"errcode": errcode, "errmsg": f"invalid credential {TOKEN}"}).encode()


def check(server: ScriptedServer | Sandbox, timeout: float = 1.0) -> Verdict:
    return Client(APP, SECRET, server.url, timeout).check_text(ALICE, "小明")


def asked(server: ScriptedServer) -> list[str]:
    """Return the calls in their order, each with its token, a forced renewal marked."""
    calls = []
    for head, body in zip(server.requests, server.bodies, strict=True):
        path, _, token = head.split()[1].decode().partition("?access_token=")
        forced = path == TOKEN_PATH and json.loads(body)["force_refresh"]
        name = path.rpartition("/")[2] + (" forced" if forced else "")
        calls.append(f"{name} {token}" if token else name)
    return calls


def test_a_token_is_fetched_once_and_kept_for_every_client_of_the_app() -> None:
    with ScriptedServer(says(token_answer()), says(PASSED)) as server:
        assert Client(APP, SECRET, server.url).access_token() == TOKEN
        for url in (server.url, server.url + "/"):
            assert Client(APP, SECRET, url).access_token() == TOKEN
        check(server)
        assert asked(server) == ["stable_token", f"msg_sec_check {TOKEN}"]
        assert json.loads(server.bodies[0]) == {
            "grant_type": "client_credential",
            "appid": APP,
            "secret": SECRET,
            "force_refresh": False,
        }


def test_each_app_and_each_base_url_has_its_own_token() -> None:
    with ScriptedServer(says(token_answer("one")), says(token_answer("two"))) as server:
        assert Client(APP, SECRET, server.url).access_token() == "one"
        assert Client("wx0000000000000002", SECRET, server.url).access_token() == "two"
        with ScriptedServer(says(token_answer("three"))) as other:
            assert Client(APP, SECRET, other.url).access_token() == "three"
        assert Client(APP, SECRET, server.url).access_token() == "one"


@pytest.mark.parametrize(("life", "kept_for"), [(7200, 6900), (600, 300), (60, 30), (1, 0.5)])
def test_a_token_is_renewed_some_time_before_its_end(
    monkeypatch: pytest.MonkeyPatch, life: int, kept_for: float
) -> None:
    started = time.monotonic()
    now = started
    clock = SimpleNamespace(monotonic=lambda: now, sleep=time.sleep)
    monkeypatch.setattr(client_module, "time", clock)
    with ScriptedServer(says(token_answer("one", life)), says(token_answer("two", life))) as server:
        client = Client(APP, SECRET, server.url)
        client.access_token()
        now = started + kept_for - 0.1
        assert client.access_token() == "one"
        now = started + kept_for + 0.1
        assert client.access_token() == "two"


def test_many_threads_that_need_a_token_at_once_fetch_it_once() -> None:
    def slowly(server: ScriptedServer, line: socket.socket) -> None:
        server.over.wait(0.2)
        says(token_answer())(server, line)

    with ScriptedServer(slowly) as server, ThreadPoolExecutor(8) as threads:
        client = Client(APP, SECRET, server.url)
        tokens = list(threads.map(lambda _: client.access_token(), range(8)))
        assert tokens == [TOKEN] * 8
        assert asked(server) == ["stable_token"]


def test_a_thread_waits_for_the_fetch_of_another_until_its_own_deadline() -> None:
    fetching, enough = threading.Event(), threading.Event()

    def hangs_visibly(server: ScriptedServer, line: socket.socket) -> None:
        fetching.set()
        enough.wait(30)
        line.shutdown(socket.SHUT_RDWR)

    with ThreadPoolExecutor(1) as threads, ScriptedServer(hangs_visibly) as server:
        patient = threads.submit(Client(APP, SECRET, server.url, 20).access_token)
        assert fetching.wait(5)
        with pytest.raises(UnavailableError, match="access token did not come in time"):
            Client(APP, SECRET, server.url, 0.2).access_token()
        assert not patient.done()
        enough.set()
    assert isinstance(patient.exception(), UnavailableError)


BAD_TOKENS = {
    "none": b"{}",
    "null": b'{"access_token": null, "expires_in": 7200}',
    "empty": token_answer(""),
    "with a space": token_answer("a b"),
    "with a line end": token_answer("a\n"),
    "not ASCII": token_answer("令牌"),
    "endless": token_answer("a" * 1025),
    "without an end": token_answer(life=None),
    "over already": token_answer(life=0),
    "of a string's life": token_answer(life="7200"),
}


@pytest.mark.parametrize("body", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_an_invalid_token_is_unavailable_and_not_kept(body: bytes) -> None:
    with ScriptedServer(says(body), says(token_answer())) as server:
        with pytest.raises(UnavailableError) as failed:
            Client(APP, SECRET, server.url).access_token()
        assert_holds_no_secret(failed.value)
        assert Client(APP, SECRET, server.url).access_token() == TOKEN


@pytest.mark.parametrize("errcode", REJECTED)
def test_a_refused_token_is_renewed_and_the_call_tried_once_more(errcode: int) -> None:
    replies = [token_answer("old"), rejected(errcode), token_answer("new"), PASSED]
    with ScriptedServer(*map(says, replies)) as server:
        assert check(server).suggestion is Suggestion.PASS
        assert asked(server) == [
            "stable_token",
            "msg_sec_check old",
            "stable_token",
            "msg_sec_check new",
        ]
        assert server.bodies[1] == server.bodies[3]


def test_a_renewal_is_forced_only_where_wechat_returns_the_refused_token() -> None:
    old, new = token_answer("old"), token_answer("new")
    with ScriptedServer(*map(says, [old, rejected(), old, new, PASSED])) as server:
        check(server)
        assert asked(server)[2:] == ["stable_token", "stable_token forced", "msg_sec_check new"]
        assert Client(APP, SECRET, server.url).access_token() == "new"


def test_a_token_that_another_thread_renewed_meanwhile_is_used() -> None:
    """Refuse the old token to Bob's call only after Alice's call has replaced it."""
    arrived, renewed = threading.Event(), threading.Event()

    def rejects_late(server: ScriptedServer, line: socket.socket) -> None:
        arrived.set()
        renewed.wait(5)
        says(rejected())(server, line)

    answers = map(says, [rejected(), token_answer("new"), PASSED])
    with (
        ScriptedServer(says(token_answer("old")), rejects_late, *answers) as server,
        ThreadPoolExecutor(1) as threads,
    ):
        bob = threads.submit(check, server, 5)
        assert arrived.wait(5)
        check(server)
        renewed.set()
        assert bob.result().suggestion is Suggestion.PASS
        assert asked(server) == [
            "stable_token",
            *["msg_sec_check old"] * 2,
            "stable_token",
            *["msg_sec_check new"] * 2,
        ]


def test_a_token_refused_twice_is_an_access_token_error() -> None:
    replies = [token_answer("old"), rejected(), token_answer("new"), rejected()]
    with ScriptedServer(*map(says, replies)) as server:
        with pytest.raises(AccessTokenError) as failed:
            check(server)
        assert_holds_no_secret(failed.value)
        assert len(server.requests) == 4


# Forced renewals


class Stubborn:
    """A WeChat that gives the token it has until it is forced, and refuses every token."""

    def __init__(self) -> None:
        self.forced = 0

    def answer(self, server: ScriptedServer, line: socket.socket) -> None:
        if b"stable_token" not in server.requests[-1]:
            says(rejected())(server, line)
            return
        self.forced += json.loads(server.bodies[-1])["force_refresh"]
        says(token_answer(f"token-{self.forced}"))(server, line)


def test_a_renewal_is_forced_at_most_once_in_thirty_seconds_and_twenty_times_a_day() -> None:
    wechat, day, start = Stubborn(), 86_400, time.time()
    with ScriptedServer(wechat.answer) as server, time_machine.travel(start, tick=False) as clock:
        client = Client(APP, SECRET, server.url)

        def check_at(second: float) -> int:
            clock.move_to(start + second)
            with pytest.raises(AccessTokenError) as failed:
                client.check_text(ALICE, "小明")
            assert_holds_no_secret(failed.value)
            return wechat.forced

        assert [check_at(second) for second in (0, 1, 15, 29, 31, 32, 62)] == [1, 1, 1, 1, 2, 2, 3]
        for number in range(40):
            check_at(100 + 31 * number)
        assert wechat.forced == 20, "and then no more today"
        assert check_at(day - 1) == 20
        assert check_at(day + 100) > 20


def test_another_process_that_renewed_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two processes, which share the limiter's Redis, be refused the same token."""
    wechat = Stubborn()
    with ScriptedServer(wechat.answer) as server:
        for _ in range(2):
            monkeypatch.setattr(client_module, "_CACHED_TOKENS", {})
            with pytest.raises(AccessTokenError):
                Client(APP, SECRET, server.url).check_text(ALICE, "小明")
        assert wechat.forced == 1
        with pytest.raises(AccessTokenError):
            Client("wx0000000000000002", SECRET, server.url).check_text(ALICE, "小明")
        assert wechat.forced == 2, "each mini-program has its own count"


def test_a_token_that_another_process_renewed_by_force_is_taken_without_force() -> None:
    """Renew in this process, which may not force again so soon, what WeChat has replaced."""
    replies = [token_answer("old"), rejected(), token_answer("old"), token_answer("new"), PASSED]
    later = [rejected(), token_answer("newer"), PASSED]
    with ScriptedServer(*map(says, replies + later)) as server:
        client = Client(APP, SECRET, server.url)
        for _ in range(2):
            assert client.check_text(ALICE, "小明").suggestion is Suggestion.PASS
        assert client.access_token() == "newer"


def test_a_wrong_secret_causes_no_renewals() -> None:
    with ScriptedServer(says(rejected())) as server:
        with pytest.raises(AccessTokenError) as failed:
            check(server)
        assert asked(server) == ["stable_token"]
        assert_holds_no_secret(failed.value)


def test_a_renewal_with_all_its_calls_has_one_deadline() -> None:
    def late(body: bytes) -> Reply:
        def reply(server: ScriptedServer, line: socket.socket) -> None:
            server.over.wait(0.15)
            says(body)(server, line)

        return reply

    replies = [token_answer("old"), rejected(), token_answer("old"), token_answer("new"), PASSED]
    with ScriptedServer(*map(late, replies)) as server:
        started = time.monotonic()
        with pytest.raises(UnavailableError) as failed:
            check(server, timeout=0.5)
        assert time.monotonic() - started < 0.5 + SLACK
        assert_holds_no_secret(failed.value)


def test_the_sandbox_and_the_client_agree_about_tokens(sandbox: Sandbox) -> None:
    Phone(sandbox.url, "alice").login()
    client = Client(APP, SECRET, sandbox.url)
    first = client.access_token()
    for number, errcode in enumerate(REJECTED, 1):
        sandbox.state.request_fault(TEXT_CHECK, Fault(errcode=errcode))
        with time_machine.travel(time.time() + 60 * number):
            assert client.check_text(ALICE, "小明").suggestion is Suggestion.PASS
        assert client.access_token() != first, "the sandbox hands out one until it is forced"
        first = client.access_token()
    sandbox.state.revoke_token(APP)
    assert client.check_text(ALICE, "小明").suggestion is Suggestion.PASS
    assert sandbox.state.token_is_valid(client.access_token())


def test_no_token_is_printed_or_logged_unredacted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    replies = [token_answer("old"), rejected(), token_answer(), PASSED]
    with ScriptedServer(*map(says, replies)) as server:
        client = Client(APP, SECRET, server.url)
        client.check_text(ALICE, "小明")
        assert TOKEN not in repr(client) + repr(client_module._CACHED_TOKENS)
    assert f"access_token={TOKEN}" in caplog.text, "urllib3 quotes whole URLs"
    lines = [redact(record.getMessage()) for record in caplog.records]
    assert not [line for line in lines if TOKEN in line or SECRET in line]


# Content safety


def test_a_text_is_sent_as_wechat_documents_it() -> None:
    with ScriptedServer(says(token_answer("a+b/c=")), says(PASSED)) as server:
        client = Client(APP, SECRET, server.url)
        client.check_text(ALICE, "违规 <&>", nickname="小明😀")
        client.check_text(ALICE, "text")
        head = server.requests[1]
        assert head.startswith(b"POST /wxa/msg_sec_check?access_token=a%2Bb%2Fc%3D HTTP/1.1\r\n")
        assert b"\r\nContent-Type: application/json\r\n" in head
        assert json.loads(server.bodies[1]) == {
            "version": 2,
            "openid": ALICE,
            "scene": 1,
            "content": "违规 <&>",
            "nickname": "小明😀",
        }
        assert "违规 <&>".encode() in server.bodies[1] and "小明😀".encode() in server.bodies[1]
        assert "nickname" not in json.loads(server.bodies[2])


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("小明", Verdict(Suggestion.PASS, "100")),
        ("违规的名字", Verdict(Suggestion.RISKY, "20006")),
        ("Doubtful", Verdict(Suggestion.REVIEW, "21000")),
    ],
)
def test_a_text_gets_its_verdict(sandbox: Sandbox, text: str, verdict: Verdict) -> None:
    Phone(sandbox.url, "alice").login()
    client = Client(APP, SECRET, sandbox.url)
    assert client.check_text(ALICE, text) == verdict
    assert client.check_text(ALICE, "well", nickname=text) == verdict


@pytest.mark.parametrize("label", ["null", '"x"', "[]", "-1", "1e3"])
def test_a_label_that_is_not_a_number_is_left_out(label: str) -> None:
    body = b'{"errcode": 0, "result": {"suggest": "risky", "label": %s}}' % label.encode()
    with ScriptedServer(says(token_answer()), says(body)) as server:
        assert check(server) == Verdict(Suggestion.RISKY, "")


@pytest.mark.parametrize(
    "result", ["null", "[]", '"pass"', "{}", '{"suggest": "maybe"}', '{"suggest": null}']
)
def test_a_verdict_that_cannot_be_read_is_unavailable(result: str) -> None:
    with ScriptedServer(says(token_answer()), says(b'{"result": %s}' % result.encode())) as server:
        with pytest.raises(UnavailableError):
            check(server)
        assert len(server.requests) == 2


def test_a_picture_is_sent_as_wechat_documents_it() -> None:
    accepted = b'{"errcode": 0, "errmsg": "ok", "trace_id": "60ae120f-371d5872-4941a05b"}'
    with ScriptedServer(says(token_answer()), says(accepted)) as server:
        client = Client(APP, SECRET, server.url)
        trace_id = client.check_media(ALICE, "https://example.com/a.webp")
        assert trace_id == "60ae120f-371d5872-4941a05b"
        assert asked(server)[1] == f"media_check_async {TOKEN}"
        assert json.loads(server.bodies[1]) == {
            "version": 2,
            "openid": ALICE,
            "scene": 1,
            "media_url": "https://example.com/a.webp",
            "media_type": 2,
        }


@pytest.mark.parametrize("trace_id", ["null", "5", '""', '"a b"', '"%s"' % ("a" * 65), "[]"])
def test_an_invalid_trace_id_is_unavailable(trace_id: str) -> None:
    body = b'{"errcode": 0, "trace_id": %s}' % trace_id.encode()
    with (
        ScriptedServer(says(token_answer()), says(body)) as server,
        pytest.raises(UnavailableError),
    ):
        Client(APP, SECRET, server.url).check_media(ALICE, "https://example.com/a.webp")


def test_someone_who_was_not_here_lately_is_not_judged(sandbox: Sandbox) -> None:
    client = Client(APP, SECRET, sandbox.url)
    with pytest.raises(UnknownUserError) as refused:
        client.check_text(ALICE, "小明")
    assert refused.value.errcode == 61010
    with pytest.raises(UnknownUserError):
        client.check_media(ALICE, "https://example.com/a.webp")


@pytest.mark.parametrize("errcode", [40003, 43104])
def test_someone_that_wechat_does_not_know_is_not_judged(sandbox: Sandbox, errcode: int) -> None:
    Phone(sandbox.url, "alice").login()
    client = Client(APP, SECRET, sandbox.url)
    sandbox.state.request_fault(TEXT_CHECK, Fault(errcode=errcode))
    with pytest.raises(UnknownUserError):
        client.check_text(ALICE, "小明")
    assert client.check_text(ALICE, "小明").suggestion is Suggestion.PASS, "asked once"


def test_a_text_that_wechat_calls_risky_by_an_error_is_risky(sandbox: Sandbox) -> None:
    Phone(sandbox.url, "alice").login()
    sandbox.state.request_fault(TEXT_CHECK, Fault(errcode=87014))
    verdict = Client(APP, SECRET, sandbox.url).check_text(ALICE, "小明")
    assert verdict == Verdict(Suggestion.RISKY, "")


def test_a_text_check_is_repeated_once_when_wechat_is_busy() -> None:
    with ScriptedServer(*map(says, [token_answer(), BUSY, PASSED])) as server:
        assert check(server).suggestion is Suggestion.PASS
        assert server.bodies[1] == server.bodies[2]


def test_a_check_whose_verdict_was_lost_is_not_repeated() -> None:
    with ScriptedServer(says(token_answer()), hangs_up, says(PASSED)) as server:
        with pytest.raises(UnavailableError):
            check(server)
        assert len(server.requests) == 2
