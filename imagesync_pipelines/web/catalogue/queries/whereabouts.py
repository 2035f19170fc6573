"""Where the images of a product also live: Plytix galleries, child accounts, edge stores."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.connectors.plytix.ledger import CONNECTOR as PLYTIX
from imagesync_pipelines.storage.schema import mirror, plytix_link
from imagesync_pipelines.storage.schema_moysklad import moysklad_child_images, moysklad_entity_map

MOYSKLAD = "moysklad"


@dataclass(frozen=True)
class Whereabout:
    """One place where images of a product are: the connector, the account there, how many, since when at the latest."""

    connector: str
    account: str
    images: int
    since: datetime | None
    note: str


def whereabouts(engine: sa.Engine, sku: str) -> tuple[Whereabout, ...]:
    """The places that the ledgers of the connectors name for this SKU, ordered by connector and account."""
    with engine.connect() as connection:
        return (*_edge(connection, sku), *_moysklad(connection, sku), *_plytix(connection, sku))


def _edge(connection: sa.Connection, sku: str) -> list[Whereabout]:
    row = mirror.c
    query = (
        sa.select(row.account, sa.func.count(), sa.func.max(row.changed_at))
        .where(row.connector == EDGE, row.gone_at.is_(None), row.payload["product_sku"].astext == sku)
        .group_by(row.account)
        .order_by(row.account)
    )
    return [
        Whereabout(EDGE, store, images, since, "listed for this store by its head office")
        for store, images, since in connection.execute(query)
    ]


def _plytix(connection: sa.Connection, sku: str) -> list[Whereabout]:
    link = plytix_link.c
    query = (
        sa.select(link.account, sa.func.count(), sa.func.max(link.linked_at))
        .where(link.product_sku == sku, link.linked_at.is_not(None))
        .group_by(link.account)
        .order_by(link.account)
    )
    return [
        Whereabout(PLYTIX, account, images, since, "in the product's gallery")
        for account, images, since in connection.execute(query)
    ]


def _moysklad(connection: sa.Connection, sku: str) -> list[Whereabout]:
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
    return [
        Whereabout(MOYSKLAD, child, count, since, f"on the article that was found by its {field}")
        for child, count, since, field in connection.execute(query)
    ]
