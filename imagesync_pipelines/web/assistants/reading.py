"""The tools by which an assistant reads: products with their pictures, plans, quarantine, quality, history, runs."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from anyio import to_thread
from mcp.server.mcpserver import Image
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field, TypeAdapter

from imagesync_pipelines.imaging.derivatives import Encoding
from imagesync_pipelines.quality import queries as quality
from imagesync_pipelines.quality.rules import TO_DO, rule_sets
from imagesync_pipelines.registry import CONNECTORS
from imagesync_pipelines.storage.errors import PlanMissingError
from imagesync_pipelines.storage.plan_words import dismissal
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.storage.schema import quarantine as quarantine_table
from imagesync_pipelines.sync.job_runs import job_words
from imagesync_pipelines.web.assistants.desk import Call, desk_of, opened_of, require
from imagesync_pipelines.web.catalogue import listing, past, queries
from imagesync_pipelines.web.catalogue.access import KeyScope
from imagesync_pipelines.web.catalogue.admin.dagster import DagsterUnreachableError
from imagesync_pipelines.web.catalogue.admin.runs import dagster_of
from imagesync_pipelines.web.catalogue.pages.pictures import picture_of
from imagesync_pipelines.web.catalogue.pages.plans import plan_page
from imagesync_pipelines.web.catalogue.queries import CursorError

MOST, MOST_PICTURES, MOST_PLANS = 100, 8, 50
Words = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
Sku = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$", description="of our product")]
Limit = Annotated[int, Field(ge=1, le=MOST)]
RunId = Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")]


Facts = dict[str, Any]
"""What the API answers too, in its own words."""


class PlanFacts(BaseModel):
    """A stored plan: what is about to change, or was, and whether a person dismissed or applied it."""

    number: int
    connector: str
    account: str
    made_at: datetime
    counts: dict[str, int]
    cost: dict[str, float]
    applied_at: datetime | None
    dismissed: str = Field("", description="who dismissed it and when; empty: nobody")


class PlanRow(BaseModel):
    """One change of a plan. stale: why it is refused now, empty where it is not."""

    change: str
    product: str
    picture: str
    reason: str
    size: str
    stale: str


class PlanRows(BaseModel):
    """Rows of a plan with one change, some at a time."""

    plan: PlanFacts
    rows: list[PlanRow]
    total: int


class Aside(BaseModel):
    """An item that was set aside: why, since when, how often it was met."""

    connector: str
    key: str
    stage: str
    reason: str
    first_seen: datetime
    last_seen: datetime
    attempts: int


class Event(BaseModel):
    """What became of one picture of a product in a target: before and after, and why."""

    at: datetime | None
    who: str
    connector: str
    account: str
    picture: str
    what: str
    before: str
    after: str
    why: str
    lost: str = Field(description="why it cannot be brought back; empty: it can")


class QualityFacts(BaseModel):
    """How channels stand, what to do next, and the main pictures with the lowest score and why."""

    channels: list[dict[str, Any]]
    what_to_do_next: list[dict[str, Any]]
    worst: list[dict[str, Any]]


class RunFacts(BaseModel):
    """A run now. plan: the number of the plan that it made, null while it made none."""

    run_id: str
    what: str
    state: str
    has_ended: bool
    plan: int | None


def find_products(
    call: Call, words: Words = "", without_picture: bool = False, limit: Limit = 20, cursor: str | None = None
) -> Facts:
    """Products by the beginning of a SKU or words of a name, in the order of their SKUs."""
    filters = listing.Filters(words.strip(), without_picture)
    opened = opened_of(call)
    try:
        page = listing.list_products(opened.engine, filters, cursor, limit, opened.showing)
    except CursorError as error:
        raise ToolError(str(error)) from error
    return page.model_dump(mode="json")


def product(call: Call, sku: Sku) -> Facts:
    """A product, the pictures that are shown for it with the reason for each, how channels judge its main picture."""
    opened, product_id = opened_of(call), _product_of(call, sku)
    view = queries.product_view(opened.engine, product_id, opened.showing)
    shown = queries.shown_for(opened.engine, [product_id], opened.showing).get(product_id)
    if view is None or shown is None:
        raise ToolError(f"The product {sku} left meanwhile.")
    asked = quality.Asked(product_ids=[product_id])
    with opened.engine.connect() as connection:
        judged, _ = quality.pictures(connection, rule_sets(opened.quality), asked)
    facts = {"product": view, "pictures": shown, "quality": [quality.as_json(one) for one in judged]}
    told: Facts = TypeAdapter(Facts).dump_python(facts, mode="json")
    return told


async def pictures(
    call: Call,
    sku: Sku,
    most: Annotated[int, Field(ge=1, le=MOST_PICTURES)] = 1,
    size: Literal["small", "web"] = "small",
) -> list[str | Image]:
    """The pictures that are shown for a product, as images of 480 points, or 1200, the main one first."""
    opened, derivatives = opened_of(call), desk_of(call).derivatives
    product_id = await to_thread.run_sync(_product_of, call, sku)
    shown = await to_thread.run_sync(queries.shown_for, opened.engine, [product_id], opened.showing)
    found: list[str | Image] = []
    for image in shown[product_id].images[:most] if product_id in shown else ():
        # In quotation marks and in one line: what is said there is no word of ours.
        found.append(json.dumps({"sku": sku, "picture": image.external_id, "text": image.alt_text}, ensure_ascii=False))
        there = await to_thread.run_sync(picture_of, opened.engine, image.id, size)
        copy = await derivatives.copy(there[0], size, Encoding.JPEG) if there is not None else None
        body = await to_thread.run_sync(derivatives.read, copy) if copy is not None else None
        found.append("It cannot be had at the moment." if body is None else Image(data=body, format="jpeg"))
    return found or [f"{sku} has no picture."]


def plans(call: Call, connector: Words = "", limit: Annotated[int, Field(ge=1, le=MOST_PLANS)] = 20) -> list[PlanFacts]:
    """The newest plans, of one connector or of all: what is about to change, or was."""
    opened = opened_of(call)
    is_known(connector)
    return [_plan(call, one) for one in Plans(opened.engine, opened.storage).newest(limit, connector or None)]


def plan(
    call: Call,
    number: Annotated[int, Field(ge=1, le=2**63 - 1)],
    change: Literal["remove", "held", "update", "add", "reject"],
    words: Words = "",
    start: Annotated[int, Field(ge=0, le=10_000_000)] = 0,
    limit: Limit = 20,
) -> PlanRows:
    """The rows of a plan with one change, with product, picture, reason; `held`: what the deletion limits hold back."""
    opened = opened_of(call)
    try:
        header = Plans(opened.engine, opened.storage).header(number)
        page = plan_page(opened, header, change, start, limit, words.strip())
    except PlanMissingError as error:
        raise ToolError(str(error)) from error
    rows = [
        PlanRow(
            change=one.change, product=one.product, picture=one.shown.image, reason=one.reason, size=one.shown.size,
            stale=one.stale,
        )
        for one in page.lines
    ]  # fmt: skip
    return PlanRows(plan=_plan(call, header), rows=rows, total=page.total)


def quarantine(call: Call, connector: Words = "", limit: Limit = 50) -> list[Aside]:
    """What was set aside because it could not be synchronised, with the reason; what failed last first.

    connector: its name, or name/account. It needs a key with the scope `plan`: a system that only reads sees no more
    than visitors do, and quarantine is for people who are logged in.
    """
    require(call, KeyScope.PLAN)
    columns = quarantine_table.c
    query = sa.select(*(columns[name] for name in Aside.model_fields)).order_by(columns.last_seen.desc()).limit(limit)
    if connector:
        query = query.where(columns.connector == connector)
    with opened_of(call).engine.connect() as connection:
        return [Aside(**row._mapping) for row in connection.execute(query)]


def history(call: Call, sku: Sku, picture: Words = "", limit: Limit = 50) -> list[Event]:
    """What was done about a product's pictures in any target, the newest first; of one picture by its name."""
    lines, _, _ = past.timeline(opened_of(call).engine, _product_of(call, sku), sku, picture)
    return [
        Event(
            at=one.at, who=one.who, connector=one.connector, account=one.account, picture=one.image, what=one.what,
            before=one.before, after=one.after, why=one.why, lost=one.lost,
        )
        for one in lines[:limit]
    ]  # fmt: skip


def picture_quality(call: Call, rule_set: Words = "", connector: Words = "", limit: Limit = 20) -> QualityFacts:
    """How good the main pictures of every channel are, what to do next, and the worst with why."""
    opened = opened_of(call)
    known = rule_sets(opened.quality)
    is_known(connector)
    if rule_set and rule_set not in known:
        raise ToolError(f"There is no rule set {rule_set!r}; there are: {', '.join(sorted(known))}.")
    with opened.engine.connect() as connection:
        channels = quality.summary(connection)
        steps = quality.what_next(connection, known, connector)
        worst, _ = quality.pictures(connection, known, quality.Asked(rule_set, connector), None, limit)
    return QualityFacts(
        channels=[
            {**one._asdict(), "now": one.now._asdict(), "before": one.before and one.before._asdict()}
            for one in channels
            if rule_set in ("", one.rule_set) and connector in ("", one.connector)
        ],
        what_to_do_next=[
            {**one._asdict(), "to_do": TO_DO[one.to_do]} for one in steps if rule_set in ("", one.rule_set)
        ],
        worst=[quality.as_json(one) for one in worst],
    )


def run(call: Call, run_id: RunId) -> RunFacts:
    """Where a run is, and the number of the plan that it made."""
    opened = opened_of(call)
    try:
        found = dagster_of(opened).run(run_id)
    except DagsterUnreachableError as error:
        raise ToolError(str(error)) from error
    if found is None:
        raise ToolError(f"Dagster has no record of run {run_id}.")
    plans = Plans(opened.engine, opened.storage).newest(MOST_PLANS)
    made = next((one.id for one in plans if one.run_id == run_id), None)
    return RunFacts(run_id=run_id, what=job_words(found.job), state=found.state, has_ended=found.has_ended, plan=made)


def is_known(connector: str) -> None:
    """Raise ToolError for a connector that there is not; '' is any."""
    if connector and connector not in CONNECTORS:
        raise ToolError(f"There is no connector {connector!r}; there are: {', '.join(CONNECTORS)}.")


def _product_of(call: Call, sku: str) -> int:
    found = queries.products_of_skus(opened_of(call).engine, [sku.strip()]).get(sku.strip())
    if found is None:
        raise ToolError(f"There is no product with the SKU {sku}.")
    return found


def _plan(call: Call, header: PlanHeader) -> PlanFacts:
    word = dismissal(opened_of(call).engine, header.id)
    return PlanFacts(
        number=header.id, connector=header.connector, account=str(header.scope.get("account", "")),
        made_at=header.created_at.astimezone(UTC), counts=header.counts, cost=header.cost,
        applied_at=header.applied_at, dismissed="" if word is None else f"by {word.said_by}: {word.comment}",
    )  # fmt: skip
