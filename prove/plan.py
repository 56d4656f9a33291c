"""What a trial is given, what it shows while it runs, and what it hands back."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

MAX_FAILURES = 50  # that a report lists


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Progress:
    """One line on a terminal, written again and again; elsewhere a line every 20 seconds."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self.pause = 0.2 if self.is_terminal else 20.0
        self.begun = self.shown_at = time.monotonic()
        self.shown = ""

    def show(self, text: str) -> None:
        now = time.monotonic()
        if now - self.shown_at < self.pause:
            return
        self.shown_at = now
        line = f"  {now - self.begun:>6.0f} s  {text}"
        if self.is_terminal:
            sys.stdout.write(f"\r{line[:110]:<110}")
            sys.stdout.flush()
            self.shown = line
        else:
            say(line)

    def end(self) -> None:
        """Leave the line free for other text."""
        if self.shown:
            sys.stdout.write(f"\r{'':<110}\r")
            self.shown = ""


@dataclass
class Plan:
    """How a trial is to be run.

    `state` is the folder where long trials keep how far they have come, `only` the one piece that
    is to be repeated, `until` the moment (of `time.monotonic`) at which to stop between pieces.
    """

    long: bool
    state: Path
    processes: int = 2
    only: int | None = None
    until: float = float("inf")
    amount: int | None = None  # instead of the trial's own
    progress: Progress = field(default_factory=Progress)

    def is_over(self) -> bool:
        return time.monotonic() >= self.until


@dataclass
class TrialResult:
    """What a trial found: facts in Markdown, and what failed, with how to repeat it.

    `gaps` says what of the long form is still to be done.
    """

    facts: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    seconds: float = 0

    def fail(self, text: str) -> None:
        self.failures.append(text)
