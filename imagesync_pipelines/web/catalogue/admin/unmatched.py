"""Article numbers that no product has."""

from collections.abc import Sequence
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from imagesync_pipelines.storage.schema import product, unmatched_article
from imagesync_pipelines.web.catalogue.admin.sessions import Viewer, private_page
from imagesync_pipelines.web.catalogue.pages.pictures import picture_token
from imagesync_pipelines.web.catalogue.pages.rendering import Here
from imagesync_pipelines.web.catalogue.queries.cursors import decode_cursor, encode_cursor

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
    items, products, next_cursor = unmatched_page(opened.engine, asked, cursor, ROWS)
    context = {
        "items": items,
        "products": products,
        "next_cursor": next_cursor,
        "number": asked,
        "total": count_unmatched(opened.engine),
        "token": lambda url: picture_token(opened, url),
    }
    return private_page(request, "admin/unmatched.html", context)


def count_unmatched(engine: sa.Engine) -> int:
    """How many there are."""
    with engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(unmatched_article)).scalar_one())


def unmatched_page(
    engine: sa.Engine, number: str, cursor: str | None, limit: int
) -> tuple[Sequence[sa.Row], dict[str, int], str | None]:
    """Article numbers that begin with a text, '' for all, from a cursor on, in their order.

    Beside the rows: our product of each SKU that may be meant, where there still is one, and the next cursor, None at
    the end. Raises CursorError.
    """
    columns = unmatched_article.c
    query = sa.select(unmatched_article)
    if number:
        query = query.where(columns.number.startswith(number, autoescape=True))
    if cursor:
        place = [sa.literal(value) for value in decode_cursor(cursor, (str, int))]
        query = query.where(sa.tuple_(columns.number, columns.id) > sa.tuple_(*place))
    query = query.order_by(columns.number, columns.id).limit(limit + 1)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
        skus = {str(one.get("sku")) for row in rows for one in row.candidates}
        found = sa.select(product.c.sku, product.c.id).where(
            product.c.sku == sa.any_(sa.literal(sorted(skus), sa.ARRAY(sa.Text)))
        )
        ids = {row.sku: row.id for row in connection.execute(found.order_by(product.c.kind))}
    last = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], ids, encode_cursor([last.number, last.id]) if last else None
