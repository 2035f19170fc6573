"""Many products at once: chosen in the list, or all that fit; what is to be done is always looked at first."""

import logging
from typing import Annotated, Literal
from urllib.parse import parse_qsl

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from imagesync_pipelines.languages import N_, _, ngettext
from imagesync_pipelines.products import ordering, pins_by_rule
from imagesync_pipelines.quality.better import Better, better_mains
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.sync import excluding
from imagesync_pipelines.sync.excluding import EXCLUDE
from imagesync_pipelines.web.catalogue import listing, queries
from imagesync_pipelines.web.catalogue.admin.exclusions import Meant, called, channel_named, channels
from imagesync_pipelines.web.catalogue.admin.many import MOST_PRODUCTS, ROWS, AnyNumber, Pairs, ProductIds, Start
from imagesync_pipelines.web.catalogue.admin.runs import NothingToStartError, launched, sync_of_account
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, go_on, private_page, tell
from imagesync_pipelines.web.catalogue.pages.products import CHIPS, asked
from imagesync_pipelines.web.catalogue.pages.rendering import Here
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.catalogue.views import plain_query
from imagesync_pipelines.web.service import Text

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

# So many of the chosen ones are shown with their pictures.
SHOWN = 24
NOTHING_CHOSEN = N_("Choose products in the list first; nothing was started.")


class Chosen(BaseModel):
    """Products by their numbers; everything: all that the query of the list finds."""

    ids: AnyNumber = []
    everything: Literal["", "1"] = ""
    query: Annotated[Text, Field(max_length=2000)] = ""


class Rule(BaseModel):
    """Products, how their primary picture is chosen, and from which on what is chosen is shown."""

    ids: Annotated[ProductIds, Field(min_length=1)]
    rule: Literal["front", "largest", "newest", "better", "unpin"]
    start: Start = 0


class LookedAt(BaseModel):
    """What was looked at."""

    pairs: Annotated[Pairs, Field(min_length=1)]


@router.post("/admin/bulk", name="bulk")
def bulk(request: Request, opened: Here, _: Admin, chosen: Annotated[Chosen, Form()]) -> Response:
    """What was chosen, and what can be done with it; nothing is changed."""
    ids = _all_that_fit(opened, chosen.query) if chosen.everything else list(dict.fromkeys(chosen.ids))
    if not ids:
        raise NothingToStartError(NOTHING_CHOSEN, plain_query(chosen.query))
    if len(ids) > MOST_PRODUCTS:
        raise NothingToStartError(
            f"{len(ids):,} products are chosen, and {MOST_PRODUCTS:,} are the most at once: choose fewer, and do one "
            "part after the other.",
            plain_query(chosen.query),
        )
    first = queries.shown_for(opened.engine, ids[:SHOWN], opened.showing)
    context = {
        "ids": ids,
        "first": [first[one] for one in ids[:SHOWN] if one in first],
        "rules": pins_by_rule.RULES,
        "orders": ordering.RULES,
        "types": ordering.TYPES,
        "channels": channels(opened),
    }
    return private_page(request, "admin/bulk.html", context)


@router.post("/admin/bulk/sync", name="bulk_sync")
def look_at_sync(request: Request, opened: Here, _: Admin, meant: Annotated[Meant, Form()]) -> Response:
    """With which of these products a run of a channel would start, and why not with the others; nothing is started."""
    channel = channel_named(opened, meant.channel)
    declared = connector_named(channel.connector)
    with opened.engine.connect() as connection:
        products = {sku: product_id for product_id, sku in queries.skus_of(connection, meant.ids).items()}
    if not products:
        raise NothingToStartError(NOTHING_CHOSEN)
    known = declared.skus_known(opened.engine, opened.storage, channel.account, list(products))
    excluded = excluding.look_at(opened.engine, channel, sorted(known), EXCLUDE)
    why = {sku: excluded.get(sku, "") if sku in known else declared.unknown_sku for sku in sorted(products)}
    context = {
        "channel": meant.channel,
        "called": called(channel.connector, channel.account),
        "ids": list(products.values()),
        "changing": [sku for sku in why if not why[sku]],
        "staying": {sku: stays for sku, stays in why.items() if stays},
        "products": products,
    }
    return private_page(request, "admin/bulk_sync.html", context)


@router.post("/admin/bulk/sync/plan", name="bulk_sync_plan")
def plan_sync(request: Request, opened: Here, who: Admin, meant: Annotated[Meant, Form()]) -> Response:
    """Start the run that plans the synchronisation of what was looked at; its plan is applied on its page."""
    channel = channel_named(opened, meant.channel)
    if not meant.skus:
        raise NothingToStartError(NOTHING_CHOSEN)
    run = sync_of_account(opened, channel.connector, channel.account, dry_run=True, skus=meant.skus)
    return launched(request, opened, who, run)


@router.post("/admin/bulk/pins", name="bulk_pins")
def plan_pins(request: Request, opened: Here, _: Admin, wanted: Annotated[Rule, Form()]) -> Response:
    """What a rule would choose, picture before and after; nothing is changed."""
    better: dict[int, Better] = {}
    if wanted.rule == pins_by_rule.BETTER:
        with opened.engine.connect() as connection:
            better = better_mains(connection, request.app.state.rule_sets(), wanted.ids)
    chosen = {product_id: one.after for product_id, one in better.items()}
    choices = pins_by_rule.plan_choices(opened.engine, wanted.ids, wanted.rule, chosen)
    # What shows another picture then is looked at first: a rule mostly keeps what is shown.
    changing = sorted((one for one in choices if not one.why), key=lambda one: one.before == one.after)
    shown = changing[wanted.start : wanted.start + ROWS]
    with opened.engine.connect() as connection:
        pictures = queries.images_by_id(connection, {one for choice in shown for one in choice.pictures})
    context = {
        "wanted": wanted,
        "changing": changing,
        "pairs": [f"{one.product_id}:{one.before or 0}:{one.after or 0}:{one.stamp}" for one in changing],
        "moving": sum(one.before != one.after for one in changing),
        "shown": shown,
        "rows": ROWS,
        "staying": [one for one in choices if one.why],
        "rule": pins_by_rule.RULES[wanted.rule],
        "unpins": wanted.rule == pins_by_rule.UNPIN,
        "pictures": pictures,
        "better": better,
    }
    return private_page(request, "admin/bulk_pins.html", context)


@router.post("/admin/bulk/pin", name="bulk_pin")
def pin(request: Request, opened: Here, who: Admin, looked_at: Annotated[LookedAt, Form()]) -> Response:
    """Choose what was looked at, in this person's name; what moved since is left alone."""
    choices = []
    for pair in looked_at.pairs:
        product_id, before, after, stamp = map(int, pair.split(":"))
        choices.append((product_id, before or None, after or None, stamp))
    done, moved = pins_by_rule.carry_out(opened.engine, choices, who.name)
    log.info("%s chose the primary pictures of %s products by a rule", who.name, done)
    tell(request, _("Primary pictures chosen: {n}.").format(n=done) + left_alone(moved))
    return go_on(str(request.app.url_path_for("products")))


def left_alone(moved: int) -> str:
    """What follows behind what was done: of how many products nothing was, '' for none."""
    words = ngettext(
        "{n} changed since they were looked at and were left alone.",
        "{n} changed since they were looked at and were left alone.",
        moved,
    )
    return f" {words.format(n=moved)}" if moved else ""


def _all_that_fit(opened: Opened, query: str) -> list[int]:
    """The products that the list shows for its query. Raises NothingToStartError for too many of them."""
    fields = dict(parse_qsl(plain_query(query)))
    flags = {name: True for name, *_ in CHIPS if name in fields}
    words = {name: fields[name] for name in ("q", "kind", "changed_since", "refused_by") if name in fields}
    found = asked(opened, **words, **flags)  # type: ignore[arg-type]
    ids = listing.products_that_fit(opened.engine, found.filters, MOST_PRODUCTS + 1, opened.showing)
    if len(ids) > MOST_PRODUCTS:
        raise NothingToStartError(
            f"More than {MOST_PRODUCTS:,} products fit, which is the most at once: look for fewer, such as one kind or "
            "the beginning of a SKU, and do one part after the other; or synchronise the whole connector.",
            plain_query(query),
        )
    return ids
