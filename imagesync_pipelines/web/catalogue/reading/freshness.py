"""How old what we show is: when each room was last brought up to date.

What belongs here: the newest proven reading and the newest applied plan of each room, from our own tables. What does
not: Dagster's records (runs.py), and asking an upstream whether it answers: pages show what was synchronised.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from imagesync_pipelines.storage.schema import plan, walk
from imagesync_pipelines.storage.walks import PROVEN


@dataclass(frozen=True)
class Freshness:
    """A room: when its source was last read whole, and when a plan was last applied; None: never."""

    room: str
    read_at: datetime | None
    applied_at: datetime | None

    def is_late(self, now: datetime, hours: float) -> bool:
        """Whether what we show of it is older than so many hours, or was never synchronised."""
        return self.applied_at is None or now - self.applied_at > timedelta(hours=hours)


def freshness(engine: sa.Engine) -> dict[str, Freshness]:
    """By room, for the rooms that ever read or applied something."""
    reads = sa.select(walk.c.room, sa.func.max(walk.c.ended_at)).where(walk.c.state == PROVEN).group_by(walk.c.room)
    applied = sa.select(plan.c.room, sa.func.max(plan.c.applied_at)).group_by(plan.c.room)
    with engine.connect() as connection:
        read_at = {row[0]: row[1] for row in connection.execute(reads)}
        applied_at = {row[0]: row[1] for row in connection.execute(applied)}
    rooms = sorted(read_at.keys() | applied_at.keys())
    return {room: Freshness(room, read_at.get(room), applied_at.get(room)) for room in rooms}
