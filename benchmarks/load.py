"""Requests over connections that stay open, from this process, whose CPU is not counted."""

import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, takewhile
from threading import Lock

STAYS_FRESH = 2.0  # seconds for which a group's standings may be remembered
MARGIN = 0.2
SHORTEST_KEPT = 1.0  # seconds after which a connection that waited is made anew
PATIENCE = 60.0


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes


class Line:
    """A connection to a server that stays open."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket = self._connect()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def renew(self) -> None:
        self.socket.close()
        self.socket = self._connect()

    def close(self) -> None:
        self.socket.close()

    def ask(self, request: bytes) -> Reply:
        self.socket.sendall(request)
        head, body = b"", b""
        while not body and b"\r\n\r\n" not in head:
            part = self.socket.recv(65536)
            assert part, "the server hung up"
            head += part
        head, _end, body = head.partition(b"\r\n\r\n")
        found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        assert found, head
        length = int(found[1])
        while len(body) < length:
            body += self.socket.recv(65536)
        if re.search(rb"(?i)\r\nconnection: *close", head):
            self.renew()
        return Reply(int(head.split(b" ", 2)[1]), body)


@dataclass
class Walk:
    """Requests, made one after the other; `groups` says that they go round so many groups, and
    that no group may be asked again while its standings can be remembered. 0: it may."""

    make: Callable[[int], bytes]
    groups: int = 0
    _number: count = field(default_factory=count)  # type: ignore[type-arg]  # not generic in 3.11
    _asked: dict[int, float] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def next(self) -> tuple[bytes, float]:
        """Return a request, and the seconds to wait before it is sent."""
        with self._lock:
            number = next(self._number)
            if not self.groups:
                return self.make(number), 0.0
            now, group = time.monotonic(), number % self.groups
            at = max(now, self._asked.get(group, 0.0) + STAYS_FRESH + MARGIN)
            self._asked[group] = at
        return self.make(number), at - now


@dataclass(frozen=True)
class LoadResult:
    """What came of a load: answers, within how many seconds, and how long each took; `idle` is the
    share of the clients' time in which none of the groups might be asked."""

    answers: int
    seconds: float
    times: list[float]
    idle: float = 0.0


def ask(port: int, walk: Walk, seconds: float, clients: int) -> LoadResult:
    """Ask from so many clients at once, each for the next when it has its answer."""
    began = time.monotonic()
    end = began + seconds
    waits: list[float] = []

    def client(_number: int) -> list[float]:
        line, times = Line(port), []
        while (now := time.monotonic()) < end:
            request, wait = walk.next()
            if wait:
                waits.append(min(wait, end - now))
                time.sleep(waits[-1])
                if now + wait >= end:
                    break
                if wait > SHORTEST_KEPT:
                    line.renew()
            times.append(timed(line, request))
        line.close()
        return times

    times = together(client, clients)
    spent = time.monotonic() - began
    return LoadResult(len(times), spent, times, sum(waits) / (clients * spent))


def ask_at_a_rate(port: int, walk: Walk, seconds: float, rate: int, clients: int) -> LoadResult:
    """Ask so many times a second, however long the answers take, as far as the clients suffice."""
    began = time.monotonic()

    def client(number: int) -> list[float]:
        line, times = Line(port), []
        due = (each / rate for each in count(number, clients))
        for at in takewhile(lambda at: at < seconds, due):
            time.sleep(max(0.0, began + at - time.monotonic()))
            if time.monotonic() - began >= seconds:
                break
            times.append(timed(line, walk.next()[0]))
        line.close()
        return times

    times = together(client, clients)
    return LoadResult(len(times), time.monotonic() - began, times)


def together(client: Callable[[int], list[float]], clients: int) -> list[float]:
    with ThreadPoolExecutor(clients) as pool:
        return [each for found in pool.map(client, range(clients)) for each in found]


def timed(line: Line, request: bytes) -> float:
    began = time.monotonic()
    answer = line.ask(request)
    assert answer.status in {200, 201}, (request[:200], answer)
    return time.monotonic() - began
