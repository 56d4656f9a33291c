"""`python -m benchmarks.simulation`: the same code with 10,000 to 100 million people.

Phones tap cards as in `benchmarks.crowd`, in groups by Zipf's law, through a day of Shanghai, and
their calls queue for what a tier has (benchmarks/queueing.py). What a call costs was measured:
`--measure` does it anew, benchmarks/costs.json has it. docs/simulation.md has the assumptions, and
gets the tables; benchmarks/simulation.json keeps the figures, docs/simulation.svg the plot.
`--validate` plays a crowd in reality too, `--people` only prints what so many people need. `--help`
lists the options.
"""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import ceil, inf
from pathlib import Path
from typing import Any, NamedTuple

from .costs import measure_all
from .crowd_report import percentile
from .queueing import (
    BYTES,
    DAY,
    POOL,
    PUSH,
    SEED,
    Assumptions,
    CallsPlayed,
    Costs,
    SimulatedSite,
    SiteRun,
    all_visits,
    console_cores,
    load_costs,
)
from .serving import say

RESULTS = Path(__file__).with_name("simulation.json")
SIZES = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
FEWEST, MOST = 1000, 1_000_000_000  # people


# The cost of a visit, without queues: how much of everything a size needs


class Visiting(NamedTuple):
    """What a visit costs on average, and how many of its rankings are kept."""

    app: float
    data: float
    hits: float
    calls: float
    held: float  # seconds of SQLite's writer


def visiting(
    world: Assumptions, processes: int, people: float, is_sqlite: bool = False
) -> Visiting:
    """Return what a visit costs in the busiest minutes, where so many people and processes are."""
    # What hardly differs need not be found out twice.
    return find_visiting(world, rounded(processes), rounded(people), is_sqlite)


def rounded(number: float) -> int:
    """Return a number of two leading bits, of which there are two for each doubling."""
    power = 1
    while number >= 4 * power:
        power *= 2
    return ceil(number / power) * power


PROBED = 200  # visits a second of a slice, in which costs are found out


@cache
def find_visiting(world: Assumptions, processes: int, people: int, is_sqlite: bool) -> Visiting:
    """Let visits come to a slice of a site that never waits."""
    chance = random.Random(SEED)
    costs = Costs(load_costs(), is_sqlite)
    share = min(1.0, PROBED / world.visits_at(people, PUSH[0]))
    site = SimulatedSite(processes, 1, is_one_machine=is_sqlite, is_sqlite=is_sqlite, share=share)
    run = SiteRun(world, costs, site, chance, without_queues=True)
    visits = all_visits(world, people * share, PUSH[0], PUSH[0] + 30, chance)
    if len(visits) < 2000:  # so few people that more of them do not meet either
        visits = all_visits(world, 200_000, PUSH[0], PUSH[1], chance)
    done = run.play(visits, 0, 0, inf)
    held = costs.sync * (2 + world.logs_in) + costs.held("login") * world.logs_in
    held += costs.held("bind of the day") + costs.held("score")
    count = done.finished
    return Visiting(done.app / count, done.data / count, done.hits, done.calls / count, held)


# Tiers


class Tier(NamedTuple):
    """A way to run the site, with the largest database machine that it may have."""

    key: str
    zh: str
    en: str
    most_cores: int


TIERS = (
    Tier("sqlite", "一台机器，SQLite", "SQLite on one machine", 16),
    Tier("one", "一台机器，PostgreSQL", "one machine with PostgreSQL", 32),
    Tier("nodes", "多台应用 + 一主 + Redis", "several nodes, one primary, Redis", 64),
    Tier("replicas", "同上，管理后台读从库", "the same, replicas for the console", 64),
    Tier("shards", "按小程序分片", "shards by mini-program", 32),
)
MACHINES = (2, 4, 8, 16, 32, 64)  # cores
NODE = 8  # cores of an application node
MEMORY = 4  # GB a core


@dataclass(frozen=True)
class MachinePlan:
    """The machines of a tier for so many people."""

    tier: Tier
    people: float
    site: SimulatedSite
    shards: int
    utilization: float  # of the busier of application and database, in the busiest minutes
    visit: Visiting

    @property
    def people_each(self) -> float:
        return self.people / self.shards

    @property
    def nodes(self) -> int:
        """Return the machines that run the application alone."""
        return 0 if self.site.is_one_machine else ceil(self.site.processes / NODE)

    @property
    def machines(self) -> dict[str, tuple[int, int]]:
        """Return how many machines there are of each kind, and their cores."""
        if self.site.is_one_machine:
            return {"machine": (1, self.site.cores)}
        found = {
            "node": (self.nodes * self.shards, NODE),
            "primary": (self.shards, self.site.cores),
            "standby": (self.shards, self.site.cores),
            "redis": (2 * self.shards, 2),
        }
        if self.tier.key in {"replicas", "shards"}:
            found["replica"] = (self.shards, self.site.cores)
        return found

    @property
    def cores(self) -> int:
        return sum(number * cores for number, cores in self.machines.values())


def plan(tier: Tier, people: float, world: Assumptions, least: int = 0) -> MachinePlan:
    """Choose the smallest machines that the busiest minutes keep at most `world.busy` busy.

    `least`: cores that the database's machine has at least.
    """
    shards = 1
    if tier.key == "shards":
        shards = 2
        while choose(tier, people / shards, world, least).utilization > world.busy:
            shards = ceil(shards * 1.25)
    return replace(choose(tier, people / shards, world, least), people=people, shards=shards)


def choose(tier: Tier, people: float, world: Assumptions, least: int = 0) -> MachinePlan:
    rate = world.visits_at(people, PUSH[1] - 1)
    found = None
    for cores in MACHINES:
        if cores < least:
            continue
        if cores > tier.most_cores:
            break
        found = build(tier, people, rate, cores, world)
        if found.utilization <= world.busy:
            break
    assert found
    return found


def build(tier: Tier, people: float, rate: float, cores: int, world: Assumptions) -> MachinePlan:
    """Return the plan of a tier whose database has so many cores."""
    if tier.key == "sqlite":
        visit = visiting(world, cores, people, is_sqlite=True)
        used = max(rate * visit.app / cores, rate * visit.held)
        site = SimulatedSite(cores, cores, is_one_machine=True, is_sqlite=True)
        return MachinePlan(tier, people, site, 1, used, visit)
    console = console_cores(people) if tier.key in {"one", "nodes"} else 0.0
    if tier.key == "one":
        visit = visiting(world, cores, people)
        used = (rate * (visit.app + visit.data) + console) / cores
        site = SimulatedSite(cores, cores, is_one_machine=True, serves_console=True)
        return MachinePlan(tier, people, site, 1, used, visit)
    processes = 2 * NODE
    for _turn in range(4):  # more processes keep less, and so need more
        visit = visiting(world, processes, people)
        needed = rate * visit.app / world.busy
        processes = max(2 * NODE, NODE * ceil(needed / NODE))
    used = (rate * visit.data + console) / cores
    site = SimulatedSite(processes, cores, serves_console=tier.key == "nodes")
    return MachinePlan(tier, people, site, 1, max(used, rate * visit.app / processes), visit)


def switch_point(tier: Tier, world: Assumptions, utilization: float) -> float:
    """Return the people at which a tier's largest machine is so busy in the busiest minutes."""
    low, high = 1e4, 1e9
    while high / low > 1.01:
        people = (low * high) ** 0.5
        rate = world.visits_at(people, PUSH[1] - 1)
        found = build(tier, people, rate, tier.most_cores, world)
        low, high = (people, high) if found.utilization < utilization else (low, people)
    return low


# One cell of the table

CALLS = 60_000  # that are simulated of a cell, about
MOST_RATE = 4000  # calls a second of what is simulated: of more, a slice is
QUICK = 500.0  # ms, in which 95 of 100 rankings are to be answered
WARM_UP = 12  # seconds before what is counted: the second look comes after seven at most
MOST_EVENINGS = 200


class Cell(NamedTuple):
    """A size and a tier to simulate; `share` of the people, with that share of the machines: 0
    takes a slice of those that are too many to simulate whole."""

    tier: int
    people: int
    world: Assumptions
    seed: int
    calls: int = CALLS
    share: float = 0.0


def simulate(cell: Cell) -> dict[str, Any]:
    """Return the figures of one cell, on the smallest machines that are quick enough."""
    tier, least = TIERS[cell.tier], 0
    while True:
        chosen = plan(tier, cell.people, cell.world, least)
        found = describe(chosen, cell.world)
        if chosen.utilization >= 1:
            return found
        found |= simulate_plan(cell, chosen)
        cores = chosen.site.cores
        is_quick = found["latency"]["ranking"][1] <= QUICK
        if is_quick or not chosen.site.is_one_machine or cores == tier.most_cores:
            return found
        least = 2 * cores


def simulate_plan(cell: Cell, chosen: MachinePlan) -> dict[str, Any]:
    """Simulate the two busiest minutes of as many evenings as the number of calls allows, or as
    many seconds of them."""
    share, rate = cell.share, cell.world.visits_at(chosen.people_each, PUSH[0])
    rate *= chosen.visit.calls
    if not share:
        share = 1.0
        while rate * share > MOST_RATE:
            share /= 2
    people, rate = chosen.people_each * share, rate * share
    seconds = max(8, min(PUSH[1] - PUSH[0] - WARM_UP, round(cell.calls / rate)))
    evenings = max(1, min(MOST_EVENINGS, round(cell.calls / (rate * seconds))))
    site = replace(chosen.site, share=share)
    total = CallsPlayed()
    for evening in range(evenings):
        total.add(play_evening(cell.world, site, people, seconds, f"{cell.seed}-{evening}"))
    return measured(total, site) | {"seconds": seconds, "evenings": evenings, "share": share}


def play_evening(
    world: Assumptions, site: SimulatedSite, people: float, seconds: int, seed: str
) -> CallsPlayed:
    """Simulate so many seconds from when the push has reached its height."""
    chance = random.Random(seed)
    end = PUSH[1]
    counted = end - seconds
    start = counted - WARM_UP
    run = SiteRun(world, Costs(load_costs(), site.is_sqlite), site, chance)
    run.people = people
    return run.play(all_visits(world, people, start, end, chance), start, counted, end)


def measured(total: CallsPlayed, site: SimulatedSite) -> dict[str, Any]:
    """Return what a run found, as the page says it."""
    app_cores = site.simulated_cores if site.is_one_machine else site.queues
    return {
        "latency": {
            kind: [round(1000 * percentile(times, share), 1) for share in (50, 95, 99)]
            for kind, times in total.took.items()
            if times
        },
        "calls": total.calls,
        "rate": round(total.calls / total.seconds / site.share, 1),
        "hits": round(total.hits, 3),
        "app_busy": round(total.app / total.seconds / app_cores, 3),
        "data_busy": round(total.data / total.seconds / site.simulated_cores, 3),
        "rows": round(total.rows / total.seconds / site.share, 1),
        "wal": round(total.wal / total.seconds / site.share),
        "pool": total.waited_for_connection,
        "unanswered": total.arrived - total.finished,
    }


def describe(chosen: MachinePlan, world: Assumptions) -> dict[str, Any]:
    """Return what a plan has and costs."""
    disk = BYTES * chosen.people / 1e9
    copies = {"sqlite": 1, "one": 1, "nodes": 2}.get(chosen.tier.key, 3)
    hours = 24 * 30
    return {
        "tier": chosen.tier.key,
        "people": round(chosen.people),
        "shards": chosen.shards,
        "processes": chosen.site.processes,
        "connections": 0 if chosen.site.is_sqlite else chosen.site.processes * POOL,
        "machines": chosen.machines,
        "cores": chosen.cores,
        "utilization": round(chosen.utilization, 3),
        "hits_expected": round(chosen.visit.hits, 3),
        "storage": round(disk, 2),
        "memory": round(
            chosen.site.processes * chosen.shards * load_costs()["postgresql"]["process"] / 1000, 1
        ),
        "money": round(chosen.cores * hours * world.core_hour + disk * copies * world.gigabyte),
    }


# A whole day

SAMPLE = 1_000_000  # people whose day is simulated visit by visit
STEP = 300  # seconds of a point in the plot


class WholeDay(NamedTuple):
    """A day: visits a second, in steps, the busiest second of each step, and the busiest of all."""

    mean: list[float]
    most: list[float]
    busiest: float


def whole_day(world: Assumptions, people: float, seed: int, sample: int = SAMPLE) -> WholeDay:
    """Count the visits of each second of a day.

    Of more people than `sample`, only those are simulated. A day of `n` times as many is the sum of
    `n` such days: `n` times the mean, and deviations from it that are √n times as wide.
    """
    fewer = min(people, sample)
    times = people / fewer
    counts = Counter(
        int(visit.at) for visit in all_visits(world, fewer, 0, DAY, random.Random(seed))
    )
    seconds = []
    for second in range(DAY):
        usual = world.visits_at(fewer, second)
        seconds.append(max(0.0, times * usual + times**0.5 * (counts[second] - usual)))
    parts = [seconds[place : place + STEP] for place in range(0, DAY, STEP)]
    return WholeDay(
        [sum(part) / STEP for part in parts], [max(part) for part in parts], max(seconds)
    )


# Everything

SLICED = 50_000_000  # people: slices of so many are compared with the whole


def simulate_all(world: Assumptions, seed: int, calls: int = CALLS) -> dict[str, Any]:
    cells = [
        Cell(tier, people, world, seed, calls) for people in SIZES for tier in range(len(TIERS))
    ]
    table = []
    with ProcessPoolExecutor(2) as pool:
        for number, found in enumerate(pool.map(simulate, cells), start=1):
            table.append(found)
            say(f"  {number}/{len(cells)}: {found['tier']}, {found['people']:,} 人 people")
        slices = [Cell(3, SLICED, world, seed, 3 * calls, share) for share in (1.0, 0.5, 0.25)]
        thinned = list(pool.map(simulate, slices))
        say("  分片抽样 thinned")
    days = {str(people): whole_day(world, people, seed) for people in SIZES}
    checked = {sample: whole_day(world, SAMPLE, seed, sample) for sample in (SAMPLE, SAMPLE // 2)}
    return {
        "seed": seed,
        "world": asdict(world),
        "machine": load_costs()["machine"],
        "bytes": round(BYTES),
        "table": table,
        "switch": {
            tier.key: [round(switch_point(tier, world, used)) for used in (world.busy, 1.0)]
            for tier in TIERS[:4]
        },
        "slices": thinned,
        "days": {
            people: {
                "mean": [round(each, 3) for each in day.mean],
                "most": [round(each, 2) for each in day.most],
                "busiest": round(day.busiest, 1),
            }
            for people, day in days.items()
        },
        "day_check": {
            str(sample): [round(max(day.mean), 1), round(day.busiest, 1)]
            for sample, day in checked.items()
        },
    }


def simulate_size(world: Assumptions, people: int, seed: int, calls: int) -> dict[str, Any]:
    """Return what each tier needs for so many people, and their day."""
    cells = [Cell(tier, people, world, seed, calls) for tier in range(len(TIERS))]
    with ProcessPoolExecutor(2) as pool:
        table = list(pool.map(simulate, cells))
    return {"table": table, "days": {str(people): whole_day(world, people, seed)._asdict()}}


def number_of_people(text: str) -> int:
    """Return a number such as 3000000 or 3,000,000. Raises ArgumentTypeError."""
    people = int(text.replace(",", ""))
    if not FEWEST <= people <= MOST:
        raise argparse.ArgumentTypeError(f"must be from {FEWEST:,} to {MOST:,}")
    return people


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulation",
        description="The same code with 10,000 to 100 million people 一亿人的模拟",
    )
    parser.add_argument("--measure", action="store_true", help="measure the costs anew")
    parser.add_argument("--validate", action="store_true", help="play a crowd in reality too")
    parser.add_argument(
        "--people",
        type=number_of_people,
        metavar="N",
        help="only print what so many people need 只打印这么多人所需",
    )
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--calls", type=int, default=CALLS, help="simulated of each cell, about")
    parser.add_argument(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"another assumption: {', '.join(asdict(Assumptions()))}",
    )
    return parser.parse_args(arguments)


def assumed(changes: Iterable[str]) -> Assumptions:
    """Return the world with some assumptions changed. Raises SystemExit for one there is not."""
    known = asdict(Assumptions())
    changed: dict[str, Any] = {}
    for change in changes:
        name, _equals, text = change.partition("=")
        if name not in known:
            raise SystemExit(f"There is no assumption {name!r}. 没有这个假设。")
        changed[name] = type(known[name])(float(text))
    return Assumptions(**{**known, **changed})


def main() -> int:
    options = read_options()
    world = assumed(options.assume)
    if options.measure:
        say("测量开销 Measuring what calls cost, two minutes")
        measure_all()
    from .simulation_report import day_table, latency_table, machine_table, write_page
    from .validation import simulated, validate

    if options.people:
        found = simulate_size(world, options.people, options.seed, options.calls)
        for table in (machine_table, latency_table, day_table):
            say(f"{table(found)}\n")
        return 0
    earlier = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found = simulate_all(world, options.seed, options.calls)
    # With those before it, for one crowd differs from the next as the machine's other work does.
    crowds = [*earlier.get("validation", []), *(validate() if options.validate else [])]
    found["validation"] = [
        each | {"simulated": simulated(each["phones"], each["real"])} for each in crowds[-4:]
    ]
    say(write_page(found, is_kept=not options.assume))
    return 0


if __name__ == "__main__":
    sys.exit(main())
