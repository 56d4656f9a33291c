"""Members of a site behind its proxy: they log in, play, and count each answer that they miss."""

import json
import os
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import urllib3
from PIL import Image

from wechat.sandbox import Phone

from . import APP_ID, DOMAIN

BOARD = "laps"
CHAT = "family"
PATIENCE = 60
MAKE_BOARD = (
    "from groups.models import Board; Board.objects.create("
    f"app_id='{APP_ID}', key='{BOARD}', title_zh='圈', title_en='Laps',"
    " scope='app', policy='sum', writer='client')"
)


class HttpsClient:
    """The site as phones see it: by its name, over HTTPS, with a certificate that is checked."""

    def __init__(self, authority: Path) -> None:
        self.authority = authority
        self.pool = urllib3.HTTPSConnectionPool(
            "127.0.0.1",
            443,
            maxsize=40,
            ca_certs=str(authority),
            assert_hostname=DOMAIN,
            server_hostname=DOMAIN,
            retries=False,
        )

    def ask(
        self,
        method: str,
        path: str,
        token: str = "",
        body: Any = None,
        *,
        timeout: float = PATIENCE,
        **more: Any,
    ) -> tuple[int, Any]:
        """Send one request; return status and answer."""
        headers = {"Host": DOMAIN} | ({"Authorization": f"Bearer {token}"} if token else {})
        if body is not None:
            more["body"] = json.dumps(body)
            headers["Content-Type"] = "application/json"
        answer = self.pool.request(
            method, path, headers=headers, timeout=timeout, redirect=False, **more
        )
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        return answer.status, answer.json() if is_json and answer.data else answer.data

    def call(self, method: str, path: str, token: str = "", body: Any = None) -> Any:
        """Call the API, which has to succeed; return its answer."""
        status, answer = self.ask(method, f"/api/v1/{path}", token, body)
        if status >= 300:
            raise AssertionError(f"{method} {path}: {status} {answer}")
        return answer

    def connection(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.authority))
        plain = socket.create_connection(("127.0.0.1", 443), PATIENCE)
        return context.wrap_socket(plain, server_hostname=DOMAIN)


@dataclass
class Racer:
    site: HttpsClient
    phone: Phone
    token: str = ""
    group: str = ""
    sent: int = 0  # laps that the site has acknowledged
    keys: Iterator[int] = field(default_factory=count)

    def enter(self) -> None:
        """Log in, and bind the group that the card is in."""
        self.token = self.site.call("POST", "login", body={"code": self.phone.login()})["token"]
        envelope = self.phone.share_info(self.phone.open_card(CHAT)["shareTicket"])
        self.group = self.site.call("POST", "groups/bind", self.token, envelope)["openGId"]

    def look(self, **how: Any) -> int:
        return self.site.ask("GET", f"/api/v1/groups/{self.group}/ranking", self.token, **how)[0]

    def run_a_lap(self) -> int:
        body = {"board": BOARD, "value": 1, "idempotencyKey": f"lap {next(self.keys)}"}
        status, _ = self.site.ask("POST", "/api/v1/scores", self.token, body)
        self.sent += status < 300
        return status

    def laps(self) -> int:
        """Return how many laps the site has of this member."""
        path = f"groups/{self.group}/ranking?board={BOARD}&window=all"
        return int(self.site.call("GET", path, self.token)["me"]["score"])

    def send_picture(self, picture: bytes) -> None:
        status, answer = self.site.ask(
            "POST",
            "/api/v1/me/avatar",
            self.token,
            fields={"avatar": ("me.jpg", picture, "image/jpeg")},
        )
        if status >= 300:
            raise AssertionError(f"the avatar was refused: {status} {answer}")


def members(site: HttpsClient, sandbox_url: str, how_many: int) -> list[Racer]:
    people = [Racer(site, Phone(sandbox_url, f"member{n}", APP_ID)) for n in range(how_many)]
    for member in people:
        member.enter()
    return people


def large_picture(least: int = 1_900_000) -> bytes:
    """Return a JPEG of a little more than so many bytes."""
    for side in range(1200, 2000, 20):
        picture = BytesIO()
        Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(
            picture, "JPEG", quality=92
        )
        if len(picture.getvalue()) >= least:
            return picture.getvalue()
    raise AssertionError("no picture is large enough")


@dataclass
class Counts:
    """What came of the requests of a while."""

    answers: Counter[str] = field(default_factory=Counter)
    slowest: float = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, request: Callable[[], int]) -> None:
        """Make a request, and count its status, or what stood in its way."""
        begun = time.monotonic()
        try:
            kind = str(request())
        except urllib3.exceptions.HTTPError as error:
            kind = type(error).__name__
        with self.lock:
            self.answers[kind] += 1
            self.slowest = max(self.slowest, time.monotonic() - begun)

    @property
    def lost(self) -> int:
        return sum(number for kind, number in self.answers.items() if not kind.startswith("2"))

    def __str__(self) -> str:
        kinds = ", ".join(f"{number} × {kind}" for kind, number in self.answers.most_common())
        total = self.answers.total()
        return f"{total} requests, {self.lost} lost ({kinds}; slowest {self.slowest:.1f} s)"


@contextmanager
def under_load(people: list[Racer]) -> Iterator[Counts]:
    """Let every member look at the ranking and run laps, one request after the other."""
    counts, stop = Counts(), threading.Event()

    def play(member: Racer) -> None:
        for turn in count():
            counts.count(member.look if turn % 4 else member.run_a_lap)
            if stop.wait(0.25):
                return

    threads = [threading.Thread(target=play, args=(member,)) for member in people]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        yield counts
        time.sleep(1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def slow_bodies(site: HttpsClient, how_many: int) -> Iterator[None]:
    """Hold so many requests open whose bodies come a byte a second, after their first part.

    The first part is more than a proxy keeps in any case: Caddy passes nothing on before 4 kB.
    """
    stop = threading.Event()
    head = (
        f"POST /api/v1/login HTTP/1.1\r\nHost: {DOMAIN}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    )
    with ExitStack() as stack:
        connections = [stack.enter_context(site.connection()) for _ in range(how_many)]
        for connection in connections:
            connection.sendall(head.encode() + b" " * 20_000)

        def drip() -> None:
            while not stop.wait(1):
                for connection in connections:
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        continue

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            time.sleep(2)
            yield
        finally:
            stop.set()
            thread.join()


def looks(people: list[Racer], how_many: int, timeout: float) -> Counts:
    """Look at the ranking so many times, and count what takes longer than `timeout`."""
    counts = Counts()
    for turn in range(how_many):
        counts.count(partial(people[turn % len(people)].look, timeout=timeout))
    return counts


def looks_at_once(people: list[Racer], timeout: float, most: int = 5) -> Counts:
    """Let everyone look at the same moment, up to `most` times, until a look is lost.

    All slow bodies may be with one of the site's two processes. A proxy that keeps its connections
    would ask the other one only; so several ask at once, and again when what it keeps has ended.
    """
    counts = Counts()
    for _turn in range(most):
        with ThreadPoolExecutor(len(people)) as pool:
            list(pool.map(counts.count, (partial(each.look, timeout=timeout) for each in people)))
        if counts.lost:
            break
        time.sleep(3)
    return counts
