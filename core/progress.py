"""What long commands show: a bar on a terminal, and tables."""

import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from django.utils.translation import gettext

BAR = 24  # characters
STEP = 1000  # rows between two looks at the clock
ON_A_TERMINAL, ELSEWHERE = 0.1, 5  # seconds between two reports

Row = TypeVar("Row")


def print_table(
    out: Any, head: Sequence[str], rows: Iterable[Sequence[Any]], texts: int = 2
) -> None:
    """Print a table whose first columns are text, so many, and the rest numbers."""
    lines = [list(map(str, head)), *([_written(cell) for cell in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            _padded(cell, width, left=place < texts)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        out.write("  ".join(cells).rstrip())


def _written(cell: Any) -> str:
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for a Chinese character."""
    return sum(1 + (unicodedata.east_asian_width(each) in "WF") for each in text)


def _padded(text: str, width: int, *, left: bool) -> str:
    space = " " * (width - _width(text))
    return text + space if left else space + text


class ProgressBar:
    """How far a file or table is: a bar on a terminal, elsewhere a line every few seconds."""

    def __init__(self, out: Any, title: str) -> None:
        self.out, self.title = out, title
        self.begun = self.shown = time.monotonic()
        self.resumed = 0
        self.is_terminal = out.isatty()

    def __call__(self, done: int, total: int, resumed: int = 0) -> None:
        """Show that `done` rows are through, `resumed` of them by an earlier run."""
        now = time.monotonic()
        if resumed and not self.resumed:
            self.resumed = resumed
            sentence = gettext("%(file)s: going on after %(rows)s rows.")
            self.out.write(sentence % {"file": self.title, "rows": f"{resumed:,}"})
        if now - self.shown >= (ON_A_TERMINAL if self.is_terminal else ELSEWHERE):
            self.shown = now
            self._show(done, total, (done - resumed) / (now - self.begun))

    def counted(self, rows: Iterable[Row], total: int) -> Iterator[Row]:
        """Yield rows, and show how far they are."""
        for done, row in enumerate(rows, start=1):
            if done % STEP == 0:
                self(done, total)
            yield row

    def end(self) -> None:
        """Clear the bar."""
        if self.is_terminal:
            self.out.write("\r\x1b[K", ending="")
            self.out.flush()

    def _show(self, done: int, total: int, rate: float) -> None:
        share = done / total if total else 1
        remaining = gettext("%(time)s left") % {
            "time": _clock((total - done) / rate if rate else 0)
        }
        facts = f"{share:4.0%}  {done:,}/{total:,}  {rate:,.0f}/s  {remaining}"
        if self.is_terminal:
            full = round(share * BAR)
            bar = f"[{'#' * full}{'-' * (BAR - full)}]"
            self.out.write(f"\r{self.title} {bar} {facts}\x1b[K", ending="")
        else:
            self.out.write(f"{self.title} {facts}")
        self.out.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
