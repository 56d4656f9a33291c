"""Phones that tap a card: each logs in, binds, reads the ranking and submits, in its own time.

All of them live in one thread, on asyncio, so that one that waits never holds up another. Times are
seconds since the crowd began, and a call counts from the moment it was due, not from when we came
round to making it.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

PATIENCE = 30.0  # seconds that a call may take; the client kit gives up then, too
SCENE = 1044  # a card in a group that carries a shareTicket
WECHAT, SEEN = "wechat", "seen"  # not calls of the site: the phone's own, and tap to ranking
CUT_OFF = "cut off"  # the error of a call that was under way when the crowd ended


class Arrival(NamedTuple):
    """A person who taps a card: when, in which chat, and what they do there."""

    at: float
    person: str
    chat: str
    address: str
    pauses: tuple[float, float]
    score: int


class TimedCall(NamedTuple):
    """A call, when it was due, and how it ended: `error` is empty where it was answered well."""

    name: str
    due: float
    ended: float
    error: str = ""

    @property
    def took(self) -> float:
        return self.ended - self.due


class HttpAnswer(NamedTuple):
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Kept connections to one server, as many as there are calls under way."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        self.secure = parts.scheme == "https"
        self.host, self.port = parts.hostname or "", parts.port or (443 if self.secure else 80)
        self.path = parts.path.rstrip("/")
        self.headers = {"Host": parts.netloc, "Accept-Language": "zh-CN", **(headers or {})}
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> HttpAnswer:
        """Send a request, once more where a kept connection turns out to be closed.

        Raises OSError, also for a server that takes longer than PATIENCE.
        """
        head = {**self.headers, **{name.replace("_", "-"): text for name, text in headers.items()}}
        content = b""
        if body is not None:
            content = json.dumps(body).encode()
            head |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        lines = [f"{method} {self.path}{path} HTTP/1.1", *(f"{a}: {b}" for a, b in head.items())]
        request = "\r\n".join([*lines, "", ""]).encode() + content
        async with asyncio.timeout(PATIENCE):
            while self._idle:
                with suppress(ConnectionResetError, BrokenPipeError):
                    return await self._ask(*self._idle.pop(), request)
            line = await asyncio.open_connection(self.host, self.port, ssl=self.secure or None)
            return await self._ask(*line, request)

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> HttpAnswer:
        is_kept = False
        try:
            writer.write(request)
            await writer.drain()
            answer = await read_answer(reader)
            is_kept = answer.headers.get("connection", "").lower() != "close"
        finally:
            if is_kept:
                self._idle.append((reader, writer))
            else:
                writer.close()
        return answer

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[1].close()


async def read_answer(reader: asyncio.StreamReader) -> HttpAnswer:
    """Read one answer. Raises ConnectionResetError where the connection ends before or within."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split()[1])
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): text.strip() for name, _colon, text in pairs}
        if status in {204, 304}:
            body = b""
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            body = await read_chunks(reader)
        elif "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
        else:
            body = await reader.read()
            headers["connection"] = "close"
        if head[0].startswith("HTTP/1.0"):
            headers.setdefault("connection", "close")
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("The server closed the connection") from error
    return HttpAnswer(status, headers, body)


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


class GivenUp(Exception):
    """The end of a phone's way: a call was not answered as it hoped."""


@dataclass
class Crowd:
    """A site, its sandbox, and what became of the phones so far."""

    site: str
    sandbox: HttpClient
    board: str
    is_ours: bool  # the site believes our X-Forwarded-For, so that each phone has an address
    arrived: list[float] = field(default_factory=list)
    calls: list[TimedCall] = field(default_factory=list)
    finished: int = 0
    given_up: int = 0
    late: list[float] = field(default_factory=list)  # by how much we woke too late
    began: float = field(default_factory=time.monotonic)
    took: float = 0.0

    def now(self) -> float:
        return time.monotonic() - self.began

    async def sleep_until(self, moment: float) -> None:
        await asyncio.sleep(moment - self.now())
        self.late.append(self.now() - moment)

    async def visit(self, arrival: Arrival) -> None:
        """Let one phone come, and go all its way or give up."""
        await self.sleep_until(arrival.at)
        self.arrived.append(arrival.at)
        headers = {"X-Forwarded-For": arrival.address} if self.is_ours else {}
        site = HttpClient(f"{self.site}/api/v1", headers)
        try:
            await CrowdPhone(self, arrival, site).travel()
            self.finished += 1
        except GivenUp:
            self.given_up += 1
        finally:
            site.close()


class CrowdPhone:
    """One phone on its way from the tap to the last look at the ranking."""

    def __init__(self, crowd: Crowd, arrival: Arrival, site: HttpClient) -> None:
        self.crowd = crowd
        self.arrival = arrival
        self.site = site
        self.due = arrival.at
        self.token = ""

    async def travel(self) -> None:
        """Go from the tap to the last look. Raises GivenUp."""
        await self.log_in()
        ticket = (await self.wx("open-card", chat=self.arrival.chat, scene=SCENE))["shareTicket"]
        envelope = await self.wx("share-info", shareTicket=ticket)
        body = {"encryptedData": envelope["encryptedData"], "iv": envelope["iv"], "scene": SCENE}
        bound = await self.call("bind", "POST", "/groups/bind", body)
        open_gid = json.loads(bound.body)["openGId"]
        board = self.crowd.board
        path, query = f"/groups/{open_gid}/ranking", f"?board={board}" if board else ""
        seen = await self.call("ranking", "GET", f"{path}{query}")
        self.crowd.calls.append(TimedCall(SEEN, self.arrival.at, self.due))
        await self.pause(self.arrival.pauses[0])
        etag = seen.headers.get("etag")
        known = {"If_None_Match": etag} if etag else {}
        await self.call("again", "GET", f"{path}{query}", **known)
        await self.pause(self.arrival.pauses[1])
        if board:
            score = {"board": board, "value": self.arrival.score, "idempotencyKey": uuid4().hex}
            if json.loads(seen.body)["board"]["scope"] == "group":
                score["openGId"] = open_gid
            await self.call("scores", "POST", "/scores", score)
        await self.call("around", "GET", f"{path}/around{query}")

    async def log_in(self) -> None:
        code = (await self.wx("login"))["code"]
        answer = await self.call("login", "POST", "/login", {"code": code})
        self.token = json.loads(answer.body)["token"]

    async def pause(self, seconds: float) -> None:
        self.site.close()  # as a phone does that has nothing to say
        self.due += seconds
        await self.crowd.sleep_until(self.due)

    async def wx(self, call: str, **arguments: Any) -> dict[str, Any]:
        """Make a call of `wx`, which the sandbox answers. Raises GivenUp."""
        body = {"person": self.arrival.person, **arguments}
        answer = await self.ask(self.crowd.sandbox, WECHAT, "POST", f"/phone/{call}", body)
        return dict(json.loads(answer.body))

    async def call(
        self, name: str, method: str, path: str, body: Any = None, **headers: str
    ) -> HttpAnswer:
        """Make a call of the site. Raises GivenUp."""
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return await self.ask(self.site, name, method, path, body, **headers)

    async def ask(
        self, client: HttpClient, name: str, method: str, path: str, body: Any, **headers: str
    ) -> HttpAnswer:
        error, answer = "", None
        try:
            answer = await client.send(method, path, body, **headers)
            if answer.status >= 400:
                error = f"{answer.status} {code_in(answer.body)}".strip()
        except TimeoutError:
            error = "timeout"
        except ConnectionRefusedError:
            error = "refused"
        except (OSError, asyncio.LimitOverrunError, ValueError):
            error = "broken"
        except asyncio.CancelledError:
            error = CUT_OFF
            raise
        finally:
            ended = self.crowd.now()
            where = "sandbox " if error and client is self.crowd.sandbox else ""
            self.crowd.calls.append(TimedCall(name, self.due, ended, where + error))
            self.due = ended
        if error or answer is None:
            raise GivenUp(error)
        return answer


def code_in(body: bytes) -> str:
    """Return the code of an error, where a body has one."""
    with suppress(ValueError, TypeError, KeyError):
        return str(json.loads(body)["code"])
    return ""
