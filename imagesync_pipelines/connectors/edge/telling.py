"""What the stages of a store have to tell: summaries, sentences for the log, small tables and numbers for the UI.

What belongs here: pure functions over what the stages return. What does not: the stages (stages.py) and Dagster's
metadata (assets.py).
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd

from imagesync_pipelines.connectors.edge.notes import ListingNote
from imagesync_pipelines.connectors.edge.plan_stages import PlanApplied, PlanMade
from imagesync_pipelines.connectors.edge.repairing import Scrubbed
from imagesync_pipelines.connectors.edge.stages import StatusSent
from imagesync_pipelines.sync.model import Change
from imagesync_pipelines.sync.report import Summary, changing_rows, summary_of

MEGABYTE = 1024 * 1024

# Name → type and meaning, as the UI's page of the Dagster asset lists them.
PRODUCT_PHOTO_COLUMNS = {
    "id": ("uuid", "the head office's id of the photo; a replaced photo has a new one"),
    "product_id": ("uuid", "the product"),
    "object_key": ("varchar(500)", "where the head office keeps the bytes"),
    "filename": ("varchar(255)", "as it was uploaded; never used as a path"),
    "size": ("integer", "bytes"),
    "content_type": ("varchar(100)", "as the head office says"),
    "checksum": ("varchar(64)", "MD5 of the bytes, as hexadecimal digits"),
    "version": ("integer", "as the head office says; it never counts up"),
    "is_primary": ("boolean", "the one shown first"),
    "sort_order": ("integer", "order within the product"),
    "updated_at": ("timestamptz", "the head office's own time of the last change"),
    "image_binary": ("bytea", "the picture, verified by checksum and full decode"),
    "last_sync_at": ("timestamptz", "when the row was last written"),
    "sync_status": ("varchar(20)", "pending, syncing, synced or failed"),
    "sync_error": ("text", "why it is not synced"),
}


def listing_summary(listed: ListingNote, started_at: datetime) -> Summary:
    """The summary of a run that ended with its listing."""
    return Summary(
        status="completed",
        started_at=started_at,
        completed_at=datetime.now(UTC),
        warnings=listed.warnings,
        rejected=listed.unusable + listed.rejected,
        api_calls=listed.calls,
        bytes_downloaded=listed.bytes,
    )


def listing_line(store: str, listed: ListingNote) -> str:
    """The listing in one line for the log."""
    what = "everything" if listed.full else "what changed"
    rest = " Nothing is to be done." if listed.quiet else ""
    return (
        f"{store}: listed {what}, {listed.seen} photos: {listed.new} new, {listed.changed} changed, {listed.gone} "
        f"gone, {listed.unusable} without an image upstream.{rest}"
    )


def listing_numbers(listed: ListingNote) -> Mapping[str, int | float]:
    """The numbers of a listing that the UI plots."""
    lag = {} if listed.lag_seconds is None else {"lag/seconds": listed.lag_seconds}
    return {
        "photos/listed": listed.seen,
        "photos/new": listed.new,
        "photos/changed": listed.changed,
        "photos/gone": listed.gone,
        "photos/unusable": listed.unusable,
        "api/calls": listed.calls,
        **lag,
    }


def moment(value: datetime | None) -> str:
    """A time for people, in UTC."""
    return "-" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def plan_summary(made: PlanMade, started_at: datetime) -> Summary:
    """The summary of a run that ends with its plan: nothing was changed yet, so only what was found is counted."""
    return Summary(
        status="completed",
        started_at=started_at,
        completed_at=datetime.now(UTC),
        warnings=made.warnings,
        kept=made.counts[Change.KEEP],
        rejected=made.counts[Change.REJECT],
        held_back=len(made.held),
        api_calls=made.listed.calls,
        bytes_downloaded=made.listed.bytes,
    )


def plan_line(store: str, made: PlanMade) -> str:
    """The plan in one line for the log."""
    if made.plan_id is None:
        return f"{store}: nothing is new and nothing waits; no plan was made."
    counts = ", ".join(f"{number} {change}" for change, number in made.counts.items())
    return f"{store}: plan {made.plan_id}: {counts}; {len(made.held)} removals held back; {plan_cost(made)}"


def plan_cost(made: PlanMade) -> str:
    """What applying the plan costs, in a sentence."""
    pace = f", at least {made.cost.minutes:g} minutes at the pace set" if made.cost.minutes else ""
    return f"{made.cost.calls} downloads, {made.cost.bytes / MEGABYTE:,.1f} MB{pace}."


def changes(made: PlanMade) -> pd.DataFrame:
    """The rows that change, of every kind some first: change, product (SKU and name), photo, reason."""
    return changing_rows(made.plan).rename(columns={"key": "photo"}).loc[:, ["change", "product", "photo", "reason"]]


def set_aside(made: PlanMade) -> pd.DataFrame:
    """How many photos cannot be used, by reason."""
    rejects = made.plan[made.plan["change"] == Change.REJECT]
    found = rejects["reason"].value_counts()
    return pd.DataFrame({"reason": found.index, "photos": found.to_numpy()})


def applied_summary(done: PlanApplied, started_at: datetime) -> Summary:
    """The summary of a run that applied a plan, with the mission's names."""
    return summary_of(
        done.applied,
        started_at,
        warnings=done.warnings,
        held_back=done.held_back,
        api_calls=done.calls,
        bytes_downloaded=done.note.bytes_downloaded,
    )


def applied_line(store: str, done: PlanApplied) -> str:
    """The application in one line for the log."""
    if done.plan_id is None:
        return f"{store}: nothing was to be done."
    applied, note = done.applied, done.note
    return (
        f"{store}: plan {done.plan_id}: {applied.added} added, {applied.updated} updated, {applied.removed} removed, "
        f"{applied.kept} kept, {applied.failed} failed, {applied.refused} refused; {note.tried} downloads, "
        f"{note.bytes_downloaded / MEGABYTE:,.1f} MB."
    )


def applied_numbers(done: PlanApplied) -> Mapping[str, int | float]:
    """The numbers of an application that the UI plots: the mission's metrics."""
    note = done.note
    numbers: dict[str, int | float] = {
        "photos/downloaded": note.tried,
        "photos/verified": done.verified,
        "photos/failed": note.failed,
        "photos/mismatched": note.mismatched,
        "photos/success_rate": 1.0 - note.failed / note.tried if note.tried else 1.0,
        "database/bytes": note.database_bytes,
    }
    if note.grown_bytes is not None:
        numbers["database/grown_bytes"] = note.grown_bytes
    if note.capacity_bytes:
        numbers["database/used_share"] = note.database_bytes / note.capacity_bytes
    return numbers


def statuses(done: PlanApplied) -> pd.DataFrame:
    """How many photos of the store are in each status."""
    return pd.DataFrame(sorted(done.note.photos.items()), columns=["status", "photos"])


def report_line(store: str, sent: StatusSent) -> str:
    """The report in one line for the log."""
    kept = f"; {sent.left} are kept for the next run" if sent.left else ""
    return f"{store}: {sent.sent} photos were reported to the head office{kept}."


def scrub_summary(found: Scrubbed, started_at: datetime) -> Summary:
    """The summary of a scrub: what its repair wrote, and a warning when something differed."""
    if found.repaired is None:
        return Summary("completed", started_at, datetime.now(UTC), kept=found.hashed)
    warning = f"{len(found.differing)} stored photos were not what their checksums say, and are fetched again."
    done = applied_summary(found.repaired, started_at)
    return replace(done, warnings=(warning, *done.warnings))


def scrub_line(store: str, found: Scrubbed) -> str:
    """The scrub in one line for the log."""
    if not found.differing:
        return f"{store}: {found.hashed} photos were hashed; all are what their checksums say."
    repaired = found.repaired.applied.updated if found.repaired is not None else 0
    return f"{store}: {found.hashed} photos were hashed, {len(found.differing)} differ; {repaired} were fetched again."
