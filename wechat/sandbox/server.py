"""The sandbox's HTTP server: paths, JSON and sockets around a `SandboxState`.

The platform's paths answer as api.weixin.qq.com does: HTTP 200 on errors, JSON as `text/plain`.
A POST has its access_token in the query, getopendata its openid too, and everything else in its
body. The phone's paths, `POST /phone/…` with a JSON object, answer what a `wx` call passes to its
`success` (HTTP 200) or `fail` (HTTP 400) callback.
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

from .pushes import PushWorker
from .state import Fault, PlatformError, SandboxState, WxCallError

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BODY = 64 * 1024
MAX_DISCARDED = 16 * MAX_BODY

ERRMSG: Mapping[int, str] = {
    -1: "system error",
    0: "ok",
    40001: "invalid credential, access_token is invalid or not latest",
    40002: "invalid grant_type",
    40003: "invalid openid",
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
    43104: "this appid does not have permission",
    45009: "reach max api daily quota limit",
    45011: "api minute-quota reach limit, must slower, retry next minute",
    47001: "data format error",
    48001: "api unauthorized",
    61010: "user access record timeout",
    87014: "risky content",
}


class _HTTPError(Exception):
    """The refusal of a request as HTTP, before it becomes a call to WeChat."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class _ArgumentError(WxCallError):
    """A mismatch between what was sent and the call's signature."""


@dataclass(frozen=True)
class _Response:
    body: str
    status: int = 200
    content_type: str = "application/json"
    fault: Fault = Fault()


def _request_fault(
    state: SandboxState, path: str, fault: dict[str, Any] | None = None, times: int = 1
) -> dict[str, Any]:
    if path not in PLATFORM_CALLS:
        raise WxCallError(f"path must be one of {', '.join(PLATFORM_CALLS)}")
    state.request_fault(path, _call(Fault, **(fault or {})), times)
    return {}


# The method and the function behind each path.
PLATFORM_CALLS: Mapping[str, tuple[str, Callable[..., dict[str, Any]]]] = {
    "/sns/jscode2session": ("GET", SandboxState.jscode2session),
    "/cgi-bin/stable_token": ("POST", SandboxState.stable_token),
    "/wxa/msg_sec_check": ("POST", SandboxState.msg_sec_check),
    "/wxa/media_check_async": ("POST", SandboxState.media_check_async),
    "/wxa/getopendata": ("POST", SandboxState.getopendata),
}

# The call's name in `errMsg` and the function behind each path.
PHONE_CALLS: Mapping[str, tuple[str, Callable[..., dict[str, Any]]]] = {
    "/phone/login": ("login", SandboxState.login),
    "/phone/open-card": ("openCard", SandboxState.open_card),
    "/phone/open-single": ("openSingle", SandboxState.open_single),
    "/phone/share-info": ("getShareInfo", SandboxState.share_info),
    "/phone/group-enter-info": ("getGroupEnterInfo", SandboxState.group_enter_info),
    "/phone/user-info": ("getUserInfo", SandboxState.user_info),
    "/phone/join": ("join", SandboxState.join),
    "/phone/leave": ("leave", SandboxState.leave),
    "/phone/revoke-authorization": ("revokeAuthorization", SandboxState.revoke_authorization),
    "/phone/modify-user-info": ("modifyUserInfo", SandboxState.modify_user_info),
    "/phone/cancel-account": ("cancelAccount", SandboxState.cancel_account),
    "/phone/faults": ("faults", _request_fault),
    "/phone/push-to": ("pushTo", SandboxState.push_to),
}


def _respond(state: SandboxState, method: str, target: str, body: bytes) -> _Response:
    """Return the response to one request. Raises _HTTPError for another path or method."""
    path, _, query = target.partition("?")
    if path in PLATFORM_CALLS and method == PLATFORM_CALLS[path][0]:
        return _call_platform(state, path, dict(parse_qsl(query)), body)
    if path in PHONE_CALLS and method == "POST":
        return _call_phone(state, path, body)
    if path in PLATFORM_CALLS or path in PHONE_CALLS:
        raise _HTTPError(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} does not take {method}")
    paths = ", ".join([*PLATFORM_CALLS, *PHONE_CALLS])
    raise _HTTPError(HTTPStatus.NOT_FOUND, f"the paths are {paths}")


def _call_platform(state: SandboxState, path: str, query: dict[str, str], body: bytes) -> _Response:
    """Return what the platform answers, or the fault requested for this call."""
    fault = state.take_fault(path)
    if fault.status:
        page = f"<html><h1>{fault.status}</h1></html>"
        return _Response(page, fault.status, "text/html", fault)
    method, function = PLATFORM_CALLS[path]
    try:
        if fault.errcode is not None:
            raise PlatformError(fault.errcode)
        sent: Mapping[str, Any] = query
        if method == "POST":
            in_query = (
                {"access_token", "openid"} if path == "/wxa/getopendata" else {"access_token"}
            )
            sent = _parse_body(body) | {name: query.get(name, "") for name in in_query}
        known = inspect.signature(function).parameters
        result = _call(function, state, **{key: sent[key] for key in sent if key in known})
    except _ArgumentError:
        result = _platform_error(47001)
    except PlatformError as error:
        result = _platform_error(error.errcode)
    text = _json(result) if fault.body is None else fault.body
    return _Response(text, content_type="text/plain", fault=fault)


def _platform_error(errcode: int) -> dict[str, Any]:
    rid = f"{int(time.time()):08x}-{secrets.token_hex(4)}-{secrets.token_hex(4)}"
    errmsg = ERRMSG.get(errcode, "a fault on request")
    return {"errcode": errcode, "errmsg": f"{errmsg}, rid: {rid}"}


def _call_phone(state: SandboxState, path: str, body: bytes) -> _Response:
    """Return what a `wx` call passes to its callback."""
    name, function = PHONE_CALLS[path]
    try:
        sent = {
            re.sub("[A-Z]+", lambda capitals: f"_{capitals[0].lower()}", key): value
            for key, value in _parse_body(body).items()
        }
        result = _call(function, state, **sent)
    except WxCallError as error:
        failure = {"errMsg": f"{name}:fail {error}", "errCode": error.err_code}
        return _Response(_json(failure), HTTPStatus.BAD_REQUEST)
    return _Response(_json({**result, "errMsg": f"{name}:ok"}))


def _parse_body(body: bytes) -> dict[str, Any]:
    try:
        return json_object(body)
    except ValueError:
        raise _ArgumentError("the body must be a JSON object") from None


def _call(function: Callable[..., T], *args: object, **sent: object) -> T:
    """Call `function` with JSON values. Raises _ArgumentError unless its signature fits them."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **sent)
    except TypeError as error:
        raise _ArgumentError(str(error)) from None
    for name, value in sent.items():
        annotation = signature.parameters[name].annotation
        kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
        if not isinstance(value, tuple(get_origin(kind) or kind for kind in kinds)):
            raise _ArgumentError(f"{name} has the wrong type")
    try:
        return function(*args, **sent)
    except ValueError as error:
        raise _ArgumentError(str(error)) from None


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


class _RequestHandler(BaseHTTPRequestHandler):
    server: "_SandboxServer"
    protocol_version = "HTTP/1.1"
    # Send head and body in one packet: on a kept connection two small ones cost 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        try:
            response = _respond(self.server.state, self.command, self.path, self._read_body())
        except _HTTPError as error:
            self.send_error(error.status, error.reason)
        else:
            self._send(response)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _read_body(self) -> bytes:
        text = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not re.fullmatch(r"[0-9]{1,9}", text):
            raise _HTTPError(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length")
        length = int(text)
        if length > MAX_BODY:
            # Read them first: closing a connection with unread bytes resets it, and the client
            # loses the response.
            self.rfile.read(min(length, MAX_DISCARDED))
            raise _HTTPError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY} bytes")
        return self.rfile.read(length)

    def _send(self, response: _Response) -> None:
        fault = response.fault
        self.server.closing.wait(fault.delay)
        if fault.close:
            self.close_connection = True
            return
        body = response.body.encode("utf-8", "replace")
        self.send_response(response.status)
        self.send_header("Content-Type", f"{response.content_type}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if not fault.drip:
            self.wfile.write(body)
            return
        for byte in body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            self.server.closing.wait(fault.drip)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with an error in JSON and close the connection.

        What follows on the connection may not be a request.
        """
        self.close_connection = True
        reason = message or HTTPStatus(code).phrase
        self._send(_Response(_json({"error": reason}), code))

    def version_string(self) -> str:
        return "groupsite-sandbox"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        # Not the query: it holds codes and the app's secret.
        target = getattr(self, "path", "").partition("?")[0]
        logger.debug("%s %s %s", self.command, target, code)

    def log_message(self, format: str, *args: object) -> None:
        logger.debug(format, *args)


_Request = socket.socket | tuple[bytes, socket.socket]  # as in socketserver's signatures


class _SandboxServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], state: SandboxState) -> None:
        self.state = state
        self.closing = threading.Event()
        self._connections: set[socket.socket] = set()
        super().__init__(address, _RequestHandler)

    def server_bind(self) -> None:
        # HTTPServer's own method asks DNS for the host's name, which can take seconds.
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
        # Kept connections would go on answering after the end of the sandbox.
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: _Request, client_address: object) -> None:
        # A client that hangs up during a fault is expected.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Sandbox:
    """A fake WeChat listening on `host`:`port` (0: any free port), for `apps` ({appid: secret}).

    `with Sandbox(apps) as sandbox:` serves at `sandbox.url` until the block ends, then closes all
    connections; tests read and change `sandbox.state`. `clock` returns Unix seconds. Raises
    OSError for a port that cannot be used.
    """

    def __init__(
        self,
        apps: Mapping[str, str],
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.state = SandboxState(apps, clock)
        self._worker = PushWorker(self.state)
        self._server = _SandboxServer((host, port), self.state)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="wechat-sandbox", daemon=True
        )

    @property
    def url(self) -> str:
        """Return its address, such as `http://127.0.0.1:8001`, without a final slash."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def wait(self) -> None:
        """Sleep until the sandbox ends or Ctrl-C is pressed."""
        self._server.closing.wait()

    @property
    def held(self) -> threading.Lock:
        """Hold back all that is to be pushed: `with sandbox.held:`."""
        return self._worker.held

    def settle(self, timeout: float = 60) -> None:
        """Wait until everything to be pushed so far is pushed, or given up.

        Raises TimeoutError after `timeout` seconds.
        """
        self._worker.settle(timeout)

    def __enter__(self) -> Self:
        self._thread.start()
        self._worker.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._worker.stop()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
