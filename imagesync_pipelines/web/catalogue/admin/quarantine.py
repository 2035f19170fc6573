"""What was set aside: the list with reasons, trying again, dropping."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Form, HTTPException, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from imagesync_pipelines.products.rules import DEFAULT_SOURCE
from imagesync_pipelines.storage.quarantine import QuarantineTable
from imagesync_pipelines.storage.schema import quarantine as quarantine_table
from imagesync_pipelines.web.catalogue.admin.dagster import DagsterUnreachableError
from imagesync_pipelines.web.catalogue.admin.runs import NothingToStartError, launched, replay_of, sync_of_account
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, Viewer, go_on, private_page, tell
from imagesync_pipelines.web.catalogue.pages.rendering import Here, connector_titles
from imagesync_pipelines.web.catalogue.queries.cursors import CursorError, decode_cursor, encode_cursor

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

ROWS = 50
# The images of one replay; beyond that a run over everything is the quicker way.
MOST_REPLAYED = 1000


class ChosenItems(BaseModel):
    """Items of one connector, or account of a connector, by their numbers; none chosen means all of them."""

    connector: Annotated[str, Field(max_length=300, pattern=r"^[^\x00]*$")]
    ids: Annotated[list[Annotated[int, Field(ge=1, le=2**63 - 1)]], Field(max_length=ROWS)] = []


@router.get("/admin/quarantine", name="quarantine")
def quarantine(
    request: Request,
    opened: Here,
    _: Viewer,
    connector: Annotated[str, Query(max_length=300)] = "",
    cursor: Annotated[str, Query(max_length=300)] = "",
) -> Response:
    """What one connector, or one account of it, has in quarantine; the first that has anything when none is named."""
    connectors = connectors_in_quarantine(opened.engine)
    chosen = connector if connector in connectors else next(iter(connectors), "")
    try:
        page = quarantine_page(opened.engine, chosen, cursor, ROWS)
    except CursorError as error:
        raise HTTPException(400, str(error)) from None
    context = {
        "connectors": connectors,
        "connector": chosen,
        "page": page,
        "can_choose": chosen == DEFAULT_SOURCE,
        "cursor": cursor,
    }
    return private_page(request, "admin/quarantine.html", context)


@router.post("/admin/quarantine/replay", name="replay")
def replay(request: Request, opened: Here, who: Admin, chosen: Annotated[ChosenItems, Form()]) -> Response:
    """Try again: chosen images of the image database from the stored pages, another connector's account as a whole."""
    connector, _, account = chosen.connector.partition("/")
    if connector not in connector_titles():
        raise HTTPException(404, "There is no such connector.")
    try:
        if connector != DEFAULT_SOURCE:
            return launched(request, opened, who, sync_of_account(opened, connector, account))
        entries = QuarantineTable(opened.engine, DEFAULT_SOURCE).list()
        wanted = [entry for entry in entries if entry.id in chosen.ids] if chosen.ids else entries
        if len(wanted) > MOST_REPLAYED:
            raise NothingToStartError(f"These are {len(wanted)} images: synchronise the whole image database instead.")
        # A key is the image's number, or a product and the image's number.
        images = sorted({entry.key.rpartition("/")[2] for entry in wanted})
        return launched(request, opened, who, replay_of(images))
    except NothingToStartError as error:
        raise HTTPException(409, str(error)) from None
    except DagsterUnreachableError as error:
        raise HTTPException(503, str(error)) from None


@router.post("/admin/quarantine/drop", name="drop")
def drop(request: Request, opened: Here, who: Admin, chosen: Annotated[ChosenItems, Form()]) -> Response:
    """Forget chosen items; they come back when they fail again."""
    gone = QuarantineTable(opened.engine, chosen.connector).drop(chosen.ids)
    log.info("%s dropped %s items of %r from quarantine", who.name, gone, chosen.connector)
    noun = "item is" if gone == 1 else "items are"
    tell(request, f"{gone} {noun} forgotten; what fails again comes back." if gone else "Choose what to forget.")
    return go_on(str(request.app.url_path_for("quarantine")))


# Of a raw record that may be of any length.
SHOWN_CHARACTERS = 4000


@dataclass(frozen=True)
class Aside:
    """An item in quarantine. connector: or "connector/account"; payload: the beginning of the raw item."""

    id: int
    connector: str
    stage: str
    key: str
    reason: str
    payload: str
    first_seen: datetime
    last_seen: datetime
    attempts: int
    run_id: str | None


@dataclass(frozen=True)
class AsidePage:
    """Some items, those that failed last first; next_cursor is None at the end."""

    items: tuple[Aside, ...]
    next_cursor: str | None


def connectors_in_quarantine(engine: sa.Engine) -> dict[str, int]:
    """How many items each connector, or account of a connector, has in quarantine;

    by name, without those that have none.
    """
    query = (
        sa.select(quarantine_table.c.connector, sa.func.count())
        .group_by(quarantine_table.c.connector)
        .order_by(quarantine_table.c.connector)
    )
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def quarantine_page(engine: sa.Engine, connector: str, cursor: str | None, limit: int) -> AsidePage:
    """Items of a connector from a cursor on. Raises CursorError."""
    columns = quarantine_table.c
    shown = [columns[name] for name in Aside.__dataclass_fields__ if name != "payload"]
    beginning = sa.func.left(sa.func.coalesce(columns.payload, ""), SHOWN_CHARACTERS).label("payload")
    query = sa.select(*shown, beginning).where(columns.connector == connector)
    if cursor:
        seen, last = decode_cursor(cursor, (str, int))
        try:
            place = (datetime.fromisoformat(str(seen)), last)
        except ValueError:
            raise CursorError("This is no cursor of this list; begin again without one.") from None
        query = query.where(sa.tuple_(columns.last_seen, columns.id) < sa.tuple_(*map(sa.literal, place)))
    query = query.order_by(columns.last_seen.desc(), columns.id.desc()).limit(limit + 1)
    with engine.connect() as connection:
        items = tuple(Aside(**row) for row in connection.execute(query).mappings())
    more = len(items) > limit
    last_one = items[limit - 1] if more else None
    following = encode_cursor([last_one.last_seen.isoformat(), last_one.id]) if last_one else None
    return AsidePage(items[:limit], following)
