"""The ERP's products in our `product` table: added, renamed, moved, marked when they left, never deleted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.products.erp import COLUMNS
from imagesync_pipelines.products.errors import ErpError
from imagesync_pipelines.products.rules import StoredProduct
from imagesync_pipelines.storage.copying import copy_rows, frame_of, read_columns
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.schema import product
from imagesync_pipelines.storage.schema_catalogue import listed_product
from imagesync_pipelines.storage.statistics import analyze_if_many
from imagesync_pipelines.sync.model import DeletionLimits

_ASIDE = ("kind", "erp_id", "sku")
_STAGED = (*COLUMNS, "id")

_SWITCH = "--allow-products-gone"

_STAGE = (
    # One load at a time, and no batch of images in between: a batch locks its products (primaries.py).
    "LOCK TABLE imagesync.product IN EXCLUSIVE MODE",
    f"CREATE TEMPORARY TABLE erp_stage ({' text, '.join(COLUMNS)} boolean, id bigint) ON COMMIT DROP",
    "CREATE TEMPORARY TABLE erp_aside (kind text, erp_id text, sku text) ON COMMIT DROP",
)
_INDEXES = ("CREATE INDEX ON erp_stage (kind, erp_id)", "CREATE INDEX ON erp_stage (kind, sku)", "ANALYZE erp_stage")

# A SKU that the ERP gives to this row while a product keeps it that the ERP has too, but in a row that cannot be used.
_TAKEN = """
WITH taken AS (
    DELETE FROM erp_stage s USING imagesync.product p, erp_aside a
     WHERE p.kind = s.kind AND p.sku = s.sku AND p.erp_id <> s.erp_id AND p.left_erp_at IS NULL
       AND a.kind = p.kind AND a.erp_id = p.erp_id
    RETURNING s.kind, s.erp_id, s.sku
)
INSERT INTO erp_aside SELECT DISTINCT * FROM taken
"""

_ADOPT = """
UPDATE imagesync.product p
   SET erp_id = s.erp_id, updated_at = now()
  FROM (SELECT DISTINCT ON (s.kind, s.erp_id) s.erp_id, p.id
          FROM erp_stage s JOIN imagesync.product p ON p.kind = s.kind AND p.sku = s.sku AND p.erp_id <> s.erp_id
         WHERE NOT EXISTS (SELECT 1 FROM erp_stage t WHERE t.kind = p.kind AND t.erp_id = p.erp_id)
           AND NOT EXISTS (SELECT 1 FROM imagesync.product q WHERE q.kind = s.kind AND q.erp_id = s.erp_id)
         ORDER BY s.kind, s.erp_id, p.left_erp_at DESC NULLS FIRST, p.id) s
 WHERE p.id = s.id
"""

_UPDATE = """
UPDATE imagesync.product p
   SET sku = s.sku, parent_id = s.parent_id, variant_code = s.variant_code, legacy_sku = s.legacy_sku,
       base_sku = s.base_sku, name = s.name, is_active = s.is_active, left_erp_at = NULL, updated_at = now()
  FROM (SELECT e.*, o.id AS parent_id FROM erp_stage e LEFT JOIN imagesync.product o
            ON o.kind = 'parent' AND o.erp_id = e.parent_erp_id AND o.left_erp_at IS NULL) s
 WHERE s.kind = :kind AND p.kind = s.kind AND p.erp_id = s.erp_id
   AND (p.sku, p.parent_id, p.variant_code, p.legacy_sku, p.base_sku, p.name, p.is_active, p.left_erp_at)
       IS DISTINCT FROM
       (s.sku, s.parent_id, s.variant_code, s.legacy_sku, s.base_sku, s.name, s.is_active, NULL)
"""

_INSERT = """
INSERT INTO imagesync.product
       (id, kind, erp_id, sku, parent_id, variant_code, legacy_sku, base_sku, name, is_active) OVERRIDING SYSTEM VALUE
SELECT coalesce(s.id, nextval(pg_get_serial_sequence('imagesync.product', 'id'))),
       s.kind, s.erp_id, s.sku, o.id, s.variant_code, s.legacy_sku, s.base_sku, s.name, s.is_active
  FROM erp_stage s LEFT JOIN imagesync.product o
    ON o.kind = 'parent' AND o.erp_id = s.parent_erp_id AND o.left_erp_at IS NULL
 WHERE s.kind = :kind
   AND NOT EXISTS (SELECT 1 FROM imagesync.product p WHERE p.kind = s.kind AND p.erp_id = s.erp_id)
"""

# What a product keeps of a column that the ERP's table does not have this time: name → the value, and whether there is
# one. A parent is staged by its id in the ERP.
_KEPT = {
    **{name: (f"p.{name}", f"p.{name} IS NOT NULL") for name in ("variant_code", "legacy_sku", "base_sku")},
    "name": ("p.name", "p.name <> ''"),
    "is_active": ("p.is_active", "NOT p.is_active"),
    "parent_erp_id": ("o.erp_id", "o.erp_id IS NOT NULL"),
}
_KEEP = """
UPDATE erp_stage s SET {name} = {value}
  FROM imagesync.product p LEFT JOIN imagesync.product o ON o.id = p.parent_id
 WHERE s.kind = :kind AND p.kind = s.kind AND p.erp_id = s.erp_id AND p.left_erp_at IS NULL AND {there}
"""

# `replaced`: another product of the ERP has the SKU by now, so this one is surely not there under it.
_GONE = """
SELECT p.id, p.kind || ':' || p.erp_id AS key, p.sku,
       EXISTS (SELECT 1 FROM erp_stage s WHERE s.kind = p.kind AND s.sku = p.sku) AS replaced
  FROM imagesync.product p
 WHERE p.left_erp_at IS NULL
   AND NOT EXISTS (SELECT 1 FROM erp_stage s WHERE s.kind = p.kind AND s.erp_id = p.erp_id)
   AND NOT EXISTS (SELECT 1 FROM erp_aside a WHERE a.kind = p.kind AND a.erp_id = p.erp_id)
   AND NOT EXISTS (SELECT 1 FROM erp_aside a WHERE a.kind = p.kind AND a.erp_id IS NULL AND a.sku = p.sku)
 ORDER BY p.kind, p.sku, p.id
"""

_READ = """
SELECT id, kind, sku, parent_id, variant_code, legacy_sku, base_sku, name, left_erp_at IS NULL
  FROM imagesync.product ORDER BY id
"""
_IDS = "SELECT id, kind, erp_id FROM imagesync.product ORDER BY id"
_NOT_TEXT = {"id": pa.int64(), "parent_id": pa.int64(), "in_erp": pa.bool_()}


class HeldProduct(NamedTuple):
    """A product that the ERP no longer has and that stays for the time being; key: its kind and id in the ERP."""

    key: str
    sku: str


@dataclass(frozen=True)
class ProductsWritten:
    """What one load of the ERP changed.

    deactivated: products that left the ERP. held: those that stay for the time being; because: why, a sentence.
    warnings: further sentences for the run's summary.
    """

    added: int
    updated: int
    deactivated: int
    held: tuple[HeldProduct, ...]
    because: str
    total: int
    warnings: tuple[str, ...]

    @property
    def changes_anything(self) -> bool:
        """Whether a product changed."""
        return bool(self.added or self.updated or self.deactivated)


class ProductsSeen(NamedTuple):
    """All products as a load would leave them.

    products: as read_products gives them. ids: id, kind, erp_id; new products have ids that nobody else gets.
    before: as products_at said when it was looked.
    """

    products: pd.DataFrame
    ids: pd.DataFrame
    before: datetime | None


def write_products(
    engine: sa.Engine,
    rows: pd.DataFrame,
    set_aside: pd.DataFrame,
    deletion_limits: DeletionLimits,
    ids: pd.DataFrame | None = None,
    *,
    absent: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> ProductsWritten:
    """Bring `product` up to what the ERP says, in one transaction.

    `rows` has the columns COLUMNS, `set_aside` kind, erp_id, sku (both from erp.py): what the ERP has but cannot be
    used is not gone. Products that the ERP no longer has get `left_erp_at` and become inactive, unless more of them
    are missing than the deletion limits allow: then all stay and a warning says so, because a half-read ERP looks
    exactly like a great clearance. They stay as well while a row has neither a legible id nor a legible SKU: it may be
    any of them. A SKU that comes back under a new id of the ERP is the same product: its images and pins stay.
    ids: those that new products get, as look_at_products gave them out. absent: kind → columns that the ERP's table
    does not have: what products have of them stays, and a warning says so.

    Raises ErpError when the ERP has no products of a kind of which we know some, unless the limits are lifted.
    """
    with engine.begin() as connection:
        done = _load(connection, rows, set_aside, deletion_limits, ids, absent)
        analyze_if_many(connection, product, done.added + done.updated + done.deactivated, done.total)
        analyze_if_many(connection, listed_product, done.added, done.total)
    return done


def look_at_products(
    engine: sa.Engine,
    rows: pd.DataFrame,
    set_aside: pd.DataFrame,
    deletion_limits: DeletionLimits,
    *,
    absent: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> tuple[ProductsWritten, ProductsSeen]:
    """What write_products would do, and the products as it would leave them; it is done and taken back.

    Raises as write_products does.
    """
    with engine.connect() as connection, connection.begin() as transaction:
        _execute(connection, _STAGE[:1])
        before = _changed_at(connection)
        done = _load(connection, rows, set_aside, deletion_limits, None, absent)
        types = {"id": pa.int64(), "kind": pa.string(), "erp_id": pa.string()}
        seen = ProductsSeen(_read(connection), frame_of(read_columns(connection, _IDS, types)), before)
        transaction.rollback()
    return done, seen


def _load(
    connection: sa.Connection,
    rows: pd.DataFrame,
    set_aside: pd.DataFrame,
    deletion_limits: DeletionLimits,
    ids: pd.DataFrame | None,
    absent: Mapping[str, Sequence[str]],
) -> ProductsWritten:
    _execute(connection, _STAGE)
    if ids is not None:
        rows = rows.merge(ids.astype({"id": "Int64"}), how="left", on=["kind", "erp_id"])
    copy_rows(connection, "erp_stage", _STAGED, _tuples(rows.reindex(columns=_STAGED), _STAGED))
    copy_rows(connection, "erp_aside", _ASIDE, _tuples(set_aside, _ASIDE))
    _execute(connection, _INDEXES)
    taken = 0
    while found := connection.execute(sa.text(_TAKEN)).rowcount:
        taken += found
    connection.execute(sa.text(_ADOPT))
    warnings = _keep_absent(connection, absent)
    _refuse_none(connection, rows, set_aside, deletion_limits)
    unknown = int((set_aside["erp_id"].isna() & set_aside["sku"].isna()).sum())
    left, held, because = _mark_gone(connection, deletion_limits, unknown)
    updated = added = 0
    for kind in ("parent", "variant"):  # variants find their new parents
        updated += connection.execute(sa.text(_UPDATE), {"kind": kind}).rowcount
        added += connection.execute(sa.text(_INSERT), {"kind": kind}).rowcount
    total = connection.scalar(sa.select(sa.func.count()).select_from(product)) or 0
    if taken:
        warnings.append(
            languages.told(
                f"{taken} rows of the ERP have the SKU of a product whose own row cannot be used; they "
                "are not taken over."
            )
        )
    return ProductsWritten(added, updated, left, held, because, total, tuple(warnings))


def read_products(engine: sa.Engine) -> pd.DataFrame:
    """All products, those that left the ERP too, ordered by id: the columns of rules.StoredProduct."""
    with engine.connect() as connection:
        return _read(connection)


def _read(connection: sa.Connection) -> pd.DataFrame:
    types = {name: _NOT_TEXT.get(name, pa.string()) for name in StoredProduct._fields}
    return frame_of(read_columns(connection, _READ, types)).astype({"parent_id": "Int64"})


def products_at(engine: sa.Engine) -> datetime | None:
    """When the products last changed, those that left included; None: there are none."""
    with engine.connect() as connection:
        return _changed_at(connection)


def _changed_at(connection: sa.Connection) -> datetime | None:
    moment = sa.select(sa.func.max(sa.func.greatest(product.c.updated_at, product.c.left_erp_at)))
    found: datetime | None = connection.scalar(moment)
    return found


def _execute(connection: sa.Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        connection.execute(sa.text(statement))


def _tuples(frame: pd.DataFrame, columns: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    values = frame.loc[:, list(columns)].astype(object)
    return values.where(values.notna(), None).itertuples(index=False, name=None)


def _refuse_none(
    connection: sa.Connection, rows: pd.DataFrame, set_aside: pd.DataFrame, limits: DeletionLimits
) -> None:
    """Refuse a load that has no row of a kind of which we know products, such as a file that is a header alone."""
    known = sa.select(product.c.kind, sa.func.count()).where(product.c.left_erp_at.is_(None)).group_by(product.c.kind)
    there = {*rows["kind"], *set_aside["kind"]}
    for kind, number in connection.execute(known).all():
        if kind not in there and not limits.lifted:
            raise ErpError(
                f"the ERP gave no {kind}s at all, not a single row, but we know {number}; nothing was changed. If it "
                f"is right, run once with {_SWITCH}"
            )


def _keep_absent(connection: sa.Connection, absent: Mapping[str, Sequence[str]]) -> list[str]:
    """Let products have what they have of columns that the ERP's tables lack; a sentence for each that held anything.

    A column that is there and empty says that there is nothing; one that is not there says nothing.
    """
    told = []
    for kind, names in absent.items():
        for name in (one for one in names if one in _KEPT):
            value, there = _KEPT[name]
            kept = connection.execute(sa.text(_KEEP.format(name=name, value=value, there=there)), {"kind": kind})
            if kept.rowcount:
                told.append(
                    languages.told(
                        f"The ERP's {kind}s have no column {name.replace('_erp', '')} any more; "
                        f"{kept.rowcount} products keep what they have of it. If that is meant, let the "
                        "column be there and empty."
                    )
                )
    return told


def _mark_gone(
    connection: sa.Connection, limits: DeletionLimits, unknown: int
) -> tuple[int, tuple[HeldProduct, ...], str]:
    """Mark the products that the ERP no longer has: how many, which stay all the same, and why.

    unknown: rows of the ERP that may be any product. What a person allowed (limits.memory, by SKU) leaves, what he
    keeps stays and is not told.
    """
    still = connection.scalar(sa.select(sa.func.count()).where(product.c.left_erp_at.is_(None))) or 0
    gone = connection.execute(sa.text(_GONE)).all()
    too_many = len(gone) > limits.floor and (len(gone) > limits.count or len(gone) > limits.share * still)
    waits = bool(unknown) or (too_many and not limits.lifted)
    allowed, kept = limits.memory.allowed, limits.memory.kept
    stay = [
        row for row in gone if not row.replaced and (row.key in kept or (waits and allowed.get(row.key) != row.sku))
    ]
    left = sorted({row.id for row in gone} - {row.id for row in stay})
    if left:
        leave = product.update().where(among(product.c.id, left))
        connection.execute(leave.values(left_erp_at=sa.func.now(), is_active=False, updated_at=sa.func.now()))
    held = tuple(HeldProduct(row.key, row.sku) for row in stay)
    if all(one.key in kept for one in held):
        return len(left), held, ""
    missing = languages.told(f"The ERP no longer has {len(gone)} of {still} products")
    if unknown:
        because = languages.told(
            f"{missing}; {len(held)} of them stay, because {unknown} rows of the ERP have neither a legible id nor a "
            "legible SKU and may be any of them. Mend these rows."
        )
    else:
        because = languages.told(
            f"{missing}; that is more than the deletion limits allow, so {len(held)} of them stay with their images. "
            f"If it is right, run once with {_SWITCH}."
        )
    return len(left), held, because
