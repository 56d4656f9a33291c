"""`python -m benchmarks.growth`: how many rows and bytes a member's use leaves in each table.

Invented people use a mini-program for some weeks through the product's own functions, with the
clock moved on, and housekeeping runs each night. Then every table is counted, and what the same use
makes of 1 and of 100 million members is reckoned. docs/scaling.md has the table of the last run.

It needs an empty PostgreSQL database (DATABASE_URL), or starts one of its own as `make bench` does.
With `--calls` it says what one call writes and costs, and takes an empty SQLite file too.
"""

import argparse
import os
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import time_machine

from . import APP_ID
from .serving import say, services, set_environment

BEGINNING = datetime(2026, 6, 1, tzinfo=UTC)  # the Monday that begins a month
MEMBERSHIPS = 5  # of a person
ENTRIES = (1, 2)  # of an active day: one group or two
LOG_INS = 0.2  # of an active day: the kit keeps its token for thirty days
FAILURES = 0.02  # of entries: data that does not open
RENEWED = 0.01  # of active days: another name and another face
REPORTS = 0.0005
ERASED = 0.01  # of all people, in the whole time
YEAR = 365


@dataclass
class Cost:
    """What calls of one kind took together."""

    calls: int = 0
    statements: int = 0
    rows: int = 0
    seconds: float = 0.0
    application: float = 0.0  # CPU seconds
    data: float = 0.0
    held: float = (
        0.0  # seconds between BEGIN and the end of COMMIT, in which SQLite has no other writer
    )


@dataclass
class CallMeter:
    """What each kind of call costs: statements, rows written, time and CPU."""

    backend: Path | None  # of the one connection to PostgreSQL
    costs: dict[str, Cost] = field(default_factory=lambda: defaultdict(Cost))
    begun: float = 0.0

    def watch_commits(self) -> None:
        """Measure from now on how long transactions are open."""
        from django.db import connection

        database: Any = connection
        commit = database._commit

        def timed() -> None:
            commit()
            self.costs["all"].held += time.perf_counter() - self.begun

        database._commit = timed

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        from django.db import connection

        cost, held = self.costs[name], self.costs["all"].held

        def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            result = execute(sql, params, many, context)
            cost.statements += 1
            if sql.startswith("BEGIN"):
                self.begun = time.perf_counter()
            if sql.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
                cost.rows += max(context["cursor"].rowcount, 0)
            return result

        began, cpu, data = time.perf_counter(), time.process_time(), self._data()
        with connection.execute_wrapper(count):
            yield
        cost.calls += 1
        cost.held += self.costs["all"].held - held
        cost.seconds += time.perf_counter() - began
        cost.application += time.process_time() - cpu
        cost.data += self._data() - data

    def _data(self) -> float:
        return int(self.backend.read_text().split()[0]) / 1e9 if self.backend else 0.0


class Population:
    """People, the groups they are in, and what they do on a day."""

    def __init__(self, people: int, chance: random.Random, meter: CallMeter) -> None:
        from groups.models import Board, Group

        from .seed import make_groups, sizes

        self.chance, self.meter, self.serial = chance, meter, 0
        self.board = Board.objects.create(
            app_id=APP_ID, key="points", scope="app", policy="sum", writer="client"
        )
        wanted = [min(size, people // 2) for size in sizes(people, chance)]
        while sum(wanted) > people * MEMBERSHIPS:
            wanted.pop()
        now = datetime.now(UTC)
        Group.objects.bulk_create(make_groups(len(wanted), now))
        names = list(Group.objects.order_by("pk").values_list("open_gid", flat=True))
        self.groups: dict[int, list[str]] = defaultdict(list)
        for name, size in zip(names, wanted, strict=True):
            for person in chance.sample(range(people), size):
                self.groups[person].append(name)
        self.users: dict[int, Any] = {}

    def begin(self, person: int) -> None:
        """Log someone in for the first time, with a name, a face and what they agree to."""
        from accounts.services import consent, rename

        self.log_in(person, "first log-in")
        user = self.users[person]
        consent(user, ["nickname", "avatar", "groups"], "1")
        rename(user, f"成员{person}")
        self.show_face(person)

    def show_face(self, person: int) -> None:
        """Enter the check that an upload of a picture begins."""
        from accounts.models import AvatarCheck

        self.serial += 1
        trace_id, user = f"check-{self.serial:032}", self.users[person]
        AvatarCheck.objects.create(app_id=APP_ID, trace_id=trace_id, user=user, suggestion="pass")

    def log_in(self, person: int, name: str = "log in") -> None:
        from accounts.services import begin_session
        from wechat.client import Session

        key = self.chance.randbytes(16).hex()[:22] + "=="
        with self.meter.of(name):
            found = begin_session(APP_ID, Session(f"o{person:027}", key, f"u{person:027}"))
        self.users[person] = found.user

    def enter(self, person: int, open_gid: str) -> None:
        from groups.services import GroupEntry, bind, cards_of

        user = self.users[person]
        if self.chance.random() < FAILURES:
            self.fail(person)
        with self.meter.of("bind"):
            bound = bind(user, GroupEntry(open_gid, True, f"g{person:027}"), 1044)
            cards_of([bound.membership], datetime.now(UTC))

    def fail(self, person: int) -> None:
        """Send data that no key opens."""
        from audit import attempts
        from groups.causes import BIND
        from wechat.crypto import Envelope

        with suppress(Exception), attempts.record(BIND):
            self.users[person].unseal_group(Envelope(bytes(32), bytes(16)))

    def submit(self, person: int) -> None:
        from groups.models import ScoreSource
        from groups.services import Submission, submit_score

        self.serial += 1
        key, value = f"{self.serial:032}", self.chance.randrange(1, 100)
        submission = Submission(self.board, value, None, key, ScoreSource.CLIENT)
        with self.meter.of("score"):
            submit_score(self.users[person], submission)

    def spend_day(self, person: int) -> None:
        from accounts.services import rename

        if person not in self.users:
            self.begin(person)
        elif self.chance.random() < LOG_INS:
            self.log_in(person)
        mine = self.groups[person]
        for open_gid in self.chance.sample(mine, min(len(mine), self.chance.choice(ENTRIES))):
            self.enter(person, open_gid)
        self.submit(person)
        if self.chance.random() < RENEWED:
            rename(self.users[person], f"成员{person}·{self.serial}")
            self.show_face(person)
        if mine and self.chance.random() < REPORTS:
            self.report(person, self.chance.choice(mine))

    def report(self, person: int, open_gid: str) -> None:
        from groups.models import Group, Membership
        from groups.services import report

        group = Group.objects.get(open_gid=open_gid)
        others = Membership.objects.filter(group=group).exclude(user=self.users[person])
        if (other := others.first()) is not None:
            report(self.users[person], group, other.user_id, "advert")

    def leave_rows(self) -> None:
        """Make a row of what housekeeping may have emptied: to be measured, not counted."""
        person, another, *_others = [each for each in self.users if self.groups[each]]
        self.fail(person)
        self.report(person, self.groups[person][0])
        self.erase(another)

    def erase(self, person: int) -> None:
        """Take consent back for someone, and erase them: an entry for each, and a tombstone."""
        from accounts.privacy import erase
        from accounts.withdrawals import withdraw

        user = self.users.pop(person)
        user.stale_count, user.stale_since = 1, datetime.now(UTC)
        user.save(update_fields=["stale_count", "stale_since"])
        withdraw(user, "avatar")
        erase(user)


# The time


@dataclass(frozen=True)
class Life:
    """How many rows each table ever had, up to the middle of the time and to its end."""

    days: int
    half: Counter[str]
    whole: Counter[str]

    def a_day(self, table: str) -> float:
        """Return the rows made on a day, when all had come."""
        return (self.whole[table] - self.half[table]) / (self.days - self.days // 2)


def live(crowd: Population, people: int, days: int, active: float) -> Life:
    """Let all of them live so many days, with housekeeping each night."""
    from django.db import connection

    from groups.retention import RULES

    gone: Counter[str] = Counter()
    half: Counter[str] = Counter()
    for day in range(days):
        if day == days // 2:
            half = ever_made(gone)
        moment = BEGINNING + timedelta(days=day, hours=4)
        with time_machine.travel(moment):
            # All come in the first week, and then as often as the others.
            for person in range(people):
                due = day < 7 and person % 7 == day
                known = person in crowd.users
                if due or (known and crowd.chance.random() < active):
                    crowd.spend_day(person)
            if day % 7 == 6:
                for person in crowd.chance.sample(sorted(crowd.users), _erased(people, days)):
                    crowd.erase(person)
        with time_machine.travel(moment + timedelta(hours=12)):
            for name, rule in RULES.items():
                gone[name] += sum(rule.purge(datetime.now(UTC)))
            # As often as autovacuum comes by, which here has no time for it.
            if day % 2 and connection.vendor == "postgresql" and connection.get_autocommit():
                with connection.cursor() as cursor:
                    cursor.execute("VACUUM")
        if day % 10 == 9:
            say(f"  day {day + 1}/{days}")
    life = Life(days, half, ever_made(gone))
    with time_machine.travel(BEGINNING + timedelta(days=days)):
        crowd.leave_rows()
    return life


def ever_made(gone: Counter[str]) -> Counter[str]:
    """Return by table the rows that are there and those that housekeeping deleted."""
    rules = {name: RULE_OF.get(name, "") for name in tables()}
    return Counter(
        {name: model.objects.count() + gone[rules[name]] for name, model in tables().items()}
    )


def _erased(people: int, days: int) -> int:
    return max(1, round(people * ERASED * 7 / days))


# The tables


def tables() -> dict[str, Any]:
    """Return the models of the product by the name of their table."""
    from django.apps import apps

    ours = ("accounts", "audit", "groups", "console")
    return {
        model._meta.db_table: model
        for app in ours
        for model in apps.get_app_config(app).get_models()
    }


def sizes_of_tables() -> dict[str, tuple[int, int]]:
    """Return by table its rows, and its bytes on the disk, indexes included."""
    from django.db import connection

    found = {}
    with connection.cursor() as cursor:
        for table, model in tables().items():
            cursor.execute("SELECT pg_total_relation_size(%s)", [table])
            [(size,)] = cursor.fetchall()
            found[table] = (model.objects.count(), size)
    return found


# By table: the rule of groups/retention.py that deletes from it.
RULE_OF = {
    "groups_score": "scores",
    "groups_membership": "memberships",
    "accounts_wechatuser": "people",
    "accounts_token": "tokens",
    "accounts_avatarcheck": "checks",
    "groups_idempotencykey": "idempotency-keys",
    "groups_report": "reports",
    "accounts_tombstone": "tombstones",
    "accounts_erasure": "erasures",
    "audit_attempt": "attempts",
    "audit_phonefailure": "diagnostics",
    "audit_watch": "watches",
}


@dataclass(frozen=True)
class TableGrowth:
    """What a member leaves in one table."""

    table: str
    rows: float  # a member, after the run
    a_day: float  # made for each member and day
    kept: float | None  # days, None where a row stays as long as its person
    packed: float  # bytes a row, written anew
    used: float  # bytes a row, after the updates
    measured: bool = True

    @property
    def steady(self) -> float:
        """Return the rows a member with housekeeping, after years."""
        return self.rows if self.kept is None else self.a_day * self.kept

    @property
    def without(self) -> float:
        """Return the rows a member after one year without housekeeping."""
        return self.rows if self.kept is None else self.a_day * YEAR

    @property
    def grows(self) -> bool:
        """Tell whether it grows with the people, and is not of operators."""
        return max(self.steady, self.without) >= 0.0005 and self.table not in SMALL


SMALL = ("groups_board", "accounts_tombstonekey", "groups_serverkey", "groups_verificationfile")


def score_growth(people: int, packed: float, used: float) -> Iterator[TableGrowth]:
    """Yield the growth of each window's scores: rows a period, and how long periods are kept."""
    from groups.models import Score
    from groups.periods import Window
    from groups.retention import SCORES_KEPT

    length = {Window.DAY: 1.0, Window.WEEK: 7.0, Window.MONTH: YEAR / 12}
    for window in Window:
        rows = Score.objects.filter(window=window)
        first = rows.order_by("period").values_list("period", flat=True)[:1]
        whole = rows.exclude(period__in=list(first)) if window in length else rows
        periods = whole.values("period").distinct().count()
        name = f"groups_score, {window.value}"
        if window not in length:
            yield TableGrowth(name, rows.count() / people, 0, None, packed, used)
        elif periods:
            each = whole.count() / people / periods
            kept = SCORES_KEPT.days + length[window] / 2
            yield TableGrowth(name, each * periods, each / length[window], kept, packed, used)


def growths(people: int, life: Life) -> list[TableGrowth]:
    """Return what each table has, in bytes packed and used."""
    from django.db import connection

    from accounts.erasures import ERASURES_KEPT
    from accounts.models import TOKEN_LIFETIME
    from audit import attempts, diagnostics
    from groups.retention import CHECKS_KEPT, REPORTS_KEPT
    from groups.services import FOUNDING_WINDOW, KEYS_REMEMBERED

    kept = {
        "accounts_token": TOKEN_LIFETIME,
        "accounts_avatarcheck": CHECKS_KEPT,
        "groups_idempotencykey": KEYS_REMEMBERED,
        "groups_report": REPORTS_KEPT,
        "accounts_tombstone": FOUNDING_WINDOW,
        "accounts_erasure": ERASURES_KEPT,
        "audit_attempt": attempts.KEPT,
        "audit_phonefailure": diagnostics.KEPT,
    }
    used = sizes_of_tables()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM FULL")
    packed = sizes_of_tables()
    found: list[TableGrowth] = []
    for table, (rows, size) in used.items():
        copy = copied(table) if rows < ENOUGH else 0.0
        each = (copy, copy) if copy else (packed[table][1] / max(rows, 1), size / max(rows, 1))
        if table == "groups_score":
            found += score_growth(people, *each)
            continue
        limit, a_day = kept.get(table), life.a_day(table) / people
        lasting = None if limit is None else limit / timedelta(days=1)
        found.append(TableGrowth(table, rows / people, a_day, lasting, *each, measured=bool(rows)))
    return found


ENOUGH = 800  # rows, so that half-empty pages do not count


def copied(table: str) -> float:
    """Return the bytes a row of a table with few rows: of a row that is there, copied often.

    0 where there is none, or a copy would need other people.
    """
    from django.db import connection

    model = tables()[table]
    row = model.objects.first()
    constraints = [set(each.fields) for each in model._meta.constraints]
    texts = {each.name for each in model._meta.concrete_fields if each.max_length}
    if row is None or not all(names & texts for names in constraints):
        return 0.0
    columns = {}
    for each in model._meta.concrete_fields:
        if not each.primary_key:
            is_key = each.unique or any(each.name in names for names in constraints)
            text = is_key and isinstance(getattr(row, each.attname), str)
            length = len(getattr(row, each.attname)) if text else 0
            random_text = f"left(md5(n::text) || md5((-n)::text), {max(length, 8)})"
            columns[each.column] = random_text if text else f't."{each.column}"'
    names = ", ".join(f'"{name}"' for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({names}) SELECT {', '.join(columns.values())}"
            f" FROM {table} t, generate_series(1, 20000) n WHERE t.id = {row.pk}"
        )
        cursor.execute("SELECT pg_total_relation_size(%s)", [table])
        [(size,)] = cursor.fetchall()
    return float(size / model.objects.count())


# What it prints


def table(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, ["-" * width for width in widths], *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say(f"| {' | '.join(cells)} |")


def show_growth(found: list[TableGrowth]) -> None:
    """Print each table, the largest first, and what all take together."""
    rows = []
    for each in sorted(found, key=lambda one: -one.steady * one.used):
        cells = ["–"] * 5
        if each.grows:
            kilobytes = each.steady * each.used / 1000
            cells = [f"{each.steady:,.3g}", f"{each.without:,.3g}", f"{kilobytes:,.2f}"]
            cells += [f"{kilobytes:,.3g}", f"{100 * kilobytes:,.3g}"]
        known = each.grows or each.measured
        bytes_each = [f"{size:,.0f}" if known else "–" for size in (each.packed, each.used)]
        rows.append([each.table, *bytes_each, *cells])
    head = ["table", "bytes a row: packed", "used", "rows a member: in the long run"]
    head += ["a year without housekeeping", "kB a member", "GB: 1 M members", "100 M"]
    table(head, rows)
    growing = [each for each in found if each.grows]
    steady = sum(each.steady * each.used for each in growing) / 1000
    without = sum(each.without * each.used for each in growing) / 1000
    say(f"All tables: {steady:,.1f} kB a member with housekeeping in the long run;")
    say(f"what one year adds without it: {without:,.1f} kB.")


def show_calls(meter: CallMeter) -> None:
    rows = []
    for name, cost in meter.costs.items():
        if not cost.calls:
            continue
        each = 1000 / cost.calls
        rows.append(
            [
                name,
                f"{cost.calls:,}",
                f"{cost.statements / cost.calls:.1f}",
                f"{cost.rows / cost.calls:.1f}" if meter.backend else "–",
                f"{cost.seconds * each:.2f}",
                f"{cost.application * each:.2f}",
                f"{cost.data * each:.2f}" if meter.backend else "–",
                "–" if meter.backend else f"{cost.held * each:.2f}",
            ]
        )
    head = [
        "call",
        "calls",
        "statements",
        "rows written",
        "ms",
        "CPU ms: process",
        "database",
        "ms as the writer",
    ]
    table(head, rows)


def backend() -> Path | None:
    """Return where Linux says what this connection's process in PostgreSQL costs."""
    from django.db import connection

    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [(pid,)] = cursor.fetchall()
    path = Path(f"/proc/{pid}/schedstat")
    return path if path.exists() else None


@contextmanager
def database(stack: ExitStack, folder: Path) -> Iterator[None]:
    given = os.environ.get("DATABASE_URL", "")
    if given.startswith("sqlite"):
        url = given
    else:
        url = stack.enter_context(services(folder / "services"))[0]
    set_environment(url, folder)
    yield


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth")
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--days", type=int, default=61)
    parser.add_argument("--active", type=float, default=0.2, help="of the members, on a day")
    parser.add_argument("--calls", action="store_true", help="only what a call writes and costs")
    asked = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        stack.enter_context(database(stack, folder))
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connection

        call_command("migrate", verbosity=0)
        meter = CallMeter(backend())
        meter.watch_commits()
        with time_machine.travel(BEGINNING):
            crowd = Population(asked.people, random.Random(1), meter)
        began = time.monotonic()
        life = live(crowd, asked.people, asked.days, asked.active)
        say(
            f"{asked.people} people, {asked.days} days, {asked.active:.0%} active on a day, "
            f"{connection.vendor}; {time.monotonic() - began:.0f} s"
        )
        if not asked.calls:
            show_growth(growths(asked.people, life))
        show_calls(meter)
        connection.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
