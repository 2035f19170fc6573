"""Where a product's images are, for the pages."""

from collections.abc import Iterator

import sqlalchemy as sa

from imagesync_pipelines.storage.schema import moysklad_child_images, moysklad_entity_map
from imagesync_pipelines.sync.connector import ImagePlace


def places_of(connection: sa.Connection, sku: str) -> Iterator[ImagePlace]:
    """The child accounts that have images of a product, in order."""
    entity, there = moysklad_entity_map.c, moysklad_child_images.c
    both = (there.child == entity.child) & (there.entity_key == entity.entity_key)
    images = sa.func.sum(sa.func.jsonb_array_length(there.images))
    query = (
        sa.select(entity.child, images, sa.func.max(there.changed_at), sa.func.min(entity.field))
        .join_from(moysklad_entity_map, moysklad_child_images, both)
        .where(entity.value == sku)
        .group_by(entity.child)
        .having(images > 0)
        .order_by(entity.child)
    )
    for child, count, since, field in connection.execute(query):
        yield ImagePlace(child, count, since, f"on the article that was found by its {field}")
