"""Cursors: how far the incremental readings of a source have come, per connector and account."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.schema import cursor


def read_cursor(connection: sa.Connection, connector: str, account: str) -> str | None:
    """The value of a cursor; None when it was never moved."""
    query = sa.select(cursor.c.value).where(cursor.c.connector == connector, cursor.c.account == account)
    value: str | None = connection.execute(query).scalar()
    return value


def read_cursors(connection: sa.Connection, connector: str) -> dict[str, str]:
    """The values of all cursors of a connector, by account."""
    query = sa.select(cursor.c.account, cursor.c.value).where(cursor.c.connector == connector)
    return {row.account: row.value for row in connection.execute(query)}


def move_cursor(connection: sa.Connection, connector: str, account: str, value: str) -> None:
    """Put a cursor at a value, in the caller's transaction; one that is there already is not written."""
    values = {"value": value, "moved_at": sa.func.now()}
    statement = insert(cursor).values(connector=connector, account=account, **values)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["connector", "account"], set_=values, where=cursor.c.value != statement.excluded.value
        )
    )
