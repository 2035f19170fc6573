"""The plan of this room in the database: whole products, one transaction per batch, primaries last.

What belongs here: what is there now (the engine's `current`), and the effects of a batch of groups. What does not:
what should be there (planning.py), locks and flags of primaries (primaries.py), which removals may happen
(sync/guard.py).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import psycopg
import sqlalchemy as sa

from imagesync_pipelines.image_db import rules
from imagesync_pipelines.image_db.planning import image_key
from imagesync_pipelines.image_db.primaries import Locked, Present, lock_products, set_flags
from imagesync_pipelines.storage.copying import copy_rows
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines.sync.model import Change, GroupWork, Outcome, PlanRow, RowResult, group_state

# The columns that a plan's payload carries, in COPY order; the key, the primary flag and last_synced are added here.
PAYLOAD_COLUMNS = (
    "image_url", "thumbnail_url", "image_type", "is_front", "priority", "alt_text", "metadata", "fingerprint",
    "original_url", "newest_export", "matched_by", "chosen_because", "width", "height", "image_format",
)  # fmt: skip
_COPIED = ("product_id", "external_id", "is_primary", *PAYLOAD_COLUMNS)

_STAGE = f"""
CREATE TEMPORARY TABLE IF NOT EXISTS product_image_stage ON COMMIT DELETE ROWS AS
SELECT {", ".join(_COPIED)} FROM imagesync.product_image WITH NO DATA
"""  # noqa: S608 - column names are constants of this module

_UPSERT = f"""
INSERT INTO imagesync.product_image ({", ".join(_COPIED)}, last_synced)
SELECT {", ".join(_COPIED)}, now() FROM product_image_stage
ON CONFLICT (product_id, external_id) DO UPDATE
   SET {", ".join(f"{name} = EXCLUDED.{name}" for name in _COPIED[2:])}, last_synced = EXCLUDED.last_synced
"""  # noqa: S608 - column names are constants of this module

_RENAME = """
UPDATE imagesync.product_image i SET external_id = r.after
  FROM unnest(CAST(:products AS bigint[]), CAST(:before AS text[]), CAST(:after AS text[]))
       AS r (product_id, before, after)
 WHERE i.product_id = r.product_id AND i.external_id = r.before
"""

_RENAME_PINS = """
UPDATE imagesync.pin p SET external_id = r.after
  FROM unnest(CAST(:products AS bigint[]), CAST(:before AS text[]), CAST(:after AS text[]))
       AS r (product_id, before, after)
 WHERE p.product_id = r.product_id AND p.external_id = r.before
"""

_REMOVE = """
DELETE FROM imagesync.product_image i
 USING unnest(CAST(:products AS bigint[]), CAST(:gone AS text[])) AS r (product_id, gone)
 WHERE i.product_id = r.product_id AND i.external_id = r.gone
"""

Payload = Callable[[Sequence[str]], Mapping[str, Mapping[str, Any]]]


# A row that the database does not accept; what goes wrong in COPY comes from the driver as it is.
BAD_ROW = (sa.exc.DataError, sa.exc.IntegrityError, psycopg.DataError, psycopg.IntegrityError)


def split_key(key: str) -> tuple[int, str]:
    """The product's id and the image's external id of an engine key."""
    product_id, _, external_id = key.partition("/")
    return int(product_id), external_id


def read_current(engine: sa.Engine, product_ids: Collection[int] | None = None) -> pd.DataFrame:
    """What is in `product_image` now, as the engine's `current`; `product_ids` limits it to those products.

    Columns: key, group, position (always NA: order is computed, not stored), fingerprint, content (the original's URL).
    """
    columns = product_image.c
    query = sa.select(columns.product_id, columns.external_id, columns.fingerprint, columns.original_url)
    if product_ids is not None:
        query = query.where(columns.product_id == sa.any_(sa.literal(list(product_ids), sa.ARRAY(sa.BigInteger))))
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    groups = [str(row[0]) for row in rows]
    return pd.DataFrame(
        {
            "key": pd.Series([image_key(row[0], row[1]) for row in rows], dtype="str"),
            "group": pd.Series(groups, dtype="str"),
            "position": pd.Series([pd.NA] * len(rows), dtype="Int64"),
            "fingerprint": pd.Series([row[2] for row in rows], dtype="str"),
            "content": pd.Series([row[3] for row in rows], dtype="str"),
        }
    )


@dataclass(frozen=True)
class ProductImageTarget:
    """Writes whole products; the engine's DatabaseTarget.

    `payload` gives, for the keys asked, the values of PAYLOAD_COLUMNS (metadata as JSON text). A product whose images
    changed since the plan was made is refused, all its rows with it; a row that the database does not accept fails
    alone when its product is applied alone. resumed: an application of the same plan was broken off; products that are
    as the plan wants them were written by it and count as done.
    """

    engine: sa.Engine
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
        primaries = _primaries_after(rows, locked, payload)
        _remove(connection, [row for row in rows if row.change is Change.REMOVE])
        _rename(connection, [row for row in written if row.key_before and row.key_before != row.key])
        _upsert(connection, [row.key for row in written], payload, primaries)
        touched = {split_key(key) for row in rows for key in (row.key, row.key_before) if key}
        set_flags(connection, locked, primaries, touched)
        return results + [RowResult(row.key, row.group, row.change, Outcome.DONE, row.reason) for row in rows]

    def _settled(self, work: GroupWork, locked: Locked) -> list[RowResult]:
        """The results of a product that is not to be written; empty when it is."""
        present = locked.images[int(work.group)]
        if work.state_before is None or work.state_before == _state(present):
            return []
        if self.resumed and _as_planned(work, present):
            return [RowResult(row.key, row.group, row.change, Outcome.DONE, row.reason) for row in work.rows]
        reason = "the images of this product changed since the plan was made; plan again"
        return [RowResult(row.key, row.group, row.change, Outcome.REFUSED, reason) for row in work.rows]


def _as_planned(work: GroupWork, present: Sequence[Present]) -> bool:
    """Whether every row of the plan for this product has its effect already."""
    there = {image_key(row.product_id, row.external_id): row.fingerprint for row in present}
    wanted = {row.key: None if row.change is Change.REMOVE else row.fingerprint_after for row in work.rows}
    renamed = {row.key_before for row in work.rows if row.key_before} - wanted.keys()
    return all(there.get(key) == fingerprint for key, fingerprint in wanted.items()) and not renamed & there.keys()


def _state(rows: Sequence[Present]) -> str:
    """The engine's digest of one product's images."""
    return group_state((image_key(row.product_id, row.external_id), row.fingerprint, None) for row in rows)


def _primaries_after(
    rows: Sequence[PlanRow], locked: Locked, payload: Mapping[str, Mapping[str, Any]]
) -> dict[int, str | None]:
    """The external id of the primary of each product, from what will be there once `rows` are applied."""
    shown = {
        product_id: {row.external_id: row.shown() for row in present} for product_id, present in locked.images.items()
    }
    pins = dict(locked.pins)
    for row in rows:
        product_id, external_id = split_key(row.key)
        if row.change is Change.REMOVE:
            shown[product_id].pop(external_id, None)
            continue
        if row.key_before and row.key_before != row.key:
            before = split_key(row.key_before)[1]
            shown[product_id].pop(before, None)
            if pins.get(product_id) == before:
                pins[product_id] = external_id
        values = payload[row.key]
        shown[product_id][external_id] = rules.Shown(external_id, values["priority"], values["newest_export"])
    return {
        product_id: rules.choose_primary(images.values(), pins.get(product_id)) for product_id, images in shown.items()
    }


def _remove(connection: sa.Connection, rows: Sequence[PlanRow]) -> None:
    if rows:
        products, gone = zip(*(split_key(row.key) for row in rows), strict=True)
        connection.execute(sa.text(_REMOVE), {"products": list(products), "gone": list(gone)})


def _rename(connection: sa.Connection, rows: Sequence[PlanRow]) -> None:
    if rows:
        products, after = zip(*(split_key(row.key) for row in rows), strict=True)
        before = [split_key(str(row.key_before))[1] for row in rows]
        values = {"products": list(products), "before": before, "after": list(after)}
        connection.execute(sa.text(_RENAME), values)
        connection.execute(sa.text(_RENAME_PINS), values)


def _upsert(
    connection: sa.Connection,
    keys: Sequence[str],
    payload: Mapping[str, Mapping[str, Any]],
    primaries: Mapping[int, str | None],
) -> None:
    if not keys:
        return
    connection.execute(sa.text(_STAGE))
    connection.execute(sa.text("DELETE FROM product_image_stage"))  # rows of an earlier savepoint
    rows = (_stage_row(key, payload[key], primaries) for key in keys)
    copy_rows(connection, "product_image_stage", _COPIED, rows)
    connection.execute(sa.text(_UPSERT))


def _stage_row(key: str, values: Mapping[str, Any], primaries: Mapping[int, str | None]) -> tuple[Any, ...]:
    product_id, external_id = split_key(key)
    return (product_id, external_id, primaries[product_id] == external_id, *(values[name] for name in PAYLOAD_COLUMNS))


def _reason(error: Exception) -> str:
    """PostgreSQL's own first line, without the statement and its values."""
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0][:300]
