"""Quarantine: items that could not be synchronised, with the reason, until they can or a person drops them.

An item is its connector, stage and key; meeting it again raises `attempts`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.database import among, read_rows, storable, write_rows
from imagesync_pipelines.storage.schema import quarantine
from imagesync_pipelines.storage.statistics import analyze_if_many

# What a target refused is not sent again by every run, until a person asks for it; every other stage is tried again.
REFUSED_STAGE = N_("refused")
ASKED_FOR = N_("apply")


@dataclass(frozen=True)
class QuarantineItem:
    """An item that could not be synchronised: where it failed (`stage`), why, and its raw form for replaying it."""

    key: str
    group: str | None
    stage: str
    reason: str
    payload: str | None


@dataclass(frozen=True)
class QuarantineEntry(QuarantineItem):
    """An item in quarantine; `run_id`: of the run that met it last."""

    id: int
    connector: str
    first_seen: datetime
    last_seen: datetime
    attempts: int
    run_id: str | None


# The index on keys takes no longer one; what is longer ends in a digest of all of it.
_KEY_CHARACTERS = 600


def _kept(key: str) -> str:
    """A key as the table has it."""
    key = storable(key)
    if len(key) <= _KEY_CHARACTERS:
        return key
    return f"{key[: _KEY_CHARACTERS - 40]}… {blake2b(key.encode(), digest_size=16).hexdigest()}"


# The engine's group has another name in the table: `group` is a word of SQL.
_ENTRIES = sa.select(quarantine.c.group_key.label("group"), *(c for c in quarantine.c if c.name != "group_key"))


@dataclass(frozen=True)
class QuarantineTable:
    """The quarantine of one connector; satisfies the engine's Quarantine. `run_id` is noted on what is put in.

    read_only: of a dry run, which leaves it as it is.
    """

    engine: sa.Engine
    connector: str
    run_id: str | None = None
    read_only: bool = False

    def put(self, items: Sequence[QuarantineItem]) -> None:
        """Put items in, all or none; one that is there already keeps `first_seen` and gets the newest reason."""
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for item in items:
            row = storable(vars(item))
            row |= {"key": _kept(item.key), "group_key": row.pop("group")}
            rows[row["stage"], row["key"]] = {**row, "connector": self.connector, "run_id": self.run_id}
        if not rows or self.read_only:
            return
        statement = insert(quarantine)
        newest = {name: statement.excluded[name] for name in ("group_key", "reason", "payload", "run_id")}
        again = {**newest, "last_seen": sa.func.now(), "attempts": quarantine.c.attempts + 1}
        statement = statement.on_conflict_do_update(index_elements=["connector", "stage", "key"], set_=again)
        with self.engine.begin() as connection:
            connection.execute(statement, list(rows.values()))
            analyze_if_many(connection, quarantine, len(rows))

    def clear(self, keys: Collection[str]) -> None:
        """Take out what has succeeded since, whatever stage it failed in."""
        self._delete(among(quarantine.c.key, list(map(_kept, keys))))

    def list(self) -> "list[QuarantineEntry]":
        """Everything of the connector, the newest first."""
        query = _ENTRIES.where(quarantine.c.connector == self.connector)
        return read_rows(self.engine, query.order_by(quarantine.c.last_seen.desc(), quarantine.c.id), QuarantineEntry)

    def ask_again(self, ids: Collection[int] = ()) -> int:
        """Have the next run try again what the target refused: these items by their numbers, or all; returns how many.

        They stay in quarantine until they succeed.
        """
        mine = (quarantine.c.connector == self.connector) & (quarantine.c.stage == REFUSED_STAGE)
        chosen = mine & among(quarantine.c.id, ids) if ids else mine
        other = quarantine.alias()
        twice = sa.exists().where(
            other.c.connector == self.connector, other.c.stage == ASKED_FOR, other.c.key == quarantine.c.key
        )
        with self.engine.begin() as connection:
            gone = connection.execute(quarantine.delete().where(chosen, twice)).rowcount
            return gone + connection.execute(quarantine.update().where(chosen).values(stage=ASKED_FOR)).rowcount

    def drop(self, ids: Collection[int]) -> int:
        """Forget items by their numbers; returns how many there were. They come back when they fail again."""
        return self._delete(among(quarantine.c.id, ids))

    def _delete(self, condition: sa.ColumnElement[bool]) -> int:
        if self.read_only:
            return 0
        mine = quarantine.c.connector == self.connector
        return write_rows(self.engine, quarantine.delete().where(mine, condition))
