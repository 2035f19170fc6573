"""What pages show of the connector's plans: the picture that a row's product image had, and the one that it gets."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.connectors.image_db.pages import CONNECTOR
from imagesync_pipelines.connectors.image_db.record_store import Batches, read_table
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines.sync.connector import RowPictures

_FILES = ("external_id", "thumbnail_url", "image_url")
# So many plans back the last one that was applied is looked for.
_LOOKED_THROUGH = 50


def pictures_of(
    engine: sa.Engine, storage: UPath, header: PlanHeader, rows: Sequence[Mapping[str, Any]]
) -> list[RowPictures]:
    """The picture that was there when the plan was made, and the one that the plan puts there, of each row."""
    after = _in_batch(engine, storage, header, {_image(str(row["key"])) for row in rows})
    before = _before(engine, storage, header, rows)
    shown = []
    for row in rows:
        image = _image(str(row["key"]))
        old_key = str(row["key"] if pd.isna(row["key_before"]) else row["key_before"])
        old = "" if row["change"] == "add" else before.get(old_key, "")
        new = "" if row["change"] == "remove" else after.get(image, "")
        shown.append(RowPictures(int(row["group"]), image, old, new))
    return shown


def _image(key: str) -> str:
    """A key is our product's id and the image's number."""
    return key.partition("/")[2]


def _before(
    engine: sa.Engine, storage: UPath, header: PlanHeader, rows: Collection[Mapping[str, Any]]
) -> dict[str, str]:
    """The picture that each row's product image had before, by key: what is there now, or what an earlier plan read."""
    keys = {str(row[name]) for row in rows for name in ("key", "key_before") if not pd.isna(row[name])}
    if header.applied_at is None and header.applied_run is None:
        return _there_now(engine, keys)
    newest = Plans(engine, storage).newest(_LOOKED_THROUGH, CONNECTOR)
    earlier = next((one for one in newest if one.id < header.id and one.applied_at), None)
    read = _in_batch(engine, storage, earlier, {_image(key) for key in keys}) if earlier else {}
    return {key: read.get(_image(key), "") for key in keys}


def _there_now(engine: sa.Engine, keys: Collection[str]) -> dict[str, str]:
    image = product_image.c
    products = sorted({int(key.partition("/")[0]) for key in keys})
    query = sa.select(image.product_id, image.external_id, image.thumbnail_url, image.image_url).where(
        image.product_id == sa.any_(sa.literal(products, sa.ARRAY(sa.BigInteger))), image.source == CONNECTOR
    )
    with engine.connect() as connection:
        found = connection.execute(query).all()
    return {f"{row.product_id}/{row.external_id}": row.thumbnail_url or row.image_url for row in found}


def _in_batch(engine: sa.Engine, storage: UPath, header: PlanHeader, images: Collection[str]) -> dict[str, str]:
    """The pictures of these images in the records that a plan was made from; empty when those cannot be read."""
    path = Batches(HandOvers(engine, storage, CONNECTOR)).records(str(header.scope.get("batch", "")))
    try:
        table = read_table(path, _FILES)
    except (FileNotFoundError, pa.ArrowInvalid):
        return {}
    wanted = table.filter(pc.is_in(table["external_id"], pa.array(sorted(images), pa.string())))
    return {row["external_id"]: row["thumbnail_url"] or row["image_url"] or "" for row in wanted.to_pylist()}
