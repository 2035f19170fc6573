"""Doubts: bad news needs a second look.

That something is gone which we know is not believed on one answer. Two complete readings at least ten minutes apart
that agree end the doubt; the deletion limits still apply then, and an account that shows nothing at all of what we know
(a user without the right to see products) proves nothing however often it says so.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.schema import doubt as table
from imagesync_pipelines.storage.statistics import analyze_if_many
from imagesync_pipelines.sync.model import DeletionLimits

SECOND_LOOK = timedelta(minutes=10)


class Judged(NamedTuple):
    """What becomes of what an answer lacks.

    gone: it is. waiting: a second look is due. held: looked at twice, and more than the deletion limits allow. unseen:
    the account shows nothing of what we know.
    """

    gone: frozenset[str] = frozenset()
    waiting: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    unseen: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Doubt:
    """Something that an answer lacked. since: the first such answer; readings: how many said so that count."""

    since: datetime
    readings: int


def judge(
    missing: Collection[str],
    doubts: Mapping[str, Doubt],
    now: datetime,
    *,
    known: Collection[str],
    limits: DeletionLimits,
    went: int = 0,
) -> Judged:
    """What becomes of keys that a complete reading lacks.

    doubts: those that earlier readings lacked. known: all keys that we know there. went: how many of them were given up
    in the last 24 hours. What a person allowed (limits.memory) is gone, what he keeps waits.
    """
    lacking = frozenset(missing)
    allowed = lacking & limits.memory.allowed.keys()
    asked = lacking - allowed
    if len(known) > 1 and not set(known) - lacking - doubts.keys():
        return Judged(gone=allowed, unseen=asked)
    agreed = frozenset(key for key in asked if key in doubts and now - doubts[key].since >= SECOND_LOOK)
    agreed -= limits.memory.kept
    number = len(agreed) + went
    too_many = number > limits.floor and (number > limits.count or number > limits.share * (len(known) + went))
    if too_many and not limits.lifted:
        return Judged(gone=allowed, waiting=asked - agreed, held=agreed)
    return Judged(gone=allowed | agreed, waiting=asked - agreed)


def waiting(
    missing: Collection[str], doubts: Mapping[str, Doubt], now: datetime, *, known: int, limits: DeletionLimits
) -> frozenset[str]:
    """What a complete reading of a source lacks and is not believed yet; known: how many we know there.

    Up to the deletion limits it is believed at once, above them at the second look. What is taken away from
    a target because of it passes the limits there.
    """
    number = len(missing)
    if number <= limits.floor or (number <= limits.count and number <= limits.share * known):
        return frozenset()
    return frozenset(key for key in missing if key not in doubts or now - doubts[key].since < SECOND_LOOK)


def due(doubts: Mapping[str, Doubt], now: datetime) -> frozenset[str]:
    """What is to be looked at once more, whatever a run is about: it was missed once, and long enough ago."""
    return frozenset(key for key, one in doubts.items() if one.readings == 1 and now - one.since >= SECOND_LOOK)


@dataclass(frozen=True)
class Doubts:
    """What is doubted of one account."""

    engine: sa.Engine
    connector: str
    account: str
    clock: Callable[[], datetime]

    @property
    def _mine(self) -> sa.ColumnElement[bool]:
        return (table.c.connector == self.connector) & (table.c.account == self.account)

    def open(self) -> dict[str, Doubt]:
        """All of it, by key."""
        query = sa.select(table.c.key, table.c.since, table.c.readings).where(self._mine)
        with self.engine.connect() as connection:
            return {key: Doubt(since, readings) for key, since, readings in connection.execute(query)}

    def note(self, keys: Iterable[str]) -> None:
        """A complete reading lacked these; one that comes too soon after the first counts as the first."""
        now = self.clock()
        rows = [
            {"connector": self.connector, "account": self.account, "key": key, "since": now, "readings": 1}
            for key in sorted(keys)
        ]
        agrees = sa.case((table.c.since <= now - SECOND_LOOK, 1), else_=0)
        statement = insert(table).on_conflict_do_update(
            index_elements=["connector", "account", "key"], set_={"readings": table.c.readings + agrees}
        )
        if rows:
            with self.engine.begin() as connection:
                connection.execute(statement, rows)
                analyze_if_many(connection, table, len(rows))

    def end(self, keys: Collection[str]) -> None:
        """These are there, or are given up."""
        if keys:
            with self.engine.begin() as connection:
                connection.execute(table.delete().where(self._mine, among(table.c.key, sorted(keys))))
