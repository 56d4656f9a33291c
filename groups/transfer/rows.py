"""The files of `import` and `export`: CSV or JSON lines, and what each column may hold.

A row is a dictionary by column, with a value for every column of its kind. Rules are those of the
API: what it refuses is refused here, with the reason in words.
"""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import IO, Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext, pgettext_lazy

from accounts.fields import acceptable_nickname
from groups.models import MAX_SCORE, Group
from groups.periods import CALENDAR, Period, UnreadablePeriod, Window
from wechat.crypto import is_opaque_id

csv.field_size_limit(1 << 20)
MAX_LABEL = Group._meta.get_field("label").max_length or 0

Row = dict[str, Any]


class Refused(ValueError):
    """A row that is not taken; its text is the reason, in words."""


def refused(column: str, reason: Any) -> Refused:
    """Return the refusal of a row because of what one of its columns holds."""
    return Refused(f"{column}: {reason}")


class UnreadableFile(ValueError):
    """A file that cannot be read at all; its text says why, and what to do."""


# What a cell holds


def text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise Refused(gettext("Not a string."))
    try:
        value.encode()
    except UnicodeEncodeError:  # half a pair of surrogates
        raise Refused(gettext("Not a string.")) from None
    return value


def opaque_id(value: Any) -> str:
    if not is_opaque_id(value):
        raise Refused(gettext("Not a valid openid or openGId."))
    return str(value)


def nickname(value: Any) -> str:
    try:
        return acceptable_nickname(text(value))
    except ValidationError as error:
        raise Refused(error.messages[0]) from None


def label(value: Any) -> str:
    if len(text(value)) > MAX_LABEL:
        raise Refused(gettext("Longer than %(most)d characters.") % {"most": MAX_LABEL})
    return str(value)


def integer(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch("-?[0-9]{1,17}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(gettext("Not a whole number."))
    if abs(value) > MAX_SCORE:
        raise Refused(gettext("Outside ±(2^53 − 1), which JavaScript holds exactly."))
    return value


def boolean(value: Any) -> bool:
    if value in (True, "true", "1"):
        return True
    if value in (False, "false", "0"):
        return False
    raise Refused(gettext("Neither true nor false."))


def moment(value: Any) -> datetime:
    """Read a time in ISO 8601; one without a zone is of Asia/Shanghai."""
    try:
        read = datetime.fromisoformat(text(value))
        if read.tzinfo is None:
            read = read.replace(tzinfo=CALENDAR)
        read.astimezone(CALENDAR)
    except (ValueError, OverflowError):
        raise Refused(gettext("Not a time, such as 2026-11-22T08:00:00+08:00.")) from None
    return read


def period(value: Any) -> Period:
    """Read the key of a period. A window's name alone, such as `week`, would mean today's."""
    try:
        if value in Window.values and value != Window.ALL:
            raise UnreadablePeriod(value)
        return Period.named(text(value), datetime.now(CALENDAR))
    except UnreadablePeriod:
        sentence = gettext("Not a period, such as 2026-11-22, 2026-W47, 2026-11 or all.")
        raise Refused(sentence) from None


def windows(value: Any) -> str:
    names = text(value).split(",")
    if not names or not set(names) <= set(Window.values):
        raise Refused(gettext("Not windows, such as day,week,month,all."))
    return ",".join(window for window in Window.values if window in names)


@dataclass(frozen=True)
class FileColumn:
    """A column: how a cell is read, and the value where there is none."""

    name: str
    read: Callable[[Any], Any]
    default: Any = None
    required: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of file: one row for each record of ours."""

    name: str
    title: Any
    columns: tuple[FileColumn, ...]
    by_name: dict[str, FileColumn] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {column.name: column for column in self.columns})

    @property
    def required(self) -> set[str]:
        return {column.name for column in self.columns if column.required}

    def read(self, cells: Mapping[str, Any]) -> Row:
        """Return the row of these cells. Raises Refused, naming the column."""
        if unknown := cells.keys() - self.by_name.keys():
            raise Refused(_unknown(self, unknown))
        row = {}
        for column in self.columns:
            value = cells.get(column.name)
            if value is None or value == "":
                if column.required:
                    raise refused(column.name, gettext("This column must not be empty."))
                row[column.name] = column.default
                continue
            try:
                row[column.name] = column.read(value)
            except Refused as refusal:
                raise refused(column.name, refusal) from None
        return row


OPENID = FileColumn("openid", opaque_id, required=True)
GROUP = FileColumn("openGId", opaque_id, required=True)

# In the order in which they are imported: each may name what stands in those before it.
KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "people",
            pgettext_lazy("kind of rows", "people"),
            (
                OPENID,
                FileColumn("unionid", opaque_id, ""),
                FileColumn("nickname", nickname, ""),
                FileColumn("blocked", boolean, False),
            ),
        ),
        Kind(
            "groups",
            pgettext_lazy("kind of rows", "groups"),
            (
                GROUP,
                FileColumn("label", label, ""),
                FileColumn("seenFrom", moment),
                FileColumn("hidden", boolean, False),
            ),
        ),
        Kind(
            "boards",
            pgettext_lazy("kind of rows", "boards"),
            (
                FileColumn("key", opaque_id, required=True),
                FileColumn("titleZh", text, required=True),
                FileColumn("titleEn", text, ""),
                FileColumn("unitZh", text, ""),
                FileColumn("unitEn", text, ""),
                FileColumn("decimals", integer, 0),
                FileColumn("order", text, "desc"),
                FileColumn("policy", text, "best"),
                FileColumn("scope", text, "group"),
                FileColumn("rankStyle", text, "competition"),
                FileColumn("windows", windows, ",".join(Window.values)),
                FileColumn("defaultWindow", text, "week"),
                FileColumn("minValue", integer),
                FileColumn("maxValue", integer),
                FileColumn("writer", text, "server"),
                FileColumn("activeFrom", moment),
                FileColumn("activeTo", moment),
                FileColumn("isDefault", boolean, False),
            ),
        ),
        Kind(
            "memberships",
            pgettext_lazy("kind of rows", "memberships"),
            (
                OPENID,
                GROUP,
                FileColumn("joinedAt", moment),
                FileColumn("verifiedAt", moment),
                FileColumn("leftAt", moment),
                FileColumn("hidden", boolean, False),
                FileColumn("withheld", boolean, False),
                FileColumn("alias", nickname, ""),
            ),
        ),
        Kind(
            "scores",
            pgettext_lazy("kind of rows", "scores"),
            (
                OPENID,
                FileColumn("board", opaque_id, required=True),
                FileColumn("value", integer, required=True),
                FileColumn("openGId", opaque_id),
                FileColumn("period", period, Period(Window.ALL)),
                FileColumn("achievedAt", moment),
            ),
        ),
    )
}
# A file is of the first of these whose required columns it has.
_GUESSES = ("scores", "boards", "memberships", "people", "groups")
FORMATS = {"csv": ".csv", "jsonl": ".jsonl"}
JSON_SUFFIXES = {".jsonl", ".ndjson", ".json"}


def names_of_files() -> list[str]:
    """Return what `export` calls its files, in either format."""
    return [f"{kind}{suffix}" for kind in KINDS for suffix in FORMATS.values()]


def kind_of(columns: Iterable[str]) -> Kind:
    """Return the kind of a file with these columns. Raises UnreadableFile."""
    names = set(columns)
    for name in _GUESSES:
        if KINDS[name].required <= names:
            return KINDS[name]
    raise UnreadableFile(
        gettext("It is not clear what this file is. Name its kind with --kind, or its columns: ")
        + "; ".join(f"{kind.name}: {', '.join(kind.by_name)}" for kind in KINDS.values())
    )


def _unknown(kind: Kind, names: Iterable[str]) -> str:
    sentence = gettext("Unknown columns: %(names)s. Those of %(kind)s are: %(known)s.")
    shown = ", ".join(sorted(name[:64] or '""' for name in names)[:20])
    return sentence % {"names": shown, "kind": kind.name, "known": ", ".join(kind.by_name)}


# Reading

Cells = dict[str, Any] | Refused
Line = tuple[int, Cells]  # with the number of the first line of the row, from 1


@dataclass(frozen=True)
class Source:
    """A file that has been looked over: what it is, its bytes' SHA-256, how many rows it has.

    `reading` says how its rows are made of the bytes, where that is not by their columns.
    """

    path: Path
    kind: Kind
    digest: str
    total: int
    lines: Callable[[], Iterator[Line]]
    reading: str = ""

    @property
    def date(self) -> datetime:
        """Return when the file was written last; never later than now."""
        now = datetime.now(CALENDAR)
        return min(now, datetime.fromtimestamp(self.path.stat().st_mtime, CALENDAR))

    def read(self, cells: Cells) -> Row | Refused:
        """Return the row of these cells, or why it is refused."""
        try:
            return cells if isinstance(cells, Refused) else self.kind.read(cells)
        except Refused as refusal:
            return refusal


def source_of(path: Path, kind_name: str | None = None) -> Source:
    """Look a file over. Raises UnreadableFile, for columns that its kind does not have too."""
    lines = lines_of(path)
    first = next(lines(), None)
    columns = _columns(path, first)
    kind = KINDS[kind_name] if kind_name else kind_of(columns)
    if unknown := columns - kind.by_name.keys():
        raise UnreadableFile(_unknown(kind, unknown))
    if missing := kind.required - columns:
        sentence = gettext("Columns are missing: %(names)s.")
        raise UnreadableFile(sentence % {"names": ", ".join(sorted(missing))})
    return Source(path, kind, digest_of_file(path), sum(1 for _line in lines()), lines)


def _columns(path: Path, first: Line | None) -> set[str]:
    if path.suffix == ".csv":
        with _opened(path) as file:
            return set(next(csv.reader(file), []))
    if first is None:
        raise UnreadableFile(gettext("The file is empty."))
    if isinstance(first[1], Refused):
        raise UnreadableFile(str(first[1]))
    return set(first[1])


def digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lines_of(path: Path) -> Callable[[], Iterator[Line]]:
    """Return what reads a file from its beginning. Raises UnreadableFile."""
    if path.suffix == ".csv":
        return lambda: _csv_lines(path)
    if path.suffix in JSON_SUFFIXES:
        return lambda: _json_lines(path)
    raise UnreadableFile(gettext("Name the file .csv or .jsonl, as what it is."))


def _opened(path: Path) -> IO[str]:
    return path.open(encoding="utf-8-sig", newline="")  # a spreadsheet's CSV begins with a BOM


def _csv_lines(path: Path) -> Iterator[Line]:
    with _opened(path) as file:
        try:
            reader = csv.reader(file, strict=True)
            columns = next(reader, [])
            if len(set(columns)) < len(columns):
                raise UnreadableFile(gettext("Two columns have one name."))
            begin = reader.line_num + 1
            for values in reader:
                if len(values) == len(columns):
                    yield begin, dict(zip(columns, values, strict=True))
                elif values:
                    sentence = gettext("%(cells)d cells, where there are %(columns)d columns.")
                    counts = {"cells": len(values), "columns": len(columns)}
                    yield begin, Refused(sentence % counts)
                begin = reader.line_num + 1
        except (csv.Error, UnicodeDecodeError) as error:
            raise _not_readable(error) from None


def _json_lines(path: Path) -> Iterator[Line]:
    """Yield the objects of JSON lines, or of one array; those of an array stand by their number."""
    with _opened(path) as file:
        try:
            head = next((line for line in file if line.strip()), "")
            file.seek(0)
            if head.lstrip().startswith("["):
                objects = json.load(file)
                yield from enumerate(map(_cells, objects), start=1)
                return
            for line, written in enumerate(file, start=1):
                if written.strip():
                    yield line, _read_json(written)
        except (ValueError, UnicodeDecodeError) as error:
            raise _not_readable(error) from None


def _read_json(written: str) -> Cells:
    try:
        return _cells(json.loads(written))
    except ValueError:
        return Refused(gettext("Not a JSON object."))


def _cells(value: Any) -> Cells:
    return value if isinstance(value, dict) else Refused(gettext("Not a JSON object."))


def _not_readable(error: Exception) -> UnreadableFile:
    sentence = gettext("The file cannot be read: %(error)s. Save it as CSV or JSON lines in UTF-8.")
    return UnreadableFile(sentence % {"error": error})


# Writing


def cell_in_csv(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return written_moment(value)
    return str(value)


def cell_in_json(value: Any) -> Any:
    return written_moment(value) if isinstance(value, datetime) else value


def written_moment(value: datetime) -> str:
    """Write a moment to the microsecond, which rankings tell apart."""
    return value.astimezone(CALENDAR).isoformat(timespec="microseconds")


def write_rows(
    file: IO[str],
    form: str,
    columns: Iterable[str],
    rows: Iterable[Iterable[Any]],
    *,
    header: bool = True,
) -> None:
    """Write rows, each with a value for every column, as CSV or JSON lines."""
    names = list(columns)
    if form == "csv":
        cells = (map(cell_in_csv, row) for row in rows)
        csv.writer(file, lineterminator="\n").writerows(chain([names] if header else [], cells))
        return
    for row in rows:
        values = dict(zip(names, map(cell_in_json, row), strict=True))
        file.write(json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n")
