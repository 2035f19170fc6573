"""Primaries in the database: images under lock, the flag of those whose flag is wrong, and a person's own choice."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from imagesync_pipelines.products import rules
from imagesync_pipelines.storage.errors import PinRefusedError
from imagesync_pipelines.storage.pins import pins_of, set_pin, unset_pin
from imagesync_pipelines.storage.schema import product, product_image

_FLIP = """
UPDATE imagesync.product_image i SET is_primary = r.is_primary, last_synced = now()
  FROM unnest(CAST(:ids AS bigint[]), CAST(:flags AS boolean[])) AS r (id, is_primary)
 WHERE i.id = r.id
"""

_WRONG = """
SELECT i.product_id FROM imagesync.product_image i LEFT JOIN imagesync.pin p USING (product_id)
 GROUP BY i.product_id
HAVING count(*) FILTER (WHERE i.is_primary) <> 1
    OR (bool_or((i.source, i.external_id) = (p.source, p.external_id))
        AND NOT bool_or(i.is_primary AND (i.source, i.external_id) = (p.source, p.external_id)))
 ORDER BY i.product_id
"""


class Present(NamedTuple):
    """One product image as it is in the database."""

    id: int
    product_id: int
    external_id: str
    fingerprint: str
    priority: int
    newest_export: datetime | None
    is_primary: bool
    source: str

    @property
    def name(self) -> rules.ImageName:
        """Which image of its product it is."""
        return rules.ImageName(self.source, self.external_id)

    def shown(self) -> rules.Shown:
        """What of it decides where it is shown."""
        return rules.Shown(self.external_id, self.priority, self.newest_export, self.source)


@dataclass(frozen=True)
class Locked:
    """Products that nobody else writes until the transaction ends: their images by product, and their pins."""

    images: Mapping[int, Sequence[Present]]
    pins: Mapping[int, tuple[str, str]]

    def primaries(self) -> dict[int, rules.ImageName | None]:
        """Which image of all sources should be primary, by product; None for a product without images."""
        return {
            product_id: rules.choose_primary((row.shown() for row in rows), self.pins.get(product_id))
            for product_id, rows in self.images.items()
        }


def lock_products(connection: sa.Connection, product_ids: Collection[int]) -> Locked:
    """Wait for whoever writes the images or pins of these products, keep others out, and read what is there.

    The row of the product is the lock: it is there before its first image is. Reading is a statement of its own after
    the lock, because the locking one would still see what was there before it waited.
    """
    wanted = sa.any_(sa.literal(sorted(product_ids), sa.ARRAY(sa.BigInteger)))
    lock = sa.select(product.c.id).where(product.c.id == wanted).order_by(product.c.id)
    connection.execute(lock.with_for_update(key_share=True))
    columns = [product_image.c[name] for name in Present._fields]
    rows = connection.execute(sa.select(*columns).where(product_image.c.product_id == wanted).order_by("id"))
    images: dict[int, list[Present]] = {product_id: [] for product_id in product_ids}
    for row in rows:
        images[row[1]].append(Present._make(row))
    return Locked(images, pins_of(connection, product_ids))


def set_flags(
    connection: sa.Connection,
    locked: Locked,
    primaries: Mapping[int, tuple[str, str] | None],
    written: Collection[tuple[int, tuple[str, str]]] = (),
) -> None:
    """Set or clear the flag of every image whose flag is wrong, but for those in `written` (product, image)."""
    flips = [
        (row.id, row.name == primaries[row.product_id])
        for rows in locked.images.values()
        for row in rows
        if row.is_primary != (row.name == primaries[row.product_id]) and (row.product_id, row.name) not in written
    ]
    if flips:
        ids, flags = zip(*flips, strict=True)
        connection.execute(sa.text(_FLIP), {"ids": list(ids), "flags": list(flags)})


def repair_primaries(engine: sa.Engine) -> int:
    """Give every product exactly one primary where somebody else's hand left none, or left a pin unheeded.

    Returns how many products were repaired; 0, and nothing written, when all is well.
    """
    with engine.begin() as connection:
        products = list(connection.scalars(sa.text(_WRONG)))
        if products:
            locked = lock_products(connection, products)
            set_flags(connection, locked, locked.primaries())
    return len(products)


def pin_image(engine: sa.Engine, product_id: int, source: str, external_id: str, who: str) -> None:
    """Make an image the product's primary and keep it so, whatever connector brought it; an earlier pin is replaced.

    Raises PinRefusedError when the product does not have the image; then nothing is changed.
    """
    with engine.begin() as connection:
        locked = lock_products(connection, [product_id])
        if (source, external_id) not in {row.name for row in locked.images[product_id]}:
            raise PinRefusedError(f"Product {product_id} has no image {external_id}; nothing was pinned.")
        set_pin(connection, product_id, source, external_id, who)
        set_flags(connection, locked, {product_id: (source, external_id)})


def unpin_image(engine: sa.Engine, product_id: int) -> bool:
    """Let the rules choose the product's primary again, at once; says whether there was a pin."""
    with engine.begin() as connection:
        locked = lock_products(connection, [product_id])
        was_pinned = unset_pin(connection, product_id)
        set_flags(connection, locked, replace(locked, pins={}).primaries())
    return was_pinned
