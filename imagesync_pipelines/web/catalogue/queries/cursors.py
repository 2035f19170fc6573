"""Cursors of a list that goes on: where the last page ended, as text that a URL can carry."""

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import AwareDatetime, TypeAdapter


class CursorError(ValueError):
    """A cursor that this list did not give; begin again without one."""


def rows_after(
    connection: sa.Connection,
    query: sa.Select,
    order: Sequence[sa.Column],
    cursor: str | None,
    limit: int,
    *,
    falling: bool = False,
) -> tuple[Sequence[sa.Row], str | None]:
    """So many rows from a cursor on, and the next cursor, None at the end. Raises CursorError.

    order: columns of the query that together tell every row from the others; their values rise, or all of them fall.
    """
    if cursor:
        values = decode_cursor(cursor, [column.type.python_type for column in order])
        here, place = sa.tuple_(*order), sa.tuple_(*map(sa.literal, values))
        query = query.where(here < place if falling else here > place)
    ordered = query.order_by(*(column.desc() if falling else column for column in order))
    rows = connection.execute(ordered.limit(limit + 1)).all()
    last = rows[limit - 1]._mapping if len(rows) > limit else None
    return rows[:limit], encode_cursor([last[column.name] for column in order]) if last else None


def encode_cursor(values: Sequence[str | int | datetime]) -> str:
    """The values of the last row as text for a URL."""
    return base64.urlsafe_b64encode(json.dumps(list(values), default=datetime.isoformat).encode()).decode().rstrip("=")


def decode_cursor(text: str, kinds: Sequence[type]) -> list[Any]:
    """The values again, of these kinds: str, int, or aware datetime. Raises CursorError for text that is none."""
    wanted: Any = tuple(AwareDatetime if kind is datetime else kind for kind in kinds)
    try:
        values = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found: Any = TypeAdapter(tuple[wanted]).validate_json(values, strict=True)
    except ValueError:
        raise CursorError("This is no cursor of this list; begin again without one.") from None
    if any(isinstance(value, str) and "\0" in value for value in found):
        raise CursorError("This is no cursor of this list; begin again without one.")
    return list(found)
