"""What is exported: a row for every image that is shown for a product, as a stream of any length in several formats.

CSV for people with a spreadsheet, NDJSON, Parquet, a feed for Google Merchant Center. One batch of products is in
memory, however many rows there are: every writer takes rows in batches and gives bytes.
"""

import csv
import io
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from itertools import groupby
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.products.showing import images_of, whose_images
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.files import write_stream
from imagesync_pipelines.storage.schema import product

FOLDER = "exports"

# What a spreadsheet takes for a formula at the beginning of a cell. A cell also begins after a semicolon or a tab where
# those separate cells, and after a line break; the wide signs are what East Asian keyboards give.
_FORMULA = re.compile(r'(^|[;\t\r\n])(?=[\s\x00-\x1f"]*[=+\-@＝＋－＠])')
_SEPARATOR = re.compile(r"[;\t\r\n]")
_SPREADSHEETS_READ_UTF8_AFTER = "\ufeff"

MOST_ADDITIONAL = 10
LONGEST_LINK = 2000
SMALLEST_SIDE = 100
FORMATS = frozenset({"jpeg", "jpg", "png", "gif", "webp", "bmp", "tiff"})

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0">
<channel>
<title>Product images</title>
<link>https://support.google.com/merchants/answer/7439882</link>
<description>Images of products, by SKU</description>
"""
# Characters that XML 1.0 has no way to write.
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# What is in memory until it is compressed and given on.
ROWS_IN_A_GROUP = 5_000

PRODUCTS_AT_ONCE = 500


class ExportRow(NamedTuple):
    """One image of one product; position counts from 1 in the order in which they are shown.

    id is the product image's, images_from the SKU of the product that lends its images, '' when they are its own. Sizes
    in pixels, None when unknown; times are UTC.
    """

    sku: str
    kind: str
    parent_sku: str | None
    variant_code: str | None
    name: str
    position: int
    id: int
    external_id: str
    image_url: str
    thumbnail_url: str | None
    image_type: str
    is_primary: bool
    is_front: bool
    alt_text: str
    format: str | None
    width: int | None
    height: int | None
    images_from: str
    last_synced: datetime


Batches = Iterator[list[ExportRow]]
"""Rows in the order of SKU and position; all rows of a product are in one batch."""


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection on which everything is read as it is now, whatever a synchronisation writes meanwhile."""
    with engine.connect() as connection:
        options: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        yield connection.execution_options(**options)


def read_rows(
    connection: sa.Connection, conditions: Collection[sa.ColumnElement[bool]] = (), *, own_images_first: bool = False
) -> Batches:
    """The rows of the products that the ERP has and for which all conditions are true (on the table product).

    A variant stands before a parent of the same SKU. Products with nothing to show have no row.
    """
    parent = product.alias("parent")
    names = ("id", "sku", "kind", "variant_code", "name")
    query = (
        sa.select(*(product.c[name] for name in names), parent.c.sku.label("parent_sku"))
        .outerjoin_from(product, parent, product.c.parent_id == parent.c.id)
        .where(product.c.left_erp_at.is_(None), *conditions)
        .order_by(product.c.sku, product.c.kind.desc(), product.c.id)
    )
    found = connection.execute(query, execution_options={"yield_per": PRODUCTS_AT_ONCE})
    try:
        for products in found.partitions():
            yield _rows(connection, products, own_images_first)
    finally:
        found.close()


def _rows(connection: sa.Connection, products: Sequence[sa.Row], own_images_first: bool) -> list[ExportRow]:
    shows = whose_images(connection, [one.id for one in products], own_images_first=own_images_first)
    owners = {one: whose.owner_id for one, whose in shows.items()}
    images = images_of(connection, set(owners.values()))
    borrowed = {owner for one, owner in owners.items() if owner != one}
    query = sa.select(product.c.id, product.c.sku).where(among(product.c.id, borrowed))
    lenders = {row.id: row.sku for row in connection.execute(query)}
    rows = []
    for one in products:
        owner = owners.get(one.id, one.id)
        about = (one.sku, one.kind, one.parent_sku, one.variant_code, one.name)
        lent_by = lenders[owner] if owner != one.id else ""
        for position, image in enumerate(images.get(owner, ()), start=1):
            rows.append(
                ExportRow(
                    *about, position, image.id, image.external_id, image.image_url, image.thumbnail_url,
                    image.image_type, image.is_primary, image.is_front, image.alt_text, image.image_format,
                    image.width, image.height, lent_by, image.last_synced.astimezone(UTC),
                )
            )  # fmt: skip
    return rows


_NOT_TEXT = {
    "position": pa.int32(),
    "id": pa.int64(),
    "is_primary": pa.bool_(),
    "is_front": pa.bool_(),
    "width": pa.int32(),
    "height": pa.int32(),
    "last_synced": pa.timestamp("us", tz="UTC"),
}
SCHEMA = pa.schema([(name, _NOT_TEXT.get(name, pa.string())) for name in ExportRow._fields])


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
    write: Callable[[Batches], Iterator[bytes]]


def kind_of(wanted: Format) -> Kind:
    """What there is to know of it."""
    return {
        Format.CSV: Kind("product_images.csv", "text/csv; charset=utf-8", write_csv),
        Format.NDJSON: Kind("product_images.ndjson", "application/x-ndjson", write_ndjson),
        Format.PARQUET: Kind("product_images.parquet", "application/vnd.apache.parquet", write_parquet),
        Format.MERCHANT: Kind("merchant_feed.xml", "application/xml", write_merchant),
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
        yield from kind_of(wanted).write(read_rows(connection, conditions, own_images_first=own_images_first))


def write_exports(engine: sa.Engine, storage: UPath, *, own_images_first: bool = False) -> tuple[int, dict[str, int]]:
    """Write every format as a file below the storage root; a file is replaced whole or not at all.

    Gives the rows in each file, and the size of each in bytes by its path.
    """
    rows, sizes = 0, {}

    def counted(batches: Batches) -> Batches:
        nonlocal rows
        rows = 0
        for batch in batches:
            rows += len(batch)
            yield batch

    with snapshot(engine) as connection:
        for kind in map(kind_of, Format):
            batches = counted(read_rows(connection, own_images_first=own_images_first))
            sizes[f"{FOLDER}/{kind.file_name}"] = write_stream(storage / FOLDER / kind.file_name, kind.write(batches))
    return rows, sizes


def write_csv(batches: Batches) -> Iterator[bytes]:
    """UTF-8 with a byte order mark, commas, every cell in quotes, lines that end with CR LF.

    A text that a spreadsheet would calculate gets an apostrophe before it: `=1+1` becomes `'=1+1`.
    """
    buffer = io.StringIO(_SPREADSHEETS_READ_UTF8_AFTER, newline="")
    buffer.seek(0, io.SEEK_END)
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(ExportRow._fields)
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


def write_ndjson(batches: Batches) -> Iterator[bytes]:
    """One JSON object a line, in UTF-8; times in ISO 8601, unknown values null."""
    for batch in batches:
        yield b"".join(orjson.dumps(row._asdict(), option=orjson.OPT_APPEND_NEWLINE) for row in batch)


def write_parquet(batches: Batches) -> Iterator[bytes]:
    """Row groups of about 5,000 rows, compressed with zstd; a file without rows has its columns."""
    sink = _Sink()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), SCHEMA, compression="zstd") as writer:
        waiting: list[ExportRow] = []
        for batch in batches:
            waiting += batch
            if len(waiting) >= ROWS_IN_A_GROUP:
                writer.write_table(_table(waiting))
                waiting = []
                yield sink.taken()
        if waiting:
            writer.write_table(_table(waiting))
    yield sink.taken()


class _Sink(io.RawIOBase):
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


def _table(rows: list[ExportRow]) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA)


def write_merchant(batches: Batches) -> Iterator[bytes]:
    """A supplementary feed for Google Merchant Center, RSS 2.0: an item for each SKU that has a usable image.

    The primary is its image_link, with at most ten others. Of a parent and a variant of the same SKU the variant is
    taken. Images that Google refuses are left out.
    """
    yield _HEAD.encode()
    last = None
    for batch in batches:
        items = []
        for (sku, _), rows in groupby(batch, key=lambda row: (row.sku, row.kind)):
            links = [row.image_url for row in rows if is_usable(row)] if sku != last else []
            if links:
                items.append(_item(sku, links))
                last = sku
        yield "".join(items).encode()
    yield b"</channel>\n</rss>\n"


def is_usable(row: ExportRow) -> bool:
    """Whether Google takes this image, as far as we know it."""
    try:
        parts = urlsplit(row.image_url)
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.netloc)
        and len(row.image_url) <= LONGEST_LINK
        and (not row.format or row.format in FORMATS)
        and min(row.width or SMALLEST_SIDE, row.height or SMALLEST_SIDE) >= SMALLEST_SIDE
    )


def _item(sku: str, links: list[str]) -> str:
    first, *others = dict.fromkeys(links)
    lines = [f"<g:id>{_xml(sku)}</g:id>", f"<g:image_link>{_xml(first)}</g:image_link>"]
    lines += [f"<g:additional_image_link>{_xml(link)}</g:additional_image_link>" for link in others[:MOST_ADDITIONAL]]
    return "<item>" + "".join(lines) + "</item>\n"


def _xml(value: str) -> str:
    return escape(_NOT_XML.sub("", value))
