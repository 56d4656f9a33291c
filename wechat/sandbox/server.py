"""The sandbox's HTTP: paths, JSON and sockets around a `World`.

The platform's paths answer as api.weixin.qq.com does: HTTP 200 on errors, JSON as `text/plain`.
A POST has its access_token in the query and all else in its body. The phone's paths,
`POST /phone/…` with a JSON object, answer what a `wx` call hands to its `success` (HTTP 200) or
`fail` (HTTP 400) callback.
"""

import inspect
import json
import logging
import re
import secrets
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import UnionType
from typing import Any, Self, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl

from wechat.crypto import json_object

from .courier import Courier
from .world import CallFailed, Fault, PlatformError, World

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BODY = 64 * 1024
MAX_DISCARDED = 16 * MAX_BODY

ERRMSG: Mapping[int, str] = {
    -1: "system error",
    0: "ok",
    40001: "invalid credential, access_token is invalid or not latest",
    40002: "invalid grant_type",
    40013: "invalid appid",
    40029: "invalid code",
    40125: "invalid appsecret",
    40129: "invalid scene",
    40163: "code been used",
    40164: "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist",
    40226: "code blocked",
    41001: "access_token missing",
    41008: "missing code",
    42001: "access_token expired",
    45009: "reach max api daily quota limit",
    45011: "api minute-quota reach limit, must slower, retry next minute",
    47001: "data format error",
    61010: "user access record timeout",
}


class _BadArguments(Exception):
    """What was sent does not fit the call's signature."""


class _Refused(Exception):
    """The request is refused as HTTP, before any WeChat comes into it."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class _Answer:
    body: str
    status: int = 200
    content_type: str = "application/json"
    fault: Fault = Fault()


def _request_fault(
    world: World, path: str, fault: dict[str, Any] | None = None, times: int = 1
) -> dict[str, Any]:
    if path not in PLATFORM:
        raise CallFailed(f"path must be one of {', '.join(PLATFORM)}")
    world.request_fault(path, _call(Fault, **(fault or {})), times)
    return {}


PLATFORM: Mapping[str, tuple[str, Callable[..., dict[str, Any]]]] = {
    "/sns/jscode2session": ("GET", World.jscode2session),
    "/cgi-bin/stable_token": ("POST", World.stable_token),
    "/wxa/msg_sec_check": ("POST", World.msg_sec_check),
    "/wxa/media_check_async": ("POST", World.media_check_async),
}

PHONE: Mapping[str, tuple[str, Callable[..., dict[str, Any]]]] = {
    "/phone/login": ("login", World.login),
    "/phone/open-card": ("openCard", World.open_card),
    "/phone/open-single": ("openSingle", World.open_single),
    "/phone/share-info": ("getShareInfo", World.share_info),
    "/phone/group-enter-info": ("getGroupEnterInfo", World.group_enter_info),
    "/phone/user-info": ("getUserInfo", World.user_info),
    "/phone/join": ("join", World.join),
    "/phone/leave": ("leave", World.leave),
    "/phone/faults": ("faults", _request_fault),
    "/phone/push-to": ("pushTo", World.push_to),
}


def _answer(world: World, method: str, target: str, body: bytes) -> _Answer:
    path, _, query = target.partition("?")
    if path in PLATFORM and method == PLATFORM[path][0]:
        return _ask_platform(world, path, _sent(method, dict(parse_qsl(query)), body))
    if path in PHONE and method == "POST":
        return _ask_phone(world, path, _json_object(body))
    if path in PLATFORM or path in PHONE:
        raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} does not take {method}")
    raise _Refused(HTTPStatus.NOT_FOUND, f"the paths are {', '.join([*PLATFORM, *PHONE])}")


def _sent(method: str, query: dict[str, str], body: bytes) -> dict[str, Any] | None:
    if method == "GET":
        return query
    sent = _json_object(body)
    return None if sent is None else sent | {"access_token": query.get("access_token", "")}


def _ask_platform(world: World, path: str, sent: dict[str, Any] | None) -> _Answer:
    fault = world.take_fault(path)
    if fault.status:
        page = f"<html><h1>{fault.status}</h1></html>"
        return _Answer(page, fault.status, "text/html", fault)
    try:
        if fault.errcode is not None:
            raise PlatformError(fault.errcode)
        result = _call_platform(world, path, sent)
    except PlatformError as error:
        result = _platform_error(error.errcode)
    body = _json(result) if fault.body is None else fault.body
    return _Answer(body, content_type="text/plain", fault=fault)


def _call_platform(world: World, path: str, sent: dict[str, Any] | None) -> dict[str, Any]:
    function = PLATFORM[path][1]
    known = inspect.signature(function).parameters
    try:
        if sent is None:
            raise _BadArguments
        return _call(function, world, **{key: sent[key] for key in sent if key in known})
    except _BadArguments:
        raise PlatformError(47001) from None


def _platform_error(errcode: int) -> dict[str, Any]:
    rid = f"{int(time.time()):08x}-{secrets.token_hex(4)}-{secrets.token_hex(4)}"
    errmsg = ERRMSG.get(errcode, "a fault on request")
    return {"errcode": errcode, "errmsg": f"{errmsg}, rid: {rid}"}


def _ask_phone(world: World, path: str, sent: dict[str, Any] | None) -> _Answer:
    name, function = PHONE[path]
    try:
        if sent is None:
            raise _BadArguments("the body must be a JSON object")
        result = _call(function, world, **{_snake_case(key): sent[key] for key in sent})
    except _BadArguments as error:
        failure = {"errMsg": f"{name}:fail {error}", "errCode": -1}
    except CallFailed as error:
        failure = {"errMsg": f"{name}:fail {error.reason}", "errCode": error.err_code}
    else:
        return _Answer(_json({**result, "errMsg": f"{name}:ok"}))
    return _Answer(_json(failure), HTTPStatus.BAD_REQUEST)


def _call(function: Callable[..., T], *args: object, **sent: object) -> T:
    """`function` called with JSON values. Raises _BadArguments unless its signature fits them."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **sent)
    except TypeError as error:
        raise _BadArguments(str(error)) from None
    for name, value in sent.items():
        if not _fits(value, signature.parameters[name].annotation):
            raise _BadArguments(f"{name} has the wrong type")
    try:
        return function(*args, **sent)
    except ValueError as error:
        raise _BadArguments(str(error)) from None


def _fits(value: object, annotation: object) -> bool:
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return isinstance(value, tuple(get_origin(kind) or kind for kind in kinds))


def _snake_case(key: str) -> str:
    return re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", key)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        return json_object(body)
    except ValueError:
        return None


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    protocol_version = "HTTP/1.1"
    # Head and body leave in one packet: on a kept connection two small ones cost 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        try:
            answer = _answer(self.server.world, self.command, self.path, self._read_body())
        except _Refused as refused:
            self.send_error(refused.status, refused.reason)
        else:
            self._send(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _read_body(self) -> bytes:
        text = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not re.fullmatch(r"[0-9]{1,9}", text):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length")
        length = int(text)
        if length > MAX_BODY:
            # Closing on unread bytes resets the connection, and the answer with it.
            self.rfile.read(min(length, MAX_DISCARDED))
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY} bytes")
        return self.rfile.read(length)

    def _send(self, answer: _Answer) -> None:
        fault = answer.fault
        self.server.pause(fault.delay)
        if fault.close:
            self.close_connection = True
            return
        body = answer.body.encode("utf-8", "replace")
        self.send_response(answer.status)
        self.send_header("Content-Type", f"{answer.content_type}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if fault.drip:
            self._drip(body, fault.drip)
        else:
            self.wfile.write(body)

    def _drip(self, body: bytes, seconds: float) -> None:
        for byte in body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            self.server.pause(seconds)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse in JSON, and close: what follows on the line may not be a request."""
        self.close_connection = True
        reason = message or HTTPStatus(code).phrase
        self._send(_Answer(_json({"error": reason}), code))

    def version_string(self) -> str:
        return "groupsite-sandbox"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        # Without the query: it holds codes and the app's secret.
        target = getattr(self, "path", "").partition("?")[0]
        logger.debug("%s %s %s", self.command, target, code)

    def log_message(self, format: str, *args: object) -> None:
        logger.debug(format, *args)


_Request = socket.socket | tuple[bytes, socket.socket]  # as socketserver puts it


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], world: World) -> None:
        self.world = world
        self.closing = threading.Event()
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own would ask DNS for the host's name, which can take seconds.
        socketserver.TCPServer.server_bind(self)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: _Request) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        self.closing.set()
        # Kept connections would go on answering for a sandbox that is over.
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def pause(self, seconds: float) -> None:
        self.closing.wait(seconds)

    def handle_error(self, request: _Request, client_address: object) -> None:
        # A caller that lost patience is what faults are for, not an error of the sandbox.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Sandbox:
    """A fake WeChat listening on `host`:`port` (0: any free port), for `apps` {appid: secret}.

    `with Sandbox(apps) as sandbox:` serves at `sandbox.url` until the block ends, and hangs up
    on everyone then; `sandbox.world` is its state. Raises OSError for a port it cannot have.
    """

    def __init__(
        self,
        apps: Mapping[str, str],
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.world = World(apps, clock)
        self._courier = Courier(self.world)
        self._server = _Server((host, port), self.world)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="wechat-sandbox", daemon=True
        )

    @property
    def url(self) -> str:
        """Where it listens, such as `http://127.0.0.1:8001`, without a final slash."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def wait(self) -> None:
        """Sleep for as long as it serves; Ctrl-C gets through."""
        self._server.closing.wait()

    def settle(self, timeout: float = 10) -> None:
        """Wait until every verdict owed so far is pushed, or given up. Raises TimeoutError."""
        self._courier.settle(timeout)

    def __enter__(self) -> Self:
        self._thread.start()
        self._courier.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._courier.stop()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
