"""Product images as the pages show them: one row of product_image with what a person wants to know of it.

What belongs here: the view of an image, reading images of products in display order, and which product lends its images
to one that has none. What does not: the fallback of the mission between products (image_db/showing.py), HTML (pages/).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from imagesync_pipelines.image_db import rules
from imagesync_pipelines.storage.schema import product, product_image

_SHOWN = (
    "id", "product_id", "external_id", "image_url", "thumbnail_url", "image_type", "is_primary", "is_front",
    "priority", "alt_text", "matched_by", "chosen_because", "width", "height", "image_format", "newest_export",
    "last_synced", "fingerprint", "original_url",
)  # fmt: skip

# Contract section 5.2: the variant painted BE lends its picture first.
_FIRST_VARIANT = "BE"


@dataclass(frozen=True)
class ImageView:
    """One product image. width and height in pixels, None when unknown; source: who uploaded it, '' when unknown.

    product_id is that of the product that the image is on, which is not always the product that shows it.
    """

    id: int
    product_id: int
    external_id: str
    image_url: str
    thumbnail_url: str | None
    image_type: str
    is_primary: bool
    is_front: bool
    priority: int
    alt_text: str
    matched_by: str
    chosen_because: str
    width: int | None
    height: int | None
    image_format: str
    newest_export: datetime | None
    last_synced: datetime
    fingerprint: str
    original_url: str | None
    source: str
    imported_at: str

    @property
    def file_name(self) -> str:
        """The name of the file that is shown."""
        return unquote(urlsplit(self.image_url).path.rpartition("/")[2])

    @property
    def version(self) -> str:
        """Changes whenever the picture may have changed: a part of the addresses of its smaller copies."""
        return self.fingerprint[:12]


def images_of(connection: sa.Connection, product_ids: Collection[int]) -> dict[int, tuple[ImageView, ...]]:
    """The images on these products in display order, the primary first; a product without images is left out."""
    found: dict[int, list[ImageView]] = {}
    for view in _read(connection, product_image.c.product_id, product_ids):
        found.setdefault(view.product_id, []).append(view)
    return {owner: tuple(sorted(views, key=_order)) for owner, views in found.items()}


def images_by_id(connection: sa.Connection, image_ids: Collection[int]) -> dict[int, ImageView]:
    """These images, by id; one that is not there is left out."""
    return {view.id: view for view in _read(connection, product_image.c.id, image_ids)}


def lending_variants(connection: sa.Connection, parent_ids: Collection[int]) -> dict[int, int]:
    """For parents without images of their own: the image of a variant that stands for them, by parent id.

    The ladder of contract section 5.2: the variant BE first, then the others; of a variant's images primary and front
    Produktfoto, primary Produktfoto, front Produktfoto, Produktfoto, primary, any.
    """
    image, variant = product_image.c, product.c
    is_photo = sa.func.lower(sa.func.btrim(image.image_type)) == "produktfoto"
    step = sa.case(
        (image.is_primary & image.is_front & is_photo, 1),
        (image.is_primary & is_photo, 2),
        (image.is_front & is_photo, 3),
        (is_photo, 4),
        (image.is_primary, 5),
        else_=6,
    )
    query = (
        sa.select(variant.parent_id, image.id)
        .join_from(product, product_image, image.product_id == variant.id)
        .where(variant.parent_id == sa.any_(sa.literal(list(parent_ids), sa.ARRAY(sa.BigInteger))))
        .order_by(variant.parent_id, variant.variant_code.is_distinct_from(_FIRST_VARIANT), step, variant.sku, image.id)
    )
    chosen: dict[int, int] = {}
    for parent_id, image_id in connection.execute(query):
        chosen.setdefault(parent_id, image_id)
    return chosen


def _read(connection: sa.Connection, column: sa.ColumnElement[int], values: Collection[int]) -> list[ImageView]:
    original = product_image.c.metadata["original_file"]
    query = sa.select(
        *(product_image.c[name] for name in _SHOWN),
        sa.func.coalesce(original["uploaded_from"].astext, "").label("source"),
        sa.func.coalesce(original["imported_at"].astext, "").label("imported_at"),
    ).where(column == sa.any_(sa.literal(list(values), sa.ARRAY(sa.BigInteger))))
    return [_view(row) for row in connection.execute(query).mappings()]


def _view(row: Mapping[str, Any] | sa.RowMapping) -> ImageView:
    return ImageView(**row)


def _order(view: ImageView) -> tuple[object, ...]:
    shown = rules.Shown(view.external_id, view.priority, view.newest_export)
    return (not view.is_primary, *rules.display_order(shown))
