"""The images that a product had at a moment of the past: those of now, and what was done since then taken back."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from imagesync_pipelines.products import rules
from imagesync_pipelines.products.orders import ORDER, UNORDER, order_of, renamed
from imagesync_pipelines.products.primaries import PRIMARY, name_of
from imagesync_pipelines.products.target import image_key
from imagesync_pipelines.storage.effects import Effect, effects_about
from imagesync_pipelines.sync.model import EFFECTS

Image = Mapping[str, Any]
"""A row of product_image by its columns, as JSON has them."""
Key = tuple[str, str, str]
"""The connector that brought an image, no account, and its key, as in the history."""

_NOW = sa.text("SELECT to_jsonb(i) FROM imagesync.product_image i WHERE product_id = ANY(CAST(:products AS bigint[]))")


def images_at(connection: sa.Connection, sources: Collection[str], product_id: int, at: datetime) -> list[Image]:
    """The images that these connectors had put on a product at a moment, in display order, the primary first.

    Right for moments since known_since, and as far as nobody else wrote the table.
    """
    since = effects_about(connection, [(source, str(product_id)) for source in sources], after=at)
    there = images_before(images_now(connection, [product_id]), since).values()
    order = order_before(order_of(connection, product_id), since)
    places = {name: at for at, name in enumerate(order)}
    return sorted(there, key=lambda image: _order(image, places))


def images_now(connection: sa.Connection, product_ids: Collection[int]) -> dict[Key, Image]:
    """The images of products as they are."""
    found = connection.execute(_NOW, {"products": list(product_ids)}).scalars()
    return {(one["source"], "", image_key(one["product_id"], one["external_id"])): one for one in found}


def images_before(images: Mapping[Key, Image], effects: Sequence[Effect]) -> dict[Key, Image]:
    """The images that products had before these effects, the newest last, which made `images` of them."""
    there = dict(images)
    for effect in reversed(effects):
        written = [row for row in effect.rows if row.change in EFFECTS]
        for row in written:
            there.pop((effect.connector, "", row.key), None)
        for row in written:
            if row.before is not None:
                whose = {"product_id": int(effect.group), "source": effect.connector}
                there[effect.connector, "", row.key_before or row.key] = {**row.before, **whose}
        for row in effect.rows:
            if row.change == PRIMARY and row.before is not None:
                image = (row.before.get("source", effect.connector), "", row.key)
                if image in there:
                    there[image] = {**there[image], "is_primary": row.before["is_primary"]}
    return there


def order_before(order: Sequence[str], effects: Sequence[Effect]) -> Sequence[str]:
    """The order that a person had given a product's pictures before these effects, which made `order` of it."""
    for effect in reversed(effects):
        names = {
            name_of(effect.connector, row.key.partition("/")[2]): name_of(
                effect.connector, row.key_before.partition("/")[2]
            )
            for row in effect.rows
            if row.change in EFFECTS and row.key_before not in (None, row.key)
        }
        order = renamed(order, names)
        for row in reversed(effect.rows):
            if row.change in (ORDER, UNORDER):
                order = (row.before or {}).get("pictures", [])
    return order


def _order(image: Image, places: Mapping[str, int]) -> tuple[object, ...]:
    newest = image["newest_export"]
    moment = None if newest is None else datetime.fromisoformat(newest)
    shown = rules.Shown(image["external_id"], image["priority"], moment, image["source"])
    shown = shown._replace(place=places.get(name_of(*shown.name)))
    return (not image["is_primary"], *rules.display_order(shown))
