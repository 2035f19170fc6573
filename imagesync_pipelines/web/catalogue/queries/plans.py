"""Stored plans as the pages show them: the list, and the rows of one with its pictures before and after."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from imagesync_pipelines.connectors.image_db.batch import Batches
from imagesync_pipelines.connectors.image_db.record_store import read_table
from imagesync_pipelines.connectors.plytix.galleries import picture_key
from imagesync_pipelines.connectors.plytix.ledger import CONNECTOR as PLYTIX
from imagesync_pipelines.connectors.plytix.planning import tasks_of
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.storage.schema import plan, product, product_image
from imagesync_pipelines.web.catalogue.state import Opened

IMAGE_DB = "image_db"
# The changes after which a picture is there.
WRITTEN = ("add", "update")
CHANGES = ("add", "update", "remove", "reject")
_FILES = ("external_id", "thumbnail_url", "image_url")


@dataclass(frozen=True)
class PlanLine:
    """One row of a plan. product and image: what it is about, for people; before, after: URLs of pictures, '' for none.

    product_id is None in connectors whose groups are not products of ours.
    """

    change: str
    product: str
    product_id: int | None
    image: str
    reason: str
    before: str
    after: str


@dataclass(frozen=True)
class PlanPage:
    """Some rows of a plan with one change; total: how many it has."""

    lines: tuple[PlanLine, ...]
    total: int


def newest_plans(engine: sa.Engine, limit: int, connector: str | None = None) -> list[PlanHeader]:
    """The newest stored plans of a connector or of all, the newest first."""
    query = sa.select(plan).order_by(plan.c.id.desc()).limit(limit)
    if connector is not None:
        query = query.where(plan.c.connector == connector)
    with engine.connect() as connection:
        return [PlanHeader(**row._mapping) for row in connection.execute(query)]


def plan_page(opened: Opened, header: PlanHeader, change: str, start: int, limit: int) -> PlanPage:
    """The rows of a plan with this change from a place on. Raises PlanMissingError and PlanDamagedError."""
    rows = Plans(opened.engine, opened.storage).load(header.id)
    found = rows[rows["change"] == change]
    part = found.iloc[start : start + limit]
    if header.connector == IMAGE_DB:
        lines = _lines_of_products(opened, header, part)
    elif header.connector == PLYTIX:
        lines = _lines_of_galleries(opened, header, part)
    else:
        lines = [_line(row, None, str(row["key"])) for row in part.to_dict(orient="records")]
    return PlanPage(tuple(lines), len(found))


def _lines_of_products(opened: Opened, header: PlanHeader, part: pd.DataFrame) -> list[PlanLine]:
    """The lines with the picture that was there when the plan was made, and the one that it puts there."""
    rows = part.to_dict(orient="records")
    images = {str(row["key"]).partition("/")[2] for row in rows}
    after = _in_batch(opened, header, images)
    before = _before(opened, header, rows)
    lines = []
    for row in rows:
        image = str(row["key"]).partition("/")[2]
        gone, new = row["change"] == "remove", row["change"] == "add"
        old_key = str(row["key"] if pd.isna(row["key_before"]) else row["key_before"])
        old, fresh = "" if new else before.get(old_key, ""), "" if gone else after.get(image, "")
        lines.append(_line(row, int(row["group"]), image, before=old, after=fresh))
    return lines


def _lines_of_galleries(opened: Opened, header: PlanHeader, part: pd.DataFrame) -> list[PlanLine]:
    """The lines with the picture that a gallery gets; what Plytix showed before is in Plytix only."""
    payload = Plans(opened.engine, opened.storage).load_payload(header.id)
    tasks = {} if payload is None else tasks_of(payload[payload["group"].isin(part["group"])])
    urls = {(sku, image.key): image.url for sku, task in tasks.items() for image in task.images}
    ours = _product_ids(opened.engine, set(part["group"]))
    lines = []
    for row in part.to_dict(orient="records"):
        sku, picture = str(row["group"]), picture_key(str(row["key"]))
        after = urls.get((sku, picture), "") if row["change"] in WRITTEN else ""
        lines.append(_line(row, ours.get(sku), picture, after=after))
    return lines


def _product_ids(engine: sa.Engine, skus: Collection[str]) -> dict[str, int]:
    """Our product of each SKU, a variant before a parent; one that we do not have is left out."""
    wanted = product.c.sku == sa.any_(sa.literal(sorted(skus), sa.ARRAY(sa.Text)))
    query = sa.select(product.c.sku, product.c.id).where(wanted, product.c.left_erp_at.is_(None))
    with engine.connect() as connection:
        return {row.sku: row.id for row in connection.execute(query.order_by(product.c.kind))}


def _before(opened: Opened, header: PlanHeader, rows: Collection[Mapping]) -> dict[str, str]:
    """The picture that each row's product image had before, by key: what is there now, or what an earlier plan read."""
    keys = {str(row[name]) for row in rows for name in ("key", "key_before") if not pd.isna(row[name])}
    if header.applied_at is None and header.applied_run is None:
        return _there_now(opened.engine, keys)
    earlier = [one for one in newest_plans(opened.engine, 50, IMAGE_DB) if one.id < header.id and one.applied_at]
    read = _in_batch(opened, earlier[0], {key.partition("/")[2] for key in keys}) if earlier else {}
    return {key: read.get(key.partition("/")[2], "") for key in keys}


def _there_now(engine: sa.Engine, keys: Collection[str]) -> dict[str, str]:
    image = product_image.c
    products = sorted({int(key.partition("/")[0]) for key in keys})
    query = sa.select(image.product_id, image.external_id, image.thumbnail_url, image.image_url).where(
        image.product_id == sa.any_(sa.literal(products, sa.ARRAY(sa.BigInteger))), image.source == IMAGE_DB
    )
    with engine.connect() as connection:
        found = connection.execute(query).all()
    return {f"{row.product_id}/{row.external_id}": row.thumbnail_url or row.image_url for row in found}


def _in_batch(opened: Opened, header: PlanHeader, images: Collection[str]) -> dict[str, str]:
    """The pictures of these images in the records that a plan was made from; empty when those cannot be read."""
    path = Batches(HandOvers(opened.engine, opened.storage, IMAGE_DB)).records(str(header.scope.get("batch", "")))
    try:
        table = read_table(path, _FILES)
    except (FileNotFoundError, pa.ArrowInvalid):
        return {}
    wanted = table.filter(pc.is_in(table["external_id"], pa.array(sorted(images), pa.string())))
    return {row["external_id"]: row["thumbnail_url"] or row["image_url"] or "" for row in wanted.to_pylist()}


def _line(row: Mapping, product_id: int | None, image: str, *, before: str = "", after: str = "") -> PlanLine:
    named = row.get("product")
    return PlanLine(
        change=str(row["change"]),
        product=str(row["group"]) if named is None or pd.isna(named) else str(named),
        product_id=product_id,
        image=image,
        reason="" if pd.isna(row["reason"]) else str(row["reason"]),
        before=before,
        after=after,
    )
