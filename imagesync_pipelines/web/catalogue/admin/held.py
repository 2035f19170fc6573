"""What is held back, and a person's word about it, as `imagesync held list|allow|keep` takes it on the terminal."""

import logging
from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Form, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from imagesync_pipelines.languages import _, retold
from imagesync_pipelines.storage.schema import held as held_table
from imagesync_pipelines.sync import held
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, Viewer, go_on, private_page, tell
from imagesync_pipelines.web.catalogue.pages.rendering import Here
from imagesync_pipelines.web.catalogue.queries import rows_after

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

ROWS = 50

Cursor = Annotated[str, Query(max_length=600)]
HeldId = Annotated[int, Field(ge=0, le=2**63 - 1)]


class ChosenHeld(BaseModel):
    """Entries by their numbers, and whether all that is undecided is meant, up to the newest one that was shown."""

    ids: Annotated[list[HeldId], Field(max_length=ROWS)] = []
    everything: Literal["", "1"] = ""
    newest: HeldId = 0


@router.get("/admin/held", name="held")
def held_back(request: Request, opened: Here, _: Viewer, cursor: Cursor = "") -> Response:
    """What is held back and what was decided about it, in the order of the numbers."""
    waiting = held.undecided(opened.engine)
    query = sa.select(held_table)
    with opened.engine.connect() as connection:
        items, next_cursor = rows_after(connection, query, (held_table.c.id,), cursor, ROWS)
    context = {
        "items": items,
        "would": held.would,
        "next_cursor": next_cursor,
        "cursor": cursor,
        "undecided": len(waiting),
        "newest": max((one.id for one in waiting), default=0),
        "sentences": held.sentences(waiting),
    }
    return private_page(request, "admin/held.html", context)


@router.post("/admin/held/{decision}", name="decide_held")
def decide(
    request: Request,
    opened: Here,
    who: Admin,
    decision: Literal["allow", "keep"],
    chosen: Annotated[ChosenHeld, Form()],
) -> Response:
    """Write a person's word; a number that is not held any more is passed over."""
    ids = set(chosen.ids)
    if chosen.everything:
        ids |= {one.id for one in held.undecided(opened.engine) if one.id <= chosen.newest}
    done = held.decide(opened.engine, ids, decision, who.name)
    log.info("%s: %s of %s held rows", who.name, decision, done)
    tell(
        request, f"{retold(held.DECIDED[decision].format(number=done))}." if done else _("Choose what to decide about.")
    )
    return go_on(str(request.app.url_path_for("held")))
