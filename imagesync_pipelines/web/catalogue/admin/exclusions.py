"""Products excluded from a channel: looked at first, then by a person's word; and the list of all that holds."""

import logging
from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Form, HTTPException, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from imagesync_pipelines.languages import ngettext, retold, told
from imagesync_pipelines.registry import connector_named, connectors
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.schema_accounts import exclusion
from imagesync_pipelines.sync import excluding
from imagesync_pipelines.sync.excluding import EXCLUDE, INCLUDE, Channel
from imagesync_pipelines.web.catalogue import queries
from imagesync_pipelines.web.catalogue.admin.dagster import DagsterUnreachableError
from imagesync_pipelines.web.catalogue.admin.many import ProductIds, Skus
from imagesync_pipelines.web.catalogue.admin.runs import launched, taking_away
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, Viewer, go_on, private_page, tell
from imagesync_pipelines.web.catalogue.pages.rendering import Here, connector_titles, connector_words
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.service import Text

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

ROWS = 100
Cursor = Annotated[str, Query(max_length=2000)]
Doing = Literal["exclude", "include"]


class Meant(BaseModel):
    """Products by their numbers or SKUs, and the channel ("connector/account"); why: in a person's words.

    take_away: what is there of them is to be planned to be taken away, and of `already`, which are excluded.
    """

    channel: Annotated[Text, Field(max_length=300)]
    ids: ProductIds = []
    skus: Skus = []
    why: Annotated[Text, Field(max_length=1000)] = ""
    already: Skus = []
    take_away: Literal["", "1"] = ""


@router.get("/admin/exclusions", name="exclusions")
def listed(request: Request, opened: Here, _: Viewer, cursor: Cursor = "") -> Response:
    """What is excluded from which channel, by whom, since when and why."""
    order = (exclusion.c.connector, exclusion.c.account, exclusion.c.sku)
    query = sa.select(exclusion).where(exclusion.c.ended_at.is_(None))
    with opened.engine.connect() as connection:
        items, next_cursor = queries.rows_after(connection, query, order, cursor, ROWS)
    products = queries.products_of_skus(opened.engine, {one.sku for one in items}, with_left=True)
    context = {"items": items, "next_cursor": next_cursor, "cursor": cursor, "products": products}
    return private_page(request, "admin/exclusions.html", context)


@router.post("/admin/exclusions/look/{doing}", name="look_at_exclusions")
def look(request: Request, opened: Here, _: Admin, doing: Doing, meant: Annotated[Meant, Form()]) -> Response:
    """What it would mean for each product; nothing is changed."""
    channel = channel_named(opened, meant.channel, doing)
    with opened.engine.connect() as connection:
        skus = sorted({*meant.skus, *queries.skus_of(connection, meant.ids).values()})
    if not skus:
        raise excluding.ExclusionRefusedError("Choose products first; nothing was changed.")
    found = excluding.look_at(opened.engine, channel, skus, doing)
    held = excluding.list_exclusions(opened.engine, excluding.in_channel(*channel.owner), among(exclusion.c.sku, skus))
    context = {
        "already": [one.sku for one in held] if doing == EXCLUDE else [],
        "ids": meant.ids,
        "doing": doing,
        "channel": meant.channel,
        "called": called(channel.connector, channel.account),
        "changing": [sku for sku, stays in found.items() if not stays],
        "staying": {sku: stays for sku, stays in found.items() if stays},
        "products": queries.products_of_skus(opened.engine, skus, with_left=True),
    }
    return private_page(request, "admin/bulk_exclusions.html", context)


@router.post("/admin/exclusions/{doing}", name="decide_exclusions")
def decide(request: Request, opened: Here, who: Admin, doing: Doing, meant: Annotated[Meant, Form()]) -> Response:
    """Exclude what was looked at, or end that, in this person's name."""
    channel, why = channel_named(opened, meant.channel, doing), ""
    if doing == EXCLUDE:
        skus = sorted({*meant.skus, *(meant.already if meant.take_away else ())})
        done = excluding.exclude(opened.engine, channel, skus, who.name, meant.why)
        said = ngettext(
            "{channel}: {n} excluded. What is there stays, and nothing of it is changed.",
            "{channel}: {n} excluded. What is there stays, and nothing of it is changed.",
            len(done),
        )
    else:
        done = excluding.include(opened.engine, channel, meant.skus, who.name)
        said = ngettext(
            "{channel}: {n} no longer excluded. The next run does what is wanted there.",
            "{channel}: {n} no longer excluded. The next run does what is wanted there.",
            len(done),
        )
    log.info("%s: %s of %s products, %s", who.name, doing, len(done), channel.name)
    if doing == EXCLUDE and meant.take_away:
        try:
            return launched(request, opened, who, taking_away(channel, skus))
        except DagsterUnreachableError as error:
            why = retold(str(error))
            said = ngettext(
                "{channel}: {n} excluded. What is there stays for now, for the plan that takes it away was not "
                "started: {why}",
                "{channel}: {n} excluded. What is there stays for now, for the plan that takes it away was not "
                "started: {why}",
                len(done),
            )
    tell(request, said.format(channel=called(channel.connector, channel.account), n=len(done), why=why))
    return go_on(str(request.app.url_path_for("exclusions")))


def channels(opened: Opened) -> dict[str, str]:
    """The channels that are set up, as a form names them, each with what people call it."""
    found = dict[str, str]()
    for one in connectors():
        try:
            found |= {f"{one.name}/{account}": called(one.name, account) for account in one.channels(opened.shared)}
        except SettingsError:
            log.warning("the accounts of %s cannot be read", one.name)
    return found


def called(connector: str, account: str) -> str:
    """What people call a channel."""
    title = connector_words(connector)
    return f"{title}: {account}" if account else title


def channel_named(opened: Opened, name: str, doing: str = EXCLUDE) -> Channel:
    """The channel that a form names. Raises HTTPException, ExclusionRefusedError and AccountsError."""
    connector, _, account = name.partition("/")
    if connector not in connector_titles():
        raise HTTPException(404, told("There is no such channel."))
    declared = connector_named(connector)
    if doing == INCLUDE:
        # An account that is not set up any more has exclusions too.
        return Channel(connector, account, declared.groups_by_sku)
    return declared.channel(account, opened.shared)
