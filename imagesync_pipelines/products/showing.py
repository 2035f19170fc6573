"""The images that are shown for products: article numbers in order, and the fallback, for a whole list at once."""

from collections.abc import Collection

import sqlalchemy as sa

from imagesync_pipelines.products import rules
from imagesync_pipelines.storage.schema import product, product_image

_IMAGE = (
    "id", "product_id", "external_id", "image_url", "thumbnail_url", "image_type", "is_primary", "is_front", "priority",
    "alt_text", "source", "newest_export", "image_format", "width", "height", "last_synced",
)  # fmt: skip

# The variant painted BE lends its picture first.
_FIRST_VARIANT = "BE"


def image_owners(
    connection: sa.Connection, product_ids: Collection[int], *, own_images_first: bool = False
) -> dict[int, int | None]:
    """For each product the one whose images are shown for it, itself or another; None when there is none.

    Its numbers are tried in order and the first that has images wins, nothing is merged. A product that we do not have
    is left out. There are two queries, however many products.
    """
    asked, parents = _products(connection, product_ids)
    numbers = {
        number
        for one in asked
        for number in rules.numbers_to_try(one, parents.get(one.parent_id or 0), own_images_first)
    }
    owners = _owners(connection, numbers)
    chosen = rules.choose_numbers(asked, parents, owners, own_images_first)
    return {one: owners[number] if number is not None else None for one, number in chosen.items()}


def lending_variants(connection: sa.Connection, parent_ids: Collection[int]) -> dict[int, int]:
    """For parents without images of their own: the image of a variant that stands for them, by parent id.

    The ladder: the variant BE first, then the others; of a variant's images primary and front
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


def _products(
    connection: sa.Connection, product_ids: Collection[int]
) -> tuple[list[rules.StoredProduct], dict[int, rules.StoredProduct]]:
    """The products asked for, and their parents by id."""
    names = ("id", "kind", "sku", "parent_id", "variant_code", "legacy_sku", "base_sku", "name")
    wanted = sa.any_(sa.literal(list(product_ids), sa.ARRAY(sa.BigInteger)))
    # One list of ids: with an OR here PostgreSQL reads the whole table.
    parents_of = sa.select(product.c.parent_id).where(product.c.id == wanted)
    both = sa.union(sa.select(product.c.id).where(product.c.id == wanted), parents_of)
    query = sa.select(*(product.c[name] for name in names), product.c.left_erp_at.is_(None)).where(
        product.c.id.in_(both)
    )
    found = {row[0]: rules.StoredProduct._make(row) for row in connection.execute(query.order_by(product.c.id))}
    asked = set(product_ids)
    return [one for one in found.values() if one.id in asked], found


def _owners(connection: sa.Connection, numbers: Collection[str]) -> dict[str, int]:
    """The product with images that each article number names, a variant before a parent; others are left out."""
    has_images = sa.exists().where(product_image.c.product_id == product.c.id)
    query = (
        sa.select(product.c.sku, product.c.id)
        .where(product.c.sku == sa.any_(sa.literal(list(numbers), sa.ARRAY(sa.Text))), has_images)
        .order_by(product.c.sku, product.c.kind)  # "parent" comes before "variant", so the variant is kept
    )
    return {row.sku: row.id for row in connection.execute(query)}


def images_of(connection: sa.Connection, product_ids: Collection[int]) -> dict[int, list[sa.Row]]:
    """The images of these products by product, in display order, the primary first; rows with the columns _IMAGE."""
    query = sa.select(*(product_image.c[name] for name in _IMAGE)).where(
        product_image.c.product_id == sa.any_(sa.literal(list(product_ids), sa.ARRAY(sa.BigInteger)))
    )
    found: dict[int, list[sa.Row]] = {}
    for image in connection.execute(query):
        found.setdefault(image.product_id, []).append(image)
    for images in found.values():
        if len(images) > 1:
            images.sort(key=_order)
    return found


def _order(image: sa.Row) -> tuple[object, ...]:
    shown = rules.Shown(image.external_id, image.priority, image.newest_export, image.source)
    return (not image.is_primary, *rules.display_order(shown))
