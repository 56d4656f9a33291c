"""A crowd in reality beside a simulated one: `python -m benchmarks.simulation --validate`.

The same phones come at the same moments to the site that `benchmarks.crowd` starts, and to one that
is simulated with the costs in benchmarks/costs.json. The sandbox works on the same cores in both.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import crowd
from .crowd_report import percentile
from .phones import Arrival
from .queueing import (
    KINDS,
    Assumptions,
    Costs,
    PhoneVisit,
    SimulatedSite,
    SiteRun,
    Steps,
    load_costs,
)
from .serving import (
    ROOT,
    cpu_seconds,
    gunicorn,
    parent_of,
    sandbox_process,
    say,
    services,
    set_environment,
)

PHONES = (100, 300)
SECONDS, LARGEST, SEED = 60, 100, 2018
WECHAT_CALLS = 4  # of a visit: three of the phone, one of the site
SHARES = (50, 95)
CORES = 2  # as on the machine of the crowds that are kept
TURN = 0.003  # seconds that the kernel lets a program work while others wait


def validate() -> list[dict[str, Any]]:
    """Play crowds of two sizes on PostgreSQL."""
    found = []
    for phones in PHONES:
        say(f"  {phones} 部手机 phones, 真实运行 in reality: {SECONDS} s and more")
        command = [sys.executable, "-m", "benchmarks.validation", str(phones)]
        printed = subprocess.run(
            command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        found.append({"phones": phones, "real": json.loads(printed.splitlines()[-1])})
    return found


def arrivals_of(phones: int) -> list[Arrival]:
    return crowd.schedule(phones, SECONDS, LARGEST, random.Random(SEED), SEED)


def play(phones: int) -> dict[str, Any]:
    """Let the phones come to a real site; return how long calls took, and the CPU of all."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        database, redis = stack.enter_context(services(folder / "services"))
        set_environment(database, folder)
        os.environ |= {"REDIS_URL": redis, "THROTTLES": "", "NUM_PROXIES": "1", "LOG_LEVEL": "INFO"}
        sandbox = stack.enter_context(sandbox_process(folder))
        crowd.prepare_database()
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            postmaster = parent_of(cursor.fetchone()[0])
        site = stack.enter_context(gunicorn(folder, crowd.WORKERS, crowd.THREADS))
        arrivals = arrivals_of(phones)
        crowd.allow_connections(2 * phones)

        def spent() -> tuple[float, float, float]:
            ours, app = time.process_time(), cpu_seconds(site.pid)
            return app, cpu_seconds(postmaster), cpu_seconds(os.getpid()) - ours - app

        before, load = spent(), os.getloadavg()[0]
        target = crowd.Target(site.url, sandbox, crowd.BOARD, "ours")
        came, _share = asyncio.run(crowd.run(target, arrivals, SECONDS))
        app, data, wechat = (b - a for a, b in zip(before, spent(), strict=True))
        errors = Counter(call.error for call in came.calls if call.error)
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for call in came.calls:
        if call.name in times:
            times[call.name].append(call.took)
    return {
        "latency": milliseconds(times),
        "app": round(1000 * app / phones, 1),
        "data": round(1000 * data / phones, 1),
        "sandbox": round(1000 * wechat / phones, 1),
        "errors": dict(errors),
        "load": round(load, 1),
    }


def milliseconds(times: dict[str, list[float]]) -> dict[str, list[float]]:
    return {
        kind: [round(1000 * percentile(found, share), 1) for share in SHARES]
        for kind, found in times.items()
    }


def simulated(phones: int, real: dict[str, Any]) -> dict[str, Any]:
    """Let the same phones come at the same moments to two simulated processes on as many cores:
    alone, and among as many other programs as worked on this machine before the real crowd."""
    alone, among = (play_simulated(phones, real["sandbox"], each) for each in (0, real["load"]))
    return alone | {"among": among["latency"]}


def play_simulated(phones: int, sandbox: float, others: float) -> dict[str, Any]:
    arrivals = arrivals_of(phones)
    sizes = Counter(each.chat for each in arrivals)
    chats = {chat: number for number, chat in enumerate(sizes)}
    visits = [
        # A group grows from nothing: on average a ranking has half of it.
        PhoneVisit(
            each.at,
            chats[each.chat],
            (sizes[each.chat] + 1) // 2,
            each.pauses,
            logs_in=True,
            is_new=True,
            is_first=False,
        )
        for each in arrivals
    ]
    site = SimulatedSite(crowd.WORKERS, CORES, is_one_machine=True)
    each_call = sandbox / 1000 / WECHAT_CALLS
    assumptions = Assumptions(shares_days=False)
    run = SiteRun(
        assumptions, Costs(load_costs(), is_seldom=True), site, random.Random(SEED), each_call
    )
    for _other in range(round(others)):
        run.clock.start(0, other_program(run, phones))
    done = run.play(visits, 0, 0, float("inf"))
    # The data's seconds have the sandbox's in them, which is on the same cores.
    data = done.data - each_call * WECHAT_CALLS * phones
    return {
        "latency": milliseconds(done.took),
        "app": round(1000 * done.app / phones, 1),
        "data": round(1000 * data / phones, 1),
        "hits": round(done.hits, 2),
    }


def other_program(run: SiteRun, phones: int) -> Steps:
    """Take a core whenever it is this one's turn, until all phones have gone."""
    while run.outcome.finished < phones:
        yield run.cores
        yield TURN
        run.clock.give(run.cores)


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(play(int(sys.argv[1])))}\n")
