"""How old what we show is: when each connector was last brought up to date."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from imagesync_pipelines.storage.scans import PROVEN
from imagesync_pipelines.storage.schema import plan, scan


@dataclass(frozen=True)
class Freshness:
    """A connector: when its source was last read whole, and when a plan was last applied; None: never."""

    connector: str
    read_at: datetime | None
    applied_at: datetime | None

    def is_late(self, now: datetime, hours: float) -> bool:
        """Whether what we show of it is older than so many hours, or was never synchronised."""
        return self.applied_at is None or now - self.applied_at > timedelta(hours=hours)


def freshness(engine: sa.Engine) -> dict[str, Freshness]:
    """By connector, for the connectors that ever read or applied something."""
    reads = (
        sa.select(scan.c.connector, sa.func.max(scan.c.ended_at))
        .where(scan.c.state == PROVEN)
        .group_by(scan.c.connector)
    )
    applied = sa.select(plan.c.connector, sa.func.max(plan.c.applied_at)).group_by(plan.c.connector)
    with engine.connect() as connection:
        read_at = {row[0]: row[1] for row in connection.execute(reads)}
        applied_at = {row[0]: row[1] for row in connection.execute(applied)}
    connectors = sorted(read_at.keys() | applied_at.keys())
    return {
        connector: Freshness(connector, read_at.get(connector), applied_at.get(connector)) for connector in connectors
    }
