"""What is exported: a row for every image that is shown for a product, as a stream of any length in several formats.

CSV for people with a spreadsheet, NDJSON, Parquet, a feed for Google Merchant Center. One batch of products is in
memory, however many rows there are: every writer takes rows in batches and gives bytes. Which files a run has to write
is in kept_exports.py.
"""

import csv
import io
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from imagesync_pipelines.products.export_rows import PLAIN, Batches, ExportRow, columns_of, read_rows, snapshot
from imagesync_pipelines.products.merchant import write_merchant
from imagesync_pipelines.upstream.addresses import web_address

# What a spreadsheet takes for a formula at the beginning of a cell. A cell also begins after a semicolon or a tab where
# those separate cells, and after a line break; the wide signs are what East Asian keyboards give.
_FORMULA = re.compile(r'(^|[;\t\r\n])(?=[\s\x00-\x1f"]*[=+\-@＝＋－＠])')
_SEPARATOR = re.compile(r"[;\t\r\n]")
_SPREADSHEETS_READ_UTF8_AFTER = "\ufeff"
# What is in memory until it is compressed and given on.
ROWS_IN_A_GROUP = 5_000


def _given_on(batches: Batches) -> Batches:
    """The rows with the addresses as others take them."""
    for batch in batches:
        yield [
            row._replace(
                image_url=web_address(row.image_url), thumbnail_url=row.thumbnail_url and web_address(row.thumbnail_url)
            )
            for row in batch
        ]


_NOT_TEXT = {
    "position": pa.int32(),
    "id": pa.int64(),
    "is_primary": pa.bool_(),
    "is_front": pa.bool_(),
    "width": pa.int32(),
    "height": pa.int32(),
    "last_synced": pa.timestamp("us", tz="UTC"),
    "quality_score": pa.int32(),
}
Columns = Sequence[str]


class Format(StrEnum):
    """A format by its name, as the command line and the API have it."""

    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"
    MERCHANT = "merchant"


class Kind(NamedTuple):
    """What there is to know of a format."""

    file_name: str
    media_type: str
    write: Callable[[Batches, Columns], Iterator[bytes]]


def kind_of(wanted: Format) -> Kind:
    """What there is to know of it."""
    return {
        Format.CSV: Kind("product_images.csv", "text/csv; charset=utf-8", write_csv),
        Format.NDJSON: Kind("product_images.ndjson", "application/x-ndjson", write_ndjson),
        Format.PARQUET: Kind("product_images.parquet", "application/vnd.apache.parquet", write_parquet),
        Format.MERCHANT: Kind("merchant_feed.xml", "application/xml", lambda batches, _: write_merchant(batches)),
    }[wanted]


def export(
    engine: sa.Engine,
    wanted: Format,
    conditions: Collection[sa.ColumnElement[bool]] = (),
    *,
    own_images_first: bool = False,
) -> Iterator[bytes]:
    """The export as a stream of bytes, all of it from one moment; see read_rows for the conditions."""
    with snapshot(engine) as connection:
        rows = read_rows(connection, conditions, own_images_first=own_images_first)
        yield from kind_of(wanted).write(rows, columns_of(connection))


def write_csv(batches: Batches, columns: Columns = PLAIN) -> Iterator[bytes]:
    """See csv_of."""
    width = len(columns)
    return csv_of(columns, ([row[:width] for row in batch] for batch in _given_on(batches)))


def csv_of(names: Sequence[str], batches: Iterable[Iterable[Sequence[object]]]) -> Iterator[bytes]:
    """UTF-8 with a byte order mark, commas, every cell in quotes, lines that end with CR LF.

    A text that a spreadsheet would calculate gets an apostrophe before it: `=1+1` becomes `'=1+1`.
    """
    buffer = io.StringIO(_SPREADSHEETS_READ_UTF8_AFTER, newline="")
    buffer.seek(0, io.SEEK_END)
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(names)
    for batch in batches:
        writer.writerows([_cell(value) for value in row] for row in batch)
        yield _taken(buffer)
    yield _taken(buffer)


def safe_cell(text: str) -> str:
    """The text as a spreadsheet shows it and never calculates it."""
    # Nearly all texts are harmless, and this is seen much sooner than what has to be done.
    if text[:1].isalnum() and _SEPARATOR.search(text) is None:
        return text
    return _FORMULA.sub(r"\1'", text)


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


def write_ndjson(batches: Batches, columns: Columns = PLAIN) -> Iterator[bytes]:
    """One JSON object a line, in UTF-8; times in ISO 8601, unknown values null."""
    for batch in _given_on(batches):
        objects = (dict(zip(columns, row, strict=False)) for row in batch)
        yield b"".join(orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE) for one in objects)


def write_parquet(batches: Batches, columns: Columns = PLAIN) -> Iterator[bytes]:
    """Row groups of about 5,000 rows, compressed with zstd; a file without rows has its columns."""
    sink, schema = Sink(), pa.schema([(name, _NOT_TEXT.get(name, pa.string())) for name in columns])
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        waiting: list[ExportRow] = []
        for batch in _given_on(batches):
            waiting += batch
            if len(waiting) >= ROWS_IN_A_GROUP:
                writer.write_table(_table(waiting, schema))
                waiting = []
                yield sink.taken()
        if waiting:
            writer.write_table(_table(waiting, schema))
    yield sink.taken()


class Sink(io.RawIOBase):
    """A file that only grows; what was written is taken out and given on."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, part: object) -> int:
        self._parts.append(bytes(part))  # type: ignore[call-overload]
        return len(self._parts[-1])

    def taken(self) -> bytes:
        """What was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _table(rows: list[ExportRow], schema: pa.Schema) -> pa.Table:
    # Columns of the rows that the file does not have stand at their end.
    columns = zip(zip(*rows, strict=True), schema.types, strict=False)
    return pa.table([pa.array(column, kind) for column, kind in columns], schema=schema)
