"""What waits for a person: items that were set aside, and article numbers that no product has."""

import logging
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import sqlalchemy as sa
from fastapi import APIRouter, Form, HTTPException, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy.dialects.postgresql import distinct_on
from starlette.responses import Response

from imagesync_pipelines.products.article_rules import list_rules
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.settings import DEFAULT_SOURCE
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.storage.quarantine import REFUSED_STAGE, QuarantineTable
from imagesync_pipelines.storage.schema import plan as plan_table
from imagesync_pipelines.storage.schema import quarantine as quarantine_table
from imagesync_pipelines.storage.schema import unmatched_article
from imagesync_pipelines.sync.plan_rows import PlanLine, plan_lines
from imagesync_pipelines.sync.tally import APPLY_STAGE
from imagesync_pipelines.web.catalogue.admin.runs import NothingToStartError, launched, replay_of, sync_of_account
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, Viewer, go_on, private_page, tell
from imagesync_pipelines.web.catalogue.pages.pictures import picture_token
from imagesync_pipelines.web.catalogue.pages.plans import declared
from imagesync_pipelines.web.catalogue.pages.rendering import Here, connector_titles
from imagesync_pipelines.web.catalogue.queries import products_of_skus, rows_after
from imagesync_pipelines.web.catalogue.state import Opened

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

ROWS = 50
# The images of one replay; beyond that a run over everything is the quicker way.
MOST_REPLAYED = 1000
# Of the article numbers that no product has, so many stand with the quarantine.
FEW_ARTICLES = 10
# What a person can do, by the stage in which an item failed.
AT_THE_SOURCE = "Correct it where it comes from; the next run reads it again."
ADVICE = {
    APPLY_STAGE: "It could not be written. Every run tries it again; try it now when what the reason names is mended.",
    REFUSED_STAGE: "The account refuses it. Mend the picture where it comes from, or its settings, and try it again.",
}
# Of a raw record that may be of any length.
SHOWN_CHARACTERS = 4000

Name = Annotated[str, Query(max_length=300)]
Number = Annotated[str, Query(max_length=100)]
Cursor = Annotated[str, Query(max_length=600)]


class ChosenItems(BaseModel):
    """Items of one connector, or account of a connector, by their numbers; none chosen means all of them."""

    connector: Annotated[str, Field(max_length=300, pattern=r"^[^\x00]*$")]
    ids: Annotated[list[Annotated[int, Field(ge=1, le=2**63 - 1)]], Field(max_length=ROWS)] = []


class Aside(NamedTuple):
    """An item that was set aside. line: its row of the newest plan of its account, None where that has none."""

    item: sa.Row
    line: PlanLine | None
    advice: str


@router.get("/admin/quarantine", name="quarantine")
def quarantine(request: Request, opened: Here, _: Viewer, connector: Name = "", cursor: Cursor = "") -> Response:
    """What is in quarantine, what failed last first, of all or of one connector or account of it.

    With a name that has nothing there it is that of all. Article numbers that no product has stand below that of all.
    """
    columns = quarantine_table.c
    counts = sa.select(columns.connector, sa.func.count()).group_by(columns.connector).order_by(columns.connector)
    beginning = sa.func.left(sa.func.coalesce(columns.payload, ""), SHOWN_CHARACTERS).label("payload")
    names = ("id", "connector", "stage", "key", "group_key", "reason", "first_seen", "last_seen", "attempts", "run_id")
    with opened.engine.connect() as connection:
        connectors = {row[0]: row[1] for row in connection.execute(counts)}
        chosen = connector if connector in connectors else ""
        query = sa.select(*(columns[name] for name in names), beginning)
        query = query.where(columns.connector == chosen) if chosen else query
        order = (columns.last_seen, columns.id)
        items, next_cursor = rows_after(connection, query, order, cursor, ROWS, falling=True)
    articles, total = ([], 0) if chosen or cursor else _unmatched(opened, "", "", FEW_ARTICLES)[::2]
    context = {
        "connectors": connectors,
        "connector": chosen,
        "items": _asides(opened, items),
        "next_cursor": next_cursor,
        "can_choose": chosen == DEFAULT_SOURCE,
        "left_out": _left_out(opened.engine),
        "cursor": cursor,
        "articles": articles,
        "total": total,
        "products": _meant(opened, articles),
        "token": lambda url: picture_token(opened, url),
    }
    return private_page(request, "admin/quarantine.html", context)


def _asides(opened: Opened, items: Sequence[sa.Row]) -> list[Aside]:
    """Items with the rows that the newest plans of their accounts have of them, where those can be read."""
    plans, lines = Plans(opened.engine, opened.storage), dict[tuple[str, str], PlanLine]()
    for owner in {item.connector for item in items}:
        name, _, account = owner.partition("/")
        part = {"account": account} if account else {}
        newest = next((one for one in plans.all(name, part) if one.run_id is not None), None)
        keys = [item.key for item in items if item.connector == owner]
        try:
            rows = plans.load(newest.id, keys).drop_duplicates("key") if newest is not None else None
            if newest is not None and rows is not None:
                found = plan_lines(opened.engine, opened.storage, newest, declared(name), rows, {})
                lines |= {(owner, key): line for key, line in zip(rows["key"].tolist(), found, strict=True)}
        except StorageError as error:
            log.info("what a plan of %r says of quarantined items cannot be read: %s", owner, error)
    return [Aside(item, lines.get((item.connector, item.key)), ADVICE.get(item.stage, AT_THE_SOURCE)) for item in items]


class LeftOut(NamedTuple):
    """A plan that leaves rows out for a reason of its own, which no run will change: so many, and whose it is."""

    plan_id: int
    owner: str
    rows: int


def _left_out(engine: sa.Engine) -> list[LeftOut]:
    """Of each connector or account, what its newest plan leaves out."""
    account = plan_table.c.scope["account"].astext
    rejects = sa.cast(plan_table.c.counts["reject"].astext, sa.Integer)
    newest = (
        sa.select(plan_table.c.id, plan_table.c.connector, account.label("account"), rejects.label("rows"))
        .ext(distinct_on(plan_table.c.connector, account))
        .where(plan_table.c.run_id.is_not(None))
        .order_by(plan_table.c.connector, account, plan_table.c.id.desc())
        .subquery()
    )
    query = sa.select(newest).where(newest.c.rows > 0).order_by(newest.c.connector, newest.c.account)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return [LeftOut(row.id, "/".join(filter(None, (row.connector, row.account))), row.rows) for row in rows]


@router.post("/admin/quarantine/replay", name="replay")
def replay(request: Request, opened: Here, who: Admin, chosen: Annotated[ChosenItems, Form()]) -> Response:
    """Try again: chosen images of the image database from the stored pages, products or entities of another connector.

    Where a connector knows no smaller part, or nothing was chosen, its account as a whole. What the account refused is
    sent again too: what was chosen of it, else all.
    """
    connector, _, account = chosen.connector.partition("/")
    if connector not in connector_titles():
        raise HTTPException(404, "There is no such connector.")
    entries = QuarantineTable(opened.engine, chosen.connector).list()
    wanted = [entry for entry in entries if entry.id in chosen.ids] if chosen.ids else entries
    if chosen.ids and not wanted:
        raise NothingToStartError("Nothing of what was chosen is in quarantine any more. Reload the page.")
    again = connector_named(connector).again(wanted) if chosen.ids or connector == DEFAULT_SOURCE else {}
    if connector != DEFAULT_SOURCE:
        run = sync_of_account(opened, connector, account, **again)
        QuarantineTable(opened.engine, chosen.connector).ask_again(chosen.ids)
        return launched(request, opened, who, run)
    if len(wanted) > MOST_REPLAYED:
        raise NothingToStartError(f"These are {len(wanted)} images: synchronise the whole image database instead.")
    return launched(request, opened, who, replay_of(again["external_ids"]))


@router.post("/admin/quarantine/drop", name="drop")
def drop(request: Request, opened: Here, who: Admin, chosen: Annotated[ChosenItems, Form()]) -> Response:
    """Forget chosen items; they come back when they fail again."""
    gone = QuarantineTable(opened.engine, chosen.connector).drop(chosen.ids)
    log.info("%s dropped %s items of %r from quarantine", who.name, gone, chosen.connector)
    noun = "item is" if gone == 1 else "items are"
    tell(request, f"{gone} {noun} forgotten; what fails again comes back." if gone else "Choose what to forget.")
    return go_on(str(request.app.url_path_for("quarantine")))


@router.get("/admin/unmatched", name="unmatched")
def unmatched(request: Request, opened: Here, _: Viewer, number: Number = "", cursor: Cursor = "") -> Response:
    """Article numbers that no product has, or those of them that begin with what was asked for; what people said.

    `products` is our product of each SKU that may be meant, where there still is one.
    """
    items, next_cursor, total = _unmatched(opened, number.strip(), cursor, ROWS)
    context = {
        "items": items,
        "products": _meant(opened, items),
        "next_cursor": next_cursor,
        "number": number.strip(),
        "total": total,
        "rules": [] if cursor else list_rules(opened.engine),
        "token": lambda url: picture_token(opened, url),
    }
    return private_page(request, "admin/unmatched.html", context)


def _unmatched(opened: Opened, number: str, cursor: str, limit: int) -> tuple[Sequence[sa.Row], str | None, int]:
    """Some articles whose number begins so, the next cursor, and how many there are in all."""
    columns = unmatched_article.c
    query = sa.select(unmatched_article).where(columns.number.startswith(number, autoescape=True))
    with opened.engine.connect() as connection:
        items, next_cursor = rows_after(connection, query, (columns.number, columns.id), cursor, limit)
        total = connection.execute(sa.select(sa.func.count()).select_from(unmatched_article)).scalar_one()
    return items, next_cursor, int(total)


def _meant(opened: Opened, items: Sequence[sa.Row]) -> dict[str, int]:
    """Our product of each SKU that may be meant, where there still is one."""
    meant = {str(one.get("sku")) for item in items for one in item.candidates}
    return products_of_skus(opened.engine, meant, with_left=True) if meant else {}
