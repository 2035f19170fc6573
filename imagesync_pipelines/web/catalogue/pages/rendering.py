"""Turning what was read into HTML."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import Depends, Path, Request
from fastapi.templating import Jinja2Templates
from starlette.responses import Response

from imagesync_pipelines.products.rules import DEFAULT_SOURCE
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.web.catalogue.pages import filters
from imagesync_pipelines.web.catalogue.queries.freshness import freshness
from imagesync_pipelines.web.catalogue.state import Opened

PACKAGE = "imagesync_pipelines.web.catalogue"


def connector_titles() -> dict[str, str]:
    """A connector's name for people, by its name, in the order in which pages name them."""
    return {one.name: one.title for one in connectors()}


def opened_of(request: Request) -> Opened:
    """What the application works with."""
    opened: Opened = request.app.state.opened
    return opened


Here = Annotated[Opened, Depends(opened_of)]
"""A route's parameter of this type gets what the application works with."""

RowId = Annotated[int, Path(ge=1, le=2**63 - 1)]
"""The id of a row, as a part of an address."""


def make_templates() -> Jinja2Templates:
    """The templates with their filters; what is put into them is escaped."""
    templates = Jinja2Templates(directory=str(files(PACKAGE) / "templates"))
    templates.env.trim_blocks = templates.env.lstrip_blocks = True
    templates.env.filters.update(
        number=filters.number, duration=filters.duration, web_link=filters.web_link, megapixels=filters.megapixels
    )
    templates.env.globals.update(CONNECTORS=connector_titles(), DEFAULT_SOURCE=DEFAULT_SOURCE)
    return templates


def render(
    request: Request,
    name: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A template as an answer; a page is asked for again every time, because what it shows changes.

    No cache that people share may keep it: it names who is signed in and holds the token of their session.
    """
    opened = opened_of(request)
    now, zone = opened.clock(), ZoneInfo(opened.shared.timezone)
    templates: Jinja2Templates = request.app.state.templates
    given = {
        "now": now,
        "ago": lambda moment: filters.ago(moment, now),
        "moment": lambda moment: filters.moment(moment, zone),
        "how_old": lambda: _how_old(opened),
        "dagster_ui": opened.shared.webserver_url.rstrip("/"),
        "is_fragment": is_fragment(request),
        **context,
    }
    answer = templates.TemplateResponse(request, name, given, status_code=status, headers=dict(headers or {}))
    answer.headers.setdefault("Cache-Control", "private, no-cache")
    answer.headers["Vary"] = "HX-Request"
    return answer


def is_fragment(request: Request) -> bool:
    """Whether a part of a page is asked for, by HTMX, and not a page."""
    return "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers


def _how_old(opened: Opened) -> dict[str, Any]:
    """How old the product images are, and whether that is late; for the foot of every page."""
    connector = freshness(opened.engine).get(DEFAULT_SOURCE)
    late = connector is None or connector.is_late(opened.clock(), opened.showing.image_db_fresh_hours)
    return {"applied_at": connector.applied_at if connector else None, "is_late": late}
