"""Taking back what a run changed of product images: the plan of it, what that writes, and the marks that it leaves."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import sqlalchemy as sa

from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.products.applying import plan_images
from imagesync_pipelines.products.orders import ORDER, UNORDER, order_of, set_order
from imagesync_pipelines.products.primaries import pin_image, pins_of, unpin_image
from imagesync_pipelines.products.table import read_products
from imagesync_pipelines.products.target import VALUES, read_current
from imagesync_pipelines.storage.effects import effects_about
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.schema import product
from imagesync_pipelines.storage.schema_effects import effect
from imagesync_pipelines.sync import undoing
from imagesync_pipelines.sync.connector import Job
from imagesync_pipelines.sync.frames import among, only
from imagesync_pipelines.sync.model import EFFECTS, Scope
from imagesync_pipelines.sync.steps import RunContext, StepResult
from imagesync_pipelines.sync.undo import BY_COMMAND
from imagesync_pipelines.sync.undoing import Asked, UndoRefusedError, undo_result, what_to_undo
from imagesync_pipelines.upstream.canonical import expires_at

_GONE = N_("there is no such product any more")


def undo(context: RunContext[Any], options: Asked, kept: Collection[str] = ()) -> StepResult:
    """What would give products back the images that they had before a run, or take away ours; nothing is changed yet.

    Products that somebody changed since are left alone, each with who it was. Removals pass the deletion limits. The
    plan is carried out only by its number. kept: runs of which no hand-over is forgotten.

    Raises UndoRefusedError.
    """
    engine = context.installation.engine
    products, current = read_products(engine), read_current(engine, context.connector)
    asked = what_to_undo(context, options, partial(_groups_of, products))
    judged = only(current, among(current["group"], pd.Series(list(asked.groups), dtype="str")))
    found = asked.reversal(judged)
    gone = asked.groups - set(products["id"].astype("str"))
    found = replace(found, refused={**found.refused, **dict.fromkeys(gone, _GONE)})
    stay = pd.Series(list(found.refused), dtype="str")
    judged, wanted = (rows[~among(rows["group"], stay)] for rows in (judged, found.wanted))
    payload = _payload(found.values)
    contents = dict(zip(payload["key"], payload["original_url"], strict=True))
    planned = plan_images(
        context,
        wanted.drop(columns="content"),
        current,
        Scope(frozenset(asked.groups - found.refused.keys()), BY_COMMAND),
        payload=payload,
        products=products,
        contents=lambda keys: keys.map(contents),
        judged=judged,
        undoing=True,
    )
    again = payload[among(payload["key"], wanted["key"])]
    over = [
        key
        for key, *urls in zip(again["key"], again["image_url"], again["thumbnail_url"], strict=True)
        if any(isinstance(url, str) and (end := expires_at(url)) and end < context.clock() for url in urls)
    ]
    first = min(over, default="")
    expired = told(
        f"{len(over)} images come back with an address that expired, such as {first}: only their source "
        "can give a new one."
    )
    number = int(planned.plan["change"].isin(EFFECTS).sum())
    return undo_result(
        context,
        replace(planned, scope={}),
        asked,
        found,
        names=dict(zip(products["id"].astype("str"), products["sku"], strict=True)),
        groups="products",
        cost=told(f"{number} rows of our own database"),
        told=[expired] if over else (),
        kept=kept,
    )


def undo_choice(engine: sa.Engine, which: str | int, who: str) -> str:
    """Take back the last choice of a product's primary picture, or order of its pictures, or the end of one.

    Says what holds now. which: the SKU of the product, or its id.

    It is noted as a choice itself, so doing it again brings that back. Raises UndoRefusedError and PinRefusedError.
    """
    with engine.connect() as connection:
        # As elsewhere: of several, one that is in the ERP, a variant first.
        asked = product.c.id == which if isinstance(which, int) else product.c.sku == which
        order = (product.c.left_erp_at.is_(None).desc(), product.c.kind.desc())
        whose = sa.select(product.c.id, product.c.sku).where(asked).order_by(*order).limit(1)
        product_id, sku = connection.execute(whose).first() or (None, which)
        sources = connection.scalars(sa.select(effect.c.connector).where(effect.c.group_key == str(product_id)))
        done = effects_about(connection, [(source, str(product_id)) for source in sorted(set(sources))])
        now = pins_of(connection, [product_id or 0]).get(product_id or 0)
        ordered = order_of(connection, product_id or 0)
    choices = (row for one in reversed(done) for row in one.rows if row.change in ("pin", "unpin", ORDER, UNORDER))
    last = next(choices, None)
    if product_id is None or last is None:
        raise UndoRefusedError(f"No choice of a picture or an order is known of a product {sku}; nothing was changed.")
    made, before = last.after or {}, last.before or {}
    if last.change in (ORDER, UNORDER):
        if ordered != made.get("pictures", []):
            raise UndoRefusedError(f"The order of the pictures of {sku} was changed since; nothing was changed.")
        with engine.begin() as connection:
            set_order(connection, product_id, before.get("pictures", ()), who)
        return told(
            f"{sku}: its pictures have their earlier order again"
            if before
            else f"{sku}: the rules order its pictures again"
        )
    if now != (None if last.change == "unpin" else (made.get("source"), made.get("external_id"))):
        raise UndoRefusedError(f"The choice of the primary picture of {sku} was changed since; nothing was changed.")
    if not before:
        unpin_image(engine, product_id, who)
        return told(f"{sku}: the rules choose the primary picture again")
    pin_image(engine, product_id, str(before["source"]), str(before["external_id"]), who)
    return told(f"{sku}: {before['external_id']} is the primary picture again")


def undo_jobs(
    connector: str, needed_runs: Callable[[Installation], Collection[str]] = lambda place: ()
) -> tuple[Job, Job]:
    """The jobs of a connector that plan to take back and away. needed_runs: as the connector declares them."""
    return undoing.undo_jobs(
        connector,
        lambda context, options: undo(context, options, needed_runs(context.installation)),
        "product",
        kinds=("postgres",),
        partitions="",
    )


def _payload(values: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """What the history has of rows as a plan's payload: key and VALUES, metadata as text."""
    rows = [{**{name: before.get(name) for name in VALUES.names}, "key": key} for key, before in values.items()]
    frame = pd.DataFrame(rows, columns=["key", *VALUES.names])
    moments = pd.to_datetime(frame["newest_export"], utc=True, format="ISO8601")
    numbers = dict.fromkeys(("priority", "width", "height"), "Int64")
    return frame.assign(newest_export=moments).astype(numbers)


def _groups_of(products: pd.DataFrame, skus: Sequence[str]) -> frozenset[str]:
    """The groups of these SKUs. Raises UndoRefusedError for one that no product has."""
    known = products[products["sku"].isin(skus)]
    if missing := sorted(set(skus) - set(known["sku"])):
        raise UndoRefusedError(f"No product has the SKU {missing[0]}; nothing was planned.")
    return frozenset(known["id"].astype("str"))
