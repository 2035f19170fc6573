"""Changes since: what a system that keeps a copy has to ask for again."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime
from starlette.responses import Response

from imagesync_pipelines.web.catalogue.api.access import Reader
from imagesync_pipelines.web.catalogue.api.answers import NOT_MODIFIED, answered
from imagesync_pipelines.web.catalogue.api.models import ChangePage, ImageChange
from imagesync_pipelines.web.catalogue.api.problems import ApiRefusedError, documented
from imagesync_pipelines.web.catalogue.api.products import Cursor
from imagesync_pipelines.web.catalogue.pages.rendering import Here
from imagesync_pipelines.web.catalogue.queries.changes import changes_since
from imagesync_pipelines.web.catalogue.queries.cursors import CursorError

router = APIRouter(tags=["changes"])

MOST_CHANGES = 1000


@router.get("/changes", response_model=ChangePage, responses={**NOT_MODIFIED, **documented()})
def changes(
    request: Request,
    opened: Here,
    _: Reader,
    since: Annotated[AwareDatetime | None, Query(description="changes of then or later; without it all")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MOST_CHANGES)] = 500,
) -> Response:
    """Products that changed, the earliest change first; removed images and fallback included.

    With a cursor `since` is not looked at.
    """
    try:
        page = changes_since(opened.engine, since, cursor, limit)
    except CursorError as error:
        raise ApiRefusedError(422, str(error)) from None
    answer = ChangePage(
        items=[ImageChange(**vars(row)) for row in page.rows], has_more=page.has_more, next_cursor=page.next_cursor
    )
    return answered(request, answer, page.next_cursor if page.has_more else None)
