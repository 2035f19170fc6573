"""The images that are shown for products, for a whole list at once, and those that a page shows of a plan's rows."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.products import rules
from imagesync_pipelines.products.orders import PLACE
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.plans import PlanHeader, Plans, is_reversal
from imagesync_pipelines.storage.schema import product, product_image
from imagesync_pipelines.storage.schema_catalogue import shown_image
from imagesync_pipelines.sync.connector import RowName, RowPictures

_IMAGE = (
    "id", "product_id", "external_id", "image_url", "thumbnail_url", "image_type", "is_primary", "is_front", "priority",
    "alt_text", "source", "newest_export", "image_format", "width", "height", "last_synced", "fingerprint",
)  # fmt: skip

# So many plans back the pictures of those that were applied are looked for.
_LOOKED_THROUGH = 50

PlannedPicture = tuple[str, str]
"""URL and size in words, either may be ''."""
PicturesOfPlan = Callable[[PlanHeader, Collection[str]], Mapping[str, PlannedPicture]]
"""The pictures that a plan wants, by engine key, of those of these keys that it knows."""
_NO_PICTURE: PlannedPicture = ("", "")


class Showing(NamedTuple):
    """Whose images a product shows. lent_image_id: the image of a variant that stands for its parent in lists."""

    owner_id: int
    lent_image_id: int | None


def whose_images(
    connection: sa.Connection, product_ids: Collection[int], *, own_images_first: bool = False
) -> dict[int, Showing]:
    """For each product that shows any whose images these are, its own or another's; nothing is merged.

    One query of the table that is written with products and images, however many products.
    """
    owner = shown_image.c.own_first_id if own_images_first else shown_image.c.owner_id
    query = sa.select(shown_image.c.product_id, owner, shown_image.c.lent_image_id)
    found = connection.execute(query.where(among(shown_image.c.product_id, product_ids), owner.is_not(None)))
    return {product_id: Showing(*whose) for product_id, *whose in found}


def images_of(connection: sa.Connection, product_ids: Collection[int]) -> dict[int, list[sa.Row]]:
    """The images of these products by product, in display order, the primary first; rows with the columns _IMAGE."""
    columns = (product_image.c[name] for name in _IMAGE)
    query = sa.select(*columns, PLACE.label("place")).where(among(product_image.c.product_id, product_ids))
    found: dict[int, list[sa.Row]] = {}
    for image in connection.execute(query):
        found.setdefault(image.product_id, []).append(image)
    for images in found.values():
        if len(images) > 1:  # most products have one
            images.sort(key=_order)
    return found


def _order(image: sa.Row) -> tuple[object, ...]:
    shown = rules.Shown(image.external_id, image.priority, image.newest_export, image.source, image.place)
    return (not image.is_primary, *rules.display_order(shown))


def pictures_of_rows(
    engine: sa.Engine,
    storage: UPath,
    header: PlanHeader,
    rows: Sequence[Mapping[str, Any]],
    pictures_of_plan: PicturesOfPlan,
) -> list[RowPictures]:
    """Of each row of a plan the picture that was there when it was made, and the one that the plan puts there.

    Of a plan that was applied, or begun, the first is what plans before it wanted there. A plan that takes back a run
    has its pictures itself.
    """

    def wanted(plan: PlanHeader, keys: Collection[str]) -> Mapping[str, PlannedPicture]:
        if not is_reversal(plan.scope):
            return pictures_of_plan(plan, keys)
        payload = Plans(engine, storage).need_payload(plan.id)
        rows = payload[payload["key"].isin(keys)]
        urls = rows["thumbnail_url"].fillna(rows["image_url"])
        columns = (rows["key"], urls, rows["width"], rows["height"])
        return {key: (url, pixels(width, height)) for key, url, width, height in zip(*columns, strict=True)}

    keys = [str(row["key"]) for row in rows]
    old_keys = [
        "" if row["change"] == "add" else str(key if pd.isna(row["key_before"]) else row["key_before"])
        for row, key in zip(rows, keys, strict=True)
    ]
    after = wanted(header, set(keys))
    missing, before = set(old_keys) - {""}, dict[str, PlannedPicture]()
    if header.applied_at is None and header.begun_run is None:
        before = _there_now(engine, header.connector, missing)
    else:
        for earlier in Plans(engine, storage).newest(_LOOKED_THROUGH, header.connector):
            if missing and earlier.id < header.id and earlier.applied_at is not None:
                before |= wanted(earlier, missing)
                missing -= before.keys()
    return [
        RowPictures(
            key.partition("/")[2] or key,
            before.get(old_key, _NO_PICTURE)[0],
            *(_NO_PICTURE if row["change"] == "remove" else after.get(key, _NO_PICTURE)),
        )
        for row, key, old_key in zip(rows, keys, old_keys, strict=True)
    ]


def names_of_products(engine: sa.Engine, account: str, groups: Collection[str]) -> dict[str, RowName]:
    """What people call our products, by their ids, which are the groups of a plan."""
    return _names(engine, product.c.id, {int(group) for group in groups if group.isdecimal()})


def names_of_skus(engine: sa.Engine, account: str, groups: Collection[str]) -> dict[str, RowName]:
    """The same by their SKUs: a variant before a parent, and one that the ERP has before one that left it."""
    return _names(engine, product.c.sku, groups)


def _names(engine: sa.Engine, column: sa.ColumnElement[Any], values: Collection[Any]) -> dict[str, RowName]:
    query = sa.select(column.label("group"), product.c.id, product.c.sku, product.c.name).where(among(column, values))
    # The last one of a group is kept.
    query = query.order_by(product.c.left_erp_at.is_(None), product.c.kind)
    with engine.connect() as connection:
        return {str(row.group): RowName(row.id, row.sku, row.name) for row in connection.execute(query)}


def pixels(width: object, height: object) -> str:
    """The size of a picture in words, '' where it is not known."""
    known = isinstance(width, int | float) and isinstance(height, int | float) and width > 0 and height > 0
    return f"{width:.0f} × {height:.0f}" if known else ""


def _there_now(engine: sa.Engine, source: str, keys: Collection[str]) -> dict[str, PlannedPicture]:
    """The pictures of a source's product images with these engine keys."""
    image = product_image.c
    products = {int(number) for key in keys if (number := key.partition("/")[0]).isdecimal()}
    query = sa.select(image.product_id, image.external_id, image.thumbnail_url, image.image_url).where(
        among(image.product_id, products), image.source == source
    )
    with engine.connect() as connection:
        found = connection.execute(query).all()
    return {f"{row.product_id}/{row.external_id}": (row.thumbnail_url or row.image_url, "") for row in found}
