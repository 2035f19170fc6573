"""Article numbers that no product has."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response

from imagesync_pipelines.storage.schema import product, unmatched_article
from imagesync_pipelines.web.catalogue.admin.sessions import Viewer, private_page
from imagesync_pipelines.web.catalogue.pages.pictures import picture_token
from imagesync_pipelines.web.catalogue.pages.rendering import Here
from imagesync_pipelines.web.catalogue.queries.cursors import CursorError, decode_cursor, encode_cursor

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


@dataclass(frozen=True)
class Meant:
    """A product that may be meant, and why; product_id is None when the product is not there any more."""

    sku: str
    name: str
    why: str
    product_id: int | None


@dataclass(frozen=True)
class UnmatchedArticle:
    """An article number of an image that matches no product; image_url '' when the image has none."""

    id: int
    number: str
    variant: str
    external_id: str
    image_type: str
    image_url: str
    reason: str
    seen_at: datetime
    meant: tuple[Meant, ...]


@dataclass(frozen=True)
class UnmatchedPage:
    """Some article numbers in their order; next_cursor is None at the end."""

    items: tuple[UnmatchedArticle, ...]
    next_cursor: str | None


def count_unmatched(engine: sa.Engine) -> int:
    """How many there are."""
    with engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(unmatched_article)).scalar_one())


def unmatched_page(engine: sa.Engine, number: str, cursor: str | None, limit: int) -> UnmatchedPage:
    """Article numbers that begin with a text, '' for all, from a cursor on. Raises CursorError."""
    columns = unmatched_article.c
    query = sa.select(unmatched_article)
    if number:
        query = query.where(columns.number.startswith(number, autoescape=True))
    if cursor:
        place = [sa.literal(value) for value in decode_cursor(cursor, (str, int))]
        query = query.where(sa.tuple_(columns.number, columns.id) > sa.tuple_(*place))
    query = query.order_by(columns.number, columns.id).limit(limit + 1)
    with engine.connect() as connection:
        rows = connection.execute(query).mappings().all()
        skus = {str(one.get("sku")) for row in rows for one in row["candidates"]}
        found = sa.select(product.c.sku, product.c.id).where(
            product.c.sku == sa.any_(sa.literal(sorted(skus), sa.ARRAY(sa.Text)))
        )
        ids = {row.sku: row.id for row in connection.execute(found.order_by(product.c.kind))}
    items = tuple(_article(row, ids) for row in rows)
    last = items[limit - 1] if len(items) > limit else None
    return UnmatchedPage(items[:limit], encode_cursor([last.number, last.id]) if last else None)


def _article(row: sa.RowMapping, ids: Mapping[str, int]) -> UnmatchedArticle:
    meant = tuple(
        Meant(str(one.get("sku", "")), str(one.get("name", "")), str(one.get("why", "")), ids.get(str(one.get("sku"))))
        for one in row["candidates"]
    )
    return UnmatchedArticle(
        id=row["id"],
        number=row["number"],
        variant=row["variant"] or "",
        external_id=row["external_id"],
        image_type=row["image_type"] or "",
        image_url=row["image_url"] or "",
        reason=row["reason"],
        seen_at=row["seen_at"],
        meant=meant,
    )
