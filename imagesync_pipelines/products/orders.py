"""The order that a person gave the pictures of a product: kept in a table, followed by every display and every writer.

New pictures come behind those in it; one that is gone is left out, and has its place again when it returns.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.products.primaries import (
    flipped,
    lock_products,
    name_of,
    note_choice,
    primary_flags,
    set_flags,
)
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
    images, pins, orders = lock_products(connection, [product_id])
    before = _order_of(connection, product_id)
    if orders.pop(product_id, ()) == list(pictures):
        return False
    if pictures:
        values = {"pictures": list(pictures), "ordered_by": who, "ordered_at": sa.func.now()}
        statement = insert(picture_order).values(product_id=product_id, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["product_id"], set_=values))
        orders[product_id] = pictures
    elif before is None:
        return False
    else:
        connection.execute(picture_order.delete().where(picture_order.c.product_id == product_id))
    flags = primary_flags(images, pins, orders)
    set_flags(connection, images, flags)
    source, _, first = (pictures or (before or {})["pictures"])[0].partition("/")
    after = {"pictures": list(pictures)} if pictures else None
    why = f"{who} put them in order" if pictures else f"{who} lets the rules order them again"
    row = EffectRow(f"{product_id}/{first}", ORDER if pictures else UNORDER, why, before=before, after=after)
    note_choice(connection, product_id, source, who, row, flipped(images, flags, source))
    return True


def _order_of(connection: sa.Connection, product_id: int) -> dict[str, Any] | None:
    """The order of a product as the history keeps it."""
    query = sa.select(picture_order).where(picture_order.c.product_id == product_id)
    found = connection.execute(query).mappings().first()
    if found is None:
        return None
    return {**{name: found[name] for name in ("pictures", "ordered_by")}, "ordered_at": str(found["ordered_at"])}


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
