"""Product images as the pages show them: a row of product_image each, and those that are shown for products."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from imagesync_pipelines.products import rules
from imagesync_pipelines.products.showing import image_owners, lending_variants
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.schema import product, product_image

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
    ).where(column == sa.any_(sa.literal(list(values), sa.ARRAY(sa.BigInteger))))
    return [ImageView(**row) for row in connection.execute(query).mappings()]


def _order(view: ImageView) -> tuple[object, ...]:
    shown = rules.Shown(view.external_id, view.priority, view.newest_export, view.connector)
    return (not view.is_primary, *rules.display_order(shown))


@dataclass(frozen=True)
class ImagesOfProduct:
    """What is shown for a product, the primary first; lent_by: the SKU of the product that lends it, '' for its own."""

    product_id: int
    sku: str
    images: tuple[ImageView, ...]
    lent_by: str


def shown_for(
    engine: sa.Engine, product_ids: Collection[int], *, own_images_first: bool = False
) -> dict[int, ImagesOfProduct]:
    """What is shown for each of the products, by id, in a few queries; a product that we do not have is left out."""
    with engine.connect() as connection:
        chosen = image_owners(connection, product_ids, own_images_first=own_images_first)
        owners = {one: owner.product_id for one, owner in chosen.items() if owner is not None}
        bare = [one for one in chosen if one not in owners]
        lending = lending_variants(connection, bare) if bare else {}
        lent = images_by_id(connection, list(lending.values()))
        owners |= {one: lent[image].product_id for one, image in lending.items() if image in lent}
        held = images_of(connection, set(owners.values()))
        skus = skus_of(connection, {*chosen, *owners.values()})
    return {
        one: ImagesOfProduct(
            product_id=one,
            sku=skus[one],
            images=held.get(owners.get(one, one), ()),
            lent_by=skus[owners[one]] if owners.get(one, one) != one else "",
        )
        for one in chosen
    }


def image_with_record(engine: sa.Engine, image_id: int) -> tuple[ImageView, dict[str, Any]] | None:
    """A product image and its record in the image database as it came; None when there is none with this id."""
    query = sa.select(product_image.c.metadata).where(product_image.c.id == image_id)
    with engine.connect() as connection:
        view = images_by_id(connection, [image_id]).get(image_id)
        record = connection.execute(query).scalar()
    return (view, record) if view is not None and isinstance(record, dict) else None


def products_of_skus(engine: sa.Engine, skus: Collection[str], *, with_left: bool = False) -> dict[str, int]:
    """The product of each SKU, a variant before a parent; a SKU that no product has is left out.

    with_left: those that have left the ERP too, where no other has the SKU.
    """
    query = sa.select(product.c.sku, product.c.id).where(among(product.c.sku, skus))
    if not with_left:
        query = query.where(product.c.left_erp_at.is_(None))
    # The last of a SKU is kept: one that is in the ERP, and a "variant" after a "parent".
    query = query.order_by(product.c.sku, product.c.left_erp_at.is_(None), product.c.kind)
    with engine.connect() as connection:
        return {row.sku: row.id for row in connection.execute(query)}


def skus_of(connection: sa.Connection, product_ids: Collection[int]) -> dict[int, str]:
    """The SKU of each product, by id."""
    wanted = product.c.id == sa.any_(sa.literal(list(product_ids), sa.ARRAY(sa.BigInteger)))
    return {row.id: row.sku for row in connection.execute(sa.select(product.c.id, product.c.sku).where(wanted))}
