"""Break a cluster under load, and compare what was acknowledged with what is stored.

Two kinds of clients are there all the time: those of prove/kills.py repeat each write until it is
acknowledged, and remember it; the phones of benchmarks/crowd.py give up where something fails, as
people do. After each failure the primary is asked what it has: nothing less, and nothing twice.

Of a proof that nothing is lost one has to know that it would notice. So in the end the same cluster
acknowledges before a standby has the write, and its link stalls for two seconds before it fails:
there something has to be lost.
"""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from threading import Event, Thread
from typing import Any

from prove import APP_ID
from prove.kills import Load, Person, Slaughter, compare
from prove.people import BOARD, SESSION_KEY
from prove.plan import say
from prove.servers import ROOT, Visitor, wait_for
from wechat.crypto import seal

from .cluster import Cluster, running
from .engines import ask
from .failures import FAILURES, Failure

TIMES = 3
CONTROL = "control"
CLIENT_PATIENCE = 90  # seconds for which a client repeats a call
PAUSE, REST = 0.1, 0.05  # seconds before a client asks again, and before it asks something else
PEOPLE = 150  # of each attempt
PHONES, LONG = 600, 100  # of the crowd, and the seconds in which they would come
CALM = 20  # writes that are acknowledged before anything fails
BEFORE, AFTER = 6.0, 6.0  # seconds of load until a failure, and once all is whole again
STALL = 2.0  # seconds for which the control's link stands still
GROUP = "tG-cluster-readers".ljust(28, "0")
# What a crowd's phones may see of a failure. All else is a mistake of ours.
ALLOWED = re.compile(r"503 unavailable|broken|refused|timeout|(sandbox )?cut off")


@dataclass
class FailureTrial:
    """A failure under load, once: for how long there were no writes or reads, and what was lost."""

    name: str
    found: Slaughter
    writes: int = 0
    reads: int = 0
    away: float = 0  # seconds between two acknowledged writes, at most
    reads_away: float = 0
    whole_after: float = 0
    crowd: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def errors(self) -> str:
        """What clients heard, but for what they hoped for."""
        wrong: Counter[str] = Counter()
        for what, count in self.found.counts.items():
            status = what.rpartition(" ")[2]
            if not status.startswith("2"):
                wrong["no answer" if status == "answer" else status] += count
        return ", ".join(f"{what} × {count}" for what, count in sorted(wrong.items())) or "0"


def longest_gap(moments: list[float], begun: float, ended: float) -> float:
    """Return the longest time between two of these moments, from the last before `begun` on."""
    before = max((each for each in moments if each <= begun), default=begun)
    seen = [before, *(each for each in sorted(moments) if begun < each < ended), ended]
    return max(after - before for before, after in itertools.pairwise(seen))


class RankingReader:
    """A member who looks at a ranking again and again, on the way on which all read."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.token = port, token
        self.moments: list[float] = []
        self.counts: Counter[str] = Counter()
        self.stop = Event()
        self.thread = Thread(target=self.work, daemon=True)

    def __enter__(self) -> "RankingReader":
        mark = {"appid": APP_ID, "timestamp": int(time.time())}
        envelope = seal(SESSION_KEY, {"openGId": GROUP, "watermark": mark})
        with Visitor(self.port, self.token) as visitor:
            status, answer = visitor.ask("POST", "/api/v1/groups/bind", envelope)
        if status not in {200, 201}:
            raise RuntimeError(f"a reader could not bind: {status} {answer}")
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join(CLIENT_PATIENCE)

    def work(self) -> None:
        with Visitor(self.port, self.token, timeout=30) as visitor:
            while not self.stop.wait(REST):
                try:
                    status, _answer = visitor.ask("GET", f"/api/v1/groups/{GROUP}/ranking")
                except (OSError, HTTPException):
                    status = 0
                self.counts[f"rankings: {status}" if status else "no answer"] += 1
                if status == 200:
                    self.moments.append(time.monotonic())


@contextmanager
def crowd_of(cluster: Cluster, report: Path, seed: int) -> Iterator[list[str]]:
    """Send a crowd until the block ends; then the list that is yielded has what they met with."""
    crowd = subprocess.Popen(
        crowd_command(cluster, report, "--phones", str(PHONES), "--seed", str(seed)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    met: list[str] = []
    try:
        yield met
    finally:
        crowd.send_signal(signal.SIGINT)  # it ends early then, and writes its report
        try:
            said, _none = crowd.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            crowd.kill()
            said, _none = crowd.communicate()
        found = re.findall(r"finished (\d+) .*errors (.*)$", said, re.MULTILINE)
        met += list(found[-1]) if found else ["0", said[-500:]]


def crowd_command(cluster: Cluster, report: Path, *options: str) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.crowd", "--site", cluster.site_url]
    command += ["--sandbox", cluster.sandbox_url, "--board", BOARD]
    return [*command, "--seconds", str(LONG), "--report", str(report), *options]


def try_failure(cluster: Cluster, failure: Failure, number: int) -> FailureTrial:
    """Make a failure under load, repair it, and compare."""
    attempt = FailureTrial(failure.name, Slaughter(failure.name))
    cluster.wait_until_whole()
    people = cluster.people(PEOPLE + 1)
    reader = people.pop()["token"]
    persons = iter([Person(str(row["id"]), row["token"]) for row in people])
    report = cluster.folder / "crowd" / f"{failure.name}-{number}.html"
    report.parent.mkdir(exist_ok=True)
    with (
        RankingReader(cluster.site_port, reader) as readers,
        Load([cluster.site_port], persons, CLIENT_PATIENCE, PAUSE, REST) as load,
        crowd_of(cluster, report, os.getpid() + number) as met,
    ):
        wait_for(lambda: load.acknowledged >= CALM, "writes are acknowledged")
        time.sleep(BEFORE)  # in which the crowd arrives
        begun = time.monotonic()
        try:
            repair = failure.make(cluster)
            repair()
            attempt.whole_after = time.monotonic() - begun
            cluster.wait_until_whole()
            attempt.whole_after = time.monotonic() - begun
        except Exception as error:
            attempt.problems.append(f"{type(error).__name__}: {error}")
        before = load.acknowledged
        wait_for(lambda: load.acknowledged >= before + 2, "writes go on", CLIENT_PATIENCE)
        time.sleep(AFTER)
        ended = time.monotonic()
    attempt.away = longest_gap(load.moments, begun, ended)
    attempt.reads_away = longest_gap(readers.moments, begun, ended)
    attempt.writes, attempt.reads = load.acknowledged, len(readers.moments)
    finish(cluster, attempt, load, readers, met)
    return attempt


def finish(
    cluster: Cluster, attempt: FailureTrial, load: Load, readers: RankingReader, met: list[str]
) -> None:
    """Compare what was acknowledged with what the primary has, and judge what clients heard."""
    found = attempt.found
    found.counts = load.counts + readers.counts
    found.failures = load.failures[:]
    compare(load.met, stored(cluster), found)
    for what in found.counts:
        if what.startswith("rankings") and what[-3:] not in {"200", "503"}:
            attempt.problems.append(f"a look at a ranking was answered {what[-3:]}")
    attempt.crowd = f"{met[0]} finished, errors {met[1]}"
    for each in met[1].split(", "):
        if each != "0" and not ALLOWED.match(each):
            attempt.problems.append(f"the crowd met with {each}")
    attempt.problems += found.failures


def stored(cluster: Cluster) -> dict[str, Any]:
    return dict(json.loads(cluster.python("-m", "prove.people")))


def try_control(cluster: Cluster) -> FailureTrial:
    """Acknowledge without a standby, stall the link, and fail: something has to be lost."""
    attempt = FailureTrial(CONTROL, Slaughter(CONTROL, control=True))
    set_synchronous(cluster, False)
    persons = iter([Person(str(row["id"]), row["token"]) for row in cluster.people(PEOPLE)])
    with Load([cluster.site_port], persons, CLIENT_PATIENCE, PAUSE, REST) as load:
        wait_for(lambda: load.acknowledged >= CALM, "writes are acknowledged")
        old = cluster.leader()
        old.stop_senders()
        time.sleep(STALL)
        begun = time.monotonic()
        repair = FAILURES["postgres"].make(cluster)
        repair()
        before = load.acknowledged
        wait_for(lambda: load.acknowledged >= before + 2, "writes go on", CLIENT_PATIENCE)
        time.sleep(AFTER)
        ended = time.monotonic()
    attempt.away = longest_gap(load.moments, begun, ended)
    attempt.writes = load.acknowledged
    found = attempt.found
    found.counts = load.counts
    compare(load.met, stored(cluster), found)
    if not found.lost:
        attempt.problems.append("the control lost nothing: would a loss be seen?")
    cluster.wait_until_whole()
    set_synchronous(cluster, True)
    return attempt


def set_synchronous(cluster: Cluster, is_synchronous: bool) -> None:
    """Set whether a commit waits for a standby, and wait until the one who leads does so.

    Without, Patroni would let none lead that lacks more than a megabyte: not in the control.
    """
    most = 1048576 if is_synchronous else 1 << 30
    body = {"synchronous_mode": is_synchronous, "maximum_lag_on_failover": most}
    status, said = ask(cluster.leader().rest_port, "PATCH", "/config", body, 10)
    if status != 200:
        raise RuntimeError(f"Patroni refused its settings: {status} {said}")
    wait_for(
        lambda: (
            any(row["role"] == "sync_standby" for row in cluster.seen_by_patroni())
            == is_synchronous
        ),
        "the standbys are as they are to be",
    )


def text_of(attempt: FailureTrial) -> str:
    """Return a line about an attempt."""
    found = attempt.found
    line = f"{attempt.name}: away {attempt.away:.1f} s"
    if not found.control:
        line += f" (rankings {attempt.reads_away:.1f} s)"
    line += f", {attempt.writes:,} writes, lost {found.lost}, doubled {found.doubled}"
    line += f", errors {attempt.errors}"
    return f"{line}; crowd: {attempt.crowd}" if attempt.crowd else line


def report_of(attempts: list[FailureTrial], setting: str) -> str:
    """Return the report of a proof, in Markdown."""
    rows = [
        "# The cluster, broken",
        "",
        setting,
        "",
        "| failure | away, s | rankings away, s | whole after, s | writes | lost | doubled "
        "| errors of clients | crowd |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in attempts:
        found, is_control = each.found, each.found.control
        reads, whole = (
            "–" if is_control else f"{seconds:.1f}"
            for seconds in (each.reads_away, each.whole_after)
        )
        rows.append(
            f"| {each.name} | {each.away:.1f} | {reads} | {whole} | {each.writes:,} | "
            f"{found.lost} | {found.doubled} | {each.errors} | {each.crowd or '–'} |"
        )
    problems = [f"- {each.name}: {text}" for each in attempts for text in each.problems]
    rows += ["", "Nothing is wrong." if not problems else "## Wrong", "", *problems]
    return "\n".join(rows).rstrip() + "\n"


def prove(cluster: Cluster, names: list[str], times: int, report: Path) -> list[FailureTrial]:
    """Start a cluster, try each of the failures so often, end it, and write the report."""
    attempts: list[FailureTrial] = []
    begun = datetime.now().astimezone()
    way = "several hosts in DATABASE_URL" if cluster.layout.is_direct else "HAProxy"
    setting = (
        f"`python -m deploy.cluster prove`, begun {begun:%Y-%m-%d %H:%M %z}, "
        f"{os.cpu_count()} cores; the nodes reach PostgreSQL by {way}."
    )
    with running(cluster):
        say(f"The cluster is whole 集群已就绪: {cluster.site_url}")
        for number in range(times):
            for name in names:
                # The control is the same each time, and last, since it takes a promise away.
                if name == CONTROL and number < times - 1:
                    continue
                attempts.append(try_one(cluster, name, number))
                say(text_of(attempts[-1]))
                for problem in attempts[-1].problems:
                    say(f"  ❌ {problem}")
                report.parent.mkdir(parents=True, exist_ok=True)
                report.write_text(report_of(attempts, setting))
    return attempts


def try_one(cluster: Cluster, name: str, number: int) -> FailureTrial:
    try:
        if name == CONTROL:
            return try_control(cluster)
        return try_failure(cluster, FAILURES[name], number)
    except Exception as error:  # the others are tried all the same
        attempt = FailureTrial(name, Slaughter(name, control=name == CONTROL))
        attempt.problems.append(f"given up: {type(error).__name__}: {error}")
        return attempt
