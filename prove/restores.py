"""Back up under load, erase people, stop, and restore: what was acknowledged before the backup
began is there, and no one who was erased is.

Clients send scores, binds and names as in kills.py. A backup is made meanwhile, and people are
erased before, while and after it is made. Then the site stops and that backup is restored, which
makes another one before: of a site that was stopped, so that nothing at all may be missing in it.
"""

import json
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from .kills import SERVERS, Load, Person, Slaughter, compare, pairs, tell_missing
from .plan import Plan, TrialResult
from .servers import (
    DATABASES,
    Database,
    KillableSite,
    MissingProgram,
    Visitor,
    find_program,
    scratch,
    wait_for,
)

LONG, SHORT = 3000, 200  # acknowledged writes between two steps
PEOPLE = 3000
ERASED = 3  # people at each step
PROGRAMS = {"PostgreSQL": ("pg_dump", "pg_restore"), "MariaDB": ("mariadb-dump", "mariadb")}


@dataclass
class Restoration:
    """One run: what was found."""

    name: str
    checked: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def run(plan: Plan) -> TrialResult:
    """Back up and restore on each database."""
    outcome = TrialResult()
    for kind in DATABASES:
        if plan.is_over():
            outcome.gaps.append(f"{kind.name} was not tried: there was no time left")
            continue
        try:
            for program in PROGRAMS.get(kind.name, ()):
                find_program(program)
            judge(outcome, on_database(plan, kind))
        except MissingProgram as error:
            tell_missing(outcome, str(error))
    return outcome


def judge(outcome: TrialResult, found: Restoration) -> None:
    checked = ", ".join(f"{count:,} {what}" for what, count in sorted(found.checked.items()))
    answers = ", ".join(f"{what} × {count:,}" for what, count in sorted(found.counts.items()))
    outcome.facts += [f"{found.name}: {checked}", f"{found.name}, answers: {answers}"]
    for failure in found.failures[:20]:
        outcome.fail(f"{found.name}: {failure} (again: `python -m prove restores`)")


def on_database(plan: Plan, kind: type[Database]) -> Restoration:
    found = Restoration(kind.name)
    amount = plan.amount or (LONG if plan.long else SHORT)
    with scratch() as (folder, stack):
        database: Database = kind(folder / "database")
        stack.enter_context(database)
        site = stack.enter_context(KillableSite(folder / "site", database.url, SERVERS))
        made = json.loads(site.python("-m", "prove.people", str(PEOPLE)))
        people = iter([Person(str(row["id"]), row["token"]) for row in made])
        backups = folder / "backups"
        with Load(site.ports, people, 60) as load:
            gone = Eraser(site.ports[0], load)
            work(load, amount)
            gone.erase(found)
            with load.lock:
                before = deepcopy(load.met)
            backing_up = Thread(target=site.python, args=["-m", "django", "backup", str(backups)])
            backing_up.start()
            gone.erase(found)
            backing_up.join()
            plan.progress.show(f"{found.name}: backed up")
            work(load, amount)
            gone.erase(found)
        found.counts, found.failures = load.counts, found.failures + load.failures
        site.end()
        [first] = backups.glob("2*Z")
        stored = restored(site, first)
        plan.progress.show(f"{found.name}: restored")
        compare_with_earlier(before, stored, gone.ids, found)
        [last] = set(backups.glob("2*Z")) - {first}
        stored = restored(site, last)
        compare_with_end(load.met, stored, gone.ids, found)
        site.begin()
        with Load(site.ports, people, 60) as load:
            work(load, amount)
        found.failures += load.failures
    return found


def restored(site: KillableSite, backup: Path) -> dict[str, Any]:
    """Restore a backup; return what the database holds then."""
    site.python("-m", "django", "restore", str(backup))
    stored: dict[str, Any] = json.loads(site.python("-m", "prove.people"))
    return stored


def work(load: Load, amount: int) -> None:
    before = load.acknowledged
    wait_for(lambda: load.acknowledged >= before + amount, "writes are acknowledged", 600)


class Eraser:
    """Erases people after the clients are through with them."""

    def __init__(self, port: int, load: Load) -> None:
        self.port, self.load = port, load
        self.ids: set[str] = set()

    def erase(self, found: Restoration) -> None:
        wait_for(lambda: len(self.through()) >= ERASED, "clients are through with people", 600)
        for person in self.through()[:ERASED]:
            with Visitor(self.port, person.token) as visitor:
                status, answer = visitor.ask("DELETE", "/api/v1/me")
            if status != 204:
                found.failures.append(f"an erasure was answered {status}: {answer}")
            self.ids.add(person.id)

    def through(self) -> list[Person]:
        """Return those for which no client can be sending any more, the first first."""
        with self.load.lock:
            met = list(self.load.met)
        return [each for each in met[: -2 * len(self.load.threads)] if each.id not in self.ids]


def compare_with_earlier(
    before: list[Person], stored: dict[str, Any], erased: set[str], found: Restoration
) -> None:
    """Compare with what was acknowledged before the backup began: nothing less."""
    sums, names = dict(stored["sums"]), stored["names"]
    keys, members = pairs(stored["keys"]), pairs(stored["members"])
    say_risen(stored, erased, found)
    for person in before:
        if person.id in erased:
            continue
        found.checked["scores before the backup"] += len(person.keys)
        found.checked["binds before the backup"] += len(person.groups)
        # Sums and the numbers of names rise.
        name = int(person.name.split()[-1] or 0) if person.name else -1
        kept = names.get(person.id) or "name -1"
        lost = {
            "keys": person.keys - keys[person.id],
            "groups": person.groups - members[person.id],
            "sum": person.total > sums.get(person.id, 0),
            "name": name > int(kept.split()[-1]),
        }
        for what, missing in lost.items():
            if missing:
                found.failures.append(f"{what} of member {person.id} from before the backup: lost")


def compare_with_end(
    people: list[Person], stored: dict[str, Any], erased: set[str], found: Restoration
) -> None:
    """Compare with all that was acknowledged: nothing less, and nothing more."""
    say_risen(stored, erased, found)
    exactly = Slaughter(found.name)
    compare([person for person in people if person.id not in erased], stored, exactly)
    for what, count in exactly.checked.items():
        found.checked[f"{what} in all"] += count
    found.failures += exactly.failures


def say_risen(stored: dict[str, Any], erased: set[str], found: Restoration) -> None:
    found.checked["erased people who stayed so"] += len(erased - stored["names"].keys())
    for risen in sorted(erased & stored["names"].keys()):
        found.failures.append(f"member {risen} was erased and is back")
