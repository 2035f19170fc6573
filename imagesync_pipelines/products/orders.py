"""The order that a person gave the pictures of a product: kept in a table, followed by every display and every writer.

New pictures come behind those in it; one that is gone is left out, and has its place again when it returns.
"""

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.languages import told
from imagesync_pipelines.products.primaries import (
    Locked,
    lock_products,
    name_of,
    note_choices,
    primary_flags,
    set_flags,
)
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.effects import EffectRow
from imagesync_pipelines.storage.schema import picture_order, product_image

ORDER, UNORDER = "order", "unorder"
"""What the history calls an order that a person gave, and one that ended."""

_NAME = product_image.c.source + "/" + product_image.c.external_id
PLACE: sa.ScalarSelect[int | None] = (
    sa.select(sa.func.array_position(picture_order.c.pictures, _NAME, type_=sa.Integer))
    .where(picture_order.c.product_id == product_image.c.product_id)
    .correlate(product_image)
    .scalar_subquery()
)
"""Of a row of product_image the place that a person gave it, NULL where nobody did."""


def set_order(connection: sa.Connection, product_id: int, pictures: Sequence[str], who: str) -> bool:
    """Put a product's pictures in order, or with none of them end its order; says whether that was another one.

    pictures: as name_of writes them, the first one first. The primary picture is right afterwards.
    """
    return set_orders(connection, lock_products(connection, [product_id]), {product_id: pictures}, who) == 1


def set_orders(connection: sa.Connection, locked: Locked, wanted: Mapping[int, Sequence[str]], who: str) -> int:
    """The same of any number of products that are locked; how many have another order now."""
    before = _orders_as_kept(connection, wanted)
    new = {one: list(names) for one, names in wanted.items() if list(locked.orders.get(one, ())) != list(names)}
    if not new:
        return 0
    _keep_orders(connection, new, who)
    images = locked.images[locked.images["product_id"].isin(list(new))]
    orders = {product_id: names for product_id, names in {**locked.orders, **new}.items() if names}
    flags = primary_flags(images, locked.pins, orders)
    set_flags(connection, images, flags)
    rows = {}
    for product_id, names in new.items():
        was = before.get(product_id)
        source, _, first = (names or (was or {})["pictures"])[0].partition("/")
        after, key = {"pictures": names} if names else None, f"{product_id}/{first}"
        why = told(f"{who} put them in order" if names else f"{who} lets the rules order them again")
        rows[product_id] = source, EffectRow(key, ORDER if names else UNORDER, why, before=was, after=after)
    note_choices(connection, rows, who, images, flags)
    return len(new)


def _keep_orders(connection: sa.Connection, orders: Mapping[int, Sequence[str]], who: str) -> None:
    over = [product_id for product_id, names in orders.items() if not names]
    if over:
        connection.execute(picture_order.delete().where(among(picture_order.c.product_id, over)))
    rows = [{"product_id": one, "pictures": names, "ordered_by": who} for one, names in orders.items() if names]
    if rows:
        new = insert(picture_order).values(rows)
        again: dict[str, Any] = {name: new.excluded[name] for name in ("pictures", "ordered_by")}
        again["ordered_at"] = sa.func.now()
        connection.execute(new.on_conflict_do_update(index_elements=["product_id"], set_=again))


def _orders_as_kept(connection: sa.Connection, product_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """The orders of products as the history keeps them."""
    query = sa.select(picture_order).where(among(picture_order.c.product_id, product_ids))
    return {
        one["product_id"]: {
            **{name: one[name] for name in ("pictures", "ordered_by")},
            "ordered_at": str(one["ordered_at"]),
        }
        for one in connection.execute(query).mappings()
    }


def order_of(connection: sa.Connection, product_id: int) -> list[str]:
    """The order of a product's pictures that a person gave, empty where nobody did."""
    there = picture_order.c.product_id == product_id
    return connection.scalar(sa.select(picture_order.c.pictures).where(there)) or []


def renamed(pictures: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """An order in which pictures have other names now; who was gone and had one of those is out of it."""
    taken = set(names.values()) - set(names)
    return [names.get(one, one) for one in pictures if one not in taken]


def follow_renames(
    connection: sa.Connection, orders: MutableMapping[int, Sequence[str]], source: str, images: pd.DataFrame
) -> None:
    """Renamed images (product_id, before, external_id) keep their places, also in `orders`."""
    names: dict[int, dict[str, str]] = {}
    columns = (images[name].tolist() for name in ("product_id", "before", "external_id"))
    for product_id, before, after in zip(*columns, strict=True) if orders else ():
        if product_id in orders:
            names.setdefault(product_id, {})[name_of(source, before)] = name_of(source, after)
    for product_id, new in names.items():
        if (pictures := renamed(orders[product_id], new)) != list(orders[product_id]):
            orders[product_id] = pictures
            there = picture_order.c.product_id == product_id
            connection.execute(picture_order.update().where(there).values(pictures=pictures))
