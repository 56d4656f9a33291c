"""Calls to WeChat through a proxy with a fixed address (WECHAT_PROXY), a real one on loopback."""

import re
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import pytest
from django.core.checks import run_checks

from tests.certificates import write_certificate
from tests.servers import unused_port
from wechat.client import Client
from wechat.errors import InvalidCodeError, UnavailableError
from wechat.sandbox import Phone, Sandbox, openid_of
from wechat.transport import http_session

pytestmark = pytest.mark.no_service

APP, SECRET = "wx0000000000000001", "canary-of-the-secret"


class Proxy:
    """A proxy as squid is one: CONNECT for https, absolute addresses for http; `heads` it got.

    Over TLS with a `context`; it wants `credentials` where there are some; `hangs` after a CONNECT
    or `refuses` it.
    """

    def __init__(self, context: ssl.SSLContext | None = None, credentials: str = "") -> None:
        self.context = context
        self.wanted = b64encode(credentials.encode()).decode() if credentials else ""
        self.heads: list[str] = []
        self.refuses = self.hangs = False
        self.door = socket.create_server(("127.0.0.1", 0))
        self.over = threading.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.door.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.over.set()
        with suppress(OSError):
            self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _address = self.door.accept()
                threading.Thread(target=self.serve, args=[near], daemon=True).start()

    def serve(self, near: socket.socket) -> None:
        with suppress(OSError):
            if self.context:
                near = self.context.wrap_socket(near, server_side=True)
            with near:
                self.forward(near, read_head(near))

    def forward(self, near: socket.socket, head: str) -> None:
        self.heads.append(head)
        method, target, _version = head.split("\r\n")[0].split(" ")
        if self.wanted and f"Proxy-Authorization: Basic {self.wanted}" not in head:
            near.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        if method == "CONNECT":
            if self.hangs:
                self.over.wait(30)
            if self.refuses:
                near.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            host, port = target.split(":")
            rest = b""
        else:
            found = re.fullmatch(r"http://([\d.]+):(\d+)(/.*)", target)
            assert found
            host, port = found[1], found[2]
            rest = head.replace(target, found[3], 1).encode()
            rest = re.sub(rb"(?i)connection: keep-alive", b"Connection: close", rest)
        with socket.create_connection((host, int(port))) as far:
            if rest:
                far.sendall(rest)
            else:
                near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pipe, args=[far, near], daemon=True)
            back.start()
            pipe(near, far)
            back.join(5)


def read_head(line: socket.socket) -> str:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = line.recv(1)
        if not byte:
            raise OSError("hung up")
        head += byte
    return head.decode()


def pipe(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class SecureFront:
    """A port that speaks TLS, in front of a plain one."""

    def __init__(self, context: ssl.SSLContext, behind: str) -> None:
        self.context = context
        self.behind = ("127.0.0.1", int(behind.rpartition(":")[2]))
        self.door = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.door.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):
            self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _address = self.door.accept()
                threading.Thread(target=self.serve, args=[near], daemon=True).start()

    def serve(self, near: socket.socket) -> None:
        with (
            suppress(OSError),
            self.context.wrap_socket(near, server_side=True) as inside,
            socket.create_connection(self.behind) as far,
        ):
            threading.Thread(target=pipe, args=[far, inside], daemon=True).start()
            pipe(inside, far)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def context(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return what a server of that certificate needs; it is trusted."""
    monkeypatch.setattr(http_session(), "verify", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox({APP: SECRET}) as running:
        yield running


# A sandbox over http behind a proxy over https is left out: requests would not verify that proxy.
FORMS = [
    (proxy, wechat, credentials)
    for proxy, wechat in (("http", "http"), ("http", "https"), ("https", "https"))
    for credentials in ("", "user:p@ss word")
]


@pytest.mark.parametrize(("proxy_scheme", "scheme", "credentials"), FORMS)
def test_every_call_goes_through_the_proxy(
    sandbox: Sandbox,
    context: ssl.SSLContext,
    settings: Any,
    proxy_scheme: str,
    scheme: str,
    credentials: str,
) -> None:
    with ExitStack() as stack:
        secure = context if proxy_scheme == "https" else None
        proxy = stack.enter_context(Proxy(secure, credentials))
        url = sandbox.url
        if scheme == "https":
            url = stack.enter_context(SecureFront(context, sandbox.url)).url
        user = f"{credentials.replace('@', '%40').replace(' ', '%20')}@" if credentials else ""
        settings.WECHAT_PROXY = f"{proxy_scheme}://{user}{proxy.address}"
        client = Client(APP, SECRET, url)
        code = Phone(sandbox.url, "alice").login()
        assert client.code_to_session(code).openid == openid_of(APP, "alice")
        assert client.check_text(openid_of(APP, "alice"), "小明").suggestion == "pass"
        assert proxy.heads, "the phone's own calls do not go there"
        if scheme == "https":
            assert {head.split(" ")[0] for head in proxy.heads} == {"CONNECT"}
            assert not [head for head in proxy.heads if SECRET in head]
        else:
            assert proxy.heads[0].startswith(f"GET {url}/sns/jscode2session?")
        with pytest.raises(InvalidCodeError):
            client.code_to_session(code)


def test_without_the_setting_there_is_no_proxy(sandbox: Sandbox, settings: Any) -> None:
    with Proxy() as proxy:
        code = Phone(sandbox.url, "alice").login()
        assert Client(APP, SECRET, sandbox.url).code_to_session(code)
        assert proxy.heads == [] and settings.WECHAT_PROXY == ""


def test_a_certificate_that_no_one_vouches_for_is_refused(
    sandbox: Sandbox, certificate: Path
) -> None:
    """So is one for another name; the code is not sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with SecureFront(context, sandbox.url) as front:
        code = Phone(sandbox.url, "alice").login()
        with pytest.raises(UnavailableError) as failed:
            Client(APP, SECRET, front.url).code_to_session(code)
        assert failed.value.reason != ""
    assert Client(APP, SECRET, sandbox.url).code_to_session(code), "it is unused"


def failure(url: str, timeout: float = 1.0) -> UnavailableError:
    started = time.monotonic()
    with pytest.raises(UnavailableError) as failed:
        Client(APP, SECRET, url, timeout).code_to_session("code")
    assert time.monotonic() - started < timeout + 3
    assert "canary" not in repr(failed.value) + str(failed.value) + str(vars(failed.value))
    return failed.value


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_named(settings: Any, scheme: str) -> None:
    settings.WECHAT_PROXY = f"http://user:canary@127.0.0.1:{unused_port()}"
    assert failure(f"{scheme}://127.0.0.1:{unused_port()}").reason == "proxy"


def test_a_proxy_that_connects_to_nothing_is_named(settings: Any) -> None:
    with Proxy(credentials="user:another") as proxy:
        settings.WECHAT_PROXY = f"http://user:canary@{proxy.address}"
        assert failure("https://127.0.0.1:9").reason == "proxy", "wrong credentials"
        assert len(proxy.heads) == 2, "tried once more: WeChat got nothing"
    with Proxy() as proxy:
        proxy.refuses = True
        settings.WECHAT_PROXY = f"http://{proxy.address}"
        assert failure("https://127.0.0.1:9").reason == "proxy"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_hangs_holds_no_thread_longer_than_the_deadline(
    settings: Any, scheme: str
) -> None:
    with Proxy() as proxy, socket.create_server(("127.0.0.1", 0)) as silent:
        proxy.hangs = True
        settings.WECHAT_PROXY = f"http://{proxy.address}"
        assert failure(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", timeout=0.4)
        assert len(proxy.heads) == 1


@pytest.mark.parametrize(
    "wrong",
    ["proxy.example.com:3128", "socks5://127.0.0.1:1080", "http://", "http://[", "http://a:b:c"],
)
def test_a_proxy_that_cannot_be_read_is_refused(db: None, settings: Any, wrong: str) -> None:
    settings.WECHAT_PROXY = wrong
    assert "wechat.E006" in [message.id for message in run_checks()]
    for right in ("", "http://10.0.0.5:3128", "https://user:password@proxy.example.com"):
        settings.WECHAT_PROXY = right
        assert "wechat.E006" not in [message.id for message in run_checks()]
