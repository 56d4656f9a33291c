"""Kill the application and the database under load, and ask the database what it kept.

Clients send scores (to a board of sums, under idempotency keys), binds and names, each again and
again until it is acknowledged, and remember what was. Meanwhile servers and databases are killed
with SIGKILL and started again. In the end everything has to be there, once.

Of a proof that nothing is lost one has to know that it would notice: so servers that answer before
they write, and databases that do not write at each commit, are killed as well; a loss has to show.
"""

import http.client
import itertools
import json
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any

from wechat.crypto import seal

from . import APP_ID
from .people import BOARD, SESSION_KEY
from .plan import Plan, TrialResult
from .servers import (
    DATABASES,
    Database,
    KillableSite,
    MissingProgram,
    Service,
    Visitor,
    scratch,
    wait_for,
)

LONG, SHORT = 252, 6  # kills in all
CONTROL = 3  # kills of what is not durable
CLIENTS, SERVERS, PEOPLE, GROUPS = 6, 2, 150, 40
ACTIONS_EACH = 30  # that a client does as one person, before the next
FIRST = 5  # acknowledged writes that there are between two kills, at least
FINE = {200, 201}
SEED = 2018


@dataclass
class Person:
    """A member, and what was acknowledged to them."""

    id: str
    token: str
    total: int = 0
    keys: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    name: str = ""


class Load:
    """Clients in threads, until they are to stop; they finish what they have begun."""

    def __init__(
        self,
        ports: list[int],
        people: Iterator[Person],
        patience: float,
        pause: float = 0.02,
        rest: float = 0,
    ) -> None:
        """`pause` is waited before a call is made again, `rest` before the next."""
        self.ports, self.patience = ports, patience
        self.pause, self.rest = pause, rest
        self.people = people
        self.met: list[Person] = []
        self.lock, self.stop = Lock(), Event()
        self.counts: Counter[str] = Counter()
        self.acknowledged = 0
        self.moments: list[float] = []  # of time.monotonic, when a write was acknowledged
        self.failures: list[str] = []
        self.groups = [f"tG{n:026}" for n in range(GROUPS)]
        self.threads = [Thread(target=self.work, args=[n], daemon=True) for n in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(self.patience + 60)

    def work(self, number: int) -> None:
        chance = random.Random(f"{SEED} {number}")
        while not self.stop.is_set():
            with self.lock:
                person = next(self.people, None)
                if person is None:
                    self.failures.append("there were too few people for so long a run")
                    return
                self.met.append(person)
            visitors = [Visitor(port, person.token) for port in self.ports]
            for count in range(ACTIONS_EACH):
                if self.stop.is_set():
                    break
                action = chance.choice((self.score, self.score, self.bind, self.rename))
                action(
                    person, count, itertools.cycle(chance.sample(visitors, len(visitors))), chance
                )
                self.stop.wait(self.rest)
            for visitor in visitors:
                visitor.line.close()

    def score(
        self, person: Person, count: int, visitors: Iterator[Visitor], chance: random.Random
    ) -> None:
        value, key = chance.randint(1, 1000), f"lap {count}"
        body = {"board": BOARD, "value": value, "idempotencyKey": key}
        if self.send(visitors, "scores", lambda: ("POST", "scores", body)):
            person.total += value
            person.keys.add(key)

    def bind(
        self, person: Person, count: int, visitors: Iterator[Visitor], chance: random.Random
    ) -> None:
        group = chance.choice(self.groups)

        def envelope() -> tuple[str, str, dict[str, str]]:
            mark = {"appid": APP_ID, "timestamp": int(time.time())}
            payload = {"openGId": group, "watermark": mark}
            return "POST", "groups/bind", seal(SESSION_KEY, payload)

        if self.send(visitors, "binds", envelope):
            person.groups.add(group)

    def rename(
        self, person: Person, count: int, visitors: Iterator[Visitor], chance: random.Random
    ) -> None:
        name = f"name {count}"
        if self.send(visitors, "names", lambda: ("PUT", "me", {"nickname": name})):
            person.name = name

    def send(
        self,
        visitors: Iterator[Visitor],
        what: str,
        make: Callable[[], tuple[str, str, dict[str, object] | dict[str, str]]],
    ) -> bool:
        """Send until it is acknowledged; return whether it was."""
        deadline = time.monotonic() + self.patience
        for visitor in visitors:
            method, path, body = make()
            try:
                status, answer = visitor.ask(method, f"/api/v1/{path}", body)
            except (OSError, http.client.HTTPException):
                status, answer = 0, None
            with self.lock:
                self.counts["no answer" if not status else f"{what}: {status}"] += 1
                if status in FINE:
                    self.acknowledged += 1
                    self.moments.append(time.monotonic())
                    return True
                if status not in {0, 503} and len(self.failures) < 20:
                    self.failures.append(f"{method} {path} was answered {status}: {answer}")
            if time.monotonic() > deadline:
                with self.lock:
                    self.failures.append(f"{method} {path} was not answered for {self.patience} s")
                return False
            time.sleep(self.pause)
        return False


@dataclass
class Slaughter:
    """One run: what was killed, what came of it."""

    name: str
    control: bool = False
    kills: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    longest: float = 0
    checked: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0


def run(plan: Plan) -> TrialResult:
    """Kill as many on each database, and as control a few where there has to be a loss."""
    outcome = TrialResult()
    each = -(-(plan.amount or (LONG if plan.long else SHORT)) // len(DATABASES))
    done = 0
    for kind in DATABASES:
        if plan.is_over():
            outcome.gaps.append(f"{kind.name} was not tried: there was no time left")
            continue
        try:
            found, control = on_database(plan, kind, each)
        except MissingProgram as error:
            tell_missing(outcome, str(error))
            continue
        judge(outcome, found)
        judge_control(outcome, control)
        done += found.kills.total()
    outcome.facts.append(f"{done} kills in all, but for those of what is not durable")
    return outcome


def tell_missing(outcome: TrialResult, text: str) -> None:
    if os.environ.get("CI") == "true":
        outcome.fail(f"{text}; in CI nothing is left out")
    else:
        outcome.gaps.append(f"not tried: {text}")


def judge(outcome: TrialResult, found: Slaughter) -> None:
    kills = ", ".join(f"{count} of {what}" for what, count in sorted(found.kills.items()))
    writes = ", ".join(f"{count:,} {what}" for what, count in sorted(found.checked.items()))
    answers = ", ".join(f"{what} × {count:,}" for what, count in sorted(found.counts.items()))
    outcome.facts += [
        f"{found.name}: {found.kills.total()} kills ({kills}); acknowledged and found again: "
        f"{writes}; well again {found.longest:.1f} s after a kill at the latest",
        f"{found.name}, answers: {answers}",
    ]
    for failure in found.failures:
        outcome.fail(f"{found.name}: {failure} (again: `python -m prove kills --long`)")


def judge_control(outcome: TrialResult, found: Slaughter) -> None:
    if not found.failures:
        outcome.fail(
            f"{found.name}: {found.kills.total()} kills lost nothing: would a loss be seen?"
        )
        return
    outcome.facts.append(f"{found.name}, as it has to be found out: {found.failures[0][:160]}")


def on_database(plan: Plan, kind: type[Database], kills: int) -> tuple[Slaughter, Slaughter]:
    """Run a site on a database of this kind, kill and compare; then again as a control."""
    with scratch() as (folder, stack):
        database: Database = kind(folder / "database")
        stack.enter_context(database)
        site = stack.enter_context(KillableSite(folder / "site", database.url, SERVERS))
        amount = PEOPLE + (kills + CONTROL) * 8
        made = json.loads(site.python("-m", "prove.people", str(amount)))
        people = iter([Person(str(row["id"]), row["token"]) for row in made])
        found = slaughter(plan, site, database, people, Slaughter(kind.name), kills)
        if isinstance(database, Service):
            control = Slaughter(f"{kind.name} that does not write at each commit", control=True)
            database.kill()
            database.durable = False
            database.start()
        else:
            control = Slaughter(f"{kind.name} under servers that answer first", control=True)
            site.end()
            site.begin(PROVE_ANSWERS_FIRST="1")
        return found, slaughter(plan, site, database, people, control, CONTROL)


def slaughter(
    plan: Plan,
    site: KillableSite,
    database: Database,
    people: Iterator[Person],
    found: Slaughter,
    kills: int,
) -> Slaughter:
    """Kill under load, and compare."""
    chance = random.Random(f"{SEED} {found.name}")
    with Load(site.ports, people, 5 if found.control else 60) as load:
        for number in range(kills):
            so_far = f"{number} of {kills} kills, {load.acknowledged:,} writes"
            plan.progress.show(f"{found.name}: {so_far}")
            kill_one(site, database, load, chance, found)
    found.counts, found.failures = load.counts, load.failures[:]
    compare(load.met, json.loads(site.python("-m", "prove.people")), found)
    if "Traceback" in site.log():
        found.failures.append(f"a server logged {site.log()[-1000:]}")
    return found


def kill_one(
    site: KillableSite,
    database: Database,
    load: Load,
    chance: random.Random,
    found: Slaughter,
) -> None:
    """Kill a server or the database under load, start it again, and wait until writes go on."""
    before = load.acknowledged
    wait_for(lambda: load.acknowledged >= before + FIRST, "writes are acknowledged")
    time.sleep(chance.uniform(0.0, 0.3))
    begun, before = time.monotonic(), load.acknowledged
    if isinstance(database, Service) and (found.control or chance.random() < 0.4):
        found.kills["the database"] += 1
        database.kill()
        database.start()
    else:
        found.kills["the application"] += 1
        port = chance.choice(site.ports)
        site.kill(port)
        site.start(port)
    wait_for(lambda: load.acknowledged > before, "writes go on after a kill")
    found.longest = max(found.longest, time.monotonic() - begun)


def compare(people: list[Person], stored: dict[str, Any], found: Slaughter) -> None:
    """Compare what was acknowledged with what is stored: nothing less, and nothing more."""
    sums: dict[str, int] = dict(stored["sums"])
    names: dict[str, str] = stored["names"]
    keys, members = pairs(stored["keys"]), pairs(stored["members"])
    days = {(pk, group): count for pk, group, count in stored["days"]}
    for person in people:
        found.checked["scores"] += len(person.keys)
        found.checked["binds"] += len(person.groups)
        found.checked["names"] += bool(person.name)
        wrong = {
            "sum": (person.total, sums.get(person.id, 0)),
            "keys": (person.keys, keys[person.id]),
            "groups": (person.groups, members[person.id]),
            "name": (person.name, names[person.id]),
            "days": (
                dict.fromkeys(person.groups, 1),
                {group: count for (pk, group), count in days.items() if pk == person.id},
            ),
        }
        more, missing = sums.get(person.id, 0) - person.total, person.keys - keys[person.id]
        gone = len(missing) + len(person.groups - members[person.id])
        gone += person.name != names[person.id]
        found.lost += gone or more < 0  # a sum also lacks what a lost key had
        found.doubled += more > 0 or any(
            days.get((person.id, each), 0) > 1 for each in person.groups
        )
        for what, (acknowledged, kept) in wrong.items():
            if acknowledged != kept:
                found.failures.append(
                    f"{what} of member {person.id}: acknowledged {acknowledged}, stored {kept}"
                )
    twice = {group: count for group, count in stored["groups"].items() if count != 1}
    found.doubled += len(twice)
    if twice:
        found.failures.append(f"groups that exist more than once: {twice}")


def pairs(rows: list[list[str | int]]) -> defaultdict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for pk, value in rows:
        found[str(pk)].add(str(value))
    return found
