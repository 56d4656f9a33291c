"""Prometheus watches the site as deploy/monitoring/ says, and each alert is fired by its fault.

The site is Gunicorn with two workers on PostgreSQL and a standby of it. The rules are those of
alerts.yml with shorter times: what they say of minutes happens within seconds.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from threading import Event, Thread
from typing import Any

from wechat.crypto import seal
from wechat.sandbox import Fault, Phone, Sandbox

from . import APP_ID, APP_SECRET
from .faults import FOR_EVER, LOG_IN, fill, small_disks
from .inside import environment_of
from .kills import tell_missing
from .people import SESSION_KEY
from .plan import Plan, TrialResult, say
from .servers import (
    ROOT,
    MissingProgram,
    PostgreSQL,
    PostgreSQLStandby,
    Service,
    Visitor,
    find_program,
    free_port,
    kill_all,
    listens,
    scratch,
    wait_for,
)

MONITORING = ROOT / "deploy" / "monitoring"
TOKEN = "prove-only-prove-only-prove-only"  # noqa: S105
WINDOW, FOR = "10s", "1s"  # instead of minutes
OLD = 5  # seconds, instead of the 60 from which a replica is old
PATIENCE = 90.0  # seconds until an alert fires, or ends
CALM = 8.0  # seconds with nothing wrong, in which none may fire
SHORT = ("GroupsiteWeChatAway", "GroupsiteBindsStale", "GroupsiteReviewOld", "GroupsiteDown")
GROUP = "tG" + "0" * 26
RANKING = f"/api/v1/groups/{GROUP}/ranking"
PEOPLE = 150


class Prometheus(Service):
    """Prometheus with our configuration and rules, in shorter times."""

    name = "Prometheus"

    def __init__(self, folder: Path, target: int) -> None:
        super().__init__(folder)
        self.target = target

    def prepare(self) -> None:
        config = (MONITORING / "prometheus.yml").read_text()
        config = config.replace("interval: 15s", "interval: 500ms").replace(
            "8000", str(self.target)
        )
        rules = re.sub(r"\[\d+m\]", f"[{WINDOW}]", (MONITORING / "alerts.yml").read_text())
        rules = re.sub(r"for: \d+m", f"for: {FOR}", rules)
        rules = re.sub(r"(replica_age_seconds >) 60", rf"\1 {OLD}", rules)
        (self.folder / "prometheus.yml").write_text(config)
        (self.folder / "alerts.yml").write_text(rules)
        (self.folder / "metrics.token").write_text(TOKEN)

    def command(self) -> list[str]:
        return [
            find_program("prometheus"),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    def is_ready(self) -> bool:
        with suppress(OSError, HTTPException), Visitor(self.port) as visitor:
            return visitor.ask("GET", "/-/ready")[0] == 200
        return False

    def fires(self, name: str) -> bool:
        return name in self.firing()

    def firing(self) -> set[str]:
        with Visitor(self.port) as visitor:
            _status, answer = visitor.ask("GET", "/api/v1/alerts")
        alerts = answer["data"]["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}


class WatchedSite:
    """The site under Gunicorn, and what can be done to it."""

    def __init__(self, folder: Path, stack: ExitStack, outcome: TrialResult) -> None:
        self.folder, self.port, self.pid = folder, free_port(), 0
        disks = list(stack.enter_context(small_disks(folder, outcome)))
        self.disk = disks[1] if disks else None
        self.sandbox = stack.enter_context(Sandbox({APP_ID: APP_SECRET}))
        self.database = stack.enter_context(PostgreSQL(folder / "postgresql"))
        standby = PostgreSQLStandby(folder / "standby", self.database)
        self.replica = stack.enter_context(standby)
        self.environment = os.environ | environment_of(folder, self.database.url, self.sandbox.url)
        self.environment |= {
            "DATABASE_REPLICA_URL": self.replica.url,
            "METRICS_TOKEN": TOKEN,
            "WEB_CONCURRENCY": "2",
            "PORT": str(self.port),
            "DATABASE_POOL": "2",
            "WECHAT_MAX_IN_FLIGHT": "1",
            "TMPDIR": str(folder),
        }
        self.python("-m", "django", "migrate", "--verbosity", "0")
        made = json.loads(self.python("-m", "prove.people", str(PEOPLE)))
        self.people = [(str(row["id"]), row["token"]) for row in made]
        stack.callback(self.stop)
        self.start()
        for _id, token in self.people[:10]:
            mark = {"appid": APP_ID, "timestamp": int(time.time())}
            self.bind(token, seal(SESSION_KEY, {"openGId": GROUP, "watermark": mark}))

    def python(self, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        return done.stdout

    def start(self) -> None:
        with (self.folder / "gunicorn.log").open("a") as log:
            self.pid = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "groupsite.wsgi:application"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            ).pid
        wait_for(lambda: listens(self.port), "Gunicorn starts")

    def stop(self) -> None:
        if self.pid:
            kill_all(self.pid)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def execute(self, statement: str, url: str = "") -> None:
        import psycopg

        with psycopg.connect(url or self.database.url, autocommit=True) as line:
            line.execute(statement)

    # What members do

    def ask(self, method: str, path: str, body: Any = None, token: str = "") -> int:
        with Visitor(self.port, token, timeout=30) as visitor:
            return visitor.ask(method, path, body)[0]

    def log_in(self, number: int) -> None:
        code = Phone(self.sandbox.url, f"person-{number % PEOPLE}").login()
        self.ask("POST", "/api/v1/login", {"code": code, "appid": APP_ID})

    def rank(self, number: int) -> None:
        self.ask("GET", RANKING, token=self.people[number % 10][1])

    def rank_or_log_in(self, number: int) -> None:
        (self.rank if number % 2 else self.log_in)(number)

    def bind(self, token: str, envelope: dict[str, str]) -> None:
        self.ask("POST", "/api/v1/groups/bind", envelope, token)

    def bind_stale(self, number: int) -> None:
        # Of other members than those of the group: ten failures lock each of them.
        garbage = {"encryptedData": "A" * 43 + "=", "iv": "A" * 22 + "=="}
        self.bind(self.people[10 + number % (PEOPLE - 10)][1], garbage)

    # Faults: each lasts as long as its block

    @contextmanager
    def wechat(self, **fault: Any) -> Iterator[None]:
        self.sandbox.state.request_fault(LOG_IN, Fault(**fault), FOR_EVER)
        try:
            yield
        finally:
            self.sandbox.state.request_fault(LOG_IN, Fault(), 0)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.stop()
        yield
        self.start()

    @contextmanager
    def without_database(self) -> Iterator[None]:
        self.database.kill()
        yield
        self.database.start()

    @contextmanager
    def without_replica(self) -> Iterator[None]:
        self.replica.kill()
        yield
        self.replica.start()

    @contextmanager
    def old_replica(self) -> Iterator[None]:
        self.execute("SELECT pg_wal_replay_pause()", self.replica.url)
        yield
        self.execute("SELECT pg_wal_replay_resume()", self.replica.url)

    @contextmanager
    def without_table(self) -> Iterator[None]:
        self.execute("ALTER TABLE groups_board RENAME TO elsewhere")
        yield
        self.execute("ALTER TABLE elsewhere RENAME TO groups_board")

    @contextmanager
    def locked_table(self) -> Iterator[None]:
        """Lock the memberships nearly all the time."""
        over = Event()

        def lock() -> None:
            while not over.is_set():
                self.execute(
                    "DO $$ BEGIN LOCK TABLE groups_membership IN ACCESS EXCLUSIVE MODE;"
                    " PERFORM pg_sleep(0.9); END $$"
                )
                time.sleep(0.02)

        thread = Thread(target=lock)
        thread.start()
        yield
        over.set()
        thread.join()

    @contextmanager
    def old_draft(self) -> Iterator[None]:
        state, draft = "nickname_state", "nickname_draft"
        self.execute(
            f"UPDATE accounts_wechatuser SET {state} = 'pending', {draft} = 'x',"  # noqa: S608
            f" review_since = now() - interval '2 days' WHERE id = {self.people[0][0]}"
        )
        yield
        self.execute(
            f"UPDATE accounts_wechatuser SET {state} = 'approved', {draft} = '',"  # noqa: S608
            " review_since = NULL WHERE review_since IS NOT NULL"
        )

    @contextmanager
    def old_report(self) -> Iterator[None]:
        body = {"member": self.people[1][0], "reason": "abuse"}
        self.ask("POST", f"/api/v1/groups/{GROUP}/reports", body, self.people[0][1])
        self.execute("UPDATE groups_report SET created_at = now() - interval '13 hours'")
        yield
        self.execute("DELETE FROM groups_report")

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        if self.disk is None:
            raise MissingProgram("a small disk needs root")
        fill(self.disk)
        yield
        (self.disk / "filler").unlink()

    def faults(self) -> dict[str, tuple[Any, Callable[[int], None], int]]:
        """Return of each alert its fault, what members do meanwhile, and how many of them."""
        return {
            "GroupsiteCrashes": (self.without_table(), self.rank, 2),
            "GroupsiteSlowRankings": (self.locked_table(), self.rank, 2),
            "GroupsiteWaitsForConnections": (self.locked_table(), self.rank, 12),
            "GroupsiteWeChatAway": (self.wechat(status=502), self.log_in, 2),
            "GroupsiteWeChatRefuses": (self.wechat(errcode=40125), self.log_in, 2),
            "GroupsiteWeChatCrowded": (self.wechat(delay=1), self.log_in, 12),
            "GroupsiteBindsStale": (_nothing(), self.bind_stale, 2),
            "GroupsiteReviewOld": (self.old_draft(), self.rank, 1),
            "GroupsiteReportsWaiting": (self.old_report(), self.rank, 1),
            "GroupsiteDiskFull": (self.full_disk(), self.rank, 1),
            "GroupsiteReplicaAway": (self.without_replica(), self.rank, 1),
            "GroupsiteReplicaOld": (self.old_replica(), self.log_in, 1),
            "GroupsiteDatabaseAway": (self.without_database(), self.rank, 1),
            "GroupsiteDown": (self.stopped(), self.rank, 1),
        }


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def under_load(what: Callable[[int], None], askers: int) -> Iterator[None]:
    """Let so many people do it again and again, whatever they are answered."""
    over = Event()

    def ask(first: int) -> None:
        number = first
        while not over.is_set():
            with suppress(OSError, HTTPException, TimeoutError):
                what(number)
            number += askers
            over.wait(0.05)

    threads = [Thread(target=ask, args=[number]) for number in range(askers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def run(plan: Plan) -> TrialResult:
    outcome = TrialResult()
    try:
        find_program("prometheus")
        with scratch() as (folder, stack):
            site = WatchedSite(folder, stack, outcome)
            prometheus = stack.enter_context(Prometheus(folder / "prometheus", site.port))
            watch(site, prometheus, plan, outcome)
    except MissingProgram as missing:
        tell_missing(outcome, str(missing))
    return outcome


def watch(site: WatchedSite, prometheus: Prometheus, plan: Plan, outcome: TrialResult) -> None:
    """Make fault after fault; each alert must fire by its own, end with it, and be known here."""
    stays = partial(under_load, site.rank_or_log_in, 1)
    with stays():
        until = time.monotonic() + CALM
        early: set[str] = set()
        while time.monotonic() < until:
            early |= prometheus.firing()
            time.sleep(0.5)
    if early:
        outcome.fail(f"with nothing wrong there fired: {', '.join(sorted(early))}")
    faults = site.faults()
    rules = set(re.findall(r"alert: (\w+)", (MONITORING / "alerts.yml").read_text()))
    for name in rules ^ faults.keys():
        outcome.fail(f"{name} is an alert without a fault, or the other way round")
    for name, (fault, what, askers) in faults.items():
        if not plan.long and name not in SHORT:
            continue
        plan.progress.show(name)
        try:
            with under_load(what, askers), fault:
                took = wait_for(partial(prometheus.fires, name), f"{name} fires", PATIENCE)
                beside = prometheus.firing() - {name}
            with stays():
                ended = wait_for(lambda: not prometheus.firing(), f"{name} ends", PATIENCE)
        except MissingProgram as missing:
            outcome.gaps.append(f"{name}: {missing}")
        except TimeoutError as late:
            outcome.fail(f"{late}; firing are {sorted(prometheus.firing())}")
        else:
            also = f", beside {', '.join(sorted(beside))}" if beside else ""
            outcome.facts.append(f"{name} fired after {took:.0f} s{also}; over after {ended:.0f} s")
            say(f"  {outcome.facts[-1]}")
