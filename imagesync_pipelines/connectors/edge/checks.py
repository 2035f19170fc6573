"""The asset checks of this connector: true sentences about a store's last run, with the thresholds of the mission.

What belongs here: the checks; one that fails with severity ERROR is sent to people (operations/check_alerts.py). What
does not: the guard, which keeps bad news from doing harm before anything is written (sync/guard.py).
"""

from typing import Any

import dagster as dg

from imagesync_pipelines.connectors.edge.assets import BINARIES, LISTING, STORES
from imagesync_pipelines.connectors.edge.notes import AppliedNote, ListingNote
from imagesync_pipelines.connectors.edge.resources import EdgeResource
from imagesync_pipelines.defs.lineage import ancestors_of
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.sync.handovers import note_to_look_at

IN_TIME = "every_run_ends_in_time"


def build_checks() -> list[Any]:
    """All checks of this connector; each looks at one store, which is its partition."""

    @dg.asset_check(asset=LISTING, name="every_page_was_read", partitions_def=STORES)
    def every_page_was_read(
        context: dg.AssetCheckExecutionContext, installation: InstallationResource
    ) -> dg.AssetCheckResult:
        """The listing proved that it saw every photo it was to see; without that nothing is removed."""
        note = _note(installation, context, ListingNote)
        return dg.AssetCheckResult(
            passed=not note.full or note.complete,
            severity=dg.AssetCheckSeverity.WARN,
            description=note.reason or "every page was read",
            metadata={"photos seen": note.seen, "scan": note.scan_id},
        )

    @dg.asset_check(asset=BINARIES, name="few_photos_fail", partitions_def=STORES)
    def few_photos_fail(
        context: dg.AssetCheckExecutionContext, installation: InstallationResource, edge: EdgeResource
    ) -> dg.AssetCheckResult:
        """No more photos of a run fail than EDGE_MAX_FAILURE_SHARE; a few of few are no alarm (EDGE_FAILURE_FLOOR)."""
        note, settings = _note(installation, context, AppliedNote), edge.settings()
        share = note.failed / note.tried if note.tried else 0.0
        counts = note.tried >= settings.failure_floor
        alarm = counts and share > settings.max_failure_share
        return dg.AssetCheckResult(
            passed=not (counts and share > settings.warn_failure_share),
            severity=dg.AssetCheckSeverity.ERROR if alarm else dg.AssetCheckSeverity.WARN,
            description=_failures(note, share, settings.failure_floor),
            metadata={"tried": note.tried, "failed": note.failed, "share": share},
        )

    @dg.asset_check(asset=BINARIES, name=IN_TIME, partitions_def=STORES)
    def every_run_ends_in_time(
        context: dg.AssetCheckExecutionContext, installation: InstallationResource, edge: EdgeResource
    ) -> dg.AssetCheckResult:
        """A run is done within EDGE_MAX_RUN_MINUTES; a sensor says so while a run that is late is still at work."""
        note, settings = _note(installation, context, AppliedNote), edge.settings()
        return dg.AssetCheckResult(
            passed=note.seconds <= settings.max_run_minutes * 60,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{note.seconds / 60:.1f} minutes ({settings.max_run_minutes:g} are allowed)",
            metadata={"seconds": note.seconds},
        )

    @dg.asset_check(asset=BINARIES, name="every_photo_matches_its_checksum", partitions_def=STORES)
    def every_photo_matches_its_checksum(
        context: dg.AssetCheckExecutionContext, installation: InstallationResource
    ) -> dg.AssetCheckResult:
        """No photo's bytes differ twice in a row from the listed checksum; once may be a photo being replaced."""
        note = _note(installation, context, AppliedNote)
        return dg.AssetCheckResult(
            passed=note.mismatched == 0,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{note.mismatched} photos whose bytes are not what the head office lists",
            metadata={"number": note.mismatched},
        )

    @dg.asset_check(asset=BINARIES, name="no_database_is_nearly_full", partitions_def=STORES)
    def no_database_is_nearly_full(
        context: dg.AssetCheckExecutionContext, installation: InstallationResource, edge: EdgeResource
    ) -> dg.AssetCheckResult:
        """A store's database uses no more of its capacity_gb than EDGE_MAX_STORAGE_SHARE."""
        note, allowed = _note(installation, context, AppliedNote), edge.settings().max_storage_share
        share = note.database_bytes / note.capacity_bytes if note.capacity_bytes else 0.0
        known = (
            f"{share:.1%} of its capacity ({allowed:.0%} are allowed)" if note.capacity_bytes else "capacity unknown"
        )
        return dg.AssetCheckResult(
            passed=share <= allowed,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{note.database_bytes:,} bytes, {known}",
            metadata={"bytes": note.database_bytes, "share": share},
        )

    return [
        every_page_was_read,
        few_photos_fail,
        every_run_ends_in_time,
        every_photo_matches_its_checksum,
        no_database_is_nearly_full,
    ]


def _note(installation: InstallationResource, context: dg.AssetCheckExecutionContext, kind: type[Any]) -> Any:
    with installation.open() as place:
        return note_to_look_at(place.storage, context.partition_key, context.run.run_id, ancestors_of(context), kind)


def _failures(note: AppliedNote, share: float, floor: int) -> str:
    if not note.tried:
        return "no photo had to be fetched"
    few = f"; fewer than {floor} are too few to judge" if note.tried < floor else ""
    return f"{note.failed} of {note.tried} photos failed: {share:.1%}{few}"
