"""The ERP's products from files: a file with a fault of form is refused whole, with file and line.

A file that was cut off, or in which one wrong quotation mark swallowed rows, looks like a catalogue from which products
left. Amounts are no matter of this module.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.products.errors import ErpError

_REPAIR = N_("Have the file made again, or mend it; nothing was changed.")
# A value longer than this has swallowed something.
_LONGEST_VALUE = 100_000


def read_file(path: Path, *, end_open: bool = False) -> pd.DataFrame:
    """The rows of a CSV or Parquet file; the index of the frame says for people where a row stands.

    CSV values are text as written. end_open: the last line of a CSV may lack its end, as some programs write it. Raises
    ErpError when the file cannot be read or its form is wrong.
    """
    if _is_parquet(path):
        rows = _parquet(path)
        return rows.set_axis([f"{path.name} row {at}" for at in range(1, len(rows) + 1)])
    return parse_csv(_text(path), path, end_open=end_open)


def look_at_file(path: Path, *, needed: Sequence[str], end_open: bool = False) -> int:
    """How many rows a file has, read whole for its form alone; that takes a quarter of the time of `read_file`.

    needed: the columns without which it is of no use. Raises ErpError as `read_file`, and for a column that is lacking.
    """
    if _is_parquet(path):
        frame = _parquet(path)
        names, rows, where = [str(name) for name in frame.columns], len(frame), told(f"{path}: the file")
    else:
        records = _rows(_text(path), path, end_open=end_open)
        at, names = next(records)
        rows, where = sum(1 for _ in records), told(f"{path} line {at}: the header, which names the columns,")
    found = {name.strip().lower() for name in names}
    if lacking := [name for name in needed if name not in found]:
        raise ErpError(f"{where} lacks {' and '.join(lacking)}. {_REPAIR}")
    return rows


def parse_csv(text: str, path: Path, *, end_open: bool = False) -> pd.DataFrame:
    """The rows of a CSV's text, see read_file. Raises ErpError for a fault of form."""
    records = _rows(text, path, end_open=end_open)
    _, header = next(records)
    places: list[str] = []
    rows: list[list[str]] = []
    for at, record in records:
        places.append(f"{path.name} line {at}")
        rows.append(record)
    return pd.DataFrame(rows, columns=header, index=pd.Index(places, dtype=object), dtype=object)


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ErpError:
    return ErpError(told(f"{path} could not be read: {error}. {_REPAIR}"))


def _rows(text: str, path: Path, *, end_open: bool) -> Iterator[tuple[int, list[str]]]:
    """The header of a CSV's text and its rows, each with the number of its first line.

    Raises ErpError for a fault of form.
    """
    if text and not text.endswith(("\n", "\r")) and not end_open:
        last = text.count("\n") + 1
        raise _fault(
            path,
            last,
            told("the file ends in the middle of this line: it was probably cut off"),
            told("If the program that makes it never ends the last line, set ERP_FILES_END_OPEN=true."),
        )
    records = _records(text, path)
    at, header = next(records, (1, list[str]()))
    if not header:
        raise _fault(path, at, told("the file has no header, which names the columns"))
    names = [name.strip().lower() for name in header]
    if twice := next((name for name in names if name and names.count(name) > 1), ""):
        raise _fault(path, at, told(f"the header names the column {twice} twice"))
    yield at, header
    for at, record in records:
        if len(record) != len(header):
            said = told(f"this row has {len(record)} values, but the header names {len(header)} columns")
            raise _fault(path, at, said)
        if record == header:
            raise _fault(path, at, told("the header stands here once more: these are two files in one"))
        if any(record):  # a row of nothing but commas, as table programs leave them, is no product
            yield at, record


def _records(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV that are not empty, each with the number of its first line."""
    lines = list(io.StringIO(text, newline=""))
    reader, done = csv.reader(lines, strict=True), 0
    columns, id_column = 0, 0
    while True:
        try:
            record = next(reader, None)
        except csv.Error:
            raise _fault(
                path, done + 1, told("a quotation mark in this row is not closed, or closed too early")
            ) from None
        if record is None:
            return
        first, last = done, reader.line_num
        done = last
        if not record:
            continue
        if not columns:
            columns = len(record)
            names = [name.strip().lower() for name in record]
            id_column = names.index("id") if "id" in names else 0
        elif last - first > 1:
            swallowed = _swallowed(lines[first:last], columns, id_column)
            if swallowed or any(len(value) > _LONGEST_VALUE for value in record):
                said = told(f"a quotation mark that is not closed swallows the rows up to line {last}")
                raise _fault(path, first + 1, said)
        yield first + 1, record


def _swallowed(lines: Sequence[str], columns: int, id_column: int) -> bool:
    """Whether one of the lines on which a record goes on is a row itself: as many values, and such an id."""
    cells = [[cell.strip('" \r\n') for cell in line.split(",")] for line in lines]
    own = cells[0][id_column] if len(cells[0]) > id_column else ""
    return any(
        len(row) >= columns and row[id_column] != "" and row[id_column].isdecimal() == own.isdecimal()
        for row in cells[1:]
    )


def _fault(path: Path, line: int, what: str, more: str = "") -> ErpError:
    return ErpError(f"{path} line {line}: {what}. {_REPAIR}{' ' + more if more else ''}")
