"""Article numbers that no product has."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response

from imagesync_pipelines.web.catalogue.admin.answers import private_page
from imagesync_pipelines.web.catalogue.admin.sessions import Viewer
from imagesync_pipelines.web.catalogue.pages.pictures import picture_token
from imagesync_pipelines.web.catalogue.pages.rendering import Here
from imagesync_pipelines.web.catalogue.queries.cursors import CursorError
from imagesync_pipelines.web.catalogue.queries.unmatched import count_unmatched, unmatched_page

router = APIRouter()

ROWS = 50


@router.get("/admin/unmatched", name="unmatched")
def unmatched(
    request: Request,
    opened: Here,
    _: Viewer,
    number: Annotated[str, Query(max_length=100)] = "",
    cursor: Annotated[str, Query(max_length=600)] = "",
) -> Response:
    """The list, or the numbers that begin with what was asked for."""
    asked = number.replace("\0", "").strip()
    try:
        page = unmatched_page(opened.engine, asked, cursor, ROWS)
    except CursorError as error:
        raise HTTPException(400, str(error)) from None
    context = {
        "page": page,
        "number": asked,
        "total": count_unmatched(opened.engine),
        "token": lambda url: picture_token(opened, url),
    }
    return private_page(request, "admin/unmatched.html", context)
