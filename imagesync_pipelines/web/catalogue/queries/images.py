"""Product images as they are shown: by their ids, and those of products, their own or lent by another."""

from collections.abc import Collection

import sqlalchemy as sa

from imagesync_pipelines.products import rules
from imagesync_pipelines.products.settings import ShowingSettings
from imagesync_pipelines.products.showing import image_owners, lending_variants
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.schema import product, product_image
from imagesync_pipelines.web.catalogue.models import Image, ImageWithMetadata, ProductImages

_COLUMNS = (
    *(column for column in product_image.c if column.name not in {"source", "metadata"}),
    product_image.c.source.label("connector"),
    sa.func.coalesce(product_image.c.metadata["original_file"]["uploaded_from"].astext, "").label("source"),
)


def read_images(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[Image]:
    """The images of which these conditions are true, those of a product in display order, the primary first."""
    rows = connection.execute(sa.select(*_COLUMNS).where(*conditions))
    return sorted((Image.model_validate(row) for row in rows), key=_order)


def images_by_id(connection: sa.Connection, image_ids: Collection[int]) -> dict[int, Image]:
    """These images, by id; one that is not there is left out."""
    return {image.id: image for image in read_images(connection, among(product_image.c.id, image_ids))}


def image_with_record(engine: sa.Engine, image_id: int) -> ImageWithMetadata | None:
    """A product image and its record in the image database as it came; None when there is none with this id."""
    query = sa.select(*_COLUMNS, product_image.c.metadata).where(product_image.c.id == image_id)
    with engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else ImageWithMetadata.model_validate(row)


def sources_of(
    connection: sa.Connection, product_ids: Collection[int], showing: ShowingSettings
) -> tuple[dict[int, int], dict[int, int]]:
    """Whose images are shown for products that have any, and the lent image of parents that only a variant helps."""
    chosen = image_owners(connection, product_ids, own_images_first=showing.image_db_own_images_first)
    bare = [one for one, owner in chosen.items() if owner is None]
    owners = {one: owner for one, owner in chosen.items() if owner is not None}
    return owners, lending_variants(connection, bare) if bare else {}


def shown_for(engine: sa.Engine, product_ids: Collection[int], showing: ShowingSettings) -> dict[int, ProductImages]:
    """What is shown for each of the products, by id, in a few queries; a product that we do not have is left out."""
    with engine.connect() as connection:
        owners, lent = sources_of(connection, product_ids, showing)
        lenders = images_by_id(connection, lent.values()) if lent else {}
        owners |= {one: lenders[image].product_id for one, image in lent.items() if image in lenders}
        held: dict[int, list[Image]] = {}
        for image in read_images(connection, among(product_image.c.product_id, set(owners.values()))):
            held.setdefault(image.product_id, []).append(image)
        skus = skus_of(connection, {*product_ids, *owners.values()})
    return {
        one: ProductImages(
            product_id=one,
            sku=skus[one],
            images=held.get(owners.get(one, one), []),
            images_from=skus[owners[one]] if owners.get(one, one) != one else "",
        )
        for one in product_ids
        if one in skus
    }


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
    query = sa.select(product.c.id, product.c.sku).where(among(product.c.id, product_ids))
    return {row.id: row.sku for row in connection.execute(query)}


def _order(image: Image) -> tuple[object, ...]:
    shown = rules.Shown(image.external_id, image.priority, image.newest_export, image.connector)
    return (not image.is_primary, *rules.display_order(shown))
