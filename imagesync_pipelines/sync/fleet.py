"""Every target that we keep right, as it is known here: what it acknowledged, how far it is behind, in what it differs.

Nothing outside is asked: what a target really has is seen by the plan of a repair, which reads it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa

from imagesync_pipelines.storage.acknowledged import Acknowledged, every
from imagesync_pipelines.storage.schema import cursor, held, mirror, quarantine
from imagesync_pipelines.sync.identity import AccountLine
from imagesync_pipelines.sync.model import EFFECTS

Name = tuple[str, str]
"""Connector and account; the account is '' where a connector has none."""


@dataclass(frozen=True)
class NewestPlans:
    """The newest plans of a target: the one that was carried out last, and when; one that is newer and was not."""

    applied: int | None = None
    applied_at: datetime | None = None
    applied_made_at: datetime | None = None
    open: int | None = None
    open_changes: int = 0


@dataclass(frozen=True)
class Target:
    """One target. held, aside: how many removals wait for a person, how many items are in quarantine.

    moved: rows of its source that changed since the plan that was carried out last was made. read_at: when its source
    was last read for news. late: nothing was carried out nor found unchanged for longer than its connector allows.
    repairable: a run can plan for it.
    """

    connector: str
    account: str
    whose: str
    refused: str
    known: Acknowledged
    plans: NewestPlans
    held: int
    aside: int
    moved: int
    read_at: datetime | None
    late: bool
    repairable: bool

    @property
    def differs(self) -> bool:
        """Whether anything is known by which it is not as it should be."""
        left = self.known.left_rows or self.plans.open_changes
        return bool(self.refused or left or self.held or self.aside or self.moved or self.plans.applied is None)

    @property
    def as_of(self) -> datetime | None:
        """When it was last known to be in step with its source, but for what differs; None: never."""
        moments = [self.plans.applied_at, self.read_at if self.plans.applied_at else None]
        return max((one for one in moments if one is not None), default=None)


# What a person dismissed, what would take a run back or excluded products away, and a part of a plan that is only
# stored, nobody misses. Of the news at the source a plan of some products brings not all.
_NEWEST = sa.text("""
SELECT connector, coalesce(scope->>'account', '') AS account,
       (array_agg(id ORDER BY id DESC) FILTER (WHERE applied_at IS NOT NULL))[1] AS applied,
       (array_agg(applied_at ORDER BY id DESC) FILTER (WHERE applied_at IS NOT NULL))[1] AS applied_at,
       (array_agg(created_at ORDER BY id DESC) FILTER (WHERE applied_at IS NOT NULL AND NOT scope ? 'of_some'
                                                            AND NOT scope ? 'takes_away'))[1] AS applied_made_at,
       (array_agg(id ORDER BY id DESC) FILTER (WHERE applied_at IS NOT NULL OR missed))[1] AS newest,
       (array_agg(counts ORDER BY id DESC) FILTER (WHERE applied_at IS NOT NULL OR missed))[1] AS counts
  FROM (SELECT p.*, run_id IS NOT NULL AND NOT scope ? 'undoes_run' AND NOT scope ? 'takes_away'
               AND NOT scope ? 'piece' AND
               (SELECT word FROM imagesync.plan_word w WHERE w.plan_id = p.id AND word IN ('approve', 'dismiss')
                 ORDER BY w.id DESC LIMIT 1) IS DISTINCT FROM 'dismiss' AS missed
          FROM imagesync.plan p) AS plan
 GROUP BY connector, account
""")


def fleet(
    engine: sa.Engine,
    lines: Iterable[AccountLine],
    repairable: Collection[Name],
    *,
    late_after: Mapping[str, datetime],
    source_of: Callable[[str, str], str],
) -> list[Target]:
    """Every target, by name. lines: the accounts that are recorded or declared, repairable: those that runs write to.

    late_after: by connector, since when something must have been carried out. source_of: under which account the
    source of a target is mirrored.
    """
    whose = {(one.connector, one.account): one for one in lines}
    known, plans = every(engine), _newest_plans(engine)
    waits, aside, read = _held(engine), _aside(engine), _read_at(engine)
    found = []
    for name in sorted({*repairable, *known, *plans}):
        connector, account = name
        line, newest = whose.get(name), plans.get(name, NewestPlans())
        limit, source = late_after.get(connector), source_of(connector, account)
        one = Target(
            connector,
            account,
            whose=line.whose if line is not None else "",
            refused=line.refused if line is not None else "",
            known=known.get(name, Acknowledged(connector, account)),
            plans=newest,
            held=waits.get(name, 0),
            aside=aside.get(f"{connector}/{account}" if account else connector, 0),
            moved=_moved(engine, connector, source, newest.applied_made_at),
            read_at=read.get((connector, source)),
            late=False,
            repairable=name in repairable,
        )
        found.append(replace(one, late=limit is not None and one.as_of is not None and one.as_of < limit))
    return found


def _read_at(engine: sa.Engine) -> dict[Name, datetime]:
    with engine.connect() as connection:
        rows = connection.execute(sa.select(cursor.c.connector, cursor.c.account, cursor.c.moved_at))
        return {(connector, account): moment for connector, account, moment in rows}


def _newest_plans(engine: sa.Engine) -> dict[Name, NewestPlans]:
    with engine.connect() as connection:
        rows = connection.execute(_NEWEST).all()
    found = {}
    for row in rows:
        waits = row.newest is not None and row.newest != row.applied
        changes = sum(int(row.counts.get(change, 0)) for change in EFFECTS) if waits else 0
        applied = (row.applied, row.applied_at, row.applied_made_at)
        found[row.connector, row.account] = NewestPlans(*applied, row.newest if waits else None, changes)
    return found


def _held(engine: sa.Engine) -> dict[Name, int]:
    query = sa.select(held.c.connector, held.c.account, sa.func.count()).where(held.c.decision.is_(None))
    with engine.connect() as connection:
        rows = connection.execute(query.group_by(held.c.connector, held.c.account))
        return {(connector, account): int(number) for connector, account, number in rows}


def _aside(engine: sa.Engine) -> dict[str, int]:
    query = sa.select(quarantine.c.connector, sa.func.count()).group_by(quarantine.c.connector)
    with engine.connect() as connection:
        return {owner: int(number) for owner, number in connection.execute(query)}


def _moved(engine: sa.Engine, connector: str, source: str, since: datetime | None) -> int:
    if since is None:
        return 0
    mine = (mirror.c.connector == connector) & (mirror.c.account == source) & (mirror.c.changed_at > since)
    with engine.connect() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(mirror).where(mine)) or 0)
