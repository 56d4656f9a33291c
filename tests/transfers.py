"""Files to be imported, and the commands `import` and `export` as a terminal has them."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import CommandError, call_command

from groups.periods import CALENDAR

ROOT = Path(__file__).resolve().parent.parent
OUTCOMES = ("made", "changed", "unchanged", "kept", "refused")
Counts = dict[str, int]


class Answer:
    """What a command said: its table by file, and whether rows were refused."""

    def __init__(self, text: str, error: str) -> None:
        self.text, self.error = text, error
        lines = [line.rsplit(maxsplit=len(OUTCOMES)) for line in text.splitlines()]
        self.counts: dict[str, Counts] = {
            cells[0].split()[0]: counts_of(cells[1:])
            for cells in lines
            if len(cells) == len(OUTCOMES) + 1
            and all(c.replace(",", "").isdigit() for c in cells[1:])
        }

    def of(self, path: Path) -> Counts:
        """Return the counts of a file, without those that are none."""
        return {name: count for name, count in self.counts[path.name].items() if count}


def counts_of(cells: Iterable[str]) -> Counts:
    numbers = [int(cell.replace(",", "")) for cell in cells]
    return dict(zip(OUTCOMES, numbers, strict=True))


def take(*paths: Any, **options: Any) -> Answer:
    """Run `import`; return what it said in English."""
    out, error = StringIO(), ""
    try:
        options = {"language": "en", "stdout": out, "stderr": StringIO(), **options}
        call_command("import", *map(str, paths), **options)
    except CommandError as failure:
        if " refused." not in str(failure):
            raise
        error = str(failure)
    return Answer(out.getvalue(), error)


def hand_out(folder: Path, **options: Any) -> dict[str, bytes]:
    """Run `export`; return the files it wrote."""
    call_command(
        "export", str(folder), language="en", stdout=StringIO(), stderr=StringIO(), **options
    )
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def table(path: Path, *rows: Mapping[str, Any], date: datetime | None = None) -> Path:
    """Write rows as the file's name has it, CSV or JSON lines; a value of None is left out."""
    if path.suffix == ".csv":
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    if date:
        os.utime(path, (date.timestamp(),) * 2)
    return path


def refusals(path: Path) -> dict[int, str]:
    """Return the reasons in the file of refused rows, by line."""
    beside = path.with_name(f"{path.name}.refused{path.suffix}")
    if path.suffix == ".csv":
        with beside.open() as file:
            return {int(row["line"]): row["reason"] for row in csv.DictReader(file)}
    rows = [json.loads(line) for line in beside.read_text().splitlines()]
    return {row["line"]: row["reason"] for row in rows}


def shanghai(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=CALENDAR)  # type: ignore[misc, arg-type]


def manage(*arguments: str, database: str, **more: Any) -> "subprocess.Popen[str]":
    """Start a command in a process of its own, on a database of its own."""
    environment = os.environ | {
        "DATABASE_URL": database,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
    }
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


def said(process: "subprocess.Popen[str]", status: int) -> Answer:
    """Wait for the end of a command, which is that exit status; return what it said."""
    text, error = process.communicate(timeout=120)
    assert process.returncode == status, error
    return Answer(text, error)
