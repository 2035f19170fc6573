"""`product_image` as a target: whole products, one transaction per batch, primaries last."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import pandas as pd
import psycopg
import pyarrow as pa
import sqlalchemy as sa
from psycopg import sql
from psycopg.errors import NumericValueOutOfRange

from imagesync_pipelines.products import rules
from imagesync_pipelines.products.primaries import Locked, Present, lock_products, set_flags
from imagesync_pipelines.storage.copying import copy_rows, frame_of, read_columns
from imagesync_pipelines.sync.model import Change, GroupWork, Outcome, PlanRow, RowResult, group_state

_CURRENT = "SELECT product_id || '/' || external_id, product_id, fingerprint, original_url FROM imagesync.product_image"

# A row that the database does not accept; what goes wrong in COPY comes from the driver as it is.
BAD_ROW = (sa.exc.DataError, sa.exc.IntegrityError, psycopg.DataError, psycopg.IntegrityError)

_WITHOUT_IMAGES = group_state(())


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


Payload = Callable[[Sequence[str]], dict[str, Values]]
"""The values of the rows with these engine keys."""
_Row = tuple[Any, ...]

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


def image_key(product_id: int | str, external_id: str) -> str:
    """The engine's key of a product image: the product's id and the image's external id."""
    return f"{product_id}/{external_id}"


def split_key(key: str) -> tuple[int, str]:
    """The product's id and the image's external id of an engine key."""
    product_id, _, external_id = key.partition("/")
    return int(product_id), external_id


def read_current(engine: sa.Engine, source: str, product_ids: Collection[int] | None = None) -> pd.DataFrame:
    """What the connector `source` has in `product_image` now, as the engine's `current`.

    product_ids limits it to those products.

    Columns: key, group, position (always NA: order is computed, not stored), fingerprint, content (the original's URL).
    """
    query = f"{_CURRENT} WHERE source = {sql.Literal(source).as_string()}"  # a COPY takes no parameters
    if product_ids is not None:
        query += f" AND product_id = ANY ('{{{','.join(str(int(number)) for number in product_ids)}}}'::bigint[])"
    with engine.connect() as connection:
        table = read_columns(connection, query, dict.fromkeys(("key", "group", "fingerprint", "content"), pa.string()))
    frame = frame_of(table)
    frame.insert(2, "position", pd.Series(pd.NA, index=frame.index, dtype="Int64"))
    return frame


@dataclass(frozen=True)
class ProductImageTarget:
    """Writes what one source has of whole products, and nothing of other sources; the engine's DatabaseTarget.

    source: the connector that brings the images. `payload` gives the values of the keys asked, to several threads at a
    time. A product whose images changed since the plan was made is refused, all its rows with it; a row that the
    database does not accept fails alone when its product is applied alone. resumed: an application of the same plan was
    broken off; products that are as the plan wants them were written by it and count as done.
    """

    engine: sa.Engine
    source: str
    payload: Payload
    resumed: bool = False

    def apply(self, works: Sequence[GroupWork]) -> Sequence[RowResult]:
        """Apply the products in one transaction; raises when any row is not accepted and there are several products."""
        try:
            with self.engine.begin() as connection:
                return self._apply(connection, works)
        except BAD_ROW:
            if len(works) > 1:
                raise
        return self._apply_row_by_row(works[0])

    def _apply_row_by_row(self, work: GroupWork) -> list[RowResult]:
        """One product, each row under its own savepoint, so that one poisoned image leaves the others applied."""
        with self.engine.begin() as connection:
            results = self._settled(work, lock_products(connection, [int(work.group)]))
            for row in () if results else work.rows:
                try:
                    with connection.begin_nested():
                        results += self._apply(connection, [GroupWork(work.group, (row,), None)])
                except BAD_ROW as error:
                    results.append(RowResult(row.key, row.group, row.change, Outcome.FAILED, _reason(error)))
        return results

    def _apply(self, connection: sa.Connection, works: Sequence[GroupWork]) -> list[RowResult]:
        locked = lock_products(connection, [int(work.group) for work in works])
        results: list[RowResult] = []
        rows: list[PlanRow] = []
        for work in works:
            settled = self._settled(work, locked)
            results += settled
            rows += () if settled else work.rows
        written = [row for row in rows if row.change in (Change.ADD, Change.UPDATE)]
        payload = self.payload([row.key for row in written]) if written else {}
        primaries = self._primaries_after(rows, locked, payload)
        # Of products without images there is nothing to remove, to rename or to compare with.
        known = [row for row in rows if locked.images[int(row.group)]]
        _remove(connection, self.source, [split_key(row.key) for row in known if row.change is Change.REMOVE])
        _rename(connection, self.source, _renamed(known))
        self._write(connection, written, payload, primaries, locked)
        keys = [split_key(key) for row in known for key in (row.key, row.key_before) if key]
        touched = {(product_id, rules.ImageName(self.source, external_id)) for product_id, external_id in keys}
        set_flags(connection, locked, primaries, touched)
        return results + [RowResult(row.key, row.group, row.change, Outcome.DONE, row.reason) for row in rows]

    def _settled(self, work: GroupWork, locked: Locked) -> list[RowResult]:
        """The results of a product that is not to be written; empty when it is."""
        present = [row for row in locked.images[int(work.group)] if row.source == self.source]
        if work.state_before is None or work.state_before == (_state(present) if present else _WITHOUT_IMAGES):
            return []
        if self.resumed and _as_planned(work, present):
            return [RowResult(row.key, row.group, row.change, Outcome.DONE, row.reason) for row in work.rows]
        reason = "the images of this product changed since the plan was made; plan again"
        return [RowResult(row.key, row.group, row.change, Outcome.REFUSED, reason) for row in work.rows]

    def _primaries_after(
        self, rows: Sequence[PlanRow], locked: Locked, payload: Mapping[str, Values]
    ) -> dict[int, rules.ImageName | None]:
        """Which image is each product's primary, from what will be there once `rows` are applied, of all sources."""
        shown = {
            product_id: {row.name: row.shown() for row in present} for product_id, present in locked.images.items()
        }
        pins = dict(locked.pins)
        for row in rows:
            product_id, external_id = split_key(row.key)
            name = rules.ImageName(self.source, external_id)
            if row.change is Change.REMOVE:
                shown[product_id].pop(name, None)
                continue
            if row.key_before and row.key_before != row.key:
                before = rules.ImageName(self.source, split_key(row.key_before)[1])
                shown[product_id].pop(before, None)
                if pins.get(product_id) == before:
                    pins[product_id] = name
            values = payload[row.key]
            shown[product_id][name] = rules.Shown(external_id, values.priority, values.newest_export, self.source)
        return {
            product_id: rules.choose_primary(images.values(), pins.get(product_id))
            for product_id, images in shown.items()
        }

    def _write(
        self,
        connection: sa.Connection,
        written: Sequence[PlanRow],
        payload: Mapping[str, Values],
        primaries: Mapping[int, rules.ImageName | None],
        locked: Locked,
    ) -> None:
        """Write the images, the first ones of a product faster than the others."""
        first: list[_Row] = []
        others: list[_Row] = []
        for row in written:
            product_id, external_id = split_key(row.key)
            is_primary = primaries[product_id] == (self.source, external_id)
            rows = others if locked.images[product_id] else first
            rows.append(_copied_row(product_id, self.source, external_id, is_primary, payload[row.key]))
        _add(connection, first)
        _overwrite(connection, others)


def _as_planned(work: GroupWork, present: Sequence[Present]) -> bool:
    """Whether every row of the plan for this product has its effect already."""
    there = {image_key(row.product_id, row.external_id): row.fingerprint for row in present}
    wanted = {row.key: None if row.change is Change.REMOVE else row.fingerprint_after for row in work.rows}
    renamed = {row.key_before for row in work.rows if row.key_before} - wanted.keys()
    return all(there.get(key) == fingerprint for key, fingerprint in wanted.items()) and not renamed & there.keys()


def _state(rows: Sequence[Present]) -> str:
    """The engine's digest of one product's images."""
    return group_state((image_key(row.product_id, row.external_id), row.fingerprint, None) for row in rows)


def _renamed(rows: Sequence[PlanRow]) -> list[tuple[int, str, str]]:
    """Product, external id before and after of those rows that get another key."""
    pairs = [(split_key(row.key_before), row.key) for row in rows if row.key_before and row.key_before != row.key]
    return [(product_id, before, split_key(key)[1]) for (product_id, before), key in pairs]


def _reason(error: Exception) -> str:
    """PostgreSQL's own first line, without the statement and its values."""
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0][:300]


def _copied_row(product_id: int, source: str, external_id: str, is_primary: bool, values: Values) -> _Row:
    """One product image in the form in which it is copied. Raises psycopg's DataError for a size that is too large."""
    # Four bytes are sent, and psycopg would cut a larger number without a word.
    if (values.width or 0) > _LARGEST or (values.height or 0) > _LARGEST:
        raise NumericValueOutOfRange(f"{values.width} x {values.height} pixels are out of range")
    metadata = _JSONB_VERSION + values.metadata
    return (product_id, source, external_id, is_primary, *values[:_METADATA], metadata, *values[_METADATA + 1 :])


def _add(connection: sa.Connection, rows: Sequence[_Row]) -> None:
    """Add images to products that have none; nothing is compared, so it is the fastest way to write them."""
    if rows:
        copy_rows(connection, _TABLE, _NAMES, rows, _TYPES)


def _overwrite(connection: sa.Connection, rows: Sequence[_Row]) -> None:
    """Write images of products that have some: those that are there are overwritten, the others added."""
    if rows:
        connection.execute(sa.text(_STAGE))
        connection.execute(sa.text("DELETE FROM product_image_stage"))  # rows of an earlier savepoint
        copy_rows(connection, "product_image_stage", _NAMES, rows, _TYPES)
        connection.execute(sa.text(_UPSERT))


def _rename(connection: sa.Connection, source: str, images: Sequence[tuple[int, str, str]]) -> None:
    """Give images of a source (product, external id before, external id after) another id; pins follow."""
    if images:
        products, before, after = map(list, zip(*images, strict=True))
        values = {"source": source, "products": products, "before": before, "after": after}
        connection.execute(sa.text(_RENAME), values)
        connection.execute(sa.text(_RENAME_PINS), values)


def _remove(connection: sa.Connection, source: str, images: Sequence[tuple[int, str]]) -> None:
    """Remove images of a source (product, external id)."""
    if images:
        products, gone = map(list, zip(*images, strict=True))
        connection.execute(sa.text(_REMOVE), {"source": source, "products": products, "gone": gone})
