"""What `manage.py doctor` looks at: each app registers its examinations when Django starts.

`manage.py check` reads settings; an examination tries the real thing. All of them run at the same
time, each in a thread of its own with database connections of its own, and none is waited for
longer than PATIENCE: one that hangs or crashes is itself a finding.
"""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Thread

from django.conf import settings
from django.db import connections
from django.utils import translation
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

Text = str | object  # or a lazy translation

PATIENCE = 20.0  # seconds for all examinations together


class Health(StrEnum):
    """How what was examined is; with an `error` the command ends with 1."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """What an examination saw, in words, and what fixes it; both may be lazy translations."""

    state: Health
    saw: Text
    fix: Text = ""


def ok(saw: Text) -> Finding:
    return Finding(Health.OK, saw)


def warning(saw: Text, fix: Text) -> Finding:
    return Finding(Health.WARNING, saw, fix)


def error(saw: Text, fix: Text) -> Finding:
    return Finding(Health.ERROR, saw, fix)


Examine = Callable[[], Iterable[Finding]]

EXAMINATIONS: dict[str, Examine] = {}
CHECKED: set[str] = set()  # ids of system checks whose subject an examination looks at itself


def examination(name: str, *check_ids: str) -> Callable[[Examine], Examine]:
    """Register a function that yields findings. Raises ValueError for a name that is taken.

    It bounds by itself what it waits for, as far as it can, and quotes no secret. What the system
    checks with these ids would say, it says itself.
    """

    def register(examine: Examine) -> Examine:
        if name in EXAMINATIONS:
            raise ValueError(f"Two examinations are called {name}.")
        EXAMINATIONS[name] = examine
        CHECKED.update(check_ids)
        return examine

    return register


def examine_all(patience: float = PATIENCE) -> Iterator[tuple[str, Finding]]:
    """Run all examinations; yield the name of each with its findings, in order."""
    until = time.monotonic() + patience
    runs = [_Examination(name, examine) for name, examine in EXAMINATIONS.items()]
    for run in runs:
        run.start()
    for run in runs:
        run.join(max(until - time.monotonic(), 0))
        findings = list(run.findings)
        if run.is_alive():
            findings.append(
                error(
                    format_lazy(
                        _("Not done within {seconds} seconds, and given up."),
                        seconds=f"{patience:g}",
                    ),
                    _("What is examined here hangs: see the network on the way to it."),
                )
            )
        yield from ((run.name, finding) for finding in findings)


class _Examination(Thread):
    """One examination under way; a daemon, as the command does not wait for one that hangs."""

    def __init__(self, name: str, examine: Examine) -> None:
        super().__init__(name=name, daemon=True)
        self.examine = examine
        self.language = translation.get_language()
        self.findings: list[Finding] = []

    def run(self) -> None:
        try:
            with translation.override(self.language):
                for finding in self.examine():
                    self.findings.append(finding)
        except Exception as problem:
            self.findings.append(_crash(problem))
        finally:
            connections.close_all()


def _crash(problem: Exception) -> Finding:
    """Return what is known of a crash: its kind and place, as its text may quote a secret."""
    place = traceback.extract_tb(problem.__traceback__)[-1]
    return error(
        format_lazy(
            _("The examination itself crashed: {kind}, {file}, line {line}."),
            kind=type(problem).__name__,
            file=_short(place.filename),
            line=place.lineno,
        ),
        _("Report this line; the other examinations are not affected."),
    )


def _short(file: str) -> str:
    path, root = Path(file), settings.BASE_DIR
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name
