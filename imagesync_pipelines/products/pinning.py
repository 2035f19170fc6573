"""A person's choice of a product's primary image: kept, and shown at once."""

from dataclasses import replace

import sqlalchemy as sa

from imagesync_pipelines.products.primaries import lock_products, set_flags
from imagesync_pipelines.storage.errors import PinRefusedError
from imagesync_pipelines.storage.pins import set_pin, unset_pin


def pin_image(engine: sa.Engine, product_id: int, source: str, external_id: str, who: str) -> None:
    """Make an image the product's primary and keep it so, whatever connector brought it; an earlier pin is replaced.

    Raises PinRefusedError when the product does not have the image; then nothing is changed.
    """
    with engine.begin() as connection:
        locked = lock_products(connection, [product_id])
        if (source, external_id) not in {row.name for row in locked.images[product_id]}:
            raise PinRefusedError(f"Product {product_id} has no image {external_id}; nothing was pinned.")
        set_pin(connection, product_id, source, external_id, who)
        set_flags(connection, locked, {product_id: (source, external_id)})


def unpin_image(engine: sa.Engine, product_id: int) -> bool:
    """Let the rules choose the product's primary again, at once; says whether there was a pin."""
    with engine.begin() as connection:
        locked = lock_products(connection, [product_id])
        was_pinned = unset_pin(connection, product_id)
        set_flags(connection, locked, replace(locked, pins={}).primaries())
    return was_pinned
