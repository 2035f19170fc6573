"""The list of products with the parts of it that HTMX asks for, its counts, and the page of one product."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Annotated, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from starlette.responses import RedirectResponse, Response

from imagesync_pipelines.registry import connectors
from imagesync_pipelines.sync.connector import ImagePlace
from imagesync_pipelines.web.catalogue.pages.rendering import Here, RowId, is_fragment, render
from imagesync_pipelines.web.catalogue.queries.products import (
    Filters,
    count_products,
    list_products,
    product_view,
    products_of_skus,
)
from imagesync_pipelines.web.catalogue.state import Opened

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
    page = list_products(opened.engine, asked.filters, cursor, opened.settings.page_size, opened.showing)
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


@router.get("/counts", name="counts")
def counts(request: Request) -> Response:
    """The numbers, each in the place on the page that waits for it."""
    return render(request, "parts/counts.html", {"counts": request.app.state.counts()})


def count_each(opened: Opened) -> dict[str, int]:
    """How many products each filter finds; `all`: how many there are."""
    asked = {"all": Filters(), **{name: Filters(**{name: True}) for name, _, _ in CHIPS}}  # type: ignore[arg-type]
    return {name: count_products(opened.engine, filters, opened.showing) for name, filters in asked.items()}


@router.get("/products/{product_id}", name="product")
def product(
    request: Request, opened: Here, product_id: RowId, image: Annotated[int | None, Query()] = None
) -> Response:
    """A product; `image` is the id of the picture to show large, the primary one without it."""
    view = product_view(opened.engine, product_id, opened.showing)
    if view is None:
        raise HTTPException(404, "There is no product here. It may have been an address from another installation.")
    chosen = next((one for one in view.images if one.id == image), next(iter(view.images), None))
    context = {
        "product": view,
        "chosen": chosen,
        "places": places_of(opened.engine, view.sku),
        "min_height": opened.showing.image_db_detail_min_height,
    }
    return render(request, "product.html", context)


@router.get("/sku/{sku:path}", name="product_of_sku")
def product_of_sku(request: Request, opened: Here, sku: str) -> Response:
    """The page of the product with this SKU."""
    wanted = sku.replace("\0", "")
    found = products_of_skus(opened.engine, [wanted]).get(wanted)
    if found is None:
        raise HTTPException(404, f"There is no product with the SKU {sku}.")
    return RedirectResponse(request.url_for("product", product_id=found), 307)


def places_of(engine: sa.Engine, sku: str) -> tuple[tuple[str, ImagePlace], ...]:
    """Where the images of a product also are, each with the connector that brought them there, in their order."""
    with engine.connect() as connection:
        return tuple(
            (one.name, place)
            for one in sorted(connectors(), key=lambda one: one.name)
            for place in one.places_of(connection, sku)
        )
