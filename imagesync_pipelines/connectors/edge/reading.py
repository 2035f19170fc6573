"""A store in one run, and the run's first steps: what the head office lists for the store, in our mirror; the plan."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

import pandas as pd
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from imagesync_pipelines import languages
from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.edge import history, marking, store
from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.listing import PROVEN_GONE, ListingHandOver, take_listing
from imagesync_pipelines.connectors.edge.model import BINARIES, LISTING, Photo
from imagesync_pipelines.connectors.edge.planning import LISTED_VALUES, payload_of, plan_photos, product_labels
from imagesync_pipelines.connectors.edge.primaries import with_one_primary
from imagesync_pipelines.connectors.edge.settings import MEGABYTE, EdgeSettings, EdgeStore, edge_stores
from imagesync_pipelines.connectors.edge.store_schema import create_or_check, require_ready
from imagesync_pipelines.storage import mirror
from imagesync_pipelines.storage.plans import PlanHeader
from imagesync_pipelines.storage.quarantine import QuarantineItem
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.choosing import ChosenProducts, chosen_groups
from imagesync_pipelines.sync.excluding import in_channel, list_exclusions
from imagesync_pipelines.sync.frames import PLAN_COLUMNS
from imagesync_pipelines.sync.guard import RULING
from imagesync_pipelines.sync.identity import Identity
from imagesync_pipelines.sync.model import Change, PlanCost, Proof, Scope
from imagesync_pipelines.sync.planned import Planned, limits_of, plan_result, rows_to_show, store_plan
from imagesync_pipelines.sync.steps import CheckResult, RunContext, StepResult, Summary, Table, Texts
from imagesync_pipelines.upstream.retries import Timing

# The stage under which the quarantine keeps rows of a listing.
LISTING_STAGE = languages.told("listing")


class ListingOptions(ChosenProducts):
    """How to list a store's photos."""

    full: bool = Field(False, description="list everything, not only what changed; finds what vanished")
    dry_run: bool = Field(False, description="write nothing into the store's database")


class StorePlanOptions(ChosenProducts):
    """How to plan."""

    allow_mass_delete: bool = Field(False, description="let removals happen that the deletion limits would hold back")
    dry_run: bool = Field(False, description="only to be looked at: the plan is carried out by its number alone")


class BinariesHandOver(BaseModel):
    """What applying did; tried: photos whose bytes were to be fetched, failed and mismatched among them.

    settled_at: the state of the mirror (mirror_at) that the store has now; None: not all of it. seconds: since the run
    started. photos: by status. doubles: products with several primary photos. database_bytes: after the run;
    grown_bytes: since the hand-over before.
    """

    model_config = ConfigDict(frozen=True)

    settled_at: datetime | None
    tried: int = 0
    failed: int = 0
    mismatched: int = 0
    bytes_downloaded: int = 0
    seconds: float = 0.0
    photos: dict[str, int] = Field(default_factory=dict)
    doubles: int = 0
    database_bytes: int = 0
    grown_bytes: int | None = None
    capacity_bytes: int | None = None


@dataclass(frozen=True)
class StoreRun:
    """What the steps of one store work with; stores: the names of all."""

    context: RunContext[EdgeSettings]
    account: EdgeStore
    database: store.StoreDatabase
    api: HeadOfficeApi
    stores: tuple[str, ...] = ()

    @property
    def settings(self) -> EdgeSettings:
        """The connector's settings."""
        return self.context.settings

    @property
    def engine(self) -> sa.Engine:
        """Our own database."""
        return self.context.installation.engine

    @cached_property
    def identity(self) -> Identity:
        """Which store it is."""
        return marking.identity_of(self.context.installation, self.account, self.stores, self.context.run_id)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store, in its own database, and look whether it is the one that is meant.

        Raises AccountBusyError when another run works on it, and IdentityRefusedError.
        """
        wait_seconds = self.context.installation.settings.lock_wait_seconds
        with self.context.holding(store.store_lock(self.database, wait_seconds)):
            self.context.check_installation()
            self.identify(record=False)
            yield

    def identify(self, *, record: bool) -> list[str]:
        """See marking.identify."""
        return marking.identify(self.identity, self.context.installation, self.database, record=record)

    def broken_off(self, before: int | None = None) -> PlanHeader | None:
        """Of the store's plans (older than `before`) that were ever begun the newest, if it never ended; else None.

        What it wrote, the head office may not have heard of. Plans that were only made say nothing of that.
        """
        mine = self.context.plans.all(self.context.connector, self.context.part)
        older = (found for found in mine if before is None or found.id < before)
        newest = next((found for found in older if found.begun_run or found.applied_at), None)
        return newest if newest is not None and newest.begun_run is not None else None


@contextmanager
def at_store(context: RunContext[EdgeSettings], timing: Timing | None = None) -> Iterator[StoreRun]:
    """The store of a run with its database and its head office, for the length of a `with` block.

    Raises AccountsError, StoreUnreachableError, and StorageError when the database cannot be made.
    """
    shared = context.installation.settings
    known, hosts = edge_stores(load_accounts(shared)), shared.allowed_image_hosts
    account = known.named(context.account)
    with (
        store.opened_store(context.installation, account) as database,
        closing(HeadOfficeApi(account.head_office, context.settings, timing=timing, bucket_hosts=hosts)) as api,
    ):
        yield StoreRun(context, account, database, api, known.names)


def photo_listing(context: RunContext[EdgeSettings], options: ListingOptions) -> StepResult:
    """What the head office lists for a store, in our mirror: everything, or what changed since the cursor.

    Photos that need bytes are marked in the store's database before the cursor moves, so no crash loses them. The
    cursor is the head office's own time and moves only when every page was read.
    """
    with at_store(context) as run:
        listed = take_photos(run, full=options.full, dry_run=options.dry_run, skus=options.skus)
    # The run may end here.
    summary = Summary(
        status="completed",
        started_at=context.started_at,
        completed_at=datetime.now(UTC),
        warnings=listed.warnings,
        rejected=listed.unusable + listed.rejected,
        api_calls=listed.calls,
        bytes_downloaded=listed.bytes,
    )
    context.note_summary(summary)
    lag = {} if listed.lag_seconds is None else {"lag/seconds": listed.lag_seconds}
    what = languages.told("everything" if listed.full else "what changed")
    return StepResult(
        rows=listed.seen,
        numbers={
            "photos/listed": listed.seen,
            "photos/new": listed.new,
            "photos/changed": listed.changed,
            "photos/gone": listed.gone,
            "photos/unusable": listed.unusable,
            "api/calls": listed.calls,
            **lag,
        },
        shown={
            "full": listed.full,
            "every_page_was_read": listed.complete,
            "not_complete_because": listed.reason or "-",
            "cursor": f"{listed.cursor.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if listed.cursor else "-",
            "nothing_to_do": listed.quiet,
            "warnings": Texts(listed.warnings),
        },
        lines=[
            languages.told(
                f"{context.account}: listed {what}, {listed.seen} photos: {listed.new} new, "
                f"{listed.changed} changed, {listed.gone} gone, {listed.unusable} without an image upstream."
            )
            + (" " + languages.told("Nothing is to be done.") if listed.quiet else "")
        ],
        warnings=listed.warnings,
    )


def every_page_was_read(context: RunContext[EdgeSettings]) -> CheckResult:
    """The listing proved that it saw every photo it was to see; without that nothing is removed."""
    left = context.look_at(LISTING, ListingHandOver)
    scan = {} if left.scan_id is None else {"scan": left.scan_id}
    shown = {"photos seen": left.seen, **scan}
    return CheckResult(not left.full or left.complete, left.reason or languages.told("every page was read"), shown)


def take_photos(run: StoreRun, *, full: bool, dry_run: bool, skus: Collection[str] = ()) -> ListingHandOver:
    """Bring the mirror of a store up to its head office, and leave what the next step needs to know.

    skus: of the products that the run is about, which are compared whatever is new; empty: all. A dry run marks nothing
    in the store's database; the next run finds the same work in the mirror. Nor is a photo of a
    product marked that is excluded from the store. Raises AccountBusyError when another run works on the store,
    IdentityRefusedError, StoreNotReadyError, and the errors of the head office.
    """
    context = run.context
    with run.lock():
        findings = create_or_check(run.database)
        require_ready(findings, context.account)
        restored = marking.restored(run.identity, run.engine, run.database)
        told = [] if dry_run else run.identify(record=True)
        excluded = {one.sku for one in list_exclusions(run.engine, in_channel(context.connector, context.account))}

        def mark(photos: Sequence[Photo]) -> None:
            if not dry_run:
                store.mark_pending(run.database, [one for one in photos if one.product_sku not in excluded])

        broken_off = run.broken_off()
        if broken_off is not None and not dry_run:
            # What a run that was killed undid stays undone: that is known before this one plans.
            history.take_over(run.engine, context.account, run.database)
        listed = take_listing(
            run.engine,
            run.account,
            run.api,
            run.settings,
            full=full or bool(restored),
            mark_pending=mark,
            moves_cursor=not dry_run,
            before_commit=context.check_locks,
        )
        waiting = store.anything_pending(run.database)
        # What was restored is settled when the run that read everything writes (applying.py).
        if not dry_run and not restored and (listed.new or listed.changed or listed.gone):
            marking.move_on(run.identity, run.engine, run.database)
    _set_aside(context, listed)
    applied = context.handovers.newest(BINARIES, BinariesHandOver)
    settled = listed.mirror_at is None or (applied is not None and applied.settled_at == listed.mirror_at)
    what = "; ".join(finding.what for finding in findings if finding.told)
    advice = languages.told(
        f"The store's table could be better: {what}. `imagesync edge migrate --store {context.account}` does it."
    )
    left = listed.model_copy(
        update={
            "run_id": context.run_id,
            "dry_run": dry_run,
            # A run that died may have written photos of which the head office has not heard.
            "quiet": settled
            and not listed.full
            and not skus
            and not waiting
            and broken_off is None
            and not held.anything_allowed(context),
            "warnings": (*([advice] if what else []), *([restored] if restored else []), *told, *listed.warnings),
        }
    )
    context.keep(LISTING, left)
    return left


def _set_aside(context: RunContext[EdgeSettings], listed: ListingHandOver) -> None:
    """Put rows that could not be read in quarantine, and take out those that a whole listing read without fault."""
    table = context.quarantine
    items = [
        QuarantineItem(reject.photo_id or languages.told(f"row {number}"), None, LISTING_STAGE, reject.reason, None)
        for number, reject in enumerate(listed.rejects, 1)
    ]
    table.put(items)
    if listed.full and listed.complete:
        bad = {item.key for item in items}
        table.drop([entry.id for entry in table.list() if entry.stage == LISTING_STAGE and entry.key not in bad])


def plan(context: RunContext[EdgeSettings], options: StorePlanOptions) -> StepResult:
    """What would change in a store's database, photo by photo with its reason; nothing is changed yet.

    Only photos whose checksum changed are downloads; another order or primary is an update without bytes. When nothing
    is new and nothing waits, no plan is made.
    """
    with at_store(context) as run:
        return make_plan(run, allow_mass_delete=options.allow_mass_delete, dry_run=options.dry_run, skus=options.skus)


def make_plan(
    run: StoreRun, *, allow_mass_delete: bool, dry_run: bool = False, skus: Collection[str] = ()
) -> StepResult:
    """Plan from the mirror and the store's database, and store the plan; none when the listing found nothing to do.

    What the listing found is that of this run's lineage; a plan by itself is made from the mirror as the newest listing
    left it. dry_run: the plan is carried out only by its number. skus: of the products that it is about; empty: all.
    Photos of products that the store does not have wait for them. Raises HandOverMissingError without a listing, and
    UnknownSkuError.
    """
    context, plan_id = run.context, None
    listed = context.find(LISTING, ListingHandOver)
    if listed is not None and listed.quiet:
        nothing = pd.DataFrame(columns=[*PLAN_COLUMNS, RULING, "product"], dtype="str")
        planned = Planned(nothing, nothing, PlanCost(0, 0, 0.0), warnings=listed.warnings, **_spent(run, listed))
    else:
        listed = listed or context.look_at(LISTING, ListingHandOver)
        plan_id, planned = plan_store(run, listed, allow_mass_delete=allow_mass_delete, dry_run=dry_run, skus=skus)
    rows, cost = planned.plan, planned.cost
    pace = languages.told(f", at least {cost.minutes:g} minutes at the pace set") if cost.minutes else ""
    reasons = rows.loc[rows["change"] == Change.REJECT, "reason"].value_counts()
    changes = rows_to_show(rows).rename(columns={"key": "photo"})
    return plan_result(
        context,
        planned,
        plan_id,
        cost=languages.told(f"{cost.calls} downloads, {cost.bytes / MEGABYTE:,.1f} MB{pace}."),
        changes=changes.loc[:, ["change", "product", "photo", "reason"]],
        shown={"set_aside": Table(pd.DataFrame({"reason": reasons.index, "photos": reasons.to_numpy()}))},
    )


def plan_store(
    run: StoreRun,
    listed: ListingHandOver,
    *,
    allow_mass_delete: bool,
    dry_run: bool = False,
    skus: Collection[str] = (),
) -> tuple[int, Planned]:
    """Plan from the mirror and the store's database whatever the listing found, and store the plan; with its number.

    skus: of the products that it is about; empty: all. Raises UnknownSkuError.
    """
    context, mine = run.context, (run.context.connector, run.context.account)
    groups = chosen_groups(context, skus)
    # One snapshot, so that the payloads are those of the rows that were planned.
    with run.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        mirror_at = mirror.mirror_at(connection, *mine)
        payloads = partial(mirror.read_payloads, connection, *mine)
        wanted = mirror.read_mirror(connection, *mine, LISTED_VALUES)
        absent = mirror.read_gone(connection, *mine, PROVEN_GONE)
        proof = None
        # A full scan of this run's lineage proves what was gone, whatever listing came in between: what that saw again
        # is in the mirror. One of another run proves it as long as the mirror is as that scan left it.
        own = listed.run_id in set(context.lineage)
        if listed.full and listed.scan_id is not None and (own or listed.mirror_at == mirror_at):
            proof = Proof(listed.scan_id, listed.complete, listed.reason)
        current = store.read_current(run.database)
        there = set(current.loc[current["has_bytes"], "key"])
        limits = limits_of(context, lifted=allow_mass_delete)
        wanted, payloads_of = with_one_primary(wanted, payloads, there, limits.memory.undone)
        found = plan_photos(
            wanted,
            # What is listed in a form that cannot be read is left alone.
            current[~current["key"].isin(listed.illegible)],
            Scope(groups, proof, absent),
            limits,
            unknown_products=store.unknown_products(run.database, set(wanted["group_key"])),
            max_bytes=run.settings.max_photo,
            pace_seconds=run.settings.pace_ms / 1000,
        )
        if not listed.dry_run:
            store.keep_waiting(run.database, found.waiting)
        planned = Planned(
            plan=found.plan.assign(product=product_labels(found.plan, wanted)),
            held=found.held,
            owned=found.owned,
            cost=found.cost,
            payload=payload_of(found.written, payloads_of),
            scope={"mirror_at": mirror_at.isoformat() if mirror_at is not None else None},
            of_some=groups is not None,
            says=groups or (),
            warnings=(*listed.warnings, *found.warnings),
            scan_id=listed.scan_id,
            **_spent(run, listed),
        )
        return store_plan(context, planned, dry_run=dry_run), planned


def _spent(run: StoreRun, listed: ListingHandOver) -> dict[str, Any]:
    """Calls and bytes of the listing, when it was this run's."""
    return {"calls": listed.calls, "received": listed.bytes} if listed.run_id == run.context.run_id else {}
