"""Tables as files for a spreadsheet, made while they are sent, however long: CSV and XLSX.

No text of ours is ever a formula. The XLSX is the least that ISO/IEC 29500 asks of a workbook:
libraries finish a whole one, in memory or on disk, before its first byte can be sent.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from io import StringIO
from itertools import islice
from typing import NamedTuple
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

from django.utils import timezone

Cell = str | int | datetime | None
Row = Iterable[Cell]

# Where a formula could begin: at the start, or where a program that separates cells at other signs
# than commas begins one, whatever blanks and quotes it then drops.
FORMULA = re.compile(r'(^|[;\t\r\n])(?=[\s"]*[=+\-@＝＋－＠])|^(?=[\t\r\n\0])')
NUMBER = re.compile(r"-?[0-9][0-9,]*(\.[0-9]+)?")
ROWS_AT_ONCE = 500
XLSX_MOST_ROWS = 2**20 - 1  # a sheet's, without the head


class Column(NamedTuple):
    title: str
    width: int  # in digits


def inert(text: str) -> str:
    """Return `text` as a spreadsheet's cell that is never a formula (OWASP, CSV injection)."""
    return text if NUMBER.fullmatch(text) else FORMULA.sub(r"\1'", text)


# CSV


def csv_file(head: Sequence[Column], rows: Iterable[Row]) -> Iterator[bytes]:
    """Write UTF-8 with the mark by which Excel knows it; times in full, with their zone."""
    yield b"\xef\xbb\xbf" + _lines([[column.title for column in head]])
    for some in _in_batches(rows):
        yield _lines([_csv_cell(cell) for cell in row] for row in some)


def _lines(rows: Iterable[Iterable[str | int]]) -> bytes:
    lines = StringIO()
    csv.writer(lines).writerows(rows)
    return lines.getvalue().encode()


def _csv_cell(cell: Cell) -> str | int:
    match cell:
        case datetime():
            return timezone.localtime(cell).isoformat(timespec="milliseconds")
        case str():
            return inert(cell)
    return "" if cell is None else cell


def _in_batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rows = iter(rows)
    while some := list(islice(rows, ROWS_AT_ONCE)):
        yield some


# XLSX

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
SHEET_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'

PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{TYPES}">'
    '<Default Extension="rels"'
    ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{SHEET_TYPE}.sheet.main+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{SHEET_TYPE}.styles+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{SHEET_TYPE}.worksheet+xml"/>'
    "</Types>",
    "_rels/.rels": f'<Relationships xmlns="{RELATIONS}">'
    f'<Relationship Id="rId1" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    "</Relationships>",
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{RELATIONS}">'
    f'<Relationship Id="rId1" Type="{OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{OFFICE}/styles" Target="styles.xml"/>'
    "</Relationships>",
    "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}">'
    '<sheets><sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
    # Cell formats by number: 0 plain, 1 a moment, 2 the head's.
    "xl/styles.xml": f'<styleSheet xmlns="{MAIN}">'
    '<numFmts count="1"><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/></numFmts>'
    '<fonts count="2"><font><sz val="11"/></font><font><b/><sz val="11"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border/></borders>'
    '<cellStyleXfs count="1"><xf/></cellStyleXfs>'
    '<cellXfs count="3"><xf/><xf numFmtId="164" applyNumberFormat="1"/>'
    '<xf fontId="1" applyFont="1"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>'
    "</styleSheet>",
}
SHEET_BEGINS = (
    f'<worksheet xmlns="{MAIN}"><sheetViews><sheetView workbookViewId="0">'
    '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>'
    "</sheetView></sheetViews><cols>"
)
SHEET_ENDS = "</sheetData></worksheet>"

EXCEL_EPOCH = datetime(1899, 12, 30)
MOST_DIGITS = 10**15  # of which a spreadsheet keeps each
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
LIKE_AN_ESCAPE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")


def xlsx_file(head: Sequence[Column], rows: Iterable[Row]) -> Iterator[bytes]:
    """Write one sheet whose head stays in sight; texts are texts, and times are Shanghai's."""
    pipe = _Pipe()
    with ZipFile(pipe, "w", ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for name, part in PARTS.items():
            archive.writestr(name, XML + part)
        with archive.open("xl/worksheets/sheet1.xml", "w") as sheet:
            sheet.write(_sheet_head(head).encode())
            for some in _in_batches(rows):
                lines = (f"<row>{''.join(map(_xlsx_cell, row))}</row>" for row in some)
                sheet.write("".join(lines).encode())
                yield pipe.take()
            sheet.write(SHEET_ENDS.encode())
    yield pipe.take()


class _Pipe:
    """A file that an archive is written to and taken from at the same time; it cannot seek."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, some: bytes) -> int:
        self.written.append(bytes(some))
        return len(some)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken, self.written = b"".join(self.written), []
        return taken


def _sheet_head(head: Sequence[Column]) -> str:
    columns = "".join(
        f'<col min="{number}" max="{number}" width="{column.width}" customWidth="1"/>'
        for number, column in enumerate(head, start=1)
    )
    titles = "".join(_text(column.title, ' s="2"') for column in head)
    return f"{XML}{SHEET_BEGINS}{columns}</cols><sheetData><row>{titles}</row>"


def _xlsx_cell(cell: Cell) -> str:
    match cell:
        case None:
            return "<c/>"
        case datetime():
            since = timezone.localtime(cell).replace(tzinfo=None) - EXCEL_EPOCH
            return f'<c s="1"><v>{since / timedelta(days=1):.10f}</v></c>'
        case int() if abs(cell) < MOST_DIGITS:
            return f"<c><v>{cell}</v></c>"
    return _text(str(cell))


def _text(text: str, style: str = "") -> str:
    """Return a text's cell: no formula here, but prefixed as the sheet may be saved as CSV."""
    safe = escape(LIKE_AN_ESCAPE.sub("_x005F_", NOT_XML.sub("", inert(text))))
    return f'<c t="inlineStr"{style}><is><t xml:space="preserve">{safe}</t></is></c>'


WRITERS: dict[str, Callable[[Sequence[Column], Iterable[Row]], Iterator[bytes]]] = {
    "csv": csv_file,
    "xlsx": xlsx_file,
}
CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "xlsx": f"{SHEET_TYPE}.sheet"}
