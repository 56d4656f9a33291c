"""Show that the model of the rankings finds faults: make one after the other, and run it on each.

    python -m scripts.mutants                  all faults of catalogue.py
    python -m scripts.mutants winners cursor   those with one of these words in their name
    python -m scripts.mutants --list           their names

Each fault is made in a copy of the tree, never here. A fault is killed when the model
(tests/test_ranking_model.py) disagrees with it; it stops there. One that survives makes the command
fail, and so does a fault whose text is no longer there exactly once: catalogue.py is to follow the
code then. The copies run on SQLite, or on the database that DATABASE_URL names.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import Queue

from .catalogue import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL = "tests/test_ranking_model.py"
# What the model does not need takes time at each start: other plugins, and migrations.
OPTIONS = ("-p", "pytest_django.plugin", "--no-migrations", "-p", "no:cacheprovider")
MOMENTS = count(1_000_000_000)
PATIENCE = 1200  # seconds that one run may take
WIDTH = 100
DISAGREEMENT = re.compile(r"^(?:E +)?disagreement: (.*)$", re.MULTILINE)
TAKEN = re.compile(r"^at step (\d+) of", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """What the model said of a tree: the first disagreement, "" for none."""

    disagreement: str
    steps: str
    seconds: float
    output: str
    code: int

    @property
    def is_valid(self) -> bool:
        """Tell whether the model ran at all: it agreed, or it disagreed and not something else."""
        return bool(self.disagreement) if self.code else not self.disagreement


def places(mutant: Mutant, root: Path = ROOT) -> int:
    """Return how often the text that a mutant replaces is there."""
    return (root / mutant.path).read_text().count(mutant.old)


def copy_tree(to: Path) -> None:
    """Copy what git tracks, or would if it was added."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


@contextmanager
def applied(mutant: Mutant | None, tree: Path) -> Iterator[None]:
    """Make the fault in a copy of the tree, and undo it in the end."""
    if mutant is None:
        yield
        return
    file = tree / mutant.path
    text = file.read_text()
    write(file, text.replace(mutant.old, mutant.new))
    try:
        yield
    finally:
        write(file, text)


def write(file: Path, text: str) -> None:
    """Write a file with a time of its own in seconds, by which Python knows that it changed."""
    file.write_text(text)
    moment = next(MOMENTS)
    os.utime(file, (moment, moment))


def run_model(tree: Path, steps: int, seed: int) -> Run:
    chosen = {"MODEL_STEPS": str(steps), "MODEL_SEED": str(seed), "MODEL_SHRINKING": "0"}
    alone = {"PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, MODEL],
        cwd=tree,
        env={**os.environ, **chosen, **alone},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    said, taken = DISAGREEMENT.search(done.stdout), TAKEN.search(done.stdout)
    return Run(
        said[1] if said else "",
        taken[1] if taken else str(steps),
        time.monotonic() - began,
        done.stdout,
        done.returncode,
    )


def run_all(
    mutants: Sequence[Mutant | None], jobs: int, steps: int, seed: int
) -> Iterator[tuple[Mutant | None, Run]]:
    """Yield what the model says of each mutant, as soon as it is known; None is the tree itself."""
    trees: Queue[Path] = Queue()

    def run(mutant: Mutant | None) -> tuple[Mutant | None, Run]:
        tree = trees.get()
        try:
            with applied(mutant, tree):
                return mutant, run_model(tree, steps, seed)
        finally:
            trees.put(tree)

    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for number in range(jobs):
            tree = Path(folder) / str(number)
            copy_tree(tree)
            trees.put(tree)
        with ThreadPoolExecutor(jobs) as pool:
            waiting = [pool.submit(run, mutant) for mutant in mutants]
            try:
                for done in as_completed(waiting):
                    yield done.result()
            finally:
                pool.shutdown(cancel_futures=True)


def chosen(words: Iterable[str]) -> list[Mutant]:
    wanted = [word.lower() for word in words]
    return [
        each for each in MUTANTS if not wanted or any(word in each.name.lower() for word in wanted)
    ]


def main(argv: Sequence[str]) -> int:
    """Run the command; return 0 if all faults were killed."""
    parser = argparse.ArgumentParser(prog="scripts.mutants", description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", help="of the names of faults; all without")
    parser.add_argument("--start", type=int, default=1, help="with the fault of this number")
    parser.add_argument("--list", action="store_true", help="only print the names")
    parser.add_argument("--steps", type=int, default=4000, help="that the model takes at most")
    parser.add_argument("--seed", type=int, default=1, help="which steps it takes")
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=2, help="processes at once")
    asked = parser.parse_args(argv)
    mutants = chosen(asked.words)[asked.start - 1 :]
    if asked.list:
        print("\n".join(mutant.name for mutant in mutants))
        return 0
    if stale := [mutant for mutant in mutants if places(mutant) != 1]:
        for mutant in stale:
            print(f"{mutant.path}: the text of “{mutant.name}” is there {places(mutant)} times")
        return 1
    if not mutants:
        print("No fault has such a name.")
        return 1
    print(f"{len(mutants)} faults, {asked.steps} steps at most, seed {asked.seed}", flush=True)
    # The tree itself comes first: where the model disagrees with that, it would kill anything.
    runs = run_all([None, *mutants], asked.jobs, asked.steps, asked.seed)
    return report(runs, len(mutants))


def report(runs: Iterable[tuple[Mutant | None, Run]], number: int) -> int:
    """Print a line for each run as it comes, and those that survive; return 0 without any."""
    left: list[str] = []
    done = 0
    for mutant, run in runs:
        done += mutant is not None
        head, tail = f"[{done}/{number}]", f"in {run.seconds:.0f} s"
        if mutant is None:
            if run.code:
                print(f"The model fails without a fault:\n{run.output}")
                return 1
            print(f"without a fault: no disagreement {tail}", flush=True)
        elif run.is_valid and run.disagreement:
            print(f"{head} killed at step {run.steps} {tail}: {mutant.name}")
            print(f"        {run.disagreement[:WIDTH]}", flush=True)
        elif run.is_valid:
            left.append(f"survived: {mutant.name} ({mutant.path})")
            print(f"{head} SURVIVED {tail}: {mutant.name}", flush=True)
        else:
            left.append(f"did not run: {mutant.name} ({mutant.path})")
            print(f"{head} BROKEN {tail}: {mutant.name}\n{run.output}", flush=True)
    print("\n".join([f"{done - len(left)} of {number} faults killed", *left]))
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
