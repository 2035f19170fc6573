"""Listings whose SKU no product of Plytix has, as the newest run over whole files saw it."""

from collections.abc import Sequence

import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.connectors.plytix.ledger import CONNECTOR
from imagesync_pipelines.connectors.plytix.model import ImagesChosen, ProductsRead
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines.storage.schema import handover
from imagesync_pipelines.sync.connector import WithoutMatch

REASON = "Plytix has no product with this SKU; add it there, or correct the SKU in the mapping file"


def without_match(engine: sa.Engine, storage: UPath, account: str) -> Sequence[WithoutMatch]:
    """The listings with pictures that wait for a product; a run over chosen SKUs says nothing of the others."""
    column, handovers = handover.c, HandOvers(engine, storage, CONNECTOR, account)
    mine = (column.connector == CONNECTOR) & (column.account == account)
    read = sa.select(column.run_id).where(mine, column.step == "products", column.value["stopped"].astext == "")
    whole = mine & (column.step == "listings") & (sa.func.jsonb_array_length(column.value["files"]) > 0)
    newest = sa.select(column.run_id).where(whole, column.run_id.in_(read)).order_by(column.number.desc()).limit(1)
    with engine.connect() as connection:
        runs = connection.scalars(newest).all()
    products = handovers.find(runs, "products", ProductsRead)
    unknown = set(products.unknown) if products is not None else set()
    chosen = handovers.find(runs, "images", ImagesChosen) if unknown else None
    return [
        WithoutMatch(
            one.sku,
            one.sku,
            f"{one.asin} {one.marketplace}".strip(),
            REASON,
            len(one.images),
            one.images[0].url,
            {"skus": [one.sku]},
        )
        for one in (chosen.listings if chosen is not None else ())
        if one.sku in unknown and one.images
    ]
