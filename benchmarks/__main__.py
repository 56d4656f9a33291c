"""`make bench`: the site beside a floor and a peer, call by call, in one run.

The site is served as docs/deploy.md says. The floor is pgbench with the best SQL for the call, the
peer is peer.mjs, bare Node with that SQL. Environment: GROUPS (300) by Zipf's law besides those
that are asked, ROUNDS (2), SECONDS a measurement (2), CLIENTS (8), and DATABASE_URL with REDIS_URL,
or else servers of its own. docs/benchmarks.md says how to read what it prints and writes.
"""

import json
import logging
import os
import random
import re
import resource
import secrets
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import requests

from . import APP_ID, SESSION_KEY
from .load import STAYS_FRESH, Line, LoadResult, Walk, ask, ask_at_a_rate
from .report import (
    FLOOR,
    LOG_INS,
    NODE,
    SITE,
    Comparison,
    Figures,
    Growth,
    Measurement,
    Start,
    Waiting,
    printed,
    write_results,
)
from .serving import (
    THREADS,
    ServerProcess,
    cpu_seconds,
    find_pgbench,
    gunicorn,
    node,
    parent_of,
    pss_megabytes,
    sandbox_process,
    say,
    services,
    set_environment,
)

GROUPS, ROUNDS = int(os.environ.get("GROUPS", "300")), int(os.environ.get("ROUNDS", "2"))
SECONDS, CLIENTS = float(os.environ.get("SECONDS", "2")), int(os.environ.get("CLIENTS", "8"))
SEED = 2018
WARM_UP = 1.0  # seconds before each first measurement
ENDING = 0.3  # seconds in which the backends of a pgbench end, and are counted where they ended
HELD = 0.05  # share of the time from which a rate is said to be held back
CACHED = 10  # groups that are asked again and again
UPSTREAM, WAITING = 0.1, 3.0  # seconds: that WeChat takes for a log-in, and of measuring meanwhile
BATCH, SERVERS = 500, 2  # rows, and how many servers send them at once
KEYS = 40  # each with a limit of its own by rows
SQL = Path(__file__).with_name("sql")
BUSY = os.getloadavg()[0]  # before the run

# What pgbench computes of the numbers that it draws, in place of what a request would bring.
COMPUTED = {
    ":digest": "encode(sha256(convert_to('bench-viewer-' || :viewer || '-of-' || :group, 'UTF8'))"
    ", 'hex')",
    ":open_gid": "'tG-benchmark-group-' || lpad(CAST(:group AS text), 9, '0')",
    ":openid": "left('o' || translate(encode(sha256(convert_to("
    f"'[\"o\", \"{APP_ID}\", \"demo-person-' || :person || '\"]', 'UTF8')), 'base64'), "
    "'+/', '-_'), 28)",
    ":new_digest": "encode(sha256(convert_to("
    "CAST(random() AS text) || CAST(clock_timestamp() AS text), 'UTF8')), 'hex')",
}


@dataclass(frozen=True)
class Call:
    """A call: how the site and the peer are asked for it, and the files of the floor's SQL with
    what it draws. `again` asks the same few groups again and again."""

    name: str
    walk: Walk
    again: Walk | None = None
    sql: tuple[str, ...] = ()
    draws: dict[str, tuple[int, int]] = field(default_factory=dict)
    clients: int = CLIENTS


def main() -> int:
    for tool, found in {"pgbench": find_pgbench(), "node": shutil.which("node")}.items():
        if found is None:
            say(f"{tool} is missing. Install it: apt install postgresql nodejs. 缺少 {tool}。")
            return 1 if os.environ.get("CI") == "true" else 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        database, redis = stack.enter_context(services(folder / "services"))
        set_environment(database, folder)
        # As in production, behind a proxy: so that everyone has an address of their own.
        os.environ |= {"REDIS_URL": redis, "THROTTLES": "", "NUM_PROXIES": "1", "LOG_LEVEL": "INFO"}
        wechat = stack.enter_context(sandbox_process(folder))
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        people = seed_database()
        with gunicorn(folder, 1, THREADS) as site, node(folder) as peer:
            bench = Bench(site, peer, wechat, database, redis, folder)
            calls = list(all_calls(people, site))
            check_alike(calls, bench)
            check_floor(calls[0], bench, 500)
            for number in range(ROUNDS):
                for call in calls:
                    say(f"  round {number + 1}/{ROUNDS}: {call.name}")
                    bench.measure(call)
            growth = [bench.grow(size, walk) for size, walk in walks_by_size()]
            waiting = bench.wait_for_wechat(calls)
            starts = [bench.start(SITE, site), bench.start(NODE, peer)]
        text = printed(bench.figures, ROWS, starts, waiting, growth, facts(database))
        say(text)
        say(f"\nWritten: {write_results(bench.figures, ROWS, text)}")
        report_console()
    return 0


def seed_database() -> int:
    """Invent people and groups, unless an earlier run has; return how many people there are."""
    from accounts.models import WeChatUser
    from benchmarks.seed import SIZED, seed
    from groups.models import Group

    count = GROUPS + sum(SIZED.values())
    if Group.objects.exists():
        assert Group.objects.count() == count, "DATABASE_URL has the groups of something else"
    else:
        say(f"Inventing {count:,} groups, {GROUPS:,} of them by Zipf's law 生成数据")
        seed(GROUPS, random.Random(SEED), progress)
    return WeChatUser.objects.count()


def progress(what: str, done: int, total: int) -> None:
    say(f"  {what}: {done:,}/{total:,}")


# Requests


def request(
    method: str, path: str, who: str, address: int, body: dict[str, Any] | None = None
) -> bytes:
    """Write a request as a proxy passes it on, from a client with that address."""
    host = f"10.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"X-Forwarded-For: {host}"]
    head += ["X-Forwarded-Proto: https", *([f"Authorization: {who}"] if who else [])]
    sent = b"" if body is None else json.dumps(body).encode()
    if body is not None:
        head += ["Content-Type: application/json", f"Content-Length: {len(sent)}"]
    return "\r\n".join([*head, "", ""]).encode() + sent


def viewers(size: int) -> int:
    from benchmarks.seed import VIEWERS

    return min(size, VIEWERS)


def groups_of(size: int) -> range:
    from benchmarks.seed import numbers_of

    return numbers_of(size, GROUPS)


def going_round(
    size: int, make: Callable[[int, int, str], bytes], last: int = 0
) -> Callable[[int], bytes]:
    """Return what makes requests by members of the groups of a size, one group after the other,
    each time by another member. `last`: only of so many groups."""
    from benchmarks.seed import token_of

    groups = groups_of(size)[-last:]

    def made(turn: int) -> bytes:
        again, place = divmod(turn, len(groups))
        number, viewer = groups[place], again % viewers(size)
        return make(number, number * 64 + viewer, f"Bearer {token_of(number, viewer)}")

    return made


def getting(path: str) -> Callable[[int, int, str], bytes]:
    from benchmarks.seed import open_gid

    return lambda number, address, who: request(
        "GET", f"/api/v1/groups/{open_gid(number)}/{path}?board=points", who, address
    )


def reading(name: str, size: int, path: str = "ranking") -> Call:
    """Return a call that reads a ranking."""
    make, groups = getting(path), groups_of(size)
    return Call(
        name,
        Walk(going_round(size, make), len(groups)),
        Walk(going_round(size, make, CACHED)) if path == "ranking" else None,
        ("by_token", "standings") if path == "ranking" else (),
        {"group": (groups[0], groups[-1]), "viewer": (0, viewers(size) - 1)},
    )


def all_calls(people: int, site: ServerProcess) -> Iterator[Call]:
    from benchmarks.seed import open_gid, strangers

    groups, alone = groups_of(50), strangers(people)
    drawn = {"group": (groups[0], groups[-1]), "viewer": (0, viewers(50) - 1)}
    yield reading("ranking 500", 500)
    yield reading("around 500", 500, "ranking/around")
    pages = links(site)
    yield Call(
        "page 500",
        Walk(lambda turn: pages[turn % len(pages)], len(pages)),
        Walk(lambda turn: pages[-1 - turn % CACHED]),
    )
    yield reading("ranking 50", 50)

    def bind(number: int, address: int, who: str) -> bytes:
        return request("POST", "/api/v1/groups/bind", who, address, envelope(open_gid(number)))

    yield Call("bind", Walk(going_round(50, bind)), None, ("bind",), drawn)
    yield Call("log in", log_ins(people), None, ("login",), {"person": (alone[0], alone[-1])})

    def score(_number: int, address: int, who: str) -> bytes:
        body = {"board": "points", "value": 1}
        return request("POST", "/api/v1/scores", who, address, body)

    yield Call("score", Walk(going_round(50, score)), None, ("score",), drawn)
    yield Call("batch of 500 scores", Walk(batches(people)), clients=SERVERS)


def walks_by_size() -> Iterator[tuple[int, Walk]]:
    from benchmarks.seed import SIZED

    for size, groups in SIZED.items():
        yield size, Walk(going_round(size, getting("ranking")), groups)


def links(site: ServerProcess) -> list[bytes]:
    """Return requests of the pages of the groups of 500, by links that the site makes."""
    from benchmarks.seed import open_gid, token_of

    line, found = Line(site.port), []
    for number in groups_of(500):
        path, who = f"/api/v1/groups/{open_gid(number)}/link", f"Bearer {token_of(number, 0)}"
        answer = line.ask(request("POST", path, who, number * 64, {"board": "points"}))
        page = urlsplit(json.loads(answer.body)["url"]).path
        found.append(request("GET", page, "", number * 64))
    line.close()
    return found


def envelope(open_gid: str) -> dict[str, str]:
    from wechat.crypto import seal

    mark = {"appid": APP_ID, "timestamp": int(time.time())}
    return seal(SESSION_KEY, {"openGId": open_gid, "watermark": mark})


def log_ins(people: int) -> Walk:
    """Return log-ins, each of another person, whose key is new the first time."""
    from benchmarks.seed import code_of, strangers

    numbers = strangers(people)

    def made(turn: int) -> bytes:
        person = numbers[turn % len(numbers)]
        return request("POST", "/api/v1/login", "", person, {"code": code_of(person)})

    return Walk(made)


def batches(people: int) -> Callable[[int], bytes]:
    """Return what makes batches of scores, by many servers, for neighbours among the people."""
    from django.utils import timezone

    from benchmarks.seed import code_of
    from groups.models import ServerKey
    from wechat.sandbox import openid_of

    now = timezone.now()
    keys = [ServerKey.objects.issue(APP_ID, f"bench-{n}", now)[0] for n in range(KEYS)]

    def made(turn: int) -> bytes:
        rows = [
            {
                "openid": openid_of(APP_ID, code_of(1 + (turn * BATCH + place) % people)),
                "board": "points",
                "value": 1,
                "idempotencyKey": secrets.token_hex(8),
            }
            for place in range(BATCH)
        ]
        path, who = "/api/v1/server/scores", f"Key {keys[turn % KEYS]}"
        return request("POST", path, who, turn % KEYS, {"scores": rows})

    return made


# The peer answers what the site answers


def check_alike(calls: list[Call], bench: "Bench") -> None:
    """Ask site and peer the same, and stop where the answers differ."""
    for call in calls:
        for turn in (0, 1, 7):
            servers = (bench.site, bench.peer)
            found = [Line(server.port).ask(call.walk.make(turn)) for server in servers]
            assert all(each.status in {200, 201} for each in found), (call.name, found)
            ours, theirs = [comparable(call.name, each.body) for each in found]
            assert ours == theirs, f"{call.name}: the peer answers something else\n{ours}\n{theirs}"


def check_floor(call: Call, bench: "Bench", size: int) -> None:
    """Run a floor's SQL that reads once, and stop where it does not find the whole group."""
    import psycopg

    values = bench.constants | {name: low for name, (low, _high) in call.draws.items()}
    text = re.sub(r":([a-z]\w*)", lambda name: f"'{values[name[1]]}'", floor_sql(call))
    with psycopg.connect(bench.database) as connection:
        found = connection.execute(text.encode()).fetchall()
    assert len(found) == size, f"{call.name}: the floor reads {len(found)} of {size} members"


# What differs between two answers of the same: moments, signatures of moments, and a sum's turn.
DIFFERENT = {"serverTime", "next", "verifiedAt", "token", "expiresAt", "value"}


def comparable(name: str, body: bytes) -> Any:
    """Return the part of an answer that is the same for everyone who asks the same."""
    if name.startswith("page"):
        return re.findall(r'<li class="[^"]+"|<bdi>[^<]+|<img src="[^"]+|>[\d,]+<', body.decode())

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: kept(each) for key, each in value.items() if key not in DIFFERENT}
        return [kept(each) for each in value] if isinstance(value, list) else value

    return kept(json.loads(body))


# Measuring


class Bench:
    """The servers that are measured, and what came of it."""

    def __init__(
        self,
        site: ServerProcess,
        peer: ServerProcess,
        wechat: str,
        database: str,
        redis: str,
        folder: Path,
    ) -> None:
        import psycopg

        self.site, self.peer, self.wechat, self.folder = site, peer, wechat, folder
        self.database = database
        with psycopg.connect(database) as connection:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
            assert row is not None
            self.data_pids = {SITE: [parent_of(row[0])], NODE: [parent_of(row[0])]}
        if redis:
            from redis import Redis

            found: Any = Redis.from_url(redis).info("server")
            self.data_pids[SITE].append(found["process_id"])
        self.figures: Figures = {}
        self.constants = constants()

    def measure(self, call: Call) -> None:
        """Measure a call of the site, the floor and the peer, in this order."""
        self.ask(call.name, SITE, call.walk, call.clients)
        if call.sql:
            self.run_floor(call)
        walk = Walk(call.walk.make) if call.walk.groups else call.walk  # it remembers nothing
        self.ask(call.name, NODE, walk, call.clients)
        if call.again:
            self.ask(f"{call.name} cached", SITE, call.again)
            time.sleep(STAYS_FRESH)  # so that the next call finds nothing remembered

    def ask(self, name: str, who: str, walk: Walk, clients: int = CLIENTS) -> Measurement:
        server = self.site if who == SITE else self.peer
        known = self.figures.setdefault((name, who), [])
        if not known:
            ask(server.port, walk, WARM_UP, clients)
        before = self.spent(server, who)
        load = ask(server.port, walk, SECONDS, clients)
        known.append(figure(load, before, self.spent(server, who)))
        return known[-1]

    def spent(self, server: ServerProcess, who: str) -> tuple[float, float]:
        """Return the CPU seconds so far, of the application and of what keeps its data."""
        return cpu_seconds(server.pid), sum(map(cpu_seconds, self.data_pids[who]))

    def run_floor(self, call: Call) -> None:
        """Let pgbench run the best SQL for a call."""
        draws = [
            f"\\set {name} random({low}, {high})\n" for name, (low, high) in call.draws.items()
        ]
        script = self.folder / "floor.sql"
        script.write_text("".join(draws) + floor_sql(call))
        url = urlsplit(self.database)
        command = [find_pgbench() or "", "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "1"]
        command += ["-T", str(max(1, round(SECONDS))), "-f", str(script)]
        for name, value in self.constants.items():
            command += ["-D", f"{name}={value}"]
        command += ["-h", url.hostname or "", "-p", str(url.port or 5432), "-U", url.username or ""]
        postmaster = self.data_pids[NODE][0]
        # Or each connection plans its first five runs one by one, which Node's have behind them.
        environment = os.environ | {"PGOPTIONS": "-c plan_cache_mode=force_generic_plan"}
        if url.password:
            environment["PGPASSWORD"] = url.password
        before = (children_spent(), cpu_seconds(postmaster))
        run = subprocess.run(
            [*command, url.path[1:]], capture_output=True, text=True, check=False, env=environment
        )
        time.sleep(ENDING)
        after = (children_spent(), cpu_seconds(postmaster))
        rate = re.search(r"tps = ([\d.]+)", run.stdout)
        done = re.search(r"actually processed: (\d+)", run.stdout)
        assert run.returncode == 0 and rate and done, run.stdout + run.stderr
        load = LoadResult(int(done[1]), int(done[1]) / float(rate[1]), [])
        self.figures.setdefault((call.name, FLOOR), []).append(figure(load, before, after))

    def grow(self, size: int, walk: Walk) -> Growth:
        """Measure rankings of groups of a size."""
        return Growth(size, self.ask(f"growth {size}", SITE, walk))

    def wait_for_wechat(self, calls: list[Call]) -> Waiting:
        """Measure rankings alone, and while log-ins wait for WeChat; in turns."""
        by_name = {call.name: call.walk for call in calls}
        rankings, alone, beside, reached = by_name["ranking 50"], [], [], []
        fault = {"path": "/sns/jscode2session", "fault": {"delay": UPSTREAM}, "times": 10**9}
        for _turn in range(2):
            alone.append(ask(self.site.port, rankings, WAITING, CLIENTS))
            requests.post(f"{self.wechat}/phone/faults", json=fault, timeout=5)
            with ThreadPoolExecutor(1) as pool:
                there = (self.site.port, by_name["log in"], WAITING, LOG_INS, CLIENTS * 2)
                crowd = pool.submit(ask_at_a_rate, *there)
                beside.append(ask(self.site.port, rankings, WAITING, CLIENTS))
                reached.append(crowd.result())
            requests.post(f"{self.wechat}/phone/faults", json=fault | {"times": 0}, timeout=5)
        rates = [
            statistics.mean(load.answers / load.seconds for load in loads)
            for loads in (alone, beside, reached)
        ]
        return Waiting(*rates)

    def start(self, who: str, server: ServerProcess) -> Start:
        return Start(who, pss_megabytes(server.pid), server.cold_start)


def floor_sql(call: Call) -> str:
    """Return the best SQL for a call, with what pgbench can compute in the place of its inputs."""
    text = "".join((SQL / f"{name}.sql").read_text() for name in call.sql)
    for name, expression in COMPUTED.items():
        text = re.sub(rf"{name}\b", expression, text)
    return text


def figure(
    load: LoadResult, before: tuple[float, float], after: tuple[float, float]
) -> Measurement:
    app, data = (1000 * (b - a) / load.answers for a, b in zip(before, after, strict=True))
    return Measurement(load.answers / load.seconds, app, data, load.times, load.idle > HELD)


def children_spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def constants() -> dict[str, Any]:
    """Return what the floor's SQL is given for a whole run."""
    from django.utils import timezone

    from core.vault import encrypt
    from groups.models import Board
    from groups.periods import Period, Window

    periods = {window: Period.current(window, timezone.now()) for window in Window}
    week = periods[Window.WEEK]
    assert week.previous is not None
    return {
        **{window.value: period.key for window, period in periods.items()},
        "board": Board.objects.get(app_id=APP_ID, key="points").pk,
        "period": week.key,
        "before": week.previous.key,
        "app_id": APP_ID,
        "unionid": "ocM-of-the-floor",
        "sealed": encrypt("another key, as long as one=="),
        "value": 1,
    }


# What is written of it

ROWS = [
    Comparison("ranking 500", "ranking 500", "ranking 500", 0.6, 0.9),
    Comparison("ranking 50", "ranking 50", "ranking 50", 0.35, 0.8),
    Comparison("ranking 500 cached", "ranking 500", "ranking 500", 3, 4),
    Comparison("ranking 50 cached", "ranking 50", "ranking 50", 0.8, 1.5),
    Comparison("around 500", "ranking 500", "around 500"),
    Comparison("page 500", "ranking 500", "page 500", None, 0.8),
    Comparison("page 500 cached", "ranking 500", "page 500", None, 3),
    Comparison("bind", "bind", "bind", None, 0.4),
    Comparison("log in", "log in", "log in", None, 0.5),
    Comparison("score", "score", "score", None, 0.4),
    Comparison("batch of 500 scores", None, "batch of 500 scores"),
]


def facts(database: str) -> dict[str, str]:
    """Return what was measured, where and how."""
    import platform

    import psycopg

    from groups.models import Group, Membership

    with psycopg.connect(database) as connection:
        version = connection.info.server_version // 10_000
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return {
        "machine": f"{os.cpu_count()} cores, {model[1] if model else platform.machine()}",
        "versions": f"Python {platform.python_version()}, PostgreSQL {version}, Node "
        + subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip(),
        "data": f"{Group.objects.count():,} groups, {Membership.objects.count():,} memberships",
        "measured": f"{ROUNDS} rounds of {SECONDS:g} s a call, {CLIENTS} clients",
        "load": f"load average before the run {BUSY:.1f}",
    }


def report_console() -> None:
    from .console import pages

    logging.disable(logging.INFO)
    say("\nThe console, for a moderator, in the process:")
    for path, queries, spent in pages():
        say(f"  {path:<36}{queries:>3} queries{spent:>8.0f} ms")


if __name__ == "__main__":
    sys.exit(main())
