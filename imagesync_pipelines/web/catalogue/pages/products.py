"""The list of products: a page, and the parts of it that HTMX asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Annotated, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from starlette.responses import Response

from imagesync_pipelines.web.catalogue.pages.rendering import Here, is_fragment, render
from imagesync_pipelines.web.catalogue.queries.cursors import CursorError
from imagesync_pipelines.web.catalogue.queries.products import Filters, list_products

router = APIRouter(include_in_schema=False)

# The filters as the page names them: field, label, explanation.
CHIPS = (
    ("without_image", "No picture", "nothing to show, not even from the parent or a variant"),
    ("without_front", "No front view", "has pictures, but no front view among them"),
    ("low_resolution", "Low resolution", "the primary picture is too small for a product page"),
    ("unmatched", "Unmatched nearby", "an article number that no product has is close to this one"),
)
MAX_QUERY = 200


@dataclass(frozen=True)
class Asked:
    """What the address of the list says, as text for the form and as filters."""

    filters: Filters
    changed_since: str

    def query(self, **further: str) -> str:
        """The same as the query of an address, what is not set left out."""
        chips = {name: "1" for name, _, _ in CHIPS if getattr(self.filters, name)}
        values = {"q": self.filters.q, "kind": self.filters.kind, **chips, "changed_since": self.changed_since}
        return urlencode({name: value for name, value in (values | further).items() if value})

    @property
    def is_filtered(self) -> bool:
        """Whether anything is set."""
        return bool(self.query())


def asked(
    opened: Here,
    q: Annotated[str, Query(max_length=MAX_QUERY)] = "",
    kind: Literal["", "parent", "variant"] = "",
    without_image: bool = False,
    without_front: bool = False,
    low_resolution: bool = False,
    unmatched: bool = False,
    changed_since: str = "",
) -> Asked:
    """The filters of the address; a day begins at midnight in the time zone of the installation."""
    filters = Filters(
        q=q.strip(),
        without_image=without_image,
        without_front=without_front,
        low_resolution=low_resolution,
        unmatched=unmatched,
        changed_since=_midnight(changed_since, ZoneInfo(opened.shared.timezone)),
        kind=kind,
    )
    return Asked(filters, changed_since)


@router.get("/", name="products")
def products(
    request: Request, opened: Here, asked: Annotated[Asked, Depends(asked)], cursor: str | None = None
) -> Response:
    """The list; for HTMX its results only, and with a cursor the next cards only."""
    try:
        page = list_products(
            opened.engine,
            asked.filters,
            cursor,
            opened.settings.page_size,
            min_height=opened.showing.image_db_detail_min_height,
            own_images_first=opened.showing.image_db_own_images_first,
        )
    except CursorError as error:
        raise HTTPException(400, str(error)) from None
    name = "products.html"
    if is_fragment(request):
        name = "parts/cards.html" if cursor else "parts/results.html"
    context: Mapping[str, object] = {
        "page": page,
        "asked": asked,
        "chips": CHIPS,
        "is_later_page": bool(cursor),
        "min_height": opened.showing.image_db_detail_min_height,
    }
    return render(request, name, context)


def _midnight(day: str, zone: ZoneInfo) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(day), time(), zone) if day else None
    except (ValueError, OverflowError):
        raise HTTPException(400, "Changed since: that is no date; it should look like 2026-11-21.") from None
