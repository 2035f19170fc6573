"""Pins: a person's choice of a product's primary image, which no synchronisation undoes.

What belongs here: the `pin` table. What does not: choosing the primary (the room's rules) and writing it (the room). A
pin whose image is gone stays and is dormant: when the image returns, so does the choice.
"""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from imagesync_pipelines.storage.errors import PinRefused
from imagesync_pipelines.storage.schema import pin


def set_pin(engine: sa.Engine, product_id: int, external_id: str, pinned_by: str) -> None:
    """Pin an image of a product; an earlier pin of the product is replaced. Raises PinRefused for no such product."""
    values = {"external_id": external_id, "pinned_by": pinned_by, "pinned_at": sa.func.now()}
    statement = insert(pin).values(product_id=product_id, **values)
    try:
        with engine.begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["product_id"], set_=values))
    except IntegrityError as error:
        raise PinRefused(f"There is no product {product_id}; nothing was pinned.") from error


def unset_pin(engine: sa.Engine, product_id: int) -> bool:
    """Let the rules choose again; says whether there was a pin."""
    with engine.begin() as connection:
        return connection.execute(pin.delete().where(pin.c.product_id == product_id)).rowcount > 0


def pins_of(engine: sa.Engine, product_ids: Collection[int]) -> dict[int, str]:
    """The pinned external_id of those products that have a pin, dormant ones included."""
    wanted = sa.any_(sa.literal(list(product_ids), sa.ARRAY(sa.BigInteger)))
    with engine.connect() as connection:
        found = connection.execute(sa.select(pin.c.product_id, pin.c.external_id).where(pin.c.product_id == wanted))
        return {row.product_id: row.external_id for row in found}
