"""Fuzzing in pieces: each has a seed of its own, is repeated by its number, and is done once.

What has been done stands in a file, a line of JSON a piece, so that a long run can be stopped at
any time and goes on where it was.
"""

import json
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from . import inside
from .plan import MAX_FAILURES, Plan, TrialResult

PIECE = 25_000  # inputs of a piece


@dataclass
class Piece:
    """What one piece tried and found; `counts` are by kind of input and answer."""

    number: int
    tried: int = 0
    seconds: float = 0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def fail(self, text: str) -> None:
        if len(self.failures) < MAX_FAILURES:
            self.failures.append(text)


class Ledger:
    """The pieces that are done, and the file of them, if there is one."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.pieces: dict[int, Piece] = {}
        if path is None or not path.exists():
            return
        whole = [line for line in path.read_text().splitlines(keepends=True) if line[-1] == "\n"]
        for line in whole:
            row = json.loads(line)
            self.pieces[row["number"]] = Piece(**{**row, "counts": Counter(row["counts"])})
        path.write_text("".join(whole))  # without a line that was cut off

    def add(self, piece: Piece) -> None:
        self.pieces[piece.number] = piece
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(vars(piece)) + "\n"
        with self.path.open("a") as file:
            file.write(line)

    @property
    def tried(self) -> int:
        return sum(piece.tried for piece in self.pieces.values())


Trial = Callable[[int, int], Piece]


def run_pieces(
    plan: Plan, name: str, trial: Trial, target: int, largest: int = PIECE
) -> TrialResult:
    """Run pieces until `target` inputs have been tried; a short form keeps no file."""
    target = plan.amount or target
    size = min(largest, -(-target // plan.processes))
    keeps = plan.long and plan.only is None
    ledger = Ledger(plan.state / f"{name}.jsonl" if keeps else None)
    numbers = range(-(-target // size)) if plan.only is None else [plan.only]
    waiting = [number for number in numbers if number not in ledger.pieces]
    begun, before = time.monotonic(), ledger.tried
    context = multiprocessing.get_context("spawn")
    processes = min(plan.processes, len(waiting))
    if not waiting:
        return report(name, ledger, target, 0)
    with (
        TemporaryDirectory(prefix="groupsite-prove-") as folder,
        ProcessPoolExecutor(processes, context, begin_worker, (Path(folder),)) as pool,
        ending_workers(),
    ):
        running: set[Future[Piece]] = set()
        while running or (waiting and not plan.is_over()):
            while waiting and len(running) < processes and not plan.is_over():
                running.add(pool.submit(trial, waiting.pop(0), size))
            done, running = wait(running, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                ledger.add(future.result())
            rate = (ledger.tried - before) / (time.monotonic() - begun)
            plan.progress.show(f"{name}: {ledger.tried:,} of {target:,}, {rate:,.0f} a second")
    return report(name, ledger, target, time.monotonic() - begun)


def begin_worker(folder: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started it ends it
    inside.set_up(folder)


@contextmanager
def ending_workers() -> Iterator[None]:
    """End the workers at once where the run is stopped, rather than wait for their pieces."""
    try:
        yield
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise


def report(name: str, ledger: Ledger, target: int, seconds: float) -> TrialResult:
    outcome = TrialResult()
    counts: Counter[str] = Counter()
    for piece in ledger.pieces.values():
        counts.update(piece.counts)
        for text in piece.failures:
            again = f"python -m prove {name} --long --piece {piece.number}"
            outcome.fail(f"piece {piece.number}: {text} (again: `{again}`)")
    spent = sum(piece.seconds for piece in ledger.pieces.values())
    outcome.facts.append(
        f"{ledger.tried:,} inputs in {len(ledger.pieces)} pieces; {spent:,.0f} s of one process, "
        f"{ledger.tried / max(spent, 0.001):,.0f} a second in each"
    )
    outcome.facts += [f"{what}: {count:,}" for what, count in sorted(counts.items())]
    if ledger.tried < target:
        outcome.gaps.append(f"{target - ledger.tried:,} of {target:,} inputs are still to be tried")
    return outcome
