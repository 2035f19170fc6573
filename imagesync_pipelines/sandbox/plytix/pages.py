"""Columns and pages of a search: what may be asked for, and what the answer says of it (contract section 6).

What belongs here: reading `attributes` and `pagination` of a body, cutting a page, its envelope. What does not: what is
searched (searches.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

from imagesync_pipelines.sandbox.plytix.answers import Answer, Refused, found, schema_error
from imagesync_pipelines.sandbox.plytix.model import Asset, Product
from imagesync_pipelines.sandbox.plytix.switches import Counts

DEFAULT_ROWS, MOST_ROWS = 25, 100
MOST_ORDERED = 10_000
_Record = TypeVar("_Record", Asset, Product)


@dataclass(frozen=True)
class Page:
    """The page that is asked for; `order` is a field, with a minus for the other way round, or None."""

    number: int = 1
    size: int = DEFAULT_ROWS
    order: str | None = None


def read_columns(body: Mapping[str, Any], known: Sequence[str], most: int) -> list[str]:
    """The columns of a body, or the 422 for one that is not there and for too many."""
    columns = body.get("attributes") or []
    if not isinstance(columns, list):
        raise schema_error(("attributes", "Not a valid list."))
    if len(columns) > most:
        raise schema_error(("schema", f"columns limit exceeded, current limit is {most}"))
    unknown = [str(column) for column in columns if column not in known]
    if unknown:
        raise schema_error(*((name, "unknown column") for name in unknown))
    return columns


def read_page(body: Mapping[str, Any], orders: Sequence[str]) -> Page:
    """The page of a body, or the 422 for a size above 100 and for an order that is not there."""
    asked = body.get("pagination") or {}
    if not isinstance(asked, dict):
        raise schema_error(("pagination", "Invalid input type."))
    page = Page(asked.get("page", 1), asked.get("page_size", DEFAULT_ROWS), asked.get("order"))
    if type(page.number) is not int or page.number < 1:
        raise schema_error(("page", "page is a number from 1"))
    if type(page.size) is not int or not 1 <= page.size <= MOST_ROWS:
        raise schema_error(("page_size", f"page_size is a number from 1 to {MOST_ROWS}"))
    if page.order is not None and str(page.order).removeprefix("-") not in orders:
        raise schema_error(("order", "unknown order"))
    return page


def cut(hits: list[_Record], page: Page) -> list[_Record]:
    """The rows of one page; raises the 428 for a sorted search that finds too much."""
    if page.order is not None:
        if len(hits) > MOST_ORDERED:
            raise Refused(428, f"results cannot be ordered above {MOST_ORDERED}")
        hits = sorted(hits, key=attrgetter(page.order.removeprefix("-")), reverse=page.order.startswith("-"))
    return hits[(page.number - 1) * page.size : page.number * page.size]


def page_answer(page: Page, rows: list[dict[str, Any]], matching: int, total: int, counts: Counts) -> Answer:
    """The 200 of a search; `matching` records are found of `total`."""
    by_page = counts is Counts.PAGE_OF_MATCHES
    return found(
        rows,
        pagination={
            "count": len(rows) if by_page else matching,
            "order": page.order,
            "page": page.number,
            "page_size": page.size,
            "total_count": matching if by_page else total,
        },
    )
