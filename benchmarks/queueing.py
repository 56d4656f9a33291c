"""What people do in a day, and a site that serves them, in simulated time.

Visits come as those of `benchmarks.crowd` do. Their calls queue for threads, for the interpreter of
a process, for its connections and for the cores of the database; who finds a ranking kept is found
out call by call, process by process. What a call costs was measured: benchmarks/costs.py.
"""

import json
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from heapq import heappop, heappush
from itertools import accumulate
from math import exp, inf, log
from statistics import mean
from typing import Any, NamedTuple

from .costs import KEPT as COSTS
from .crowd import EXPONENT, OPENING, SMALLEST, SPREAD, THREADS, TOGETHER

SEED = 2018
DAY = 86_400
MAX_AGE, MOST_KEPT = 2.0, 10_000  # of groups/standings.py
POOL = 4  # DATABASE_POOL
KINDS = ("login", "bind", "ranking", "again", "scores", "around")


# What is assumed. docs/simulation.md says why; `--assume name=value` changes one.


@dataclass(frozen=True)
class Assumptions:
    """What people do, and what a machine costs."""

    active: float = 0.2  # of the people, on a day
    visits: float = 2.0  # of each of these, on that day
    opens: float = 0.3  # of a group's members, a card that was shared
    logs_in: float = 0.1  # of the visits; a token lasts thirty days
    new: float = 0.02  # of the visits: the first in this group
    first: float = 0.6  # of the others: the first of this day in this group, which counts as a day
    push: float = 3.0  # times as many cards as usual in the two minutes from 20:00
    wechat: float = 0.1  # seconds until WeChat has answered a log-in
    trip: float = 0.0003  # seconds to the database's machine and back
    shares_days: bool = True  # the ranking is that of active days, which a bind changes
    busy: float = 0.6  # the utilization for which machines are chosen
    spread: float = 0.3  # of the length of a piece of work, log-normal, around its mean
    core_hour: float = 0.25  # CNY, with 4 GB of memory
    gigabyte: float = 1.0  # CNY a month, of a disk with a copy

    def visits_at(self, people: float, moment: float) -> float:
        """Return the visits a second at a moment of the day."""
        return people * self.active * self.visits / DAY * level(moment, self.push)


# Visits in each hour of the day, in Shanghai: little at night, a bump at noon, most at nine.
HOURS = (22, 12, 7, 5, 4, 6, 13, 26, 36, 40, 42, 46, 56, 48, 42, 42, 44, 49, 58, 70, 88, 96, 84, 54)
USUAL = sum(HOURS) / len(HOURS)
PUSH = (20 * 3600, 20 * 3600 + 120)
# Statements of a call, each a trip to the database and back, and rows that it writes
# (docs/scaling.md).
STATEMENTS = {"login": 4, "bind": 8, "ranking": 3, "again": 3, "scores": 6, "around": 3}
WRITES = {"login": 2.0, "bind": 5.3, "scores": 5.0}
# An operator looks at a page every twenty seconds; there is one, and one more for each million
# people. A page costs so many seconds, more for more people, and ends after DATABASE_TIMEOUT.
OPERATOR_EVERY, PAGE, PAGE_FOR_A_MILLION, PAGE_MOST = 20.0, 0.2, 2.0, 3.0
# Rows of a person in the long run, retention at work, and bytes of each, indexes and what updates
# leave included (docs/scaling.md).
STORED = {
    "scores": (410, 255),
    "memberships": (4.4, 574),
    "idempotency keys": (1.4, 802),
    "tokens": (1.2, 934),
    "people": (1.0, 777),
    "consents": (3.0, 157),
    "groups": (0.07, 237),
}
BYTES = sum(rows * size for rows, size in STORED.values())  # of a person


def level(moment: float, push: float) -> float:
    """Return how much happens at a moment of the day, where 1 is the mean without the push."""
    hour = (moment / 3600 - 0.5) % 24
    before = int(hour)
    share = hour - before
    value = HOURS[before] * (1 - share) + HOURS[(before + 1) % 24] * share
    return value / USUAL * (push if PUSH[0] <= moment % DAY < PUSH[1] else 1.0)


# Who comes when


class PhoneVisit(NamedTuple):
    """A person's visit: when, to which group and of what size, and what is new about it."""

    at: float
    group: int
    size: int
    pauses: tuple[float, float]
    logs_in: bool
    is_new: bool
    is_first: bool


@cache
def zipf_sizes() -> tuple[list[int], list[int], float]:
    """Return sizes of groups as in `make bench`, their running sum, and their mean."""
    chance = random.Random(SEED)
    drawn = (SMALLEST / chance.random() ** (1 / EXPONENT) for _group in range(20_000))
    sizes = [min(500, int(size)) for size in drawn]
    return sizes, list(accumulate(sizes)), mean(sizes)


def poisson(rate: float, chance: random.Random) -> int:
    """Draw how many come, where `rate` come on average."""
    if rate > 50:
        return max(0, round(chance.gauss(rate, rate**0.5)))
    threshold, number, product = exp(-rate), 0, chance.random()
    while product > threshold:
        number, product = number + 1, product * chance.random()
    return number


def all_visits(
    world: Assumptions, people: float, start: int, end: int, chance: random.Random
) -> list[PhoneVisit]:
    """Return the visits between two seconds of a day, the ends of earlier bursts among them."""
    sizes, sums, typical = zipf_sizes()
    came = typical * world.opens  # to a card, on average
    found: list[PhoneVisit] = []
    group = 0

    def visit(at: float, group: int, size: int) -> PhoneVisit:
        is_new = chance.random() < world.new
        return PhoneVisit(
            at,
            group,
            size,
            (chance.uniform(2, 5), chance.uniform(0.5, 2)),
            chance.random() < world.logs_in,
            is_new,
            not is_new and chance.random() < world.first,
        )

    for second in range(start - 60, end):
        rate = world.visits_at(people, second)
        for _card in range(poisson(rate * TOGETHER / came, chance)):
            size, shared = chance.choice(sizes), second + chance.random()
            group += 1
            most = size * world.opens
            for _member in range(int(most) + (chance.random() < most % 1)):
                at = shared + chance.lognormvariate(log(OPENING), SPREAD)
                if start <= at < end:
                    found.append(visit(at, group, size))
        if second >= start:
            for _alone in range(poisson(rate * (1 - TOGETHER), chance)):
                group += 1
                size = chance.choices(sizes, cum_weights=sums)[0]
                found.append(visit(second + chance.random(), group, size))
    return sorted(found)


# Rankings that a process keeps


class KeptRankings:
    """What one process keeps of groups, as `Recent` in groups/standings.py does."""

    def __init__(self, most: float = MOST_KEPT) -> None:
        self.kept: OrderedDict[int, tuple[float, int, int]] = OrderedDict()
        self.size, self.most = 0, most

    def fits(self, group: int, version: int, now: float, own_since: float) -> bool:
        """Tell whether what is kept can be used by someone whose own score is of `own_since`."""
        found = self.kept.get(group)
        return (
            found is not None
            and found[1] >= version
            and now - found[0] < MAX_AGE
            and own_since <= found[0]
        )

    def keep(self, group: int, version: int, at: float, size: int) -> None:
        if before := self.kept.pop(group, None):
            self.size -= before[2]
        self.kept[group] = (at, version, size)
        self.size += size
        while len(self.kept) > 1 and (
            self.size > self.most or at - next(iter(self.kept.values()))[0] >= MAX_AGE
        ):
            self.size -= self.kept.popitem(last=False)[1][2]


# What serves them


@dataclass(frozen=True)
class SimulatedSite:
    """What a site has: processes with a core each, and the cores of the database, which may be the
    same (`is_one_machine`). `share` is the part of it that is simulated, with that part of the
    people. Each call goes to one of all `processes` nevertheless, for a ranking is kept by a
    process; each of these then keeps the same share of what it would."""

    processes: int
    cores: int
    is_one_machine: bool = False
    is_sqlite: bool = False
    serves_console: bool = False
    share: float = 1.0

    @property
    def queues(self) -> int:
        return max(1, round(self.processes * self.share))

    @property
    def simulated_cores(self) -> int:
        return max(1, round(self.cores * self.share))


def load_costs() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(COSTS.read_text())
    return found


class Costs:
    """What a call costs: seconds of application, database and cache, and bytes of WAL."""

    def __init__(
        self, measured: Mapping[str, Any], is_sqlite: bool = False, is_seldom: bool = False
    ) -> None:
        """`is_seldom`: as calls cost that are few, on a site with little else to do."""
        part = measured["sqlite" if is_sqlite else "postgresql"]
        more = part["seldom"] if is_seldom else 0.0
        self.calls: dict[str, tuple[float, float, float]] = {
            name: ((cost["app"] + more) / 1000, cost["data"] / 1000, cost["wal"])
            for name, cost in part["calls"].items()
        }
        self.cache = mean(cost["cache"] for cost in part["calls"].values()) / 1000
        self.sync = measured["postgresql"]["sync"] / 1000
        self.is_sqlite = is_sqlite

    def of(self, name: str) -> tuple[float, float, float]:
        return self.calls[name]

    @cache  # noqa: B019  # as few as there are runs
    def ranking(self, kind: str, size: int) -> tuple[float, float]:
        """Return what a ranking that is kept or read costs, between the sizes that were asked."""
        low, high = (5, 50) if size <= 50 else (50, 500)
        share = (size - low) / (high - low)
        (app, data, _), (more_app, more_data, _) = (
            self.calls[f"{kind} {each}"] for each in (low, high)
        )
        return app + (more_app - app) * share, data + (more_data - data) * share

    def held(self, name: str) -> float:
        """Return how long a call holds SQLite's one writer: what it does beyond reading `me`."""
        return max(0.0, self.calls[name][0] - self.calls["me"][0])


class Resource:
    """Something of which there are so many, and who waits for it, first come first served."""

    __slots__ = ("count", "free", "longest", "queue", "used")

    def __init__(self, count: float) -> None:
        self.count = self.free = count
        self.queue: deque[Steps] = deque()
        self.used = 0.0  # seconds, of all together
        self.longest = 0


# Yields a resource to take or seconds to pass; who takes a resource gives it back.
Steps = Generator[Any, None, None]


class SimulatedClock:
    """Simulated time: what waits for a moment, and what waits for a resource."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waiting: list[tuple[float, int, Steps]] = []
        self.number = 0

    def start(self, at: float, steps: Steps) -> None:
        self.number += 1
        heappush(self.waiting, (at, self.number, steps))

    def run(self) -> None:
        """Run until nothing waits for a moment any more."""
        while self.waiting:
            self.now, _number, steps = heappop(self.waiting)
            for wanted in steps:
                if not isinstance(wanted, Resource):
                    self.start(self.now + wanted, steps)
                    break
                if wanted.free < 1:
                    wanted.queue.append(steps)
                    wanted.longest = max(wanted.longest, len(wanted.queue))
                    break
                wanted.free -= 1

    def give(self, resource: Resource) -> None:
        """Give a resource back, to who has waited longest if anyone does."""
        if resource.queue:
            self.start(self.now, resource.queue.popleft())
        else:
            resource.free += 1


@dataclass
class CallsPlayed:
    """What came of a run: how long each call took, by kind, and what all of them cost."""

    took: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    rankings: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    app: float = 0.0
    data: float = 0.0
    wal: float = 0.0
    rows: float = 0.0
    arrived: int = 0
    finished: int = 0
    waited_for_connection: int = 0
    late: float = 0.0  # how long the last visit outlived the end

    @property
    def calls(self) -> int:
        return sum(map(len, self.took.values()))

    @property
    def hits(self) -> float:
        asked = self.rankings.total()
        return 1 - self.rankings["read"] / asked if asked else 0.0

    def add(self, other: "CallsPlayed") -> None:
        for kind, times in other.took.items():
            self.took[kind] += times
        self.rankings += other.rankings
        for name in ("seconds", "app", "data", "wal", "rows", "arrived", "finished"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("waited_for_connection", "late"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))


class SiteRun:
    """A site under visits."""

    def __init__(
        self,
        world: Assumptions,
        costs: Costs,
        site: SimulatedSite,
        chance: random.Random,
        sandbox: float = 0.0,
        without_queues: bool = False,
    ) -> None:
        """Start empty. `sandbox`: seconds of CPU of each call of `wx`, on the same machine."""
        self.world, self.costs, self.site, self.chance = world, costs, site, chance
        self.clock, self.outcome = SimulatedClock(), CallsPlayed()
        most = inf if without_queues else 1
        queues = range(site.queues)
        self.interpreters = [Resource(most) for _queue in queues]
        self.threads = [Resource(most * THREADS) for _queue in queues]
        self.pools = [Resource(most * POOL) for _queue in queues]
        self.cores = Resource(most * site.simulated_cores)
        self.writer = Resource(most)
        self.kept: dict[int, KeptRankings] = {}
        self.versions: Counter[int] = Counter()
        self.makers: dict[tuple[int, int], Resource] = {}
        self.sandbox, self.wechat = sandbox, Resource(most)
        self.counts_from = 0.0
        self.counts_to = inf

    def play(
        self, visits: Iterable[PhoneVisit], start: float, counted: float, end: float
    ) -> CallsPlayed:
        """Let visits come from `start`, and count what is due between `counted` and `end`."""
        self.counts_from, self.counts_to = counted, end
        self.outcome.seconds = end - counted
        for visit in visits:
            self.clock.start(visit.at, self.visit(visit))
        if self.site.serves_console and end < inf:
            self.clock.start(start, self.console(end))
        self.clock.run()
        self.outcome.waited_for_connection = max(pool.longest for pool in self.pools)
        self.outcome.late = max(0.0, self.clock.now - end)
        return self.outcome

    # What a phone does

    def visit(self, visit: PhoneVisit) -> Steps:
        self.outcome.arrived += 1
        own_since = [-inf]
        if self.sandbox and visit.logs_in:
            yield from self.ask_sandbox()
        if visit.logs_in:
            # Who is new in a group and logs in is taken for new altogether.
            log_in = self.write("login", "login anew" if visit.is_new else "login")
            yield from self.timed("login", log_in)
        for _call in range(2 if self.sandbox else 0):
            yield from self.ask_sandbox()
        yield from self.timed("bind", self.bind(visit, own_since))
        yield from self.timed("ranking", self.read("ranking", visit, own_since))
        yield visit.pauses[0]
        yield from self.timed("again", self.read("again", visit, own_since))
        yield visit.pauses[1]
        yield from self.timed("scores", self.write("scores", "score"))
        if not self.world.shares_days:
            own_since[0] = self.clock.now
        yield from self.timed("around", self.read("around", visit, own_since))
        self.outcome.finished += 1

    def timed(self, kind: str, steps: Steps) -> Steps:
        due = self.clock.now
        yield from steps
        if self.counts_from <= due < self.counts_to:
            self.outcome.took[kind].append(self.clock.now - due)

    def bind(self, visit: PhoneVisit, own_since: list[float]) -> Steps:
        how = "anew" if visit.is_new else "of the day" if visit.is_first else "again"
        yield from self.write("bind", f"bind {how}")
        if visit.is_new:
            self.versions[visit.group] += 1
        if self.world.shares_days and (visit.is_new or visit.is_first):
            own_since[0] = self.clock.now

    def ask_sandbox(self) -> Steps:
        yield self.wechat
        yield from self.work(self.cores, self.sandbox)
        self.clock.give(self.wechat)

    # What the server does

    def write(self, kind: str, name: str) -> Steps:
        app, data, written = self.costs.of(name)
        process = self.chance.randrange(self.site.processes) % self.site.queues
        yield self.threads[process]
        yield from self.run_python(process, app / 2)
        if kind == "login":
            if self.sandbox:
                yield from self.ask_sandbox()
            else:
                yield self.world.wechat
        if self.costs.is_sqlite:
            held = min(app / 2, self.costs.held(name))
            yield self.writer
            yield from self.run_python(process, held)
            yield self.costs.sync
            self.clock.give(self.writer)
            yield from self.run_python(process, app / 2 - held)
        else:
            yield self.pools[process]
            yield from self.ask_database(kind, data)
            yield self.costs.sync
            yield from self.run_python(process, app / 2)
            self.clock.give(self.pools[process])
        if self.counts_from <= self.clock.now < self.counts_to:
            self.outcome.wal += written
            self.outcome.rows += WRITES[kind]
        self.clock.give(self.threads[process])

    def read(self, kind: str, visit: PhoneVisit, own_since: list[float]) -> Steps:
        number = self.chance.randrange(self.site.processes)
        process = number % self.site.queues
        app, data = self.costs.ranking("kept", visit.size)
        yield self.threads[process]
        yield from self.run_python(process, app / 2)
        yield self.pools[process]
        now, version = self.clock.now, self.versions[visit.group]
        yield from self.ask_database(kind, data)
        if number not in self.kept:
            self.kept[number] = KeptRankings(MOST_KEPT * self.site.share)
        kept = self.kept[number]
        source = "kept"
        if not kept.fits(visit.group, version, now, own_since[0]):
            # One thread reads, and the others of this process wait for it.
            maker = self.makers.setdefault((number, visit.group), Resource(1))
            yield maker
            source = "waited"
            if not kept.fits(visit.group, version, now, own_since[0]):
                source = "read"
                more_app, more_data = self.costs.ranking("read", visit.size)
                yield from self.ask_database("", more_data - data)
                yield from self.run_python(process, more_app - app)
                kept.keep(visit.group, version, now, visit.size)
            self.clock.give(maker)
            if maker.free and not maker.queue:
                self.makers.pop((number, visit.group), None)
        if self.counts_from <= self.clock.now < self.counts_to:
            self.outcome.rankings[source] += 1
        yield from self.run_python(process, app / 2)
        self.clock.give(self.pools[process])
        self.clock.give(self.threads[process])

    def run_python(self, process: int, seconds: float) -> Steps:
        """Use a process: one thread of it at a time, on a core of its own or of all."""
        yield self.interpreters[process]
        if self.site.is_one_machine:
            yield from self.work(self.cores, seconds, is_app=True)
        else:
            spent = self.length(seconds)
            yield spent
            self.count(spent, is_app=True)
        self.clock.give(self.interpreters[process])

    def ask_database(self, kind: str, seconds: float) -> Steps:
        if not self.site.is_one_machine:
            yield STATEMENTS.get(kind, 1) * self.world.trip
        if seconds > 0:
            yield from self.work(self.cores, seconds)

    def work(self, cores: Resource, seconds: float, is_app: bool = False) -> Steps:
        yield cores
        spent = self.length(seconds)
        yield spent
        self.count(spent, is_app)
        self.clock.give(cores)

    def count(self, spent: float, is_app: bool) -> None:
        if self.counts_from <= self.clock.now < self.counts_to:
            if is_app:
                self.outcome.app += spent
            else:
                self.outcome.data += spent

    def length(self, seconds: float) -> float:
        spread = self.world.spread
        if not spread:
            return seconds
        return seconds * self.chance.lognormvariate(-spread * spread / 2, spread)

    def console(self, end: float) -> Steps:
        """Let operators look at pages, each of them for as long as the database takes."""
        people = self.people
        every = OPERATOR_EVERY / operators(people)
        while self.clock.now < end:
            yield self.chance.expovariate(1 / every)
            self.clock.start(self.clock.now, self.work(self.cores, page_seconds(people)))

    people: float = 0.0


def operators(people: float) -> float:
    return 1 + people / 1e6


def page_seconds(people: float) -> float:
    return min(PAGE_MOST, PAGE + PAGE_FOR_A_MILLION * people / 1e6)


def console_cores(people: float) -> float:
    """Return the cores that operators keep busy."""
    return operators(people) / OPERATOR_EVERY * page_seconds(people)
