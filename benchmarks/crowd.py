"""`python -m benchmarks.crowd`: what a server takes when groups open a card together.

Phones log in, bind, read the ranking, submit a score and read again, as people of groups do after a
card was shared: most of a group within seconds, others at any time. When each comes is settled
beforehand, from a seed, however slow the answers are; a call's time counts from when it was due.

It starts a site of its own (Gunicorn, PostgreSQL, a sandbox; DATABASE_URL: an empty PostgreSQL
database to take instead), or aims at one that runs against a sandbox: `--site URL --sandbox URL`.
It prints a line about the moment, and writes a report with plots to var/crowd.html. `--help` lists
the options.
"""

import argparse
import asyncio
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from . import APP_ID
from .crowd_report import CrowdReport, duration, percentile
from .phones import SEEN, WECHAT, Arrival, Crowd, CrowdPhone, GivenUp, HttpClient
from .serving import ROOT, gunicorn, sandbox_process, say, services, set_environment

WORKERS, THREADS = 2, 16  # as docs/deploy.md recommends
BOARD = "crowd"  # of the site of our own
MOST_PHONES, LONGEST = 20_000, 900
TOGETHER = 0.8  # of a group's members who come, the share that comes right after the card
OPENING, SPREAD = 4.0, 0.7  # log-normal: half of them come within these seconds
SMALLEST, EXPONENT = 3, 0.6  # of groups' sizes, by Zipf's law, as in `make bench`
LINGER = 60.0  # seconds after the last arrival until what is still under way is cut off
EVERY = 5  # seconds between two lines where they go to a file


@dataclass(frozen=True)
class Target:
    """The addresses that a crowd aims at."""

    site: str
    sandbox: str
    board: str
    server: str = ""  # in words, where it is ours


def main() -> int:
    options = read_options()
    chance = random.Random(options.seed)
    arrivals = schedule(options.phones, options.seconds, options.group, chance, options.seed)
    with own_site() if options.site is None else nullcontext(given_site(options)) as target:
        say(
            f"{len(arrivals)} 部手机 phones, {options.seconds} s, seed {options.seed}, "
            f"{target.site}\nCtrl-C 提前结束并写报告 ends early and writes the report"
        )
        allow_connections(2 * len(arrivals))
        crowd, share = asyncio.run(run(target, arrivals, options.seconds))
    setting = (
        f"{target.server or target.site} · {len(arrivals)} 部手机 phones · {options.seconds} s · "
        f"最大的群 largest group {options.group} · seed {options.seed} · {os.cpu_count()} 核 cores"
    )
    report = CrowdReport(crowd, setting, share)
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(report.render(), encoding="utf-8")
    for warning in report.warnings:
        say(warning)
    say(f"报告 Report: {options.report}")
    return 0


def phone_options() -> argparse.ArgumentParser:
    """Return a parser of what says which phones come, for others to take as a parent."""

    def up_to(most: int) -> type[int]:
        def number(text: str) -> int:
            if not 1 <= int(text) <= most:
                raise argparse.ArgumentTypeError(f"must be from 1 to {most}")
            return int(text)

        return number  # type: ignore[return-value]

    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--phones", type=up_to(MOST_PHONES), default=300, help="how many")
    parser.add_argument("--seconds", type=up_to(LONGEST), default=60, help="in which they arrive")
    parser.add_argument("--group", type=up_to(500), default=100, help="size of the largest group")
    parser.add_argument("--seed", type=int, default=2018, help="another one brings other people")
    parser.add_argument(
        "--report", type=Path, default=ROOT / "var" / "crowd.html", help="a page with plots"
    )
    return parser


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.crowd",
        description="A crowd of phones that open a card together 一群人一起打开卡片",
        parents=[phone_options()],
    )
    parser.add_argument("--site", help="a site that runs against a sandbox already")
    parser.add_argument("--sandbox", help="that sandbox")
    parser.add_argument(
        "--board",
        default="",
        help="of that site, which phones may write; else they submit no score",
    )
    options = parser.parse_args()
    if bool(options.site) != bool(options.sandbox):
        parser.error("--site and --sandbox go together 两者须同时给出")
    for url in filter(None, (options.site, options.sandbox)):
        host = urlsplit(url).hostname
        if urlsplit(url).scheme not in {"http", "https"} or not host:
            parser.error(f"{url} is not an address such as http://127.0.0.1:8000")
        if f".{host}".endswith(".qq.com"):
            parser.error("That is WeChat itself: aim at a sandbox 请勿压测微信，请指向沙箱")
    return options


def given_site(options: argparse.Namespace) -> Target:
    return Target(options.site.rstrip("/"), options.sandbox.rstrip("/"), options.board)


@contextmanager
def own_site() -> Iterator[Target]:
    """Start a site as docs/deploy.md recommends, with default limits; yield where it is."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        with services(folder / "services") as (database, _redis):
            set_environment(database, folder)
            # Each phone says its address as a proxy would, so the limits are those of production.
            os.environ |= {"THROTTLES": "", "NUM_PROXIES": "1", "LOG_LEVEL": "INFO"}
            with sandbox_process(folder) as sandbox:
                prepare_database()
                with gunicorn(folder, WORKERS, THREADS) as site:
                    server = f"Gunicorn {WORKERS} × {THREADS}, PostgreSQL"
                    yield Target(site.url, sandbox, BOARD, server)


def prepare_database() -> None:
    """Migrate, and make a board that phones may write."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from groups.models import Board

    call_command("migrate", verbosity=0)
    Board.objects.get_or_create(
        app_id=APP_ID,
        key=BOARD,
        defaults={
            "title_zh": "一群人",
            "title_en": "Crowd",
            "scope": Board.Scope.APP,
            "writer": Board.Writer.CLIENT,
        },
    )
    connection.close()


def schedule(
    phones: int, seconds: float, largest: int, chance: random.Random, seed: int
) -> list[Arrival]:
    """Settle who comes when: in each group a burst after its card, and others at any time.

    The first group is the largest. Those at any time are a Poisson process, of which one knows how
    many come: then the moments are uniform.
    """
    arrivals: list[Arrival] = []
    size, chat = min(largest, phones), 0
    while len(arrivals) < phones:
        shared = chance.uniform(0, 0.6 * seconds)
        for _member in range(min(size, phones - len(arrivals))):
            at = shared + chance.lognormvariate(log(OPENING), SPREAD)
            if chance.random() > TOGETHER or at > seconds:
                at = chance.uniform(0, seconds)
            number = len(arrivals)
            arrivals.append(
                Arrival(
                    at=at,
                    person=f"crowd-{seed}-{number}",
                    chat=f"crowd-{seed}-chat-{chat}",
                    address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
                    pauses=(chance.uniform(2, 5), chance.uniform(0.5, 2)),
                    score=chance.randint(1, 1000),
                )
            )
        size, chat = min(largest, int(SMALLEST * chance.paretovariate(EXPONENT))), chat + 1
    return sorted(arrivals)


def allow_connections(count: int) -> None:
    """Let this process hold so many connections, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 100 if hard == resource.RLIM_INFINITY else min(count + 100, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


async def run(target: Target, arrivals: list[Arrival], seconds: float) -> tuple[Crowd, float]:
    """Let the crowd come; return what became of it, and our CPU's share of one core meanwhile."""
    with closing(HttpClient(target.sandbox)) as sandbox:
        crowd = Crowd(target.site, sandbox, target.board, bool(target.server))
        await try_one(crowd, f"{arrivals[0].person}-first")
        crowd.began, cpu = time.monotonic(), time.process_time()
        everyone = asyncio.gather(*(crowd.visit(arrival) for arrival in arrivals))
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, everyone.cancel)
        live = asyncio.create_task(watch(crowd, len(arrivals)))
        with suppress(TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(everyone, seconds + LINGER)
        crowd.took = crowd.now()
        share = (time.process_time() - cpu) / crowd.took
        live.cancel()
        with suppress(asyncio.CancelledError):
            await live
        return crowd, share


async def try_one(crowd: Crowd, person: str) -> None:
    """Find out whether the site asks that sandbox, with one phone, which is erased again."""
    site = HttpClient(f"{crowd.site}/api/v1")
    phone = CrowdPhone(crowd, Arrival(0, person, "", "", (0, 0), 0), site)
    try:
        await phone.log_in()
        await phone.call("erase", "DELETE", "/me")
    except GivenUp as error:
        raise SystemExit(
            f"A first phone could not log in: {error}. The site has to ask that sandbox, and the "
            "sandbox needs one app. 第一部手机无法登录，请让该站点使用这个沙箱（WECHAT_API_URL）。"
        ) from None
    finally:
        site.close()
        crowd.calls.clear()


async def watch(crowd: Crowd, total: int) -> None:
    """Print what goes on: on a terminal one line that changes, into a file a line now and then."""
    is_terminal = sys.stdout.isatty()
    seen, moment = 0, 0.0
    try:
        while True:
            await asyncio.sleep(1 if is_terminal else EVERY)
            line = about_now(crowd, total, seen, crowd.now() - moment)
            seen, moment = len(crowd.calls), crowd.now()
            # Without wrapping: a line that is too long is cut off.
            say_line = f"\r\x1b[?7l{line}\x1b[K\x1b[?7h" if is_terminal else f"{line}\n"
            sys.stdout.write(say_line)
            sys.stdout.flush()
    finally:
        line = about_now(crowd, total, 0, crowd.now())
        say(f"\r\x1b[K{line}" if is_terminal else line)


def about_now(crowd: Crowd, total: int, seen: int, seconds: float) -> str:
    """Return a line about the phones so far, and the calls since `seen` within so many seconds."""
    fresh = [call.took for call in crowd.calls[seen:] if call.name not in {WECHAT, SEEN}]
    errors = Counter(call.error for call in crowd.calls if call.error)
    p50, p99 = (duration(percentile(fresh, share)) if fresh else "–" for share in (50, 99))
    wrong = ", ".join(f"{error} × {count}" for error, count in errors.most_common()) or "0"
    return (
        f"{crowd.now():4.0f} s  到达 arrived {len(crowd.arrived)}/{total}  "
        f"完成 finished {crowd.finished}  {len(fresh) / seconds:.0f}/s  "
        f"p50 {p50} p99 {p99}  出错 errors {wrong}"
    )


if __name__ == "__main__":
    sys.exit(main())
