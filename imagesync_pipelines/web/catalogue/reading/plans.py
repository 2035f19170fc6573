"""Stored plans as the pages show them: the list, and the rows of one with its pictures before and after.

What belongs here: reading plans of all rooms. What does not: making and applying plans (the rooms), HTML (pages/).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from imagesync_pipelines.image_db.batch import Batches
from imagesync_pipelines.image_db.record_store import read_table
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.storage.schema import plan, product_image
from imagesync_pipelines.web.catalogue.opening import Opened

IMAGE_DB = "image_db"
CHANGES = ("add", "update", "remove", "reject")
_FILES = ("external_id", "thumbnail_url", "image_url")


@dataclass(frozen=True)
class PlanLine:
    """One row of a plan. product and image: what it is about, for people; before, after: URLs of pictures, '' for none.

    product_id is None in rooms whose groups are not products of ours.
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


def newest_plans(engine: sa.Engine, limit: int, room: str | None = None) -> list[PlanHeader]:
    """The newest stored plans of a room or of all, the newest first."""
    query = sa.select(plan).order_by(plan.c.id.desc()).limit(limit)
    if room is not None:
        query = query.where(plan.c.room == room)
    with engine.connect() as connection:
        return [PlanHeader(**row._mapping) for row in connection.execute(query)]


def plan_page(opened: Opened, header: PlanHeader, change: str, start: int, limit: int) -> PlanPage:
    """The rows of a plan with this change from a place on. Raises PlanMissing and PlanDamaged."""
    rows = Plans(opened.engine, opened.storage).load(header.id)
    found = rows[rows["change"] == change]
    part = found.iloc[start : start + limit]
    if header.room == IMAGE_DB:
        lines = _lines_with_pictures(opened, header, part)
    else:
        lines = [_line(row, None, "", "") for row in part.to_dict(orient="records")]
    return PlanPage(tuple(lines), len(found))


def _lines_with_pictures(opened: Opened, header: PlanHeader, part: pd.DataFrame) -> list[PlanLine]:
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
        lines.append(
            _line(row, int(row["group"]), "" if new else before.get(old_key, ""), "" if gone else after.get(image, ""))
        )
    return lines


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
        image.product_id == sa.any_(sa.literal(products, sa.ARRAY(sa.BigInteger)))
    )
    with engine.connect() as connection:
        found = connection.execute(query).all()
    return {f"{row.product_id}/{row.external_id}": row.thumbnail_url or row.image_url for row in found}


def _in_batch(opened: Opened, header: PlanHeader, images: Collection[str]) -> dict[str, str]:
    """The pictures of these images in the records that a plan was made from; empty when those are no longer kept."""
    path = Batches(opened.storage).records(str(header.scope.get("batch", "")))
    try:
        table = read_table(path, _FILES)
    except FileNotFoundError:
        return {}
    wanted = table.filter(pc.is_in(table["external_id"], pa.array(sorted(images), pa.string())))
    return {row["external_id"]: row["thumbnail_url"] or row["image_url"] or "" for row in wanted.to_pylist()}


def _line(row: Mapping, product_id: int | None, before: str, after: str) -> PlanLine:
    key = str(row["key"])
    product = row.get("product")
    return PlanLine(
        change=str(row["change"]),
        product=str(row["group"]) if product is None or pd.isna(product) else str(product),
        product_id=product_id,
        image=key.partition("/")[2] if product_id is not None else key,
        reason="" if pd.isna(row["reason"]) else str(row["reason"]),
        before=before,
        after=after,
    )
