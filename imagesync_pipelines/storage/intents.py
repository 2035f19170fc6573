"""Intents: a call to a remote target that was begun and whose outcome is not written yet.

A row exists only between the commit before a call and the commit of its outcome, so a row found at a start means:
unknown.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.database import among, read_rows
from imagesync_pipelines.storage.schema import intent


@dataclass(frozen=True)
class IntentEntry:
    """One call whose outcome is unknown: its group, the fingerprint it wanted to reach, since when, of which run."""

    group: str
    fingerprint: str
    started_at: datetime
    run_id: str | None


def begin_intent(engine: sa.Engine, connector: str, group: str, fingerprint: str, run_id: str | None) -> None:
    """Write and commit that a group is about to be written; a second attempt on it replaces the first."""
    values = {"fingerprint": fingerprint, "run_id": run_id, "started_at": sa.func.now()}
    statement = insert(intent).values(connector=connector, group_key=group, **values)
    with engine.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=["connector", "group_key"], set_=values))


def open_intents(engine: sa.Engine, connector: str) -> list[IntentEntry]:
    """The groups of a connector whose outcome is unknown, the oldest first."""
    columns = (intent.c.group_key.label("group"), intent.c.fingerprint, intent.c.started_at, intent.c.run_id)
    query = sa.select(*columns).where(intent.c.connector == connector)
    return read_rows(engine, query.order_by(intent.c.started_at, intent.c.group_key), IntentEntry)


def close_intents(connection: sa.Connection, connector: str, groups: Collection[str]) -> None:
    """Take intents away in the caller's transaction, the one that writes what their groups now hold."""
    connection.execute(intent.delete().where(intent.c.connector == connector, among(intent.c.group_key, groups)))
