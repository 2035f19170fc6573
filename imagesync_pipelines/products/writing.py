"""Rows of product_image in the database, in the caller's transaction: removing, renaming, writing.

The caller holds the products' locks (primaries.lock_products).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from psycopg.errors import NumericValueOutOfRange

from imagesync_pipelines.storage.copying import copy_rows


class Values(NamedTuple):
    """The values of one product image, in the order in which they are copied; metadata is JSON in UTF-8."""

    image_url: str
    thumbnail_url: str | None
    image_type: str
    is_front: bool
    priority: int
    alt_text: str
    metadata: bytes
    fingerprint: str
    original_url: str | None
    newest_export: datetime | None
    matched_by: str
    chosen_because: str
    width: int | None
    height: int | None
    image_format: str


_TABLE = "imagesync.product_image"
# A row as it is copied: its columns with their types on the wire. last_synced is not among them: it is now, by default.
_NOT_TEXT = {
    "product_id": "int8",
    "is_primary": "bool",
    "is_front": "bool",
    "priority": "int4",
    "metadata": "bytea",  # a jsonb is sent as a version and its text
    "newest_export": "timestamptz",
    "width": "int4",
    "height": "int4",
}
_NAMES = ("product_id", "source", "external_id", "is_primary", *Values._fields)
_TYPES = tuple(_NOT_TEXT.get(name, "text") for name in _NAMES)
_COLUMNS = ", ".join(_NAMES)
_METADATA = Values._fields.index("metadata")
_JSONB_VERSION = b"\x01"
_LARGEST = 2**31 - 1

_STAGE = f"""
CREATE TEMPORARY TABLE IF NOT EXISTS product_image_stage ON COMMIT DELETE ROWS AS
SELECT {_COLUMNS} FROM {_TABLE} WITH NO DATA
"""  # noqa: S608 - names are constants of this module

_UPSERT = f"""
INSERT INTO {_TABLE} ({_COLUMNS}, last_synced)
SELECT {_COLUMNS}, now() FROM product_image_stage
ON CONFLICT (product_id, source, external_id) DO UPDATE
   SET {", ".join(f"{name} = EXCLUDED.{name}" for name in _NAMES[3:])}, last_synced = EXCLUDED.last_synced
"""  # noqa: S608 - names are constants of this module

_RENAME = f"""
UPDATE {_TABLE} i SET external_id = r.after
  FROM unnest(CAST(:products AS bigint[]), CAST(:before AS text[]), CAST(:after AS text[]))
       AS r (product_id, before, after)
 WHERE i.product_id = r.product_id AND i.source = :source AND i.external_id = r.before
"""  # noqa: S608 - names are constants of this module

_RENAME_PINS = """
UPDATE imagesync.pin p SET external_id = r.after
  FROM unnest(CAST(:products AS bigint[]), CAST(:before AS text[]), CAST(:after AS text[]))
       AS r (product_id, before, after)
 WHERE p.product_id = r.product_id AND p.source = :source AND p.external_id = r.before
"""

_REMOVE = f"""
DELETE FROM {_TABLE} i
 USING unnest(CAST(:products AS bigint[]), CAST(:gone AS text[])) AS r (product_id, gone)
 WHERE i.product_id = r.product_id AND i.source = :source AND i.external_id = r.gone
"""  # noqa: S608 - names are constants of this module

Row = tuple[Any, ...]


def copied_row(product_id: int, source: str, external_id: str, is_primary: bool, values: Values) -> Row:
    """One product image in the form in which it is copied. Raises psycopg's DataError for a size that is too large."""
    # Four bytes are sent, and psycopg would cut a larger number without a word.
    if (values.width or 0) > _LARGEST or (values.height or 0) > _LARGEST:
        raise NumericValueOutOfRange(f"{values.width} x {values.height} pixels are out of range")
    metadata = _JSONB_VERSION + values.metadata
    return (product_id, source, external_id, is_primary, *values[:_METADATA], metadata, *values[_METADATA + 1 :])


def add(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Add images to products that have none; nothing is compared, so it is the fastest way to write them."""
    if rows:
        copy_rows(connection, _TABLE, _NAMES, rows, _TYPES)


def overwrite(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Write images of products that have some: those that are there are overwritten, the others added."""
    if rows:
        connection.execute(sa.text(_STAGE))
        connection.execute(sa.text("DELETE FROM product_image_stage"))  # rows of an earlier savepoint
        copy_rows(connection, "product_image_stage", _NAMES, rows, _TYPES)
        connection.execute(sa.text(_UPSERT))


def rename(connection: sa.Connection, source: str, images: Sequence[tuple[int, str, str]]) -> None:
    """Give images of a source (product, external id before, external id after) another id; pins follow."""
    if images:
        products, before, after = map(list, zip(*images, strict=True))
        values = {"source": source, "products": products, "before": before, "after": after}
        connection.execute(sa.text(_RENAME), values)
        connection.execute(sa.text(_RENAME_PINS), values)


def remove(connection: sa.Connection, source: str, images: Sequence[tuple[int, str]]) -> None:
    """Remove images of a source (product, external id)."""
    if images:
        products, gone = map(list, zip(*images, strict=True))
        connection.execute(sa.text(_REMOVE), {"source": source, "products": products, "gone": gone})
