"""Quarantine: items that could not be synchronised, with the reason, until they can or a person drops them.

An item is its connector, stage and key; meeting it again raises `attempts`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.database import among, read_rows
from imagesync_pipelines.storage.schema import quarantine


class Item(Protocol):
    """What the engine hands over; `payload` is the raw item as text, for replaying it."""

    @property
    def key(self) -> str: ...
    @property
    def group(self) -> str | None: ...
    @property
    def stage(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def payload(self) -> str | None: ...


@dataclass(frozen=True)
class QuarantineEntry:
    """One item in quarantine; `group_key` is the engine's group, where there is one."""

    id: int
    connector: str
    stage: str
    key: str
    group_key: str | None
    reason: str
    payload: str | None
    first_seen: datetime
    last_seen: datetime
    attempts: int
    run_id: str | None


@dataclass(frozen=True)
class QuarantineTable:
    """The quarantine of one connector; satisfies the engine's Quarantine. `run_id` is noted on what is put in."""

    engine: sa.Engine
    connector: str
    run_id: str | None = None

    def put(self, items: Sequence[Item]) -> None:
        """Put items in, all or none; one that is there already keeps `first_seen` and gets the newest reason."""
        rows = {
            (_text(item.stage), _text(item.key)): {
                "connector": self.connector,
                "stage": _text(item.stage),
                "key": _text(item.key),
                "group_key": item.group and _text(item.group),
                "reason": _text(item.reason),
                "payload": item.payload and _text(item.payload),
                "run_id": self.run_id,
            }
            for item in items
        }
        if not rows:
            return
        statement = insert(quarantine)
        newest = {name: statement.excluded[name] for name in ("group_key", "reason", "payload", "run_id")}
        again = {**newest, "last_seen": sa.func.now(), "attempts": quarantine.c.attempts + 1}
        statement = statement.on_conflict_do_update(index_elements=["connector", "stage", "key"], set_=again)
        with self.engine.begin() as connection:
            connection.execute(statement, list(rows.values()))

    def clear(self, keys: Collection[str]) -> None:
        """Take out what has succeeded since, whatever stage it failed in."""
        self._delete(among(quarantine.c.key, [_text(key) for key in keys]))

    def list(self) -> "list[QuarantineEntry]":
        """Everything of the connector, the newest first."""
        query = sa.select(quarantine).where(quarantine.c.connector == self.connector)
        return read_rows(self.engine, query.order_by(quarantine.c.last_seen.desc(), quarantine.c.id), QuarantineEntry)

    def drop(self, ids: Collection[int]) -> int:
        """Forget items by their numbers; returns how many there were. They come back when they fail again."""
        return self._delete(among(quarantine.c.id, ids))

    def _delete(self, condition: sa.ColumnElement[bool]) -> int:
        statement = quarantine.delete().where(quarantine.c.connector == self.connector, condition)
        with self.engine.begin() as connection:
            return int(connection.execute(statement).rowcount)


def _text(value: str) -> str:
    """What PostgreSQL can keep: NUL and lone surrogates, which upstreams do send, become a replacement character."""
    return value.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
