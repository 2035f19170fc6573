"""What pictures name and nothing has: article numbers without a product, and what accounts have no counterpart for.

A person's word about a number, that it is a product, is kept as a rule, and removed.
"""

import logging
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import sqlalchemy as sa
from fastapi import APIRouter, Form, HTTPException, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.languages import _, retold, told
from imagesync_pipelines.products import article_rules
from imagesync_pipelines.registry import connector_named, connectors
from imagesync_pipelines.settings import DEFAULT_SOURCE, SettingsError
from imagesync_pipelines.storage.schema import unmatched_article
from imagesync_pipelines.sync.connector import WithoutMatch
from imagesync_pipelines.web.catalogue.admin.runs import NothingToStartError, launched, replay_of, sync_of_account
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, Viewer, go_on, private_page, tell
from imagesync_pipelines.web.catalogue.pages.pictures import picture_token
from imagesync_pipelines.web.catalogue.pages.rendering import Here, connector_titles
from imagesync_pipelines.web.catalogue.queries import products_of_skus, rows_after
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.service import Text

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

ROWS = 50
Number = Annotated[str, Query(max_length=100)]
Cursor = Annotated[str, Query(max_length=600)]
Line = Annotated[Text, Field(max_length=article_rules.LONGEST_NUMBER)]


class Elsewhere(NamedTuple):
    """What an account has no counterpart for: the first of them, and how many fit."""

    connector: str
    account: str
    items: Sequence[WithoutMatch]
    total: int


class Waiting(BaseModel):
    """One of them."""

    connector: Line
    account: Line = ""
    key: Line


class Said(BaseModel):
    """A number with the code that a picture names with it, and the product. only_code: of no other code it is said.

    meant: a product that was suggested, sku: one that was typed and goes before it.
    """

    number: Line
    variant: Line = ""
    only_code: Annotated[Text, Field(max_length=1)] = ""
    sku: Line = ""
    meant: Line = ""


@router.get("/admin/unmatched", name="unmatched")
def unmatched(request: Request, opened: Here, _: Viewer, number: Number = "", cursor: Cursor = "") -> Response:
    """Article numbers that no product has, or those of them that begin with what was asked for; what people said.

    What accounts have no counterpart for stands below. `products` is our product of each SKU that may be meant, where
    there still is one.
    """
    items, next_cursor, total = unmatched_articles(opened, number.strip(), cursor, ROWS)
    context = {
        "items": items,
        "products": meant_by(opened, items),
        "cursor": cursor,
        "next_cursor": next_cursor,
        "number": number.strip(),
        "total": total,
        "rules": [] if cursor else article_rules.list_rules(opened.engine),
        "elsewhere": [] if cursor else _elsewhere(opened, number.strip()),
        "token": lambda url: picture_token(opened, url),
    }
    return private_page(request, "admin/unmatched.html", context)


@router.post("/admin/unmatched/again", name="match_again")
def match_again(request: Request, opened: Here, who: Admin, meant: Annotated[Waiting, Form()]) -> Response:
    """Start the synchronisation of what an account had no counterpart for, or of that picture, and of nothing else.

    Where a connector has no accounts, it is read as a whole.
    """
    if meant.connector not in connector_titles():
        raise HTTPException(404, told("There is no such connector."))
    if meant.connector == DEFAULT_SOURCE:
        return launched(request, opened, who, replay_of([meant.key]))
    declared = connector_named(meant.connector)
    if declared.accounts is None:
        return launched(request, opened, who, sync_of_account(opened, declared.name, ""))
    waiting = declared.without_match(opened.engine, opened.storage, meant.account)
    for one in waiting:
        if one.key == meant.key:
            return launched(request, opened, who, sync_of_account(opened, meant.connector, meant.account, **one.again))
    raise NothingToStartError("It does not wait for a counterpart any more. Reload the page.")


def unmatched_articles(
    opened: Opened, number: str, cursor: str, limit: int
) -> tuple[Sequence[sa.Row], str | None, int]:
    """Some articles whose number begins so, the next cursor, and how many there are in all."""
    columns = unmatched_article.c
    query = sa.select(unmatched_article).where(columns.number.startswith(number, autoescape=True))
    with opened.engine.connect() as connection:
        items, next_cursor = rows_after(connection, query, (columns.number, columns.id), cursor, limit)
        total = connection.execute(sa.select(sa.func.count()).select_from(unmatched_article)).scalar_one()
    return items, next_cursor, int(total)


def meant_by(opened: Opened, items: Sequence[sa.Row]) -> dict[str, int]:
    """Our product of each SKU that may be meant, where there still is one."""
    meant = {str(one.get("sku")) for item in items for one in item.candidates}
    return products_of_skus(opened.engine, meant, with_left=True) if meant else {}


def _elsewhere(opened: Opened, number: str) -> list[Elsewhere]:
    """What each account has no counterpart for whose code begins so; of accounts that cannot be read nothing."""
    found = []
    for one in connectors():
        try:
            names = one.accounts.known(load_accounts(opened.shared)).names if one.accounts is not None else ()
        except SettingsError as error:
            log.info("the accounts of %s cannot be read: %s", one.name, error)
            continue
        for name in names:
            waiting = one.without_match(opened.engine, opened.storage, name)
            fitting = [item for item in waiting if item.code.startswith(number)]
            if fitting:
                found.append(Elsewhere(one.name, name, fitting[:ROWS], len(fitting)))
    return found


@router.post("/admin/articles/rule", name="keep_rule")
def keep(request: Request, opened: Here, who: Admin, said: Annotated[Said, Form()]) -> Response:
    """Keep a rule in this person's name."""
    variant = said.variant if said.only_code else ""
    made = article_rules.add_rule(opened.engine, said.number, variant, said.sku.strip() or said.meant, who.name)
    log.info("%s said that article %r is product %s", who.name, made.words, made.product_id)
    sentence = _("{number} is {product}. The next synchronisation follows it.")
    tell(request, sentence.format(number=retold(made.words), product=f"{made.sku} {made.name}"))
    return go_on(str(request.app.url_path_for("unmatched")))


@router.post("/admin/articles/forget", name="forget_rule")
def forget(request: Request, opened: Here, who: Admin, said: Annotated[Said, Form()]) -> Response:
    """Forget a rule."""
    article_rules.remove_rule(opened.engine, said.number, said.variant, who.name)
    log.info("%s forgot the rule of article %r %r", who.name, said.number, said.variant)
    tell(request, _("The rule is forgotten. The next synchronisation matches the number without it."))
    return go_on(str(request.app.url_path_for("unmatched")))
