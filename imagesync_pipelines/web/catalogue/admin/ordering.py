"""The order of pictures: of one product by hand, of many by a rule; what becomes of it is always looked at first."""

import logging
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Form, HTTPException, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from imagesync_pipelines.languages import _, told
from imagesync_pipelines.products import ordering
from imagesync_pipelines.products.ordering import Arrange, Order
from imagesync_pipelines.products.pins_by_rule import Picture
from imagesync_pipelines.web.catalogue import queries
from imagesync_pipelines.web.catalogue.admin.bulk import left_alone
from imagesync_pipelines.web.catalogue.admin.many import ROWS, ProductIds, Stamps, Start
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, go_on, private_page, tell
from imagesync_pipelines.web.catalogue.pages.rendering import Here, RowId
from imagesync_pipelines.web.service import Text

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

# Images by their ids, the first one first; none: as they are; rules: as their sources' rules order them.
_HAND = r"^(rules|[0-9]{1,18}([.][0-9]{1,18}){0,999})?$"
ByHand = Annotated[str, Query(max_length=20_000, pattern=_HAND)]
Stamp = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Hand(BaseModel):
    """What was looked at on the page of one product."""

    order: Annotated[Text, Field(max_length=20_000, pattern=_HAND)]
    stamp: Stamp


class Rule(BaseModel):
    """How pictures are ordered; types: the types one after the other, for the rule that looks at them."""

    by: Literal["types", "newest", "number", "rules"]
    types: Annotated[Text, Field(max_length=500)] = ""

    @property
    def arrange(self) -> Arrange:
        """The same for the plan."""
        return ordering.by_rule(self.by, self.types.split(",") if self.types.strip() else ordering.TYPES)


class Ruled(Rule):
    """Products, how their pictures are ordered, and from which on what is planned is shown."""

    ids: Annotated[ProductIds, Field(min_length=1)]
    start: Start = 0


class Planned(Rule):
    """What was looked at of many products."""

    orders: Annotated[Stamps, Field(min_length=1)]


@router.get("/admin/products/{product_id}/order", name="order")
def plan_by_hand(request: Request, opened: Here, _: Admin, product_id: RowId, order: ByHand = "") -> Response:
    """The pictures of a product in another order, each with a step earlier and later; nothing is changed."""
    with opened.engine.connect() as connection:
        found = ordering.plan_orders(connection, [product_id], _by_hand(order))
        pictures = _pictures(connection, found)
    if not found:
        raise HTTPException(404, told("There is no product here."))
    plan, ids = found[0], [one.id for one in found[0].after]
    first = 1 if plan.is_pinned else 0
    context = {
        "plan": plan,
        "order": order or _text(ids),
        "pictures": pictures,
        "steps": [
            (
                _moved(ids, at, at - 1) if at > first else "",
                _moved(ids, at, at + 1) if first <= at < len(ids) - 1 else "",
            )
            for at in range(len(ids))
        ],
        "is_rules": order == "rules",
    }
    return private_page(request, "admin/order.html", context)


@router.post("/admin/products/{product_id}/order", name="keep_order")
def keep_by_hand(
    request: Request, opened: Here, who: Admin, product_id: RowId, hand: Annotated[Hand, Form()]
) -> Response:
    """Keep the order that was looked at, in this person's name; no synchronisation undoes it."""
    done, moved = ordering.carry_out(opened.engine, [(product_id, hand.stamp)], _by_hand(hand.order), who.name)
    if moved:
        raise HTTPException(
            409,
            told("The pictures of this product changed since they were looked at; nothing was changed. Open it again."),
        )
    if done:
        log.info("%s put the pictures of product %s in order", who.name, product_id)
        again = hand.order == "rules"
        tell(request, _("The rules order its pictures again.") if again else _("The pictures stay in this order now."))
    return go_on(str(request.app.url_path_for("product", product_id=product_id)))


@router.post("/admin/bulk/orders", name="bulk_orders")
def plan_by_rule(request: Request, opened: Here, _: Admin, wanted: Annotated[Ruled, Form()]) -> Response:
    """The order of many products' pictures before and after; nothing is changed."""
    with opened.engine.connect() as connection:
        found = ordering.plan_orders(connection, wanted.ids, wanted.arrange)
        # What is shown otherwise then is looked at first: a rule mostly keeps what is shown.
        changing = sorted((one for one in found if not one.why), key=lambda one: not one.moves)
        shown = changing[wanted.start : wanted.start + ROWS]
        pictures = _pictures(connection, shown)
    context = {
        "changing": changing,
        "orders": [f"{one.product_id}:{one.stamp}" for one in changing],
        "moving": sum(one.moves for one in changing),
        "shown": shown,
        "rows": ROWS,
        "staying": [one for one in found if one.why],
        "wanted": wanted,
        "rule": ordering.RULES[wanted.by],
        "pictures": pictures,
    }
    return private_page(request, "admin/bulk_orders.html", context)


@router.post("/admin/bulk/order", name="bulk_order")
def keep_by_rule(request: Request, opened: Here, who: Admin, looked_at: Annotated[Planned, Form()]) -> Response:
    """Keep what was looked at, in this person's name; a product that moved since is left alone."""
    pairs = [tuple(map(int, one.split(":"))) for one in looked_at.orders]
    done, moved = ordering.carry_out(opened.engine, ((one, stamp) for one, stamp in pairs), looked_at.arrange, who.name)
    log.info("%s put the pictures of %s products in order by a rule", who.name, done)
    tell(request, _("Products put in order: {n}.").format(n=done) + left_alone(moved))
    return go_on(str(request.app.url_path_for("products")))


def _pictures(connection: sa.Connection, orders: Sequence[Order]) -> dict[int, Any]:
    shown: list[Picture] = [picture for one in orders for picture in one.before]
    return dict(queries.images_by_id(connection, {one.id for one in shown}))


def _by_hand(order: str) -> Arrange:
    if order == "rules":
        return ordering.by_rule(order)
    return ordering.by_hand([int(one) for one in order.split(".") if one])


def _text(ids: Sequence[int]) -> str:
    return ".".join(map(str, ids))


def _moved(ids: Sequence[int], here: int, there: int) -> str:
    """The order with one picture at another place."""
    others = [*ids[:here], *ids[here + 1 :]]
    return _text([*others[:there], ids[here], *others[there:]])
