"""WeChat Cloud Run's private gateway, played on a real port in front of a service.

A phone says by `X-Sandbox-Person`, and `X-Sandbox-Appid` where the sandbox has several apps, what
the real gateway knows by itself. Sources: WeChat Cloud Run's 容器内变量信息 (headers), 服务限制
(limits) and 消息推送 (pushes). Where they allow several behaviours, this takes the worst: what is
only spelled like `X-WX-*` passes.
"""

import http.client
import logging
import re
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from .server import Sandbox
from .state import WxCallError, openid_of, unionid_of

logger = logging.getLogger(__name__)

MAX_TEXT, MAX_BINARY, MAX_ANSWER = 100 * 1024, 20 * 1024 * 1024, 1000 * 1024  # bytes
PATIENCE = 15  # seconds

BINARY = ("image/", "multipart/", "application/octet-stream")
# Of one connection, or set anew here.
OWN = {"connection", "content-length", "host", "keep-alive", "transfer-encoding", "date", "server"}


class _GatewayHandler(BaseHTTPRequestHandler):
    server: "_GatewayServer"
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        gateway = self.server.gateway
        if gateway.wakes():
            self.close_connection = True  # the phone hears nothing at all
            return
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        is_binary = self.headers.get("Content-Type", "").startswith(BINARY)
        if length > (MAX_BINARY if is_binary else MAX_TEXT):
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        try:
            status, headers, answer = gateway.ask(self, body)
        except WxCallError:
            self._refuse(HTTPStatus.BAD_REQUEST)
        except TimeoutError:
            self._refuse(HTTPStatus.GATEWAY_TIMEOUT)
        except (OSError, http.client.HTTPException):
            self._refuse(HTTPStatus.BAD_GATEWAY)
        else:
            if len(answer) > MAX_ANSWER:
                self._refuse(HTTPStatus.BAD_GATEWAY)
            else:
                self._send(status, headers, answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _refuse(self, status: HTTPStatus) -> None:
        self._send(status, {"Content-Type": "text/plain"}, status.phrase.encode())

    def _send(self, status: int, headers: dict[str, str], answer: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        logger.debug(format, *args)


class _GatewayServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, gateway: "Gateway") -> None:
        self.gateway = gateway
        super().__init__(("127.0.0.1", 0), _GatewayHandler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # without asking DNS for the host's name


class Gateway:
    """The gateway of one service, at `service` (`http://127.0.0.1:8000`), for phones of a sandbox.

    `with Gateway(sandbox, service) as gateway:` serves at `gateway.url`. After `sleep()` the next
    request meets a lost connection, as does the service with its own: `on_sleep` takes them away.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        service: str,
        on_sleep: Callable[[], None] = lambda: None,
        patience: float = PATIENCE,
    ) -> None:
        self._state = sandbox.state
        self._service = urlsplit(service)
        self._on_sleep = on_sleep
        self._patience = patience
        self._asleep = threading.Event()
        self._server = _GatewayServer(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="wechat-gateway", daemon=True
        )

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def sleep(self) -> None:
        """Let the service sleep: nothing of its connections is left, and the next call is lost."""
        self._on_sleep()
        self._asleep.set()

    def wakes(self) -> bool:
        """Return whether this is the first request after a sleep."""
        was_asleep = self._asleep.is_set()
        self._asleep.clear()
        return was_asleep

    def ask(self, phone: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Pass a phone's request on; return the service's status, headers and body.

        Raises TimeoutError after `patience` seconds, and WxCallError for an unknown app.
        """
        service = http.client.HTTPConnection(
            str(self._service.hostname), self._service.port, timeout=self._patience
        )
        try:
            service.request(str(phone.command), phone.path, body or None, self._headers(phone))
            response = service.getresponse()
            answer = response.read(MAX_ANSWER + 1)
            kept = {name: value for name, value in response.getheaders() if name.lower() not in OWN}
            return response.status, kept, answer
        finally:
            service.close()

    def _headers(self, phone: BaseHTTPRequestHandler) -> dict[str, str]:
        """Return the phone's headers, and in place of its `X-WX-*` what WeChat knows."""
        sent = {
            name: value
            for name, value in phone.headers.items()
            if name.lower() not in OWN and not re.match("x-wx-|x-sandbox-", name, re.IGNORECASE)
        }
        appid = self._state.known_app(phone.headers.get("X-Sandbox-Appid", ""))
        own = {"X-WX-SOURCE": "wx_client", "X-WX-APPID": appid, "X-WX-ENV": "sandbox-1"}
        if person := phone.headers.get("X-Sandbox-Person"):  # none where no one is logged in
            self._state.visit(appid, person)
            own |= {"X-WX-OPENID": openid_of(appid, person), "X-WX-UNIONID": unionid_of(person)}
        return sent | own | {"X-Original-Forwarded-For": phone.client_address[0]}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
