"""What was set aside: the list with reasons, trying again, dropping."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Form, HTTPException, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from imagesync_pipelines.settings import DEFAULT_SOURCE
from imagesync_pipelines.storage.quarantine import QuarantineTable
from imagesync_pipelines.storage.schema import quarantine as quarantine_table
from imagesync_pipelines.web.catalogue.admin.runs import NothingToStartError, launched, replay_of, sync_of_account
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, Viewer, go_on, private_page, tell
from imagesync_pipelines.web.catalogue.pages.rendering import Here, connector_titles
from imagesync_pipelines.web.catalogue.queries.cursors import decode_cursor, encode_cursor

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

ROWS = 50
# The images of one replay; beyond that a run over everything is the quicker way.
MOST_REPLAYED = 1000
# Of a raw record that may be of any length.
SHOWN_CHARACTERS = 4000


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
    items, next_cursor = quarantine_page(opened.engine, chosen, cursor, ROWS)
    context = {
        "connectors": connectors,
        "connector": chosen,
        "items": items,
        "next_cursor": next_cursor,
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
    if connector != DEFAULT_SOURCE:
        return launched(request, opened, who, sync_of_account(opened, connector, account))
    entries = QuarantineTable(opened.engine, DEFAULT_SOURCE).list()
    wanted = [entry for entry in entries if entry.id in chosen.ids] if chosen.ids else entries
    if len(wanted) > MOST_REPLAYED:
        raise NothingToStartError(f"These are {len(wanted)} images: synchronise the whole image database instead.")
    # A key is the image's number, or a product and the image's number.
    images = sorted({entry.key.rpartition("/")[2] for entry in wanted})
    return launched(request, opened, who, replay_of(images))


@router.post("/admin/quarantine/drop", name="drop")
def drop(request: Request, opened: Here, who: Admin, chosen: Annotated[ChosenItems, Form()]) -> Response:
    """Forget chosen items; they come back when they fail again."""
    gone = QuarantineTable(opened.engine, chosen.connector).drop(chosen.ids)
    log.info("%s dropped %s items of %r from quarantine", who.name, gone, chosen.connector)
    noun = "item is" if gone == 1 else "items are"
    tell(request, f"{gone} {noun} forgotten; what fails again comes back." if gone else "Choose what to forget.")
    return go_on(str(request.app.url_path_for("quarantine")))


def connectors_in_quarantine(engine: sa.Engine) -> dict[str, int]:
    """How many items each connector, or account of a connector, has in quarantine; without those that have none."""
    name = quarantine_table.c.connector
    with engine.connect() as connection:
        return {
            row[0]: row[1] for row in connection.execute(sa.select(name, sa.func.count()).group_by(name).order_by(name))
        }


def quarantine_page(
    engine: sa.Engine, connector: str, cursor: str | None, limit: int
) -> tuple[Sequence[sa.Row], str | None]:
    """Rows of a connector, or "connector/account", from a cursor on, and the next cursor; those that failed last first.

    payload: the beginning of the raw item. Raises CursorError.
    """
    columns = quarantine_table.c
    names = ("id", "stage", "key", "reason", "first_seen", "last_seen", "attempts", "run_id")
    beginning = sa.func.left(sa.func.coalesce(columns.payload, ""), SHOWN_CHARACTERS).label("payload")
    query = sa.select(*(columns[name] for name in names), beginning).where(columns.connector == connector)
    if cursor:
        place = [sa.literal(value) for value in decode_cursor(cursor, (datetime, int))]
        query = query.where(sa.tuple_(columns.last_seen, columns.id) < sa.tuple_(*place))
    query = query.order_by(columns.last_seen.desc(), columns.id.desc()).limit(limit + 1)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    last = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], encode_cursor([last.last_seen, last.id]) if last else None
