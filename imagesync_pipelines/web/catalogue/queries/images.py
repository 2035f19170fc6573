"""Product images as the pages show them: one row of product_image with what a person wants to know of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from imagesync_pipelines.products import rules
from imagesync_pipelines.storage.schema import product_image

_SHOWN = (
    "id", "product_id", "external_id", "image_url", "thumbnail_url", "image_type", "is_primary", "is_front",
    "priority", "alt_text", "matched_by", "chosen_because", "width", "height", "image_format", "newest_export",
    "last_synced", "fingerprint", "original_url",
)  # fmt: skip


@dataclass(frozen=True)
class ImageView:
    """One product image. width and height in pixels, None when unknown; source: who uploaded it, '' when unknown.

    connector: which one brought it.

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
    connector: str
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


def _read(connection: sa.Connection, column: sa.ColumnElement[int], values: Collection[int]) -> list[ImageView]:
    original = product_image.c.metadata["original_file"]
    query = sa.select(
        *(product_image.c[name] for name in _SHOWN),
        product_image.c.source.label("connector"),
        sa.func.coalesce(original["uploaded_from"].astext, "").label("source"),
        sa.func.coalesce(original["imported_at"].astext, "").label("imported_at"),
    ).where(column == sa.any_(sa.literal(list(values), sa.ARRAY(sa.BigInteger))))
    return [_view(row) for row in connection.execute(query).mappings()]


def _view(row: Mapping[str, Any] | sa.RowMapping) -> ImageView:
    return ImageView(**row)


def _order(view: ImageView) -> tuple[object, ...]:
    shown = rules.Shown(view.external_id, view.priority, view.newest_export, view.connector)
    return (not view.is_primary, *rules.display_order(shown))
