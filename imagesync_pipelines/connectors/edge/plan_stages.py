"""A store's plan and what comes of it, each a function without Dagster: plan, apply.

What belongs here: joining planning, engine and storage, one function per Dagster asset. What does not: the listing
before the plan and the report after it (stages.py), effects (applying.py), what the UI shows (assets.py, telling.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pandas as pd
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge import reporting, store
from imagesync_pipelines.connectors.edge.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.applying import PhotosApplied, apply_photos
from imagesync_pipelines.connectors.edge.desk import CONNECTOR, Desk
from imagesync_pipelines.connectors.edge.downloads import OpenPhoto, open_downloads, policy_of
from imagesync_pipelines.connectors.edge.listing import NOT_FOUND, WORD_OF_HO
from imagesync_pipelines.connectors.edge.notes import AppliedNote, ListingNote
from imagesync_pipelines.connectors.edge.planning import (
    LISTED_VALUES,
    PRODUCT_VALUES,
    PhotoPlan,
    payload_of,
    plan_photos,
    product_labels,
)
from imagesync_pipelines.connectors.edge.sources import from_bucket, from_head_office
from imagesync_pipelines.connectors.edge.stored_plans import part_of, report_what_a_crash_kept_back
from imagesync_pipelines.settings import Settings, SettingsError
from imagesync_pipelines.storage import mirror
from imagesync_pipelines.storage.errors import PlanMissingError
from imagesync_pipelines.storage.notes import NoteMissingError, keep_note
from imagesync_pipelines.storage.objects import s3_place
from imagesync_pipelines.storage.plans import NewPlan, PlanHeader, Plans
from imagesync_pipelines.storage.quarantine import QuarantineTable
from imagesync_pipelines.sync.apply import Applied
from imagesync_pipelines.sync.frames import PLAN_COLUMNS
from imagesync_pipelines.sync.handovers import newest_note, note_of, only_named, plan_to_apply
from imagesync_pipelines.sync.model import EFFECTS, Change, DeletionLimits, PlanCost, Proof, Scope
from imagesync_pipelines.sync.progress import Progress

# Of each store: a plan holds a row per photo, and there may be a hundred stores.
KEPT_PLANS = 20
GIGABYTE = 1024**3


@dataclass(frozen=True)
class PlanMade:
    """A stored plan of one store and what there is to tell about it; plan_id None: nothing was to be planned.

    plan: the engine's PLAN columns after the guard, and `product`: SKU and name, for people. held: the removals that
    the guard held back.
    """

    listed: ListingNote
    plan_id: int | None
    plan: pd.DataFrame
    held: pd.DataFrame
    cost: PlanCost
    warnings: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Rows per change, all five of them."""
        found = self.plan["change"].value_counts()
        return {str(change): int(found.get(change, 0)) for change in Change}


@dataclass(frozen=True)
class PlanApplied:
    """What came of applying a store's plan; plan_id None: there was none, because nothing was to be done.

    verified: photos proven by checksum and decode. calls: to the head office, the listing's included.
    """

    plan_id: int | None
    table: str
    applied: Applied
    note: AppliedNote
    verified: int
    calls: int
    held_back: int
    warnings: tuple[str, ...]


def make_plan(
    desk: Desk, run_id: str, *, ancestors: Sequence[str] = (), allow_mass_delete: bool, dry_run: bool = False
) -> PlanMade:
    """Plan from the mirror and the store's database, and store the plan; none when the listing found nothing to do.

    What the listing found is that of this run's lineage; a plan by itself is made from the mirror as the newest listing
    left it. dry_run: the plan is carried out only by its number. Photos of products that the store does not have wait
    for them. Raises NoteMissingError without a listing.
    """
    mine = note_of(desk.place.storage, desk.name, run_id, ancestors, ListingNote)
    listed = mine or newest_listing(desk)
    if mine is not None and mine.quiet:
        nothing = pd.DataFrame(columns=[*PLAN_COLUMNS, "product"], dtype="str")
        return PlanMade(listed, None, nothing, nothing, PlanCost(0, 0, 0.0), listed.warnings)
    return plan_store(desk, listed, run_id, allow_mass_delete=allow_mass_delete, dry_run=dry_run)


def newest_listing(desk: Desk) -> ListingNote:
    """What the store's newest listing found, which is the state of its mirror. Raises NoteMissingError."""
    found = newest_note(desk.place.storage, desk.name, ListingNote)
    if found is None:
        raise NoteMissingError(
            f"{CONNECTOR}/photo_listing has not been materialised for {desk.name} yet; do that first."
        )
    return found


def apply_plan(
    desk: Desk,
    api: HeadOfficeApi,
    run_id: str,
    *,
    ancestors: Sequence[str] = (),
    plan_id: int | None,
    started_at: datetime,
    progress: Progress,
) -> PlanApplied:
    """Apply a stored plan of the store, the one named or else that of this run's lineage, under the store's lock.

    Photos that cannot be fetched or proven keep the picture that is there and are tried again at the next run. Raises
    AccountBusyError, PlanMissingError, NoPlanOfThisRunError, and what ends a whole run: the store's database or the
    head office is gone.
    """
    listed = note_of(desk.place.storage, desk.name, run_id, ancestors, ListingNote)
    before = newest_note(desk.place.storage, desk.name, AppliedNote)
    own_listing = listed.calls if listed is not None and listed.run_id == run_id else 0
    if plan_id is None and listed is not None and listed.quiet:
        note = _applied_note(desk, run_id, started_at, before, settled_at=listed.mirror_at)
        return PlanApplied(None, desk.database.table, Applied(), note, 0, own_listing, 0, listed.warnings)
    plans = Plans(desk.place.engine, desk.place.storage)
    header = plan_to_apply(plans, CONNECTOR, run_id, ancestors, plan_id, part_of(desk.name))
    calls = api.calls
    with store.store_lock(desk.database, desk.place.settings.lock_wait_seconds):
        done = _apply(desk, api, plans, header, run_id, progress)
    plans.mark_applied(header.id, run_id)
    settled = not done.applied.refused and not done.gone
    note = _applied_note(
        desk, run_id, started_at, before, done=done, settled_at=_moment(header.scope["mirror_at"]) if settled else None
    )
    return PlanApplied(
        plan_id=header.id,
        table=desk.database.table,
        applied=done.applied,
        note=note,
        verified=done.verified,
        calls=own_listing + api.calls - calls,
        held_back=int(header.scope["held_back"]),
        warnings=(*header.scope["warnings"], *_warnings(done, header, run_id)),
    )


def plan_store(
    desk: Desk, listed: ListingNote, run_id: str, *, allow_mass_delete: bool, dry_run: bool = False
) -> PlanMade:
    """Plan from the mirror and the store's database whatever the listing found, and store the plan."""
    plans = Plans(desk.place.engine, desk.place.storage)
    # One snapshot, so that the payloads are those of the rows that were planned.
    with desk.place.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        mirror_at = mirror.mirror_at(connection, CONNECTOR, desk.name)
        planned, products = _planned(desk, listed, connection, mirror_at, allow_mass_delete=allow_mass_delete)
        if not listed.dry_run:
            store.keep_waiting(desk.database, planned.waiting)
        plan = planned.plan.assign(product=products)
        warnings = (*listed.warnings, *planned.warnings)
        new = NewPlan(
            connector=CONNECTOR,
            run_id=run_id,
            scope={
                **part_of(desk.name),
                "warnings": list(warnings),
                "held_back": len(planned.held),
                "mirror_at": mirror_at.isoformat() if mirror_at is not None else None,
                **only_named(dry_run=dry_run),
            },
            counts=planned.counts(),
            cost={"calls": planned.cost.calls, "bytes": planned.cost.bytes, "minutes": planned.cost.minutes},
            scan_id=listed.scan_id,
        )
        payloads = partial(mirror.read_payloads, connection, CONNECTOR, desk.name)
        plan_id = plans.save(plan, payload_of(planned.written, payloads), new)
    plans.prune(CONNECTOR, KEPT_PLANS, part_of(desk.name))
    return PlanMade(listed, plan_id, plan, planned.held, planned.cost, warnings)


def _planned(
    desk: Desk, listed: ListingNote, connection: sa.Connection, mirror_at: datetime | None, *, allow_mass_delete: bool
) -> tuple[PhotoPlan, pd.Series]:
    """The plan, and the product of each of its rows as people know it."""
    wanted = mirror.read_mirror(connection, CONNECTOR, desk.name, {**LISTED_VALUES, **PRODUCT_VALUES})
    absent = mirror.read_gone(connection, CONNECTOR, desk.name, WORD_OF_HO)
    # A full scan proves what is gone as long as the mirror is as that scan left it.
    proven = listed.full and listed.scan_id is not None and listed.mirror_at == mirror_at
    proof = Proof(listed.scan_id, listed.complete, listed.reason) if proven and listed.scan_id is not None else None
    planned = plan_photos(
        wanted,
        _current(desk, listed),
        Scope(None, proof, absent),
        _deletion_limits(desk.place.settings, lifted=allow_mass_delete),
        unknown_products=store.unknown_products(desk.database, set(wanted["group_key"])),
        max_bytes=desk.settings.max_photo,
        pace_seconds=desk.settings.pace_ms / 1000,
    )
    return planned, product_labels(planned.plan, wanted)


def _current(desk: Desk, listed: ListingNote) -> pd.DataFrame:
    """What the store has, without what the head office lists in a form that cannot be read: that is left alone."""
    current = store.read_current(desk.database)
    return current[~current["key"].isin(listed.illegible)] if listed.illegible else current


def _apply(
    desk: Desk, api: HeadOfficeApi, plans: Plans, header: PlanHeader, run_id: str, progress: Progress
) -> PhotosApplied:
    rows, payload = plans.load(header.id), plans.payload_portions(header.id)
    if payload is None:
        raise PlanMissingError(f"plan {header.id} was stored without the rows it needs; plan again")
    total = int(rows["change"].isin(EFFECTS).sum())
    report_what_a_crash_kept_back(desk, plans, header)
    plans.mark_begun(header.id, run_id)
    done = apply_photos(
        rows.drop(columns=["product"]),
        payload,
        desk.database,
        open_downloads(_open_photo(desk, api), policy_of(desk.settings)),
        QuarantineTable(desk.place.engine, quarantine_connector(desk.name), run_id),
        rows_per_commit=desk.settings.rows_per_commit,
        on_written=lambda written: reporting.queue(desk.place.engine, desk.name, written),
        on_progress=lambda number: progress("photos written", number, total),
    )
    if done.gone:
        with desk.place.engine.begin() as connection:
            mirror.mark_gone(connection, CONNECTOR, desk.name, done.gone, NOT_FOUND)
    return done


def quarantine_connector(store_name: str) -> str:
    """The name under which a store's items are in quarantine: two stores have the same photos."""
    return f"{CONNECTOR}/{store_name}"


def _open_photo(desk: Desk, api: HeadOfficeApi) -> OpenPhoto:
    if desk.settings.bytes_from == "ho":
        return from_head_office(api, desk.store.store_id)
    place = s3_place(desk.place.settings)
    if place is None:
        raise SettingsError("EDGE_BYTES_FROM is s3, so IMAGESYNC_S3_ENDPOINT_URL and its keys are needed.")
    return from_bucket(place, desk.settings)


def _deletion_limits(settings: Settings, *, lifted: bool) -> DeletionLimits:
    return DeletionLimits(
        settings.deletion_limit_share,
        settings.deletion_limit_count,
        settings.deletion_limit_bare,
        settings.deletion_limit_floor,
        lifted,
    )


def _applied_note(
    desk: Desk,
    run_id: str,
    started_at: datetime,
    before: AppliedNote | None,
    *,
    settled_at: datetime | None,
    done: PhotosApplied | None = None,
) -> AppliedNote:
    """What the checks look at, kept; settled_at: the state of the mirror that the store now has."""
    used = store.storage_used(desk.database)
    capacity = desk.store.capacity_gb
    numbers: dict[str, Any] = {}
    if done is not None:
        numbers = {
            "tried": done.downloads,
            "failed": done.failed,
            "mismatched": len(done.mismatched),
            "bytes_downloaded": done.bytes,
        }
    note = AppliedNote(
        run_id=run_id,
        settled_at=settled_at,
        seconds=(datetime.now(UTC) - started_at).total_seconds(),
        photos=dict(used.photos),
        database_bytes=used.database_bytes,
        grown_bytes=None if before is None else used.database_bytes - before.database_bytes,
        capacity_bytes=None if capacity is None else int(capacity * GIGABYTE),
        **numbers,
    )
    keep_note(desk.place.storage, desk.name, note)
    return note


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _warnings(done: PhotosApplied, header: PlanHeader, run_id: str) -> list[str]:
    found = []
    if header.applied_at is not None and header.applied_run != run_id:
        found.append(f"Plan {header.id} had been applied before, by run {header.applied_run}.")
    if done.failed:
        found.append(f"{done.failed} photos could not be fetched or proven; the next run tries them again.")
    if done.mismatched:
        found.append(f"The bytes of {len(done.mismatched)} photos are not what the head office lists, twice in a row.")
    if done.unsettled:
        found.append(f"{len(done.unsettled)} photos changed at the head office meanwhile; the next listing decides.")
    if done.applied.refused:
        found.append(
            f"{done.applied.refused} rows of {len(done.applied.refused_in)} products were refused, because they "
            "changed at the store since the plan was made; plan again."
        )
    return found
