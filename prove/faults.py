"""WeChat, Redis, the disk and the clock fail under load: only documented answers, rankings go on,
and all is well again soon.

Rankings are measured against the same load with nothing wrong: half of them may take RATIO times as
long, or SLACK seconds longer, whichever is more.
"""

import http.client
import io
import json
import os
import socket
import sqlite3
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self
from urllib.parse import urlsplit

from wechat.crypto import seal
from wechat.sandbox import Fault, Phone, Sandbox

from . import APP_ID, APP_SECRET
from .kills import tell_missing
from .people import BOARD, SESSION_KEY
from .plan import Plan, TrialResult
from .serve import CLOCK
from .servers import KillableSite, MissingProgram, Redis, SQLite, Visitor, scratch, wait_for

LONG, SHORT = 12.0, 0.8  # seconds that a fault lasts
RATIO, SLACK = 3.0, 0.5
RECOVERY = 10.0  # seconds after which all is well, also on a busy machine
ASKERS = 4
WECHAT_PATIENCE = 5.0  # seconds: three for the call, and some for a busy machine
DAY = 86_400
LOG_IN = "/sns/jscode2session"
FOR_EVER = 10**9  # times
# The limits are on, so that Redis is asked; they let through what is asked here.
THROTTLES = ",".join(
    f"{name}=60000/minute" for name in ("address", "login", "user", "token", "call", "costly")
)

WELL = {"200", "201"}
WECHAT_AWAY = {*WELL, "401 invalid_code", "503 wechat_unavailable"}
STORE_AWAY = {*WELL, "503 unavailable"}
WRONG_TIME = {*WELL, "409 session_stale", "429 bind_locked"}


class Cable:
    """A port that leads to another, until it is cut."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.there = parts.hostname or "", parts.port or 80
        self.door = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.door.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.is_cut = Event()
        self.lines: set[socket.socket] = set()

    def __enter__(self) -> Self:
        Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _address = self.door.accept()
                if self.is_cut.is_set():
                    near.close()
                    continue
                far = socket.create_connection(self.there)
                self.lines |= {near, far}
                for pair in ((near, far), (far, near)):
                    Thread(target=self.forward, args=pair, daemon=True).start()

    def cut(self) -> None:
        self.is_cut.set()
        for line in list(self.lines):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for line in (source, target):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()
            self.lines.discard(line)


@dataclass
class Trouble:
    """A fault: how it begins and ends, what is asked meanwhile, and what may be answered.

    `must` is an answer without which the fault did not happen. After its end `afterwards`, or else
    the same, is asked until it answers as when all is well.
    """

    name: str
    begin: Callable[[], Any]
    end: Callable[[], Any]
    ask: Callable[[int], str]
    allowed: set[str]
    patience: float = 10.0
    must: str = ""
    afterwards: Callable[[int], str] | None = None
    answers: Counter[str] = field(default_factory=Counter)
    slowest: float = 0


class RankingWatch:
    """Someone who looks at a ranking, again and again."""

    def __init__(self, visitor: Visitor, path: str) -> None:
        self.visitor, self.path = visitor, path
        self.times: list[float] = []
        self.answers: Counter[str] = Counter()
        self.stop = Event()
        self.thread = Thread(target=self.look, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join(60)
        self.visitor.line.close()

    def look(self) -> None:
        while not self.stop.is_set():
            begun = time.monotonic()
            self.answers[code_of(self.visitor, "GET", self.path)] += 1
            self.times.append(time.monotonic() - begun)
            self.stop.wait(0.03)


def code_of(visitor: Visitor, method: str, path: str, *sent: Any) -> str:
    """Return an answer as `200` or `503 unavailable`; `no answer` where there was none."""
    try:
        status, body = visitor.ask(method, path, *sent)
    except (OSError, http.client.HTTPException):
        return "no answer"
    code = body.get("code") if isinstance(body, dict) else None
    return f"{status} {code}" if code and status >= 400 else str(status)


def run(plan: Plan) -> TrialResult:
    """Try one fault after another on one site, which has an SQLite file, a Redis and a sandbox."""
    outcome = TrialResult()
    with scratch() as (folder, stack):
        try:
            place = TriedSite(folder, stack, outcome)
        except MissingProgram as error:
            tell_missing(outcome, str(error))
            return outcome
        seconds = LONG if plan.long else SHORT
        for trouble in place.troubles():
            if plan.is_over():
                outcome.gaps.append(f"not tried: {trouble.name}")
                continue
            plan.progress.show(trouble.name)
            place.suffer(trouble, seconds)
        if "Redis is away" not in place.site.log():
            outcome.fail("no server missed Redis while it was gone")
    return outcome


class TriedSite:
    """The site, and everything around it that can fail."""

    def __init__(self, folder: Path, stack: ExitStack, outcome: TrialResult) -> None:
        self.folder, self.outcome = folder, outcome
        self.disks = list(stack.enter_context(small_disks(folder, outcome)))
        [data, media] = self.disks or [folder / "data", folder / "media"]
        self.sandbox = stack.enter_context(Sandbox({APP_ID: APP_SECRET}))
        self.cable = stack.enter_context(Cable(self.sandbox.url))
        self.redis = stack.enter_context(Redis(folder / "redis"))
        database = stack.enter_context(SQLite(data / "database"))
        self.site = KillableSite(
            folder / "site",
            database.url,
            1,
            WECHAT_API_URL=self.cable.url,
            REDIS_URL=self.redis.url,
            THROTTLES=THROTTLES,
            MEDIA_ROOT=str(media),
            LOG_LEVEL="ERROR",
        )
        stack.enter_context(self.site)
        made = json.loads(self.site.python("-m", "prove.people", "40"))
        self.tokens = [row["token"] for row in made]
        self.group = "tG" + "0" * 26
        for token in self.tokens[:10]:
            if self.bind(token) != "201":
                raise RuntimeError("no one can enter a group")
        self.ranking = f"/api/v1/groups/{self.group}/ranking?board={BOARD}"
        self.count = 0

    def visitor(self, token: str = "") -> Visitor:
        return Visitor(self.site.ports[0], token)

    def bind(self, token: str) -> str:
        mark = {"appid": APP_ID, "timestamp": int(time.time())}
        envelope = seal(SESSION_KEY, {"openGId": self.group, "watermark": mark})
        with self.visitor(token) as visitor:
            return code_of(visitor, "POST", "/api/v1/groups/bind", envelope)

    def log_in(self, number: int) -> str:
        code = Phone(self.sandbox.url, f"person-{number}").login()
        with self.visitor() as visitor:
            return code_of(visitor, "POST", "/api/v1/login", {"code": code, "appid": APP_ID})

    def score(self, number: int) -> str:
        with self.visitor(self.tokens[number % len(self.tokens)]) as visitor:
            body = {"board": BOARD, "value": 1 + number % 7}
            return code_of(visitor, "POST", "/api/v1/scores", body)

    def upload(self, number: int) -> str:
        with self.visitor(self.tokens[number % len(self.tokens)]) as visitor:
            body, kind = picture_form()
            return code_of(visitor, "POST", "/api/v1/me/avatar", body, kind)

    def score_or_bind(self, number: int) -> str:
        return self.score(number) if number % 2 else self.bind(self.tokens[10 + number % 20])

    def score_or_bind_as_others(self, number: int) -> str:
        """Ask as those whose binding was not locked: they sent nothing at the wrong time."""
        return self.score(number) if number % 2 else self.bind(self.tokens[30 + number % 10])

    def fill_data(self) -> None:
        """Fill the disk of the database, after what is kept beside it was given back."""
        path = self.site.environment["DATABASE_URL"].removeprefix("sqlite:///")
        line = sqlite3.connect(path, timeout=5, isolation_level=None)
        line.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        line.close()
        fill(self.disks[0])

    def set_clock(self, wrong_by: float) -> None:
        with self.visitor() as visitor:
            visitor.ask("GET", f"{CLOCK}{wrong_by}")

    def troubles(self) -> Iterator[Trouble]:
        faults = {
            "never answers": Fault(delay=60),
            "sends a byte every half second": Fault(drip=0.5),
            "answers an HTML page with 502": Fault(status=502),
            "answers HTML with 200": Fault(body="<html>busy</html>"),
            "answers 8 MB": Fault(body="x" * 8_000_000),
            "answers nothing": Fault(body=""),
            "hangs up": Fault(close=True),
            "is busy (-1)": Fault(errcode=-1),
        }
        for name, fault in faults.items():
            yield Trouble(
                f"WeChat {name}",
                partial(self.sandbox.state.request_fault, LOG_IN, fault, FOR_EVER),
                partial(self.sandbox.state.request_fault, LOG_IN, Fault(), 0),
                self.log_in,
                WECHAT_AWAY,
                WECHAT_PATIENCE,
                must="503 wechat_unavailable",
            )
        yield Trouble(
            "WeChat is down",
            self.cable.cut,
            self.cable.is_cut.clear,
            self.log_in,
            WECHAT_AWAY,
            WECHAT_PATIENCE,
            must="503 wechat_unavailable",
        )
        yield Trouble("Redis hangs", self.redis.freeze, self.redis.thaw, self.score, WELL)
        yield Trouble("Redis is killed", self.redis.kill, self.redis.start, self.score, WELL)
        if self.disks:
            data, media = self.disks
            for name, disk, begin, ask in (
                ("pictures", media, partial(fill, media), self.upload),
                ("database", data, self.fill_data, self.score),
            ):
                yield Trouble(
                    f"the disk of the {name} is full",
                    begin,
                    (disk / "filler").unlink,
                    ask,
                    STORE_AWAY,
                    must="503 unavailable",
                )
        for name, wrong_by in {
            "a day ahead": DAY,
            "a day behind": -DAY,
            "two minutes behind": -120,
            "a month ahead": 29 * DAY,
        }.items():
            yield Trouble(
                f"the clock is {name}",
                partial(self.set_clock, wrong_by),
                partial(self.set_clock, 0),
                self.score_or_bind,
                WRONG_TIME,
                afterwards=self.score_or_bind_as_others,
            )

    def suffer(self, trouble: Trouble, seconds: float) -> None:
        """Measure without the fault and with it, and how long it takes to be well again."""
        healthy = self.under_load(replace(trouble, answers=Counter()), seconds / 2)
        trouble.begin()
        try:
            suffered = self.under_load(trouble, seconds)
        finally:
            trouble.end()
        took = self.until_well(trouble)
        self.judge(trouble, healthy, suffered, took)

    def under_load(self, trouble: Trouble, seconds: float) -> RankingWatch:
        """Ask from several threads for so long, while someone else looks at the ranking."""
        end = time.monotonic() + seconds

        def ask() -> None:
            while time.monotonic() < end:
                self.count += 1
                begun = time.monotonic()
                trouble.answers[trouble.ask(self.count)] += 1
                trouble.slowest = max(trouble.slowest, time.monotonic() - begun)

        with RankingWatch(self.visitor(self.tokens[0]), self.ranking) as watch:
            threads = [Thread(target=ask, daemon=True) for _ in range(ASKERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        return watch

    def until_well(self, trouble: Trouble) -> float | None:
        """Return after how many seconds three answers in a row are good, None if they never are."""
        row = 0

        def is_well() -> bool:
            nonlocal row
            self.count += 1
            row = row + 1 if (trouble.afterwards or trouble.ask)(self.count) in WELL else 0
            return row >= 3

        with suppress(TimeoutError):
            return wait_for(is_well, trouble.name, RECOVERY)
        return None

    def judge(
        self, trouble: Trouble, healthy: RankingWatch, suffered: RankingWatch, took: float | None
    ) -> None:
        before, during = statistics.median(healthy.times), statistics.median(suffered.times)
        said = ", ".join(f"{code} × {count}" for code, count in sorted(trouble.answers.items()))
        well = f"well again after {took:.1f} s" if took is not None else "never well again"
        self.outcome.facts.append(
            f"{trouble.name}: {said}; the slowest {trouble.slowest:.1f} s; rankings "
            f"{1000 * during:.0f} ms instead of {1000 * before:.0f}; {well}"
        )
        again = "(again: `python -m prove faults --long`)"
        strange = trouble.answers.keys() - trouble.allowed
        wrong = {
            f"answered {', '.join(sorted(strange))}": strange,
            f"rankings answered {dict(suffered.answers)}": suffered.answers.keys() != {"200"},
            f"rankings took {during / before:.1f} times as long": during
            > max(RATIO * before, before + SLACK),
            f"an answer took {trouble.slowest:.1f} s": trouble.slowest > trouble.patience,
            f"not well within {RECOVERY:.0f} s": took is None,
            f"{trouble.must} was never answered": trouble.must
            and trouble.must not in trouble.answers,
        }
        for text, is_so in wrong.items():
            if is_so:
                self.outcome.fail(f"{trouble.name}: {text} {again}")


@contextmanager
def small_disks(folder: Path, outcome: TrialResult) -> Iterator[Iterator[Path]]:
    """Yield two small disks, for the database and for pictures; none without the right to mount."""
    mounted = []
    try:
        for name, size in (("data", "24m"), ("media", "2m")):
            where = folder / name
            where.mkdir()
            done = subprocess.run(  # noqa: S603
                ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", where],  # noqa: S607
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                outcome.gaps.append(
                    f"not tried: a full disk, which needs root: {done.stderr.strip()}"
                )
                break
            mounted.append(where)
        yield iter(mounted if len(mounted) == 2 else [])
    finally:
        for where in mounted:
            subprocess.run(["umount", "--lazy", where], check=False)  # noqa: S603, S607


def fill(disk: Path) -> None:
    """Write a file until the disk is full."""
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def picture_form() -> tuple[bytes, str]:
    """Return a form with a picture that no compression makes small, and its type."""
    from PIL import Image

    out = io.BytesIO()
    Image.frombytes("RGB", (200, 200), os.urandom(120_000)).save(out, "PNG")
    head = (
        'Content-Disposition: form-data; name="avatar"; filename="a.png"\r\nContent-Type: image/png'
    )
    body = f"--prove\r\n{head}\r\n\r\n".encode() + out.getvalue() + b"\r\n--prove--\r\n"
    return body, "multipart/form-data; boundary=prove"
