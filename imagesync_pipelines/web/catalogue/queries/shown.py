"""The images that are shown for products, for any number of products at once."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from imagesync_pipelines.products.showing import image_owners, lending_variants
from imagesync_pipelines.storage.schema import product, product_image
from imagesync_pipelines.web.catalogue.queries.images import ImageView, images_by_id, images_of


@dataclass(frozen=True)
class ShownImages:
    """What is shown for a product, the primary first; lent_by: the SKU of the product that lends it, '' for its own."""

    product_id: int
    sku: str
    images: tuple[ImageView, ...]
    lent_by: str


def shown_for(
    engine: sa.Engine, product_ids: Collection[int], *, own_images_first: bool = False
) -> dict[int, ShownImages]:
    """What is shown for each of the products, by id, in a few queries; a product that we do not have is left out."""
    with engine.connect() as connection:
        chosen = image_owners(connection, product_ids, own_images_first=own_images_first)
        owners = {one: owner.product_id for one, owner in chosen.items() if owner is not None}
        bare = [one for one in chosen if one not in owners]
        lending = lending_variants(connection, bare) if bare else {}
        lent = images_by_id(connection, list(lending.values()))
        owners |= {one: lent[image].product_id for one, image in lending.items() if image in lent}
        held = images_of(connection, set(owners.values()))
        skus = _skus(connection, {*chosen, *owners.values()})
    return {
        one: ShownImages(
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


def products_of_skus(engine: sa.Engine, skus: Collection[str]) -> dict[str, int]:
    """The product of each SKU, a variant before a parent; a SKU that no product has is left out."""
    wanted = product.c.sku == sa.any_(sa.literal(list(skus), sa.ARRAY(sa.Text)))
    query = sa.select(product.c.sku, product.c.id).where(wanted, product.c.left_erp_at.is_(None))
    with engine.connect() as connection:
        # "parent" comes before "variant", so the variant is kept.
        return {row.sku: row.id for row in connection.execute(query.order_by(product.c.sku, product.c.kind))}


def _skus(connection: sa.Connection, product_ids: Collection[int]) -> dict[int, str]:
    wanted = product.c.id == sa.any_(sa.literal(list(product_ids), sa.ARRAY(sa.BigInteger)))
    return {row.id: row.sku for row in connection.execute(sa.select(product.c.id, product.c.sku).where(wanted))}
