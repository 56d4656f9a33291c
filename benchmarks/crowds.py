"""`python -m benchmarks.crowds`: what rankings take while others hold a process's threads.

One process with 16 threads, and an emulated WeChat that hangs or a table that is locked.
Environment: DATABASE_URL (an empty PostgreSQL database; or else a server of its own). It prints a
row for each crowd: how the crowd was answered, and how long rankings and /livez took meanwhile.
"""

import io
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import Any

import requests

from wechat.sandbox import Fault, Phone, Sandbox

from . import APP_ID
from .serving import ROOT, THREADS, gunicorn, say, services, set_environment

PATIENCE = 60  # seconds that a request may take
HANG = 10  # seconds for which WeChat hangs
LOCKED = 20  # seconds for which a table is locked
MEMBERS = 30
PEOPLE = [f"person-{number}" for number in range(16)]
SETTLE = 1.0  # seconds from the beginning of a crowd to the first ranking that is timed


class Site:
    """The site, and the WeChat it talks to."""

    def __init__(self, address: str, sandbox: Sandbox) -> None:
        self.address = address
        self.sandbox = sandbox

    def call(self, method: str, path: str, token: str = "", **sent: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{self.address}{path}"
        return requests.request(method, url, headers=headers, timeout=PATIENCE, **sent)

    def phone(self, name: str) -> Phone:
        return Phone(self.sandbox.url, name, APP_ID)

    def log_in(self, phone: Phone) -> str:
        answer = self.call("POST", "/api/v1/login", json={"code": phone.login()})
        return str(answer.json()["token"])

    def recover(self) -> None:
        """Wait until log-ins are answered again: the crowd before may have stopped them."""
        phone = self.phone("probe")
        while self.call("POST", "/api/v1/login", json={"code": phone.login()}).status_code != 200:
            time.sleep(0.5)

    @contextmanager
    def hanging(self, path: str, calls: int) -> Iterator[None]:
        """Let WeChat hang at so many calls of a path."""
        self.sandbox.state.request_fault(path, Fault(delay=HANG), calls)
        yield
        self.sandbox.state.request_fault(path, Fault(), 0)


def picture() -> bytes:
    """Return a PNG of 12 megapixels with 16 bits a sample: small to send, long to read."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("I;16", (4096, 2929), 40_000).save(file, "PNG")
    return file.getvalue()


Ask = Callable[[int], requests.Response]


def crowds(site: Site, people: list[tuple[Phone, str]]) -> Iterator[tuple[str, int, Ask, Any]]:
    """Yield crowds: a name, how many come at once, what each asks for, what holds meanwhile."""
    file = picture()
    tokens = [token for _phone, token in people]
    codes = [phone.login() for phone, _token in people for _twice in range(2)]

    def upload(number: int) -> requests.Response:
        files = {"avatar": ("a.png", file, "image/png")}
        return site.call("POST", "/api/v1/me/avatar", tokens[number % len(tokens)], files=files)

    yield "60 uploads of 12 megapixels 60 张 1200 万像素图片", 60, upload, nullcontext()

    yield (
        f"8 PUT me, WeChat takes {HANG} s 8 次改昵称，微信 {HANG} 秒不答",
        8,
        lambda number: site.call("PUT", "/api/v1/me", tokens[number], json={"nickname": "小明"}),
        site.hanging("/wxa/msg_sec_check", 8),
    )

    yield (
        f"32 log-ins, WeChat takes {HANG} s 32 次登录，微信 {HANG} 秒不答",
        32,
        lambda number: site.call("POST", "/api/v1/login", json={"code": codes[number]}),
        site.hanging("/sns/jscode2session", 32),
    )

    consent = {"purposes": ["nickname"], "version": "1"}
    yield (
        f"30 consents, their table locked for {LOCKED} s 30 次同意，表被锁 {LOCKED} 秒",
        30,
        lambda number: site.call(
            "POST", "/api/v1/me/consent", tokens[number % len(tokens)], json=consent
        ),
        locked("accounts_consent"),
    )


@contextmanager
def locked(table: str) -> Iterator[None]:
    """Lock a table that rankings do not read, in a connection of our own."""
    import psycopg

    line = psycopg.connect(os.environ["DATABASE_URL"])
    line.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    Timer(LOCKED, line.close).start()
    yield


def timed(ask: Callable[[], requests.Response]) -> float:
    """Return the milliseconds that a request took. It must be answered 200."""
    began = time.monotonic()
    answer = ask()
    assert answer.status_code == 200, answer.text
    return 1000 * (time.monotonic() - began)


def measure(site: Site, ranking: Callable[[], requests.Response]) -> Iterator[str]:
    """Yield a row of the table for each crowd."""
    people = [(phone, site.log_in(phone)) for phone in map(site.phone, PEOPLE)]
    alone = statistics.median([timed(ranking) for _ in range(50)])
    yield f"{'rankings alone 单独的排行榜':44} median {alone:6.0f} ms"
    for name, size, ask, held in crowds(site, people):
        rankings, probes = [], []
        site.recover()
        began = time.monotonic()
        with held, ThreadPoolExecutor(size) as pool:
            calls = [pool.submit(ask, number) for number in range(size)]
            time.sleep(SETTLE)
            while not all(call.done() for call in calls) and time.monotonic() - began < PATIENCE:
                rankings.append(timed(ranking))
                probes.append(timed(lambda: site.call("GET", "/livez")))
            answers = Counter(call.result().status_code for call in calls)
        ended = time.monotonic() - began
        median, worst = statistics.median(rankings or [0]), max(rankings or [0])
        yield (
            f"{name:44}\n  answers {dict(sorted(answers.items()))} within {ended:.1f} s; "
            f"{len(rankings)} rankings: median {median:.0f} ms ({median / alone:.1f} × alone), "
            f"worst {worst:.0f} ms; /livez worst {max(probes or [0]):.0f} ms"
        )


def main() -> int:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        sandbox = stack.enter_context(Sandbox({APP_ID: "secret"}))
        set_environment(stack.enter_context(services(folder / "services"))[0], folder)
        os.environ |= {"WECHAT_API_URL": sandbox.url, "CONTENT_SAFETY": "True"}
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, check=True
        )
        site = Site(stack.enter_context(gunicorn(folder, 1, THREADS)).url, sandbox)
        for number in range(MEMBERS):
            phone = site.phone(f"member-{number}")
            token = site.log_in(phone)
            envelope = phone.share_info(phone.open_card("family")["shareTicket"])
            bound = site.call("POST", "/api/v1/groups/bind", token, json=envelope).json()
        path = f"/api/v1/groups/{bound['openGId']}/ranking"
        for row in measure(site, lambda: site.call("GET", path, token)):
            say(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
