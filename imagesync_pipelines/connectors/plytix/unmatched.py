"""Listings as the newest run over whole files saw them, and those of them whose SKU no product of Plytix has."""

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.connectors.plytix.ledger import CONNECTOR
from imagesync_pipelines.connectors.plytix.model import ImagesChosen, ProductsRead
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.schema import handover
from imagesync_pipelines.sync.connector import WithoutMatch

REASON = N_("Plytix has no product with this SKU; add it there, or correct the SKU in the mapping file")


def without_match(engine: sa.Engine, storage: UPath, account: str) -> Sequence[WithoutMatch]:
    """The listings with pictures that wait for a product; a run over chosen SKUs says nothing of the others."""
    handovers, runs = HandOvers(engine, storage, CONNECTOR, account), newest_whole(engine, account)
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


def listed_skus(engine: sa.Engine, storage: UPath, account: str, skus: Collection[str]) -> set[str]:
    """Those of SKUs that a mapping file has a listing of."""
    handovers = HandOvers(engine, storage, CONNECTOR, account)
    chosen = handovers.find(newest_whole(engine, account), "images", ImagesChosen)
    return {one.sku for one in (chosen.listings if chosen is not None else ())} & set(skus)


def newest_whole(engine: sa.Engine, account: str) -> Sequence[str]:
    """The newest run over whole mapping files that read the products too."""
    return _newest(engine, account, sa.func.jsonb_array_length(handover.c.value["files"]) > 0)


def whole_runs(engine: sa.Engine, account: str) -> set[str]:
    """The runs whose hand-overs stay, however many runs of chosen SKUs follow: all that is known of the others."""
    value = handover.c.value
    of_everything = (value["whole"].astext == "true") & (value["marketplace"].astext == "")
    return {*newest_whole(engine, account), *_newest(engine, account, of_everything)}


def needed_runs(place: Installation) -> set[str]:
    """The same of all accounts."""
    accounts = sa.select(handover.c.account).where(handover.c.connector == CONNECTOR).distinct()
    with place.engine.connect() as connection:
        names = connection.scalars(accounts).all()
    return {run for name in names for run in whole_runs(place.engine, name)}


def _newest(engine: sa.Engine, account: str, which: sa.ColumnElement[bool]) -> Sequence[str]:
    column = handover.c
    mine = (column.connector == CONNECTOR) & (column.account == account)
    read = sa.select(column.run_id).where(mine, column.step == "products", column.value["stopped"].astext == "")
    listings = mine & (column.step == "listings") & which
    newest = sa.select(column.run_id).where(listings, column.run_id.in_(read)).order_by(column.number.desc()).limit(1)
    with engine.connect() as connection:
        return connection.scalars(newest).all()
