"""The list of products with the parts of it that HTMX asks for, its counts, and the page of one product.

Who is logged in also sees everything that is known of a product, and chooses its primary image.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Annotated, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request
from starlette.responses import RedirectResponse, Response

from imagesync_pipelines.languages import N_, _, retold, told
from imagesync_pipelines.products.primaries import pin_image, unpin_image
from imagesync_pipelines.products.undoing import undo_choice
from imagesync_pipelines.quality.better import better_mains
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.storage import schema
from imagesync_pipelines.storage.schema_accounts import exclusion
from imagesync_pipelines.sync.connector import ImagePlace
from imagesync_pipelines.sync.excluding import list_exclusions
from imagesync_pipelines.sync.timeline import with_pictures
from imagesync_pipelines.upstream.addresses import without_users
from imagesync_pipelines.web.catalogue import judged, listing, past, queries, views
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, Viewer, go_on, private_page, tell
from imagesync_pipelines.web.catalogue.pages.pictures import picture_token
from imagesync_pipelines.web.catalogue.pages.rendering import Here, RowId, is_fragment, render, web_link
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.service import Text, in_every_zone

router = APIRouter(include_in_schema=False)
admin_router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

# The filters as the page names them: field, label, explanation.
CHIPS = (
    ("without_image", N_("No picture"), N_("nothing to show, not even from the parent or a variant")),
    ("without_front", N_("No front view"), N_("has pictures, but no front view among them")),
    ("low_resolution", N_("Low resolution"), N_("the primary picture is too small for a product page")),
    ("unmatched", N_("Unmatched nearby"), N_("an article number that no product has is close to this one")),
)
ORDERS = (("", N_("With pictures first")), ("newest", N_("Newest picture")), ("name", N_("Name")), ("sku", "SKU"))
MAX_QUERY = 200
NO_PRODUCT = N_("There is no product here. It may have been an address from another installation.")
RuleSetId = Annotated[Text, Query(max_length=40)]
AsOf = Annotated[str, Query(max_length=30)]
PictureName = Annotated[Text, Query(max_length=500)]
ImageId = Annotated[int, Form(ge=1, le=2**63 - 1)]


@dataclass(frozen=True)
class Asked:
    """What the address of the list says, as text for the form and as filters."""

    filters: listing.Filters
    changed_since: str
    order: listing.Order = ""

    @property
    def is_filtered(self) -> bool:
        """Whether some products are left out."""
        return self.filters != listing.Filters()

    def query(self, **further: str) -> str:
        """The same as the query of an address, what is not set left out."""
        chips = {name: "1" for name, _, _ in CHIPS if getattr(self.filters, name)}
        values = {"q": self.filters.q, "kind": self.filters.kind, **chips, "changed_since": self.changed_since}
        values |= {"refused_by": self.filters.refused_by, "order": self.order}
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
    refused_by: RuleSetId = "",
    order: listing.Order = "",
) -> Asked:
    """The filters of the address; a day begins at midnight in the time zone of the installation."""
    since = _midnight(changed_since, ZoneInfo(opened.shared.timezone))
    filters = listing.Filters(
        q.strip(), without_image, without_front, low_resolution, unmatched, since, kind, refused_by
    )
    return Asked(filters, changed_since, order)


AskedFor = Annotated[Asked, Depends(asked)]


@router.get("/", name="products")
def products(request: Request, opened: Here, asked: AskedFor, cursor: str | None = None) -> Response:
    """The list; for HTMX its results only, and with a cursor the next cards only."""
    page = listing.list_products(
        opened.engine, asked.filters, cursor, opened.settings.page_size, opened.showing, asked.order
    )
    name = "products.html"
    if is_fragment(request):
        name = "parts/cards.html" if cursor else "parts/results.html"
    context: Mapping[str, object] = {
        "page": page,
        "asked": asked,
        "chips": CHIPS,
        "orders": ORDERS,
        "found": None if cursor else listing.count_found(opened.engine, asked.filters, opened.showing),
        "is_later_page": bool(cursor),
        "views": [] if cursor else views.of_visitor(request, opened),
        "min_height": opened.showing.image_db_detail_min_height,
        "channels": request.app.state.judged_by(),
    }
    return render(request, name, context)


def _midnight(day: str, zone: ZoneInfo) -> datetime | None:
    try:
        return in_every_zone(datetime.combine(date.fromisoformat(day), time(), zone)) if day else None
    except ValueError:
        raise HTTPException(400, _("Changed since: that is no date; it should look like 2026-11-21.")) from None


@router.get("/counts", name="counts")
def counts(request: Request) -> Response:
    """The numbers, each in the place on the page that waits for it."""
    return render(request, "parts/counts.html", {"counts": request.app.state.counts()})


def count_each(opened: Opened) -> dict[str, int]:
    """How many products each filter finds by itself."""
    asked = {name: listing.Filters(**{name: True}) for name, _, _ in CHIPS}  # type: ignore[arg-type]
    return listing.count_each(opened.engine, asked, opened.showing)


@router.get("/products/{product_id}", name="product")
def product(request: Request, opened: Here, product_id: RowId, image: int | None = None) -> Response:
    """A product; `image` is the id of the picture to show large, the primary one without it."""
    view = queries.product_view(opened.engine, product_id, opened.showing)
    if view is None:
        raise HTTPException(404, NO_PRODUCT)
    chosen = next((one for one in view.images if one.id == image), next(iter(view.images), None))
    known = request.app.state.rule_sets()
    with opened.engine.connect() as connection:
        better = better_mains(connection, known, [product_id]).get(product_id)
        # Its own ones, which are not those of the page where it shows another product's.
        two = queries.images_by_id(connection, {better.before, better.after} if better is not None else ())
    context = {
        "product": view,
        "chosen": chosen,
        "places": places_of(opened.engine, view.sku),
        "exclusions": list_exclusions(opened.engine, exclusion.c.sku == view.sku),
        "min_height": opened.showing.image_db_detail_min_height,
        "judged": judged.of_product(opened.engine, known, product_id),
        **judged.words(known),
        "better": better,
        "pictures_of_better": two,
        "channel_names": request.app.state.judged_by(),
    }
    return render(request, "product.html", context)


@router.get("/products/{product_id}/history", name="product_history")
def product_history(
    request: Request, opened: Here, product_id: RowId, as_of: AsOf = "", image: PictureName = ""
) -> Response:
    """What was done to a product's pictures, or to one of them, in any target; with a moment what it showed then."""
    view = queries.product_view(opened.engine, product_id, opened.showing)
    if view is None:
        raise HTTPException(404, NO_PRODUCT)
    lines, since, is_cut = past.timeline(opened.engine, product_id, view.sku, image)
    by_name = {one.name: one for one in connectors()}
    at = moment_of(as_of, ZoneInfo(opened.shared.timezone))
    shown, unknown = None, ""
    if at is not None:
        try:
            shown = past.shown_at(opened.engine, product_id, at, opened.showing)
        except past.PastUnknownError as error:
            unknown = str(error)
    context = {
        "product": view,
        "image": image,
        "lines": with_pictures(opened.engine, opened.storage, by_name, lines),
        "since": since,
        "is_cut": is_cut,
        "as_of": as_of,
        "at": at,
        "shown": shown,
        "unknown": unknown,
        "token": lambda url: picture_token(opened, url),
    }
    return render(request, "product_history.html", context)


def moment_of(text: str, zone: ZoneInfo) -> datetime | None:
    """A moment as a field of a form has it, in its own time zone or the installation's; None for an empty one."""
    try:
        at = in_every_zone(datetime.fromisoformat(text)) if text else None
    except ValueError:
        raise HTTPException(400, told("As of: that is no moment; it should look like 2026-11-21T13:00.")) from None
    return at if at is None or at.tzinfo else at.replace(tzinfo=zone)


@router.get("/products/{product_id}/pictures/{image_id}", name="picture")
def picture(request: Request, opened: Here, product_id: RowId, image_id: RowId, larger: bool = False) -> Response:
    """A picture of a product by itself, whole, with the one before it and the one after it."""
    shown = queries.shown_for(opened.engine, [product_id], opened.showing).get(product_id)
    place = next((at for at, one in enumerate(shown.images if shown else ()) if one.id == image_id), None)
    if shown is None or place is None:
        raise HTTPException(404, told("This picture is not shown for the product any more."))
    image = shown.images[place]
    context = {
        "product_id": product_id,
        "sku": shown.sku,
        "images": shown.images,
        "place": place,
        "larger": larger,
        "original": web_link(image.original_url) or web_link(image.image_url),
    }
    return render(request, "picture.html", context)


@router.get("/sku/{sku:path}", name="product_of_sku")
def product_of_sku(request: Request, opened: Here, sku: str) -> Response:
    """The page of the product with this SKU."""
    found = queries.products_of_skus(opened.engine, [sku]).get(sku)
    if found is None:
        raise HTTPException(404, _("There is no product with the SKU {sku}.").format(sku=sku))
    return RedirectResponse(str(request.app.url_path_for("product", product_id=found)), 307)


def places_of(engine: sa.Engine, sku: str) -> tuple[tuple[str, ImagePlace], ...]:
    """Where the images of a product also are, each with the connector that brought them there, in their order."""
    with engine.connect() as connection:
        return tuple(
            (one.name, place)
            for one in sorted(connectors(), key=lambda one: one.name)
            for place in one.places_of(connection, sku)
        )


@admin_router.get("/admin/products/{product_id}", name="product_data")
def product_data(request: Request, opened: Here, _: Viewer, product_id: RowId) -> Response:
    """Every column of a product and of all images that are on it, with the metadata of the source."""
    image = schema.product_image.c
    on_it = sa.select(schema.product_image).where(image.product_id == product_id)
    pins = sa.select(schema.pin).where(schema.pin.c.product_id == product_id)
    with opened.engine.connect() as connection:
        row = connection.execute(sa.select(schema.product).where(schema.product.c.id == product_id)).mappings().first()
        pinned = connection.execute(pins).mappings().first()
        images = connection.execute(on_it.order_by(image.is_primary.desc(), image.priority, image.id)).mappings().all()
    if row is None:
        raise HTTPException(404, told("There is no product here."))
    chosen = (pinned["source"], pinned["external_id"]) if pinned else None
    shown = [
        {
            **one,
            "version": one["fingerprint"][:12],
            "is_pinned": (one["source"], one["external_id"]) == chosen,
            "columns": without_users({name: value for name, value in one.items() if name != "metadata"}),
            "metadata": json.dumps(without_users(one["metadata"]), ensure_ascii=False, indent=2),
        }
        for one in images
    ]
    return private_page(request, "admin/product.html", {"product": row, "pin": pinned, "images": shown})


@admin_router.post("/admin/products/{product_id}/pin", name="pin")
def pin(request: Request, opened: Here, who: Admin, product_id: RowId, image_id: ImageId) -> Response:
    """Make an image the product's primary one, in this person's name; no synchronisation undoes it."""
    image = schema.product_image.c
    mine = (image.id == image_id) & (image.product_id == product_id)
    with opened.engine.connect() as connection:
        chosen = connection.execute(sa.select(image.source, image.external_id).where(mine)).first()
    if chosen is None:
        raise HTTPException(
            409, told("This picture is not on the product any more; nothing was changed. Reload its page.")
        )
    pin_image(opened.engine, product_id, chosen.source, chosen.external_id, who.name)
    log.info("%s chose image %s as the primary one of product %s", who.name, chosen.external_id, product_id)
    tell(request, _("This is the primary picture now. No synchronisation will change that."))
    return go_on(str(request.app.url_path_for("product", product_id=product_id)))


@admin_router.post("/admin/products/{product_id}/unpin", name="unpin")
def unpin(request: Request, opened: Here, who: Admin, product_id: RowId) -> Response:
    """Let the rules choose the product's primary image again, at once."""
    with opened.engine.connect() as connection:
        if connection.execute(sa.select(schema.product.c.id).where(schema.product.c.id == product_id)).first() is None:
            raise HTTPException(404, told("There is no product here."))
    if unpin_image(opened.engine, product_id, who.name):
        log.info("%s took back the choice of the primary image of product %s", who.name, product_id)
        tell(request, _("The rules choose the primary picture again."))
    return go_on(str(request.app.url_path_for("product", product_id=product_id)))


@admin_router.post("/admin/products/{product_id}/undo-choice", name="undo_choice")
def take_choice_back(request: Request, opened: Here, who: Admin, product_id: RowId) -> Response:
    """Take back the last choice of the product's primary image, or order of its images, or the end of one."""
    said = undo_choice(opened.engine, product_id, who.name)
    log.info("%s took back the last choice of product %s: %s", who.name, product_id, said)
    tell(request, f"{retold(said)}.")
    return go_on(str(request.app.url_path_for("product", product_id=product_id)))
