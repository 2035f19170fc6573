"""What pages show of galleries: the pictures that a plan puts there, and where a product's images are."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.connectors.plytix.galleries import picture_key
from imagesync_pipelines.connectors.plytix.planning import images_of, tasks_of
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.storage.schema import plytix_link, product
from imagesync_pipelines.sync.connector import ImagePlace, RowPictures

# The changes after which a picture is there.
WRITTEN = ("add", "update")


def pictures_of(
    engine: sa.Engine, storage: UPath, header: PlanHeader, rows: Sequence[Mapping[str, Any]]
) -> list[RowPictures]:
    """The picture that a gallery gets, of each row; what Plytix showed before is in Plytix only."""
    payload = Plans(engine, storage).load_payload(header.id)
    groups = {str(row["group"]) for row in rows}
    tasks = {} if payload is None else tasks_of(payload[payload["group"].isin(groups)])
    images = images_of(tasks)
    ours = _product_ids(engine, groups)
    shown = []
    for row in rows:
        sku, picture = str(row["group"]), picture_key(str(row["key"]))
        image = images.get((sku, picture)) if row["change"] in WRITTEN else None
        shown.append(RowPictures(ours.get(sku), picture, after=image.url if image else ""))
    return shown


def places_of(connection: sa.Connection, sku: str) -> Iterator[ImagePlace]:
    """The accounts in whose galleries a product has images, in order."""
    link = plytix_link.c
    query = (
        sa.select(link.account, sa.func.count(), sa.func.max(link.linked_at))
        .where(link.product_sku == sku, link.linked_at.is_not(None))
        .group_by(link.account)
        .order_by(link.account)
    )
    for account, images, since in connection.execute(query):
        yield ImagePlace(account, images, since, "in the product's gallery")


def _product_ids(engine: sa.Engine, skus: Collection[str]) -> dict[str, int]:
    """Our product of each SKU, a variant before a parent; one that we do not have is left out."""
    wanted = product.c.sku == sa.any_(sa.literal(sorted(skus), sa.ARRAY(sa.Text)))
    query = sa.select(product.c.sku, product.c.id).where(wanted, product.c.left_erp_at.is_(None))
    with engine.connect() as connection:
        return {row.sku: row.id for row in connection.execute(query.order_by(product.c.kind))}
