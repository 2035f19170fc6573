"""The ERP's products from files: a file with a fault of form is refused whole, with file and line.

A file that was cut off, or in which one wrong quotation mark swallowed rows, looks like a catalogue from which products
left. Amounts are no matter of this module.
"""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from imagesync_pipelines.products.errors import ErpError

_REPAIR = "Have the file made again, or mend it; nothing was changed."
# A value longer than this has swallowed something.
_LONGEST_VALUE = 100_000


def read_file(path: Path, *, end_open: bool = False) -> pd.DataFrame:
    """The rows of a CSV or Parquet file; the index of the frame says for people where a row stands.

    CSV values are text as written. end_open: the last line of a CSV may lack its end, as some programs write it. Raises
    ErpError when the file cannot be read or its form is wrong.
    """
    try:
        if path.suffix.lower() == ".parquet":
            rows = pd.read_parquet(path)
            return rows.set_axis([f"{path.name} row {at}" for at in range(1, len(rows) + 1)])
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ErpError(f"{path} could not be read: {error}. {_REPAIR}") from None
    return parse_csv(text, path, end_open=end_open)


def look_at_ends(path: Path, *, needed: Sequence[str], end_open: bool = False) -> None:
    """Look at the header and the last byte of a file alone, which costs nothing however large it is.

    needed: the columns without which it is of no use. Raises ErpError for one that is not there, is empty, lacks a
    column or was cut off; other faults of form are found when it is read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_LONGEST_VALUE)
            size = file.seek(0, os.SEEK_END)
            file.seek(-min(size, 4), os.SEEK_END)
            tail = file.read()
    except OSError as error:
        raise ErpError(f"{path} could not be read: {error}. {_REPAIR}") from None
    if path.suffix.lower() == ".parquet":
        if tail != b"PAR1":
            raise ErpError(f"{path}: the file is no Parquet file, or was cut off. {_REPAIR}")
        return
    lines = io.StringIO(head.decode("utf-8-sig", errors="replace"), newline="")
    header = next(filter(None, csv.reader(lines)), [])
    names = {name.strip().lower() for name in header}
    if lacking := [name for name in needed if name not in names]:
        raise _fault(path, 1, f"the header, which names the columns, lacks {' and '.join(lacking)}")
    if not end_open and not tail.endswith((b"\n", b"\r")):
        raise ErpError(f"{path}: the file ends in the middle of a line: it was probably cut off. {_REPAIR}")


def parse_csv(text: str, path: Path, *, end_open: bool = False) -> pd.DataFrame:
    """The rows of a CSV's text, see read_file. Raises ErpError for a fault of form."""
    if text and not text.endswith(("\n", "\r")) and not end_open:
        last = text.count("\n") + 1
        raise _fault(
            path,
            last,
            "the file ends in the middle of this line: it was probably cut off",
            "If the program that makes it never ends the last line, set ERP_FILES_END_OPEN=true.",
        )
    records = _records(text, path)
    at, header = next(records, (1, list[str]()))
    if not header:
        raise _fault(path, at, "the file has no header, which names the columns")
    names = [name.strip().lower() for name in header]
    if twice := next((name for name in names if name and names.count(name) > 1), ""):
        raise _fault(path, at, f"the header names the column {twice} twice")
    places: list[str] = []
    rows: list[list[str]] = []
    for at, record in records:
        if len(record) != len(header):
            said = f"this row has {len(record)} values, but the header names {len(header)} columns"
            raise _fault(path, at, said)
        if record == header:
            raise _fault(path, at, "the header stands here once more: these are two files in one")
        if any(record):  # a row of nothing but commas, as table programs leave them, is no product
            places.append(f"{path.name} line {at}")
            rows.append(record)
    return pd.DataFrame(rows, columns=header, index=pd.Index(places, dtype=object), dtype=object)


def _records(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV that are not empty, each with the number of its first line."""
    lines = list(io.StringIO(text, newline=""))
    reader, done = csv.reader(lines, strict=True), 0
    columns, id_column = 0, 0
    while True:
        try:
            record = next(reader, None)
        except csv.Error:
            raise _fault(path, done + 1, "a quotation mark in this row is not closed, or closed too early") from None
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
                said = f"a quotation mark that is not closed swallows the rows up to line {last}"
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
