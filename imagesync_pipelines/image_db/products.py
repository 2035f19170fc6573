"""The ERP's products in our `product` table: added, renamed, moved, made inactive, never deleted.

What belongs here: writing the frame that erp.py read, in one transaction, and reading the table back for the rules.
What does not: reading the ERP (erp.py) and anything about images: a product that left the ERP becomes inactive, and
its images go through plan, guard and brake like any others.
"""

from dataclasses import dataclass

import pandas as pd
import sqlalchemy as sa

from imagesync_pipelines.storage.copying import copy_rows
from imagesync_pipelines.storage.schema import product
from imagesync_pipelines.sync.model import Brake

COLUMNS = ("kind", "erp_id", "sku", "parent_erp_id", "variant_code", "legacy_sku", "base_sku", "name", "is_active")

_STAGE = """
CREATE TEMPORARY TABLE erp_stage (
    kind text, erp_id text, sku text, parent_erp_id text, variant_code text, legacy_sku text, base_sku text,
    name text, is_active boolean
) ON COMMIT DROP
"""

_UPDATE = """
UPDATE imagesync.product p
   SET sku = s.sku, variant_code = s.variant_code, legacy_sku = s.legacy_sku, base_sku = s.base_sku, name = s.name,
       is_active = s.is_active, updated_at = now()
  FROM erp_stage s
 WHERE p.kind = s.kind AND p.erp_id = s.erp_id
   AND (p.sku, p.variant_code, p.legacy_sku, p.base_sku, p.name, p.is_active)
       IS DISTINCT FROM (s.sku, s.variant_code, s.legacy_sku, s.base_sku, s.name, s.is_active)
"""

_INSERT = """
INSERT INTO imagesync.product (kind, erp_id, sku, variant_code, legacy_sku, base_sku, name, is_active)
SELECT s.kind, s.erp_id, s.sku, s.variant_code, s.legacy_sku, s.base_sku, s.name, s.is_active
  FROM erp_stage s
 WHERE NOT EXISTS (SELECT 1 FROM imagesync.product p WHERE p.kind = s.kind AND p.erp_id = s.erp_id)
"""

_PARENTS = """
UPDATE imagesync.product v
   SET parent_id = w.parent_id, updated_at = now()
  FROM (SELECT s.erp_id, p.id AS parent_id
          FROM erp_stage s LEFT JOIN imagesync.product p ON p.kind = 'parent' AND p.erp_id = s.parent_erp_id
         WHERE s.kind = 'variant') w
 WHERE v.kind = 'variant' AND v.erp_id = w.erp_id AND v.parent_id IS DISTINCT FROM w.parent_id
"""

_GONE = """
SELECT p.id FROM imagesync.product p
 WHERE p.is_active
   AND NOT EXISTS (SELECT 1 FROM erp_stage s WHERE s.kind = p.kind AND s.erp_id = p.erp_id)
   AND NOT EXISTS (SELECT 1
                     FROM unnest(CAST(:kinds AS text[]), CAST(:erp_ids AS text[]), CAST(:skus AS text[]))
                          AS a (kind, erp_id, sku)
                    WHERE a.kind = p.kind AND (a.erp_id = p.erp_id OR a.sku = p.sku))
"""


@dataclass(frozen=True)
class ProductsWritten:
    """What one load of the ERP changed; `warnings` are sentences for the run's summary."""

    added: int
    updated: int
    deactivated: int
    total: int
    warnings: tuple[str, ...]


def write_products(engine: sa.Engine, rows: pd.DataFrame, set_aside: pd.DataFrame, brake: Brake) -> ProductsWritten:
    """Bring `product` up to what the ERP says, in one transaction.

    `rows` has the columns COLUMNS, `set_aside` kind, erp_id, sku (both from erp.py): what the ERP has but cannot be
    used is not gone. Products that the ERP no longer has become inactive, unless more of
    them are missing than the brake allows: then all stay active and a warning says so, because a half-read ERP looks
    exactly like a great clearance.
    """
    records = rows.loc[:, list(COLUMNS)].astype(object).where(rows.loc[:, list(COLUMNS)].notna(), None)
    with engine.begin() as connection:
        connection.execute(sa.text(_STAGE))
        copy_rows(connection, "erp_stage", COLUMNS, records.itertuples(index=False, name=None))
        updated = connection.execute(sa.text(_UPDATE)).rowcount
        added = connection.execute(sa.text(_INSERT)).rowcount
        connection.execute(sa.text(_PARENTS))
        aside = {
            "kinds": set_aside["kind"].tolist(),
            "erp_ids": _texts(set_aside["erp_id"]),
            "skus": _texts(set_aside["sku"]),
        }
        gone = list(connection.scalars(sa.text(_GONE), aside))
        active = connection.scalar(sa.select(sa.func.count()).where(product.c.is_active)) or 0
        warning = _too_many_gone(len(gone), active, brake)
        if gone and not warning:
            connection.execute(product.update().where(product.c.id.in_(gone)).values(is_active=False))
        total = connection.scalar(sa.select(sa.func.count()).select_from(product)) or 0
    return ProductsWritten(
        added=added,
        updated=updated,
        deactivated=0 if warning else len(gone),
        total=total,
        warnings=(warning,) if warning else (),
    )


def _texts(column: pd.Series) -> list[str | None]:
    return [None if pd.isna(value) else str(value) for value in column]


def _too_many_gone(gone: int, active: int, brake: Brake) -> str:
    """The warning when the brake holds deactivations back, else an empty text."""
    if brake.lifted or gone <= brake.floor:
        return ""
    if gone <= brake.count and gone <= brake.share * active:
        return ""
    return (
        f"The ERP no longer has {gone} of {active} active products; that is more than the brake allows, so they stay "
        "active. If it is right, run once with the brake lifted (--lift-brake)."
    )


def read_products(engine: sa.Engine) -> pd.DataFrame:
    """All products, active or not, as the rules need them.

    Columns: id, kind, erp_id, sku, parent_id, variant_code, legacy_sku, base_sku, name, is_active; ordered by id.
    """
    columns = [product.c[name] for name in ("id", "kind", "erp_id", "sku", "parent_id")]
    columns += [product.c[name] for name in ("variant_code", "legacy_sku", "base_sku", "name", "is_active")]
    with engine.connect() as connection:
        rows = connection.execute(sa.select(*columns).order_by(product.c.id)).all()
    frame = pd.DataFrame.from_records(rows, columns=[column.name for column in columns])
    return frame.astype({"id": "int64", "parent_id": "Int64", "is_active": "bool"})
