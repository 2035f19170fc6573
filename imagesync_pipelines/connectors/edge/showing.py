"""Where a product's images are, for the pages."""

from collections.abc import Iterator

import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.storage.schema import mirror
from imagesync_pipelines.sync.connector import ImagePlace


def places_of(connection: sa.Connection, sku: str) -> Iterator[ImagePlace]:
    """The stores for which the head office lists photos of a product, in order."""
    row = mirror.c
    query = (
        sa.select(row.account, sa.func.count(), sa.func.max(row.changed_at))
        .where(row.connector == EDGE, row.gone_at.is_(None), row.payload["product_sku"].astext == sku)
        .group_by(row.account)
        .order_by(row.account)
    )
    for store, images, since in connection.execute(query):
        yield ImagePlace(store, images, since, "listed for this store by its head office")
