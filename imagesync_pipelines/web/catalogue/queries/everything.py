"""Everything that our tables say of a product and its images, for whoever looks after them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from imagesync_pipelines.storage.schema import pin, product, product_image


@dataclass(frozen=True)
class ImageLine:
    """One image: its id, whether it is primary, its columns, and the metadata of the source as indented JSON."""

    id: int
    version: str
    is_primary: bool
    is_pinned: bool
    columns: Mapping[str, Any]
    metadata: str


@dataclass(frozen=True)
class Everything:
    """A product with its columns, the columns of its pin (None: no pin), and the images that are on it."""

    id: int
    sku: str
    columns: Mapping[str, Any]
    pin: Mapping[str, Any] | None
    images: tuple[ImageLine, ...]


def everything_of(engine: sa.Engine, product_id: int) -> Everything | None:
    """A product with all its columns and images, the primary first; None when there is none with this id."""
    image = product_image.c
    order = (image.is_primary.desc(), image.priority, image.id)
    with engine.connect() as connection:
        row = connection.execute(sa.select(product).where(product.c.id == product_id)).mappings().first()
        if row is None:
            return None
        pinned = connection.execute(sa.select(pin).where(pin.c.product_id == product_id)).mappings().first()
        query = sa.select(product_image).where(image.product_id == product_id)
        images = connection.execute(query.order_by(*order)).mappings().all()
    chosen = (pinned["source"], pinned["external_id"]) if pinned else None
    return Everything(
        id=product_id,
        sku=row["sku"],
        columns=dict(row),
        pin=dict(pinned) if pinned else None,
        images=tuple(_image(one, chosen) for one in images),
    )


def _image(row: sa.RowMapping, chosen: tuple[str, str] | None) -> ImageLine:
    return ImageLine(
        id=row["id"],
        version=row["fingerprint"][:12],
        is_primary=row["is_primary"],
        is_pinned=(row["source"], row["external_id"]) == chosen,
        columns={name: value for name, value in row.items() if name != "metadata"},
        metadata=json.dumps(row["metadata"], ensure_ascii=False, indent=2),
    )
