"""What is forgotten once it is old, and what stays however old it is.

What goes is decided by pure functions over facts of rows. Each thing goes in a transaction of its own that ends when
its files are gone: a clean-up that was interrupted lost nothing that should stay, and the next one goes on. What
somebody began to use meanwhile stays.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines import languages
from imagesync_pipelines.storage.contents import Contents
from imagesync_pipelines.storage.database import among, write_rows
from imagesync_pipelines.storage.decoded import forget_unused
from imagesync_pipelines.storage.files import remove_folder
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines.storage.liveness import living
from imagesync_pipelines.storage.plans import BATCH
from imagesync_pipelines.storage.quarantine import ASKED_FOR, REFUSED_STAGE
from imagesync_pipelines.storage.scans import PROVEN, being_read, forget_scan
from imagesync_pipelines.storage.schema import alert, handover, held, plan, quarantine, raw_page, scan
from imagesync_pipelines.storage.schema_effects import effect, effects_known
from imagesync_pipelines.storage.schema_webhooks import (
    webhook_delivery,
    webhook_effect,
    webhook_event,
    webhook_subscription,
)

T = TypeVar("T")
Report = Callable[[str, int, int | None], None]
ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Ages:
    """From which age on each kind is old."""

    pages: timedelta
    plans: timedelta
    handovers: timedelta
    quarantine: timedelta
    copies: timedelta
    pictures: timedelta
    alerts: timedelta
    effects: timedelta
    webhooks: timedelta


@dataclass(frozen=True)
class Cleaned:
    """What went of a kind, or would go: how much, its bytes (None: of no weight), and how much of the old stays."""

    kind: str
    count: int
    bytes: int | None = None
    kept: int = 0


@dataclass(frozen=True)
class PlanFact:
    """A stored plan, the run that made it, those that carried it out and began to, and whose records it was made from
    (batch)."""

    id: int
    connector: str
    account: str
    created_at: datetime
    run_id: str | None
    applied_at: datetime | None
    applied_run: str | None
    begun_run: str | None
    batch: str | None = None

    @property
    def runs(self) -> set[str]:
        """The runs whose hand-overs it may need."""
        return {run for run in (self.run_id, self.applied_run, self.begun_run, self.batch) if run is not None}


def old_plans(plans: Sequence[PlanFact], before: datetime, shown: Collection[int], alive: Collection[str]) -> list[int]:
    """The plans that are forgotten.

    Of each account stay the newest one and the one that was applied last, with what the run that did so planned beside
    it: an undo starts from there. So does what people see (shown), what was begun and not ended, and what belongs to a
    run that is alive.
    """
    newest: dict[tuple[str, str], int] = {}
    applied: dict[tuple[str, str], tuple[datetime, int]] = {}
    for one in plans:
        owner = (one.connector, one.account)
        newest[owner] = max(one.id, newest.get(owner, 0))
        if one.applied_at is not None:
            applied[owner] = max((one.applied_at, one.id), applied.get(owner, (one.applied_at, 0)))
    stay = {*newest.values(), *(plan_id for _, plan_id in applied.values()), *shown}
    stay |= {one.id for one in plans if one.created_at >= before or one.begun_run is not None or one.run_id in alive}
    carried_out = {one.applied_run for one in plans if one.id in stay} - {None}
    return [one.id for one in plans if one.id not in stay and one.run_id not in carried_out]


@dataclass(frozen=True)
class ScanFact:
    """A scan, and when it was begun; part: which part of the source alone it read, '' for all."""

    id: int
    connector: str
    state: str
    part: str
    started_at: datetime
    ended_at: datetime | None


def old_scans(
    scans: Sequence[ScanFact], before: datetime, named: Collection[int], under_way: Collection[int]
) -> list[int]:
    """The scans that are forgotten, with their pages.

    Of each connector stay the newest, the newest that came to its end, the newest of everything, and the newest that
    proves something; and what a stored plan or a hand-over names, or somebody is reading now.
    """
    stay = {*named, *under_way}
    for connector in {one.connector for one in scans}:
        mine = [one for one in scans if one.connector == connector]
        ended = [one for one in mine if one.ended_at is not None]
        whole = [one for one in ended if not one.part]
        proven = [one for one in whole if one.state == PROVEN]
        stay |= {max(one.id for one in several) for several in (mine, ended, whole, proven) if several}
    return [one.id for one in scans if one.started_at < before and one.id not in stay]


@dataclass(frozen=True)
class HandOverFact:
    """What a step of a run left: the number is higher the later it was."""

    connector: str
    account: str
    run_id: str
    step: str
    number: int
    made_at: datetime


Run = tuple[str, str, str]
"""A run of an account: connector, account, run id."""


def old_runs(
    left: Sequence[HandOverFact], before: datetime, used: Collection[str], alive: Collection[str]
) -> list[Run]:
    """The runs whose hand-overs are forgotten: all that each left is old.

    Of each account stays the run that left the newest of any step, what a stored plan was made from or by (used), and
    what belongs to a run that is alive.
    """
    newest: dict[tuple[str, str, str], HandOverFact] = {}
    last: dict[Run, datetime] = {}
    for one in left:
        step = (one.connector, one.account, one.step)
        newest[step] = max(one, newest.get(step, one), key=lambda each: each.number)
        run = (one.connector, one.account, one.run_id)
        last[run] = max(one.made_at, last.get(run, one.made_at))
    stay = {(one.connector, one.account, one.run_id) for one in newest.values()}
    kept = {*used, *alive}
    return [run for run, at in last.items() if at < before and run not in stay and run[2] not in kept]


@dataclass(frozen=True)
class Retention:
    """The clean-up of our own tables and files.

    used: the runs whose hand-overs a connector itself still needs. report gets a kind, how much of it is done and of
    how much. A dry run changes nothing.
    """

    engine: sa.Engine
    root: UPath
    ages: Ages
    now: datetime
    dry_run: bool = False
    used: Collection[str] = ()
    report: Report = lambda kind, done, total: None

    def all(self) -> Iterator[Cleaned]:
        """Clean up every kind, one after the other; each is told as soon as it is done."""
        for clean in (
            self.plans, self.handovers, self.pages, self.quarantined, self.copies, self.pictures, self.told,
            self.effects, self.webhook_deliveries, self.webhook_events,
        ):  # fmt: skip
            yield clean()
        if not self.dry_run:
            forget_unused(self.engine)

    def plans(self) -> Cleaned:
        """Stored plans with their files."""
        found, old = self._plans()
        connectors = {one.id: one.connector for one in found}

        def forget(plan_id: int, connection: sa.Connection) -> None:
            gone = plan.delete().where(plan.c.id == plan_id, plan.c.begun_run.is_(None))
            if connection.execute(gone).rowcount:
                remove_folder(self.root / "plans" / connectors[plan_id] / str(plan_id))

        self._each(languages.told("plans"), old, forget)
        before = self.now - self.ages.plans
        return Cleaned(languages.told("plans"), len(old), kept=sum(one.created_at < before for one in found) - len(old))

    def handovers(self) -> Cleaned:
        """What steps of runs left for later ones, with its files."""
        found, old = self._runs()

        def forget(run: Run, connection: sa.Connection) -> None:
            HandOvers(self.engine, self.root, run[0], run[1]).forget(run[2], connection)

        self._each(languages.told("hand-overs"), old, forget)
        before = self.now - self.ages.handovers
        every = {(one.connector, one.account, one.run_id) for one in found if one.made_at < before}
        return Cleaned(languages.told("hand-overs"), len(old), kept=len(every) - len(old))

    def pages(self) -> Cleaned:
        """Scans with the pages as they were received."""
        gone_plans, gone_runs = self._plans()[1], {run for _, _, run in self._runs()[1]}
        scan_of_step = handover.c.value["scan_id"].astext
        by_steps = sa.select(sa.cast(scan_of_step, sa.BigInteger), handover.c.run_id)
        by_plans = sa.select(plan.c.scan_id).where(plan.c.scan_id.is_not(None), plan.c.id.not_in(gone_plans))
        by_scan = sa.select(raw_page.c.scan_id, sa.func.sum(raw_page.c.bytes)).group_by(raw_page.c.scan_id)
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(*(scan.c[one.name] for one in fields(ScanFact))))
            found = [ScanFact(**row._mapping) for row in rows]
            steps = connection.execute(by_steps.where(scan_of_step.regexp_match("^[0-9]{1,18}$")))
            named = {scan_id for scan_id, run in steps if run not in gone_runs} | set(connection.scalars(by_plans))
            under_way = being_read(connection)
            sizes = {scan_id: int(size) for scan_id, size in connection.execute(by_scan)}
        before = self.now - self.ages.pages
        old = old_scans(found, before, named, under_way)
        connectors = {one.id: one.connector for one in found}

        def forget(scan_id: int, connection: sa.Connection) -> None:
            if forget_scan(connection, scan_id):
                remove_folder(self.root / "raw_pages" / connectors[scan_id] / str(scan_id))

        self._each(languages.told("pages"), old, forget)
        total = sum(sizes.get(one, 0) for one in old)
        return Cleaned(
            languages.told("scans"), len(old), total, sum(one.started_at < before for one in found) - len(old)
        )

    def quarantined(self) -> Cleaned:
        """Items that no run met for long; what a target refused stays, for nobody tries it again by himself."""
        met = quarantine.c.last_seen < self.now - self.ages.quarantine
        tried = quarantine.c.stage.not_in([REFUSED_STAGE, ASKED_FOR])
        count, kept = self._count(quarantine, met & tried), self._count(quarantine, met & ~tried)
        self._rows(languages.told("quarantine"), quarantine, met & tried, count)
        return Cleaned(languages.told("quarantined items"), count, kept=kept)

    def copies(self) -> Cleaned:
        """Smaller copies of pictures, which are made again when a page asks for them."""
        return self._contents(languages.told("smaller copies"), self.ages.copies, copies=True)

    def pictures(self) -> Cleaned:
        """Content of pictures; never what a run or a page holds, or what a product shows from here."""
        return self._contents(languages.told("pictures"), self.ages.pictures, copies=False)

    def told(self) -> Cleaned:
        """What was told of, and neither happened again nor ended."""
        old = (alert.c.noted_at < self.now - self.ages.alerts) & alert.c.due_at.is_(None)
        count = self._count(alert, old)
        self._rows(languages.told("alerts"), alert, old, count)
        return Cleaned(languages.told("alerts"), count)

    def effects(self) -> Cleaned:
        """What was done to images. A run goes whole, so that what is left of one can be taken back.

        One of which webhooks are still to tell stays as long as what they told; then its mark goes with it.
        """
        before, c = self.now - self.ages.effects, effect.c
        runs = sa.select(c.run_id).where(c.run_id.is_not(None)).distinct()
        with self.engine.connect() as connection:
            recent = set(connection.scalars(runs.where(c.at >= before)))
            old = set(connection.scalars(runs.where(c.at < before)))
            recent |= living(connection, sorted(old - recent))
            untold = c.id.in_(sa.select(webhook_effect.c.id))
            recent |= set(connection.scalars(runs.where(untold, c.at >= self.now - self.ages.webhooks)))
        gone = (c.at < before) & (c.run_id.is_(None) | ~among(c.run_id, recent))
        count, kept = self._count(effect, gone), self._count(effect, (c.at < before) & among(c.run_id, recent))
        if count and not self.dry_run:
            # Said first: what is about to go is not to be read as if it were whole.
            newest = sa.select(sa.func.max(c.at)).where(gone).scalar_subquery()
            since = sa.func.greatest(effects_known.c.since, newest)
            write_rows(self.engine, effects_known.update().values(since=since))
            self._rows(languages.told("history"), effect, gone, count)
        orphan = ~sa.exists().where(effect.c.id == webhook_effect.c.id)
        self._rows(languages.told("webhook marks"), webhook_effect, orphan, self._count(webhook_effect, orphan))
        return Cleaned(languages.told("effects in the history"), count, kept=kept)

    def webhook_deliveries(self) -> Cleaned:
        """The log of what receivers of webhooks were sent."""
        old = webhook_delivery.c.at < self.now - self.ages.webhooks
        count = self._count(webhook_delivery, old)
        self._rows(languages.told("webhook deliveries"), webhook_delivery, old, count)
        return Cleaned(languages.told("webhook deliveries"), count)

    def webhook_events(self) -> Cleaned:
        """What receivers of webhooks were told, or would be; never what one that is told now has not had yet."""
        old = webhook_event.c.noted_at < self.now - self.ages.webhooks
        told = webhook_subscription.c.state == "active"
        slowest = sa.select(sa.func.min(webhook_subscription.c.cursor)).where(told).scalar_subquery()
        done = old & (webhook_event.c.id <= sa.func.coalesce(slowest, webhook_event.c.id))
        count, every = self._count(webhook_event, done), self._count(webhook_event, old)
        self._rows(languages.told("webhook events"), webhook_event, done, count)
        return Cleaned(languages.told("webhook events"), count, kept=every - count)

    def _contents(self, kind: str, age: timedelta, *, copies: bool) -> Cleaned:
        hours = age.total_seconds() / 3600
        contents = Contents(self.engine, self.root, lambda: self.now)
        gone = contents.forget_older(hours, copies=copies, dry_run=self.dry_run, on_progress=partial(self.report, kind))
        return Cleaned(kind, gone.count, gone.bytes, gone.in_use)

    def _plans(self) -> tuple[list[PlanFact], list[int]]:
        """All plans, and those that go."""
        columns = [one.name for one in fields(PlanFact) if one.name not in ("account", "batch")]
        with self.engine.connect() as connection:
            found = [
                PlanFact(
                    account=str(row["scope"].get("account", "")),
                    batch=row["scope"].get(BATCH),
                    **{name: row[name] for name in columns},
                )
                for row in connection.execute(sa.select(plan)).mappings()
            ]
            shown = set(connection.scalars(sa.select(held.c.plan_id).where(held.c.plan_id.is_not(None))))
            alive = living(connection, [one.run_id for one in found if one.run_id is not None])
        return found, old_plans(found, self.now - self.ages.plans, shown, alive)

    def _runs(self) -> tuple[list[HandOverFact], list[Run]]:
        """What every run left, and the runs whose hand-overs go."""
        plans, gone = self._plans()
        used = {run for one in plans if one.id not in gone for run in one.runs}
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(*(handover.c[one.name] for one in fields(HandOverFact))))
            found = [HandOverFact(**row._mapping) for row in rows]
            alive = living(connection, sorted({one.run_id for one in found}))
        return found, old_runs(found, self.now - self.ages.handovers, {*used, *self.used}, alive)

    def _each(self, kind: str, old: Sequence[T], forget: Callable[[T, sa.Connection], None]) -> None:
        """Forget things one by one, each with its rows and files in a transaction of its own."""
        for done, one in enumerate(old, start=1):
            if not self.dry_run:
                with self.engine.begin() as connection:
                    forget(one, connection)
            self.report(kind, done, len(old))

    def _count(self, table: sa.Table, which: sa.ColumnElement[bool]) -> int:
        with self.engine.connect() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).select_from(table).where(which)) or 0)

    def _rows(self, kind: str, table: sa.Table, which: sa.ColumnElement[bool], count: int) -> None:
        """Delete rows in batches, each a transaction of its own."""
        place: sa.ColumnClause[object] = sa.column("ctid")
        some = sa.select(place).select_from(table).where(which).limit(ROWS_AT_ONCE)
        done = 0
        while not self.dry_run and (gone := write_rows(self.engine, table.delete().where(place.in_(some)))):
            done += gone
            self.report(kind, done, count)
