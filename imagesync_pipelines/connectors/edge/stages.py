"""The stages around the plan, each a function without Dagster: listing a store's photos, reporting to the head office.

What belongs here: joining the parts with storage, one function per Dagster asset. What does not: the plan and what
comes of it (plan_stages.py), scans and cursors (listing.py), what the UI shows (assets.py, telling.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from imagesync_pipelines.connectors.edge import reporting, store
from imagesync_pipelines.connectors.edge.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.desk import Desk
from imagesync_pipelines.connectors.edge.listing import Listed, take_listing
from imagesync_pipelines.connectors.edge.notes import AppliedNote, ListingNote
from imagesync_pipelines.connectors.edge.plan_stages import quarantine_connector
from imagesync_pipelines.connectors.edge.store_schema import Finding, create_or_check, require_ready
from imagesync_pipelines.connectors.edge.stored_plans import broken_off
from imagesync_pipelines.storage.notes import keep_note
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.storage.quarantine import QuarantineTable
from imagesync_pipelines.sync.handovers import newest_note
from imagesync_pipelines.sync.model import QuarantineItem

LISTING_STAGE = "listing"


@dataclass(frozen=True)
class StatusSent:
    """What was told to the head office: reports sent, reports kept for the next run, and why."""

    sent: int
    left: int
    warnings: tuple[str, ...]


def take_photos(desk: Desk, api: HeadOfficeApi, run_id: str, *, full: bool, dry_run: bool) -> ListingNote:
    """Bring the mirror of a store up to its head office, and note what the next stage needs to know.

    A dry run marks nothing in the store's database; the next run finds the same work in the mirror. Raises
    AccountBusyError when another run works on the store, StoreNotReadyError, and the errors of the head office.
    """
    place = desk.place
    with store.store_lock(desk.database, place.settings.lock_wait_seconds):
        findings = create_or_check(desk.database)
        require_ready(findings, desk.name)
        listed = take_listing(
            place.engine,
            desk.store,
            api,
            desk.settings,
            full=full,
            mark_pending=lambda photos: None if dry_run else store.mark_pending(desk.database, photos),
        )
        waiting = store.anything_pending(desk.database)
    _set_aside(desk, run_id, listed)
    applied = newest_note(place.storage, desk.name, AppliedNote)
    settled = listed.mirror_at is None or (applied is not None and applied.settled_at == listed.mirror_at)
    # A run that died may have written photos of which the head office has not heard.
    settled = settled and broken_off(Plans(place.engine, place.storage), desk.name) is None
    note = ListingNote(
        run_id=run_id,
        dry_run=dry_run,
        full=listed.full,
        scan_id=listed.scan_id,
        complete=listed.complete,
        reason=listed.reason,
        quiet=settled and not listed.full and not waiting,
        mirror_at=listed.mirror_at,
        seen=listed.seen,
        new=listed.new,
        changed=listed.changed,
        unusable=listed.unusable,
        gone=listed.gone,
        rejected=len(listed.rejects),
        illegible=tuple(reject.photo_id for reject in listed.rejects if reject.photo_id is not None),
        cursor=listed.cursor_after,
        lag_seconds=listed.lag_seconds,
        calls=listed.calls,
        bytes=listed.bytes,
        warnings=(*_told(findings, desk.name), *listed.warnings),
    )
    keep_note(place.storage, desk.name, note)
    return note


def send_status(desk: Desk, api: HeadOfficeApi) -> StatusSent:
    """Send what waits to be reported; what the head office does not take is kept. Raises nothing of the head office."""
    done = reporting.send_reports(desk.place.engine, desk.store, api, desk.settings.report_batch)
    warnings = []
    if done.error:
        warnings.append(f"{done.waiting} reports are kept for the next run: {done.error}")
    if done.dropped:
        warnings.append(f"{done.dropped} reports were given up; the head office refused them in many runs.")
    return StatusSent(done.sent, done.waiting, tuple(warnings))


def _set_aside(desk: Desk, run_id: str, listed: Listed) -> None:
    """Put rows that could not be read in quarantine, and take out those that a whole listing read without fault."""
    table = QuarantineTable(desk.place.engine, quarantine_connector(desk.name), run_id)
    items = [
        QuarantineItem(reject.photo_id or f"row {number}", None, LISTING_STAGE, reject.reason, None)
        for number, reject in enumerate(listed.rejects, 1)
    ]
    table.put(items)
    if listed.full and listed.complete:
        bad = {item.key for item in items}
        table.drop([entry.id for entry in table.list() if entry.stage == LISTING_STAGE and entry.key not in bad])


def _told(findings: Sequence[Finding], name: str) -> list[str]:
    if not findings:
        return []
    what = "; ".join(finding.what for finding in findings)
    return [f"The store's table could be better: {what}. `imagesync edge migrate --store {name}` does it."]
