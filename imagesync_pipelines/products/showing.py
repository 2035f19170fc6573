"""The images that are shown for products: article numbers in order, and the fallback, for a whole list at once.

And those that a page shows of the rows of a plan, from whatever source.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.products import rules
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.storage.schema import product, product_image
from imagesync_pipelines.sync.connector import RowPictures

_IMAGE = (
    "id", "product_id", "external_id", "image_url", "thumbnail_url", "image_type", "is_primary", "is_front", "priority",
    "alt_text", "source", "newest_export", "image_format", "width", "height", "last_synced",
)  # fmt: skip

# The variant painted BE lends its picture first.
_FIRST_VARIANT = "BE"
# So many plans back the pictures of those that were applied are looked for.
_LOOKED_THROUGH = 50

PicturesOfPlan = Callable[[PlanHeader, Collection[str]], Mapping[str, str]]
"""The URLs of the pictures that a plan wants, by engine key, of those of these keys that it knows."""


def image_owners(
    connection: sa.Connection, product_ids: Collection[int], *, own_images_first: bool = False
) -> dict[int, int | None]:
    """For each product the one whose images are shown for it, itself or another; None when there is none.

    Its numbers are tried in order and the first that has images wins, nothing is merged. A product that we do not have
    is left out. There are two queries, however many products.
    """
    asked, parents = _products(connection, product_ids)
    tried = {one.id: rules.numbers_to_try(one, parents.get(one.parent_id or 0), own_images_first) for one in asked}
    owners = _owners(connection, {number for numbers in tried.values() for number in numbers})
    return {one: next((owners[number] for number in tried[one] if number in owners), None) for one in tried}


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
        .where(among(variant.parent_id, parent_ids))
        .order_by(variant.parent_id, variant.variant_code.is_distinct_from(_FIRST_VARIANT), step, variant.sku, image.id)
    )
    found = reversed(connection.execute(query).all())  # so that the first of each stays
    return {row.parent_id: row.id for row in found}


def _products(
    connection: sa.Connection, product_ids: Collection[int]
) -> tuple[list[rules.StoredProduct], dict[int, rules.StoredProduct]]:
    wanted = among(product.c.id, product_ids)
    # One list of ids: with an OR here PostgreSQL reads the whole table.
    both = sa.union(sa.select(product.c.id).where(wanted), sa.select(product.c.parent_id).where(wanted))
    *columns, _ = rules.StoredProduct._fields  # the last, in_erp, is no column
    query = sa.select(*(product.c[name] for name in columns), product.c.left_erp_at.is_(None))
    query = query.where(product.c.id.in_(both))
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
    query = sa.select(*(product_image.c[name] for name in _IMAGE)).where(among(product_image.c.product_id, product_ids))
    found: dict[int, list[sa.Row]] = {}
    for image in connection.execute(query):
        found.setdefault(image.product_id, []).append(image)
    for images in found.values():
        if len(images) > 1:  # most products have one
            images.sort(key=_order)
    return found


def _order(image: sa.Row) -> tuple[object, ...]:
    shown = rules.Shown(image.external_id, image.priority, image.newest_export, image.source)
    return (not image.is_primary, *rules.display_order(shown))


def pictures_of_rows(
    engine: sa.Engine,
    storage: UPath,
    header: PlanHeader,
    rows: Sequence[Mapping[str, Any]],
    pictures_of_plan: PicturesOfPlan,
) -> list[RowPictures]:
    """Of each row of a plan the picture that was there when it was made, and the one that the plan puts there.

    Of a plan that was applied, or begun, the first is what plans before it wanted there.
    """
    keys = [str(row["key"]) for row in rows]
    old_keys = [
        "" if row["change"] == "add" else str(key if pd.isna(row["key_before"]) else row["key_before"])
        for row, key in zip(rows, keys, strict=True)
    ]
    after = pictures_of_plan(header, set(keys))
    missing, before = set(old_keys) - {""}, dict[str, str]()
    if header.applied_at is None and header.applied_run is None:
        before = _there_now(engine, header.connector, missing)
    else:
        for earlier in Plans(engine, storage).newest(_LOOKED_THROUGH, header.connector):
            if missing and earlier.id < header.id and earlier.applied_at is not None:
                before |= pictures_of_plan(earlier, missing)
                missing -= before.keys()
    return [
        RowPictures(
            None if pd.isna(row["group"]) else int(row["group"]),
            key.partition("/")[2] or key,
            before.get(old_key, ""),
            "" if row["change"] == "remove" else after.get(key, ""),
        )
        for row, key, old_key in zip(rows, keys, old_keys, strict=True)
    ]


def _there_now(engine: sa.Engine, source: str, keys: Collection[str]) -> dict[str, str]:
    """The pictures of a source's product images with these engine keys."""
    image = product_image.c
    products = {int(number) for key in keys if (number := key.partition("/")[0]).isdecimal()}
    query = sa.select(image.product_id, image.external_id, image.thumbnail_url, image.image_url).where(
        among(image.product_id, products), image.source == source
    )
    with engine.connect() as connection:
        found = connection.execute(query).all()
    return {f"{row.product_id}/{row.external_id}": row.thumbnail_url or row.image_url for row in found}
