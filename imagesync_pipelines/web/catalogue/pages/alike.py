"""Pictures that show the same: suggestions, each dismissed, and shown again, by who may change things."""

import logging
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Form, HTTPException, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from imagesync_pipelines.languages import N_, _, told
from imagesync_pipelines.quality.alike import KINDS, Kind, Page, dismiss, restore, suggestions
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, go_on, tell
from imagesync_pipelines.web.catalogue.pages.pictures import picture_token
from imagesync_pipelines.web.catalogue.pages.rendering import Here, render
from imagesync_pipelines.web.catalogue.queries import decode_cursor, encode_cursor
from imagesync_pipelines.web.service import Text

router = APIRouter(include_in_schema=False)
admin_router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

ROWS = 24
# Of the places where a picture is shown, so many are named.
MOST_PLACES = 6
_PAGE = (datetime, str, str)
Which = Literal["", "variants", "products", "better_copy", "words", "dismissed"]
Cursor = Annotated[Text, Query(max_length=1000)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Pair(BaseModel):
    """Two contents that somebody looked at, and which suggestions were shown."""

    sha256: Sha256
    other: Sha256
    which: Which = ""


@router.get("/quality/alike", name="alike")
def alike(request: Request, opened: Here, which: Which = "", cursor: Cursor = "") -> Response:
    """What is suggested because two places show the same picture, of one kind or of all; or what was dismissed."""
    kind = Kind(which) if which and which != "dismissed" else None
    after = Page(*decode_cursor(cursor, _PAGE)) if cursor else None
    with opened.engine.connect() as connection:
        found, following = suggestions(connection, kind, after, ROWS, dismissed=which == "dismissed")
    context = {
        "suggestions": found,
        "which": which,
        "tabs": [
            ("", N_("All")),
            *((one.value, label) for one, label in KINDS.items()),
            ("dismissed", N_("Dismissed")),
        ],
        "kinds": KINDS,
        "cursor": cursor,
        "next_cursor": encode_cursor(following) if following is not None else None,
        "address": lambda **said: "?" + urlencode({name: one for name, one in {"which": which, **said}.items() if one}),
        "most_places": MOST_PLACES,
        "token": lambda url: picture_token(opened, url),
    }
    return render(request, "alike.html", context)


@admin_router.post("/admin/quality/dismiss", name="dismiss_alike")
def dismiss_alike(request: Request, opened: Here, who: Admin, pair: Annotated[Pair, Form()]) -> Response:
    """Suggest nothing of these two any more, in this person's name."""
    with opened.engine.begin() as connection:
        if not dismiss(connection, pair.sha256, pair.other, who.name):
            raise HTTPException(
                409, told("This is suggested no longer, or somebody dismissed it before. Reload the page.")
            )
    log.info("%s dismissed what is suggested of %s and %s", who.name, pair.sha256, pair.other)
    return _told(request, _("Dismissed."), pair)


@admin_router.post("/admin/quality/restore", name="restore_alike")
def restore_alike(request: Request, opened: Here, who: Admin, pair: Annotated[Pair, Form()]) -> Response:
    """Suggest again what somebody dismissed of these two."""
    with opened.engine.begin() as connection:
        if not restore(connection, pair.sha256, pair.other):
            raise HTTPException(409, told("This is not dismissed any more. Reload the page."))
    log.info("%s shows again what is suggested of %s and %s", who.name, pair.sha256, pair.other)
    return _told(request, _("It is suggested again."), pair)


def _told(request: Request, sentence: str, pair: Pair) -> Response:
    tell(request, sentence)
    path = str(request.app.url_path_for("alike"))
    return go_on(f"{path}?which={pair.which}" if pair.which else path)
