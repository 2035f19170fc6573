"""Rows as CSV for people with a spreadsheet."""

import csv
import io
import re
from collections.abc import Iterator
from datetime import datetime

from imagesync_pipelines.products.exports.rows import Batches, ExportRow

# What a spreadsheet takes for a formula at the beginning of a cell. A cell also begins after a semicolon or a tab where
# those separate cells, and after a line break; the wide signs are what East Asian keyboards give.
_FORMULA = re.compile(r'(^|[;\t\r\n])(?=[\s\x00-\x1f"]*[=+\-@＝＋－＠])')
_SEPARATOR = re.compile(r"[;\t\r\n]")
_SPREADSHEETS_READ_UTF8_AFTER = "\ufeff"


def write_csv(batches: Batches) -> Iterator[bytes]:
    """UTF-8 with a byte order mark, commas, every cell in quotes, lines that end with CR LF.

    A text that a spreadsheet would calculate gets an apostrophe before it: `=1+1` becomes `'=1+1`.
    """
    buffer = io.StringIO(_SPREADSHEETS_READ_UTF8_AFTER, newline="")
    buffer.seek(0, io.SEEK_END)
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(ExportRow._fields)
    for batch in batches:
        writer.writerows(map(_cells, batch))
        yield _taken(buffer)
    yield _taken(buffer)


def safe_cell(text: str) -> str:
    """The text as a spreadsheet shows it and never calculates it."""
    # Nearly all texts are harmless, and this is seen much sooner than what has to be done.
    if text[:1].isalnum() and _SEPARATOR.search(text) is None:
        return text
    return _FORMULA.sub(r"\1'", text)


def _cells(row: ExportRow) -> list[object]:
    return [_cell(value) for value in row]


def _cell(value: object) -> object:
    if isinstance(value, str):
        return safe_cell(value)
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime) else value


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()
