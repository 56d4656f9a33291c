"""An import, piece by piece: each is a transaction with the record of how far the file has come.

Killed at any moment, it goes on after the last piece when it is run again. Two runs of one file at
once share the work: who holds the record's row writes the next piece.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

from django.db import OperationalError, transaction
from django.utils import timezone

from groups.models import Transfer

from .rows import Line, Refused, Row, Source, write_rows
from .writers import (
    Answer,
    BoardsWriter,
    GroupsWriter,
    Import,
    MembershipsWriter,
    PeopleWriter,
    RowOutcome,
    RowWriter,
    ScoresWriter,
)

logger = logging.getLogger(__name__)

PIECE = 500  # rows: MariaDB reads a whole table where 1,000 are named
WAITS = (0.1, 0.3, 1, 3)  # seconds, before a piece is begun again
FORGOTTEN = timedelta(days=30)  # an import that was never ended
REFUSED = "refused"
COUNTS = [*(outcome.value for outcome in RowOutcome), REFUSED]

WRITERS: dict[str, type[RowWriter]] = {
    writer.kind.name: writer
    for writer in (PeopleWriter, GroupsWriter, BoardsWriter, MembershipsWriter, ScoresWriter)
}

Piece = list[tuple[int, Row | Refused]]
Report = Callable[[int, int, int], None]  # rows done, of how many, by earlier runs


@dataclass
class Result:
    """What became of the rows of a file; those that were refused by line, where none is written."""

    source: Source
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    refused: list[tuple[int, str]] = field(default_factory=list)
    resumed: int = 0  # rows that an earlier run had done
    transfer: Transfer | None = None

    def count(self, piece: Piece, answers: list[Answer]) -> None:
        for (line, _row), answer in zip(piece, answers, strict=True):
            if isinstance(answer, Refused):
                self.counts[REFUSED] += 1
                self.refused.append((line, str(answer)))
            else:
                self.counts[answer.value] += 1


def refused_path(path: Path) -> Path:
    """Return where the refused rows of a file are written."""
    return path.with_name(f"{path.name}.refused{'.csv' if path.suffix == '.csv' else '.jsonl'}")


def try_file(source: Source, what: Import, report: Report) -> Result:
    """Do as `import_file`, and write nothing."""
    result, lines = Result(source), source.lines()
    writer = WRITERS[source.kind.name](what, what.as_of or source.date)
    while piece := _piece_of(source, lines):
        result.count(piece, _written(writer, piece))
        report(sum(result.counts.values()), source.total, 0)
    return result


def import_file(source: Source, what: Import, report: Report) -> Result:
    """Write the rows of a file, from where an earlier run has ended."""
    Transfer.objects.filter(updated_at__lt=timezone.now() - FORGOTTEN).delete()
    begun = {"as_of": what.as_of or source.date}
    digest = _digest(source, what)
    transfer, _new = Transfer.objects.get_or_create(digest=digest, defaults=begun)
    return _Run(source, what, transfer).go(report)


def forget(results: Sequence[Result]) -> None:
    """Forget how far these files have come, once all files of an import are through.

    Not before: an import that is run again must not begin again with those that were.
    """
    done = [result.transfer.pk for result in results if result.transfer]
    Transfer.objects.filter(pk__in=done).delete()


def _digest(source: Source, what: Import) -> str:
    """Return what an import is known by: the file, and all by which its rows are read."""
    facts: list[Any] = [
        source.digest,
        source.kind.name,
        source.reading,
        what.app_id,
        what.conflicts,
    ]
    facts += [what.reviewed, what.as_of and what.as_of.isoformat()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _piece_of(source: Source, lines: Iterator[Line]) -> Piece:
    return [(line, source.read(cells)) for line, cells in islice(lines, PIECE)]


def _written(writer: RowWriter, piece: Piece) -> list[Answer]:
    """Write the rows that could be read; return what became of all."""
    read = [row for _line, row in piece if not isinstance(row, Refused)]
    written = iter(writer.write(read) if read else [])
    return [row if isinstance(row, Refused) else next(written) for _line, row in piece]


class _Run:
    """One run of an import: a piece that has been read, and how many rows stand before it."""

    def __init__(self, source: Source, what: Import, transfer: Transfer) -> None:
        self.source, self.transfer = source, transfer
        self.writer = WRITERS[source.kind.name](what, transfer.as_of)
        self.result = Result(source, resumed=transfer.rows, transfer=transfer)
        self.refused = refused_path(source.path)
        self.lines = source.lines()
        self.piece: Piece = []
        self.before = 0

    def go(self, report: Report) -> Result:
        while self.step():
            report(self.transfer.rows, self.source.total, self.result.resumed)
        self.result.counts = {name: getattr(self.transfer, name) for name in COUNTS}
        return self.result

    def step(self) -> bool:
        """Write the next piece; return False where there is none.

        Again, where another writer was in the way: a deadlock, or SQLite's one writer.
        """
        # Before the transaction: SQLite lets others write meanwhile.
        self.read_from(self.transfer.rows)
        for wait in WAITS:
            try:
                with transaction.atomic():
                    return self.write_piece()
            except OperationalError:
                logger.warning("An import begins a piece again.", exc_info=True)
                time.sleep(wait)
        with transaction.atomic():
            return self.write_piece()

    def write_piece(self) -> bool:
        transfer = Transfer.objects.select_for_update().filter(pk=self.transfer.pk).first()
        if transfer is None:  # another run of the same import has come to its end
            return False
        self.transfer = transfer
        self.read_from(transfer.rows)
        if not self.piece:
            return False
        piece = Result(self.source)
        piece.count(self.piece, _written(self.writer, self.piece))
        for name, count in piece.counts.items():
            setattr(transfer, name, getattr(transfer, name) + count)
        transfer.refused_bytes = self.keep_refused(piece.refused)
        transfer.rows += len(self.piece)
        transfer.save()
        return True

    def read_from(self, row: int) -> None:
        """Read the piece that begins after so many rows, unless it is the one that was read."""
        skipped = row - self.before
        if skipped or not self.piece:
            beyond = skipped - len(self.piece)
            next(islice(self.lines, beyond, beyond), None)
            self.piece, self.before = _piece_of(self.source, self.lines), row

    def keep_refused(self, refused: Sequence[tuple[int, str]]) -> int:
        """Write refused rows down behind those of the pieces before; return the file's size.

        What a killed run had written there without its piece is cut off.
        """
        if not refused and not self.refused.exists():
            return 0
        with os.fdopen(os.open(self.refused, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            file.truncate(min(self.transfer.refused_bytes, file.seek(0, os.SEEK_END)))
            begun = file.seek(0, os.SEEK_END)
            text = StringIO()
            form = self.refused.suffix.lstrip(".")
            write_rows(text, form, ["line", "reason"], refused, header=not begun and bool(refused))
            file.write(text.getvalue().encode())
            size = file.tell()
        if not size:
            self.refused.unlink()
        return size
