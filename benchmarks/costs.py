"""What one call costs, by the code as it is: `python -m benchmarks.simulation --measure`.

The site is served as docs/deploy.md says, by one process, and is asked for one kind of call after
the other: on PostgreSQL with Redis, then on SQLite. benchmarks/costs.json keeps what was found.
"""

import json
import os
import platform
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import uuid4

from .load import Line, Walk, ask, timed
from .serving import (
    THREADS,
    ServerProcess,
    cpu_seconds,
    family,
    gunicorn,
    parent_of,
    pss_megabytes,
    sandbox_process,
    services,
    set_environment,
)

ROOT = Path(__file__).resolve().parent.parent
KEPT = Path(__file__).with_name("costs.json")
SIZED = {5: 40, 50: 40, 500: 40}
SEED, CLIENTS, SECONDS, ROUNDS = 2018, 4, 1.0, 3
SYNCS = 200
SELDOM, LONG = 10, 6.0  # calls a second of a site that has little to do; seconds of asking so
CACHED = 10  # groups of a size that are asked again and again: a process keeps 10,000 members


class MeasuredCall(NamedTuple):
    """A kind of call: how it is asked for, and what makes it cost again what it costs."""

    name: str
    make: Callable[[int], bytes]
    turns: int  # after which `renew` is due
    renew: str = ""  # SQL


def measure_all() -> dict[str, Any]:
    """Measure on both databases, each in a process of its own, and keep what was found."""
    found: dict[str, Any] = {"machine": machine()}
    for vendor in ("postgresql", "sqlite"):
        command = [sys.executable, "-m", "benchmarks.costs", vendor]
        printed = subprocess.run(
            command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        found[vendor] = json.loads(printed.splitlines()[-1])
    KEPT.write_text(json.dumps(found, indent=1) + "\n")
    return found


def machine() -> dict[str, Any]:
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return {
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "cores": os.cpu_count(),
        "model": model[1] if model else platform.machine(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def main(vendor: str) -> int:
    """Measure on one database; print what was found as JSON on the last line."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        database, redis = f"sqlite:///{folder / 'site.sqlite3'}", ""
        if vendor == "postgresql":
            database, redis = stack.enter_context(services(folder / "services"))
        set_environment(database, folder)
        os.environ |= {"REDIS_URL": redis, "THROTTLES": "", "NUM_PROXIES": "1", "LOG_LEVEL": "INFO"}
        stack.enter_context(sandbox_process(folder))
        import django

        django.setup()
        from django.core.management import call_command

        from .seed import seed

        call_command("migrate", verbosity=0)
        people = seed(0, random.Random(SEED), lambda *_step: None, SIZED)
        server = stack.enter_context(gunicorn(folder, 1, THREADS))
        meter = Meter(server, redis)
        calls = {call.name: meter.measure(call) for call in all_calls(people)}
        found = {
            "calls": calls,
            "seldom": meter.seldom(next(c for c in all_calls(people) if c.name == "kept 50")),
            "process": round(pss_megabytes(server.pid)),
            "sync": sync_time(folder),
        }
        if vendor == "postgresql":
            found["connection"] = round(mean_megabytes(meter.database), 1)
        sys.stdout.write(f"{json.dumps(found)}\n")
    return 0


def all_calls(people: int) -> Iterator[MeasuredCall]:
    """Yield the calls in an order in which none spoils the next."""
    from .__main__ import envelope, request
    from .seed import VIEWERS, code_of, numbers_of, open_gid, strangers, token_of

    def by_members(
        size: int, make: Callable[[int, int, str], bytes], last: int = 0
    ) -> Callable[[int], bytes]:
        groups, viewers = numbers_of(size, 0, SIZED)[-last:], min(size, VIEWERS)

        def made(turn: int) -> bytes:
            again, place = divmod(turn, len(groups))
            number, viewer = groups[place], again % viewers
            who = f"Bearer {token_of(number, viewer)}"
            return make(number, number * 64 + viewer, who)

        return made

    def getting(number: int, address: int, who: str) -> bytes:
        path = f"/api/v1/groups/{open_gid(number)}/ranking?board=points"
        return request("GET", path, who, address)

    def scoring(_number: int, address: int, who: str) -> bytes:
        body = {"board": "points", "value": 1, "idempotencyKey": uuid4().hex}  # as the kit does
        return request("POST", "/api/v1/scores", who, address, body)

    def binding(number: int, address: int, who: str) -> bytes:
        return request("POST", "/api/v1/groups/bind", who, address, envelope(open_gid(number)))

    def coming(number: int, address: int, who: str) -> bytes:
        return binding(next(others), address, who)

    def me(_number: int, address: int, who: str) -> bytes:
        return request("GET", "/api/v1/me", who, address)

    def logging_in(person: int) -> bytes:
        return request("POST", "/api/v1/login", "", person, {"code": code_of(person)})

    alone = strangers(people)
    rise = "UPDATE groups_group SET version = version + 1"
    yield MeasuredCall("me", by_members(50, me), 1)
    for size, groups in SIZED.items():
        yield MeasuredCall(f"kept {size}", by_members(size, getting, CACHED), 1)
        yield MeasuredCall(f"read {size}", by_members(size, getting), groups, rise)
    unknown = count(people + 1)
    yield MeasuredCall("login", lambda turn: logging_in(alone[turn % len(alone)]), 1)
    yield MeasuredCall("login anew", lambda _turn: logging_in(next(unknown)), 1)
    yield MeasuredCall("score", by_members(50, scoring), 1)
    yield MeasuredCall("bind again", by_members(50, binding), 1)
    viewers = 40 * VIEWERS
    day = f"{datetime.now(UTC) - timedelta(days=2):%F}"
    earlier = f"UPDATE groups_membership SET verified_at = '{day} 00:00:00+00:00'"
    yield MeasuredCall("bind of the day", by_members(50, binding), viewers, earlier)
    # Viewers of the groups of 500, each into the groups of 5, one after the other.
    others = (
        number
        for _again in count()
        for number in numbers_of(5, 0, SIZED)
        for _viewer in range(viewers)
    )
    yield MeasuredCall("bind anew", by_members(500, coming), 1)


class Meter:
    """A server, and the processes that keep its data."""

    def __init__(self, server: ServerProcess, redis: str) -> None:
        from django.db import connection

        self.server = server
        self.database = 0
        self.cache = 0
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                self.database = parent_of(cursor.fetchone()[0])
        if redis:
            from redis import Redis

            information: Any = Redis.from_url(redis).info("server")
            self.cache = information["process_id"]

    def spent(self) -> tuple[float, float, float, float]:
        """Return CPU seconds of application, database and cache, and the WAL's bytes."""
        from django.db import connection

        data = cpu_seconds(self.database) if self.database else 0.0
        cache = cpu_seconds(self.cache) if self.cache else 0.0
        written = 0.0
        if self.database:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'")
                written = float(cursor.fetchone()[0])
        return cpu_seconds(self.server.pid), data, cache, written

    def measure(self, call: MeasuredCall) -> dict[str, float]:
        """Return what one call costs: CPU ms of each, and bytes of WAL."""

        def make(turn: int) -> bytes:
            if call.renew and turn % call.turns == 0:
                self.run(call.renew)
            return call.make(turn)

        walk = Walk(make)
        ask(self.server.port, walk, 0.5, CLIENTS)
        rounds = []
        for _round in range(ROUNDS):
            before = self.spent()
            load = ask(self.server.port, walk, SECONDS, CLIENTS)
            after = self.spent()
            rounds.append([(b - a) / load.answers for a, b in zip(before, after, strict=True)])
        # The cheaper round: what others do on this machine makes a call dearer, never cheaper.
        app, data, cache, written = min(rounds, key=sum_of_times)
        sys.stderr.write(f"  {call.name}: {1000 * app:.2f} + {1000 * data:.2f} ms\n")
        return {
            "app": round(1000 * app, 2),
            "data": round(1000 * data, 2),
            "cache": round(1000 * cache, 2),
            "wal": round(written),
        }

    def seldom(self, call: MeasuredCall) -> float:
        """Return the ms of CPU that a call costs the application more where calls are few and each
        comes over a new connection: what others did in between has emptied the core's caches."""
        # Of one group: each of ten would be asked once a second, and every other time be read anew.
        walk = Walk(lambda turn: call.make(CACHED * turn))
        spent = {"often": 0.0, "seldom": 0.0}
        answers = dict.fromkeys(spent, 0)
        for _round in range(ROUNDS):
            for how in spent:
                before = self.spent()[0]
                if how == "often":
                    answers[how] += ask(self.server.port, walk, SECONDS, CLIENTS).answers
                else:
                    answers[how] += self.ask_seldom(walk)
                spent[how] += self.spent()[0] - before
        often, seldom = (spent[how] / answers[how] for how in spent)
        sys.stderr.write(f"  {call.name} seldom: {1000 * seldom:.2f} ms\n")
        return round(1000 * (seldom - often), 2)

    def ask_seldom(self, walk: Walk) -> int:
        began, calls = time.monotonic(), round(SELDOM * LONG)
        for turn in range(calls):
            time.sleep(max(0.0, began + turn / SELDOM - time.monotonic()))
            line = Line(self.server.port)
            timed(line, walk.next()[0])
            line.close()
        return calls

    def run(self, statement: str) -> None:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()  # it is that of a thread that ends


def sum_of_times(found: list[float]) -> float:
    return sum(found[:3])


def mean_megabytes(postmaster: int) -> float:
    """Return the mean memory of PostgreSQL's processes, their parts of what they share."""
    found = []
    for each in family(postmaster):
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        found.append(int(re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)[0]) / 1024)
    return sum(found) / max(1, len(found))


def sync_time(folder: Path) -> float:
    """Return the milliseconds until a small write is on this machine's disk."""
    with (folder / "sync").open("wb", buffering=0) as file:
        began = time.perf_counter()
        for _turn in range(SYNCS):
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
        return round(1000 * (time.perf_counter() - began) / SYNCS, 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
