"""The plan of this room in the database: whole products, one transaction per batch, primaries last.

What belongs here: what is there now (the engine's `current`), and the effects of a batch of groups. What does not:
what should be there (planning.py), which row is primary (rules.py), which removals may happen (sync/guard.py).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa

from imagesync_pipelines.image_db import rules
from imagesync_pipelines.image_db.planning import image_key
from imagesync_pipelines.storage.copying import copy_rows
from imagesync_pipelines.storage.schema import pin, product_image
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

_PRIMARIES = """
UPDATE imagesync.product_image i SET is_primary = r.is_primary, last_synced = now()
  FROM unnest(CAST(:ids AS bigint[]), CAST(:flags AS boolean[])) AS r (id, is_primary)
 WHERE i.id = r.id
"""

_WRONG_PRIMARIES = """
SELECT i.product_id FROM imagesync.product_image i LEFT JOIN imagesync.pin p USING (product_id)
 GROUP BY i.product_id
HAVING count(*) FILTER (WHERE i.is_primary) <> 1
    OR (bool_or(i.external_id = p.external_id) AND NOT bool_or(i.is_primary AND i.external_id = p.external_id))
 ORDER BY i.product_id
"""

Payload = Callable[[Sequence[str]], Mapping[str, Mapping[str, Any]]]


class _Row(NamedTuple):
    """One product image as it is in the database, with the pin of its product."""

    id: int
    product_id: int
    external_id: str
    fingerprint: str
    priority: int
    newest_export: Any
    is_primary: bool
    pinned: str | None


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
    alone when its product is applied alone.
    """

    engine: sa.Engine
    payload: Payload

    def apply(self, works: Sequence[GroupWork]) -> Sequence[RowResult]:
        """Apply the products in one transaction; raises when any row is not accepted and there are several products."""
        try:
            with self.engine.begin() as connection:
                return self._apply(connection, works)
        except (sa.exc.DataError, sa.exc.IntegrityError):
            if len(works) > 1 or len(works[0].rows) == 1:
                raise
        return self._apply_row_by_row(works[0])

    def _apply_row_by_row(self, work: GroupWork) -> list[RowResult]:
        """One product, each row under its own savepoint, so that one poisoned image leaves the others applied."""
        results: list[RowResult] = []
        with self.engine.begin() as connection:
            state = work.state_before
            for row in work.rows:
                single = GroupWork(work.group, (row,), state)
                try:
                    with connection.begin_nested():
                        results += self._apply(connection, [single])
                except (sa.exc.DataError, sa.exc.IntegrityError) as error:
                    results.append(RowResult(row.key, row.group, row.change, Outcome.FAILED, _reason(error)))
                state = None  # our own first row has moved the product
        return results

    def _apply(self, connection: sa.Connection, works: Sequence[GroupWork]) -> list[RowResult]:
        there = _lock_products(connection, [int(work.group) for work in works])
        results: list[RowResult] = []
        rows: list[PlanRow] = []
        for work in works:
            if work.state_before is not None and work.state_before != _state(there[int(work.group)]):
                reason = "the images of this product changed since the plan was made; plan again"
                results += [RowResult(row.key, row.group, row.change, Outcome.REFUSED, reason) for row in work.rows]
            else:
                rows += work.rows
        written = [row for row in rows if row.change in (Change.ADD, Change.UPDATE)]
        payload = self.payload([row.key for row in written]) if written else {}
        primaries = _primaries_after(rows, there, payload)
        _remove(connection, [row for row in rows if row.change is Change.REMOVE])
        _rename(connection, [row for row in written if row.key_before and row.key_before != row.key])
        _upsert(connection, [row.key for row in written], payload, primaries)
        touched = {row.key for row in rows} | {row.key_before for row in rows if row.key_before}
        _flip_kept(connection, there, primaries, touched)
        return results + [RowResult(row.key, row.group, row.change, Outcome.DONE, row.reason) for row in rows]


def repair_primaries(engine: sa.Engine) -> int:
    """Give every product exactly one primary where somebody else's hand left none, or left a pin unheeded.

    Returns how many products were repaired; 0, and nothing written, when all is well.
    """
    with engine.begin() as connection:
        products = list(connection.scalars(sa.text(_WRONG_PRIMARIES)))
        if products:
            there = _lock_products(connection, products)
            _flip_kept(connection, there, _primaries_after([], there, {}), frozenset())
    return len(products)


def _lock_products(connection: sa.Connection, product_ids: Sequence[int]) -> dict[int, list[_Row]]:
    """The images of these products, locked until the transaction ends, so that no pin comes in between."""
    columns = product_image.c
    query = (
        sa.select(
            columns.id, columns.product_id, columns.external_id, columns.fingerprint, columns.priority,
            columns.newest_export, columns.is_primary, pin.c.external_id,
        )
        .join(pin, pin.c.product_id == columns.product_id, isouter=True)
        .where(columns.product_id == sa.any_(sa.literal(sorted(product_ids), sa.ARRAY(sa.BigInteger))))
        .order_by(columns.id)
        .with_for_update(of=product_image)
    )  # fmt: skip
    there: dict[int, list[_Row]] = {product_id: [] for product_id in product_ids}
    for row in connection.execute(query):
        there[row[1]].append(_Row._make(row))
    return there


def _state(rows: Sequence[_Row]) -> str:
    """The engine's digest of one product's images."""
    return group_state((image_key(row.product_id, row.external_id), row.fingerprint, None) for row in rows)


def _primaries_after(
    rows: Sequence[PlanRow], there: Mapping[int, Sequence[_Row]], payload: Mapping[str, Mapping[str, Any]]
) -> dict[int, str | None]:
    """The external id of the primary of each product, from what will be there once `rows` are applied."""
    shown: dict[int, dict[str, rules.Shown]] = {}
    pins: dict[int, str | None] = {}
    for product_id, present in there.items():
        shown[product_id] = {
            row.external_id: rules.Shown(row.external_id, row.priority, row.newest_export) for row in present
        }
        pins[product_id] = present[0].pinned if present else None
    for row in rows:
        product_id, external_id = split_key(row.key)
        if row.change is Change.REMOVE:
            shown[product_id].pop(external_id, None)
        elif row.change in (Change.ADD, Change.UPDATE):
            if row.key_before and row.key_before != row.key:
                before = split_key(row.key_before)[1]
                shown[product_id].pop(before, None)
                pins[product_id] = external_id if pins[product_id] == before else pins[product_id]
            values = payload[row.key]
            shown[product_id][external_id] = rules.Shown(external_id, values["priority"], values["newest_export"])
    return {product_id: rules.choose_primary(images.values(), pins[product_id]) for product_id, images in shown.items()}


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
    rows = (_stage_row(key, payload[key], primaries) for key in keys)
    copy_rows(connection, "product_image_stage", _COPIED, rows)
    connection.execute(sa.text(_UPSERT))


def _stage_row(key: str, values: Mapping[str, Any], primaries: Mapping[int, str | None]) -> tuple[Any, ...]:
    product_id, external_id = split_key(key)
    return (product_id, external_id, primaries[product_id] == external_id, *(values[name] for name in PAYLOAD_COLUMNS))


def _flip_kept(
    connection: sa.Connection,
    there: Mapping[int, Sequence[_Row]],
    primaries: Mapping[int, str | None],
    touched: Collection[str],
) -> None:
    """Set or clear the flag of the rows that this batch did not write and whose flag is not what it should be now."""
    flips = [
        (row.id, row.external_id == primaries[row.product_id])
        for present in there.values()
        for row in present
        if row.is_primary != (row.external_id == primaries[row.product_id])
        and image_key(row.product_id, row.external_id) not in touched
    ]
    if flips:
        ids, flags = zip(*flips, strict=True)
        connection.execute(sa.text(_PRIMARIES), {"ids": list(ids), "flags": list(flags)})


def _reason(error: sa.exc.DBAPIError) -> str:
    """PostgreSQL's own first line, without the statement and its values."""
    return str(error.orig).strip().splitlines()[0][:300]
