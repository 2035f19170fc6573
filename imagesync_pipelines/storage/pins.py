"""Pins: a person's choice of a product's primary image, which no synchronisation undoes.

A pin whose image is gone stays and is dormant: when the image returns, so does the choice.
"""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.schema import pin


def set_pin(connection: sa.Connection, product_id: int, source: str, external_id: str, pinned_by: str) -> None:
    """Pin an image of a product, which the connector `source` brought; an earlier pin of the product is replaced."""
    values = {"source": source, "external_id": external_id, "pinned_by": pinned_by, "pinned_at": sa.func.now()}
    statement = insert(pin).values(product_id=product_id, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["product_id"], set_=values))


def unset_pin(connection: sa.Connection, product_id: int) -> bool:
    """Let the rules choose again; says whether there was a pin."""
    return connection.execute(pin.delete().where(pin.c.product_id == product_id)).rowcount > 0


def pins_of(connection: sa.Connection, product_ids: Collection[int]) -> dict[int, tuple[str, str]]:
    """The pinned image (source, external_id) of those products that have a pin, dormant ones included."""
    query = sa.select(pin.c.product_id, pin.c.source, pin.c.external_id).where(among(pin.c.product_id, product_ids))
    return {row.product_id: (row.source, row.external_id) for row in connection.execute(query)}
