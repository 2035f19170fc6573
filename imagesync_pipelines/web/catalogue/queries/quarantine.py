"""What is in quarantine, some at a time, for people."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from imagesync_pipelines.storage.schema import quarantine
from imagesync_pipelines.web.catalogue.queries.cursors import CursorError, decode_cursor, encode_cursor

# Of a raw record that may be of any length.
SHOWN_CHARACTERS = 4000


@dataclass(frozen=True)
class Aside:
    """An item in quarantine. connector: or "connector/account"; payload: the beginning of the raw item."""

    id: int
    connector: str
    stage: str
    key: str
    reason: str
    payload: str
    first_seen: datetime
    last_seen: datetime
    attempts: int
    run_id: str | None


@dataclass(frozen=True)
class AsidePage:
    """Some items, those that failed last first; next_cursor is None at the end."""

    items: tuple[Aside, ...]
    next_cursor: str | None


def connectors_in_quarantine(engine: sa.Engine) -> dict[str, int]:
    """How many items each connector, or account of a connector, has in quarantine;

    by name, without those that have none.
    """
    query = (
        sa.select(quarantine.c.connector, sa.func.count())
        .group_by(quarantine.c.connector)
        .order_by(quarantine.c.connector)
    )
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def quarantine_page(engine: sa.Engine, connector: str, cursor: str | None, limit: int) -> AsidePage:
    """Items of a connector from a cursor on. Raises CursorError."""
    columns = quarantine.c
    shown = [columns[name] for name in Aside.__dataclass_fields__ if name != "payload"]
    beginning = sa.func.left(sa.func.coalesce(columns.payload, ""), SHOWN_CHARACTERS).label("payload")
    query = sa.select(*shown, beginning).where(columns.connector == connector)
    if cursor:
        seen, last = decode_cursor(cursor, (str, int))
        try:
            place = (datetime.fromisoformat(str(seen)), last)
        except ValueError:
            raise CursorError("This is no cursor of this list; begin again without one.") from None
        query = query.where(sa.tuple_(columns.last_seen, columns.id) < sa.tuple_(*map(sa.literal, place)))
    query = query.order_by(columns.last_seen.desc(), columns.id.desc()).limit(limit + 1)
    with engine.connect() as connection:
        items = tuple(Aside(**row) for row in connection.execute(query).mappings())
    more = len(items) > limit
    last_one = items[limit - 1] if more else None
    following = encode_cursor([last_one.last_seen.isoformat(), last_one.id]) if last_one else None
    return AsidePage(items[:limit], following)
