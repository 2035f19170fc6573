"""The images that are shown for products: the mission's article numbers and fallback, for a whole list at once.

What belongs here: three queries for any number of products, and joining them with the rule. What does not: the rule
itself (rules.choose_numbers, contract section 5.2), pages and APIs that show the images (web).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from imagesync_pipelines.image_db import rules
from imagesync_pipelines.storage.schema import product, product_image


@dataclass(frozen=True)
class ShownImage:
    """One image as other systems get it; `id` is the product image's, `product_id` that of the product it is on."""

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


@dataclass(frozen=True)
class ShownImages:
    """What is shown for a product: the article number that gave images, None when none did; the primary is first."""

    number: str | None
    images: tuple[ShownImage, ...]


def shown_images(
    engine: sa.Engine, product_ids: Collection[int], *, own_images_first: bool = False
) -> dict[int, ShownImages]:
    """The images to show for each of the products; a product that we do not have is left out.

    For each product its numbers are tried in order and the first that has images wins, nothing is merged. There are
    three queries, however many products.
    """
    with engine.connect() as connection:
        asked, parents = _products(connection, product_ids)
        numbers = {
            number
            for one in asked
            for number in rules.numbers_to_try(one, parents.get(one.parent_id or 0), own_images_first)
        }
        owners = _owners(connection, numbers)
        chosen = rules.choose_numbers(asked, parents, owners, own_images_first)
        images = _images(connection, {owners[number] for number in chosen.values() if number is not None})
    return {
        one.id: ShownImages(number, tuple(images.get(owners[number], ())) if number is not None else ())
        for one in asked
        for number in (chosen[one.id],)
    }


def _products(
    connection: sa.Connection, product_ids: Collection[int]
) -> tuple[list[rules.Product], dict[int, rules.Product]]:
    """The products asked for, and their parents by id."""
    names = ("id", "kind", "sku", "parent_id", "variant_code", "legacy_sku", "base_sku", "name")
    wanted = sa.any_(sa.literal(list(product_ids), sa.ARRAY(sa.BigInteger)))
    # One list of ids: with an OR here PostgreSQL reads the whole table.
    parents_of = sa.select(product.c.parent_id).where(product.c.id == wanted)
    both = sa.union(sa.select(product.c.id).where(product.c.id == wanted), parents_of)
    query = sa.select(*(product.c[name] for name in names), product.c.left_erp_at.is_(None)).where(
        product.c.id.in_(both)
    )
    found = {row[0]: rules.Product._make(row) for row in connection.execute(query.order_by(product.c.id))}
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


def _images(connection: sa.Connection, product_ids: Collection[int]) -> dict[int, Sequence[ShownImage]]:
    """The images of these products in display order, the primary first."""
    names = list(ShownImage.__dataclass_fields__)
    query = sa.select(*(product_image.c[name] for name in names), product_image.c.newest_export).where(
        product_image.c.product_id == sa.any_(sa.literal(list(product_ids), sa.ARRAY(sa.BigInteger)))
    )
    found: dict[int, list[tuple[tuple[object, ...], ShownImage]]] = {}
    for *values, newest_export in connection.execute(query):
        image = ShownImage(*values)
        order = rules.display_order(rules.Shown(image.external_id, image.priority, newest_export))
        found.setdefault(image.product_id, []).append(((not image.is_primary, *order), image))
    return {owner: [image for _, image in sorted(images, key=lambda pair: pair[0])] for owner, images in found.items()}
