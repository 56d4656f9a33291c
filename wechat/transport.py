"""The HTTP session of the process, whose timeout limits the whole call.

The timeouts of requests and urllib3 limit each wait on the socket, so a server that sends one
byte a second can hold a worker for hours. Here every read, of headers and body, gets only what
is left of the call's time.
"""

import http.client
import io
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

MAX_CONNECTIONS = 32
MAX_FETCHED = 64 * 1024  # bytes


class _DeadlineReader(io.RawIOBase):
    """A raw stream of a socket that gives each read only the time left."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        timeout = sock.gettimeout()
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the call's deadline has passed")
            self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _DeadlineResponse


class _SecureConnection(HTTPSConnection):
    response_class = _DeadlineResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


POOLS = {"http": _Pool, "https": _SecurePool}


class _DeadlineAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = POOLS
        return manager


@cache
def http_session() -> requests.Session:
    """Return the one session of the process.

    It pools connections, keeps no cookies, reads no .netrc, and goes through no proxy, whatever the
    environment says; a call may name one.
    """
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = _DeadlineAdapter(pool_connections=4, pool_maxsize=MAX_CONNECTIONS)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class FetchError(Exception):
    """No answer came; `reason` is `certificate`, `unreachable` or `timeout`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Fetched:
    status: int
    headers: Mapping[str, str]
    body: bytes


def fetch(url: str, *, seconds: float = 5.0, proxies: dict[str, str] | None = None) -> Fetched:
    """Get a URL for `manage.py doctor`, redirects not followed. Raises FetchError.

    Connecting and reading take at most so many seconds each; MAX_FETCHED bytes are read at most.
    """
    try:
        with http_session().get(
            url, timeout=seconds, proxies=proxies, allow_redirects=False, stream=True
        ) as answer:
            body = answer.raw.read(MAX_FETCHED, decode_content=True)
            return Fetched(answer.status_code, answer.headers, body)
    except requests.exceptions.SSLError:
        raise FetchError("certificate") from None
    except requests.Timeout:
        raise FetchError("timeout") from None
    except (requests.RequestException, HTTPError, OSError):
        raise FetchError("unreachable") from None
