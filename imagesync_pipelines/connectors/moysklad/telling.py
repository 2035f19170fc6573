"""What the stages have to tell: summaries, sentences for the log, small tables and numbers for the UI.

What belongs here: pure functions over what the stages return. What does not: the stages (stages.py, plan_stages.py,
apply_stages.py) and Dagster's metadata (assets.py). A log has a line per kind of event and entity type, never one per
image; what happened to single images is in the tables.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import pandas as pd

from imagesync_pipelines.connectors.moysklad.apply_stages import PlanApplied
from imagesync_pipelines.connectors.moysklad.model import key_parts
from imagesync_pipelines.connectors.moysklad.notes import ContentNote, MainNote, MapNote
from imagesync_pipelines.connectors.moysklad.plan_stages import PlanMade
from imagesync_pipelines.connectors.moysklad.queue import QueueView, State
from imagesync_pipelines.connectors.moysklad.rules import MB
from imagesync_pipelines.sync.model import Change
from imagesync_pipelines.sync.report import Summary, changing_rows, summary_of

# An event is stored whole; the exact numbers are beside the first of them.
SHOWN = 20
_KB = 1000


def skipped_summary(why: str, started_at: datetime) -> Summary:
    """The summary of a run that did nothing, since its account is switched off."""
    return Summary(status="completed", started_at=started_at, completed_at=datetime.now(UTC), warnings=(why,))


def main_line(read: MainNote) -> str:
    """The reading of the main account in one line for the log."""
    kinds = _numbers(read.seen)
    what = "all of it" if read.full else "what changed" if not read.asked else f"{len(read.asked)} entities asked for"
    return f"main: {what}: {kinds or 'nothing'} with {read.images} images; {read.calls} calls."


def main_numbers(read: MainNote) -> dict[str, int]:
    """The numbers of a reading that the UI plots."""
    return {
        "entities/read": sum(read.seen.values()),
        "entities/new": read.new,
        "entities/changed": read.changed,
        "entities/deleted": read.deleted,
        "entities/archived": read.archived,
        "entities/unread": len(read.unread),
        "images/read": read.images,
        "api/calls": read.calls,
    }


def map_line(alias: str, found: MapNote) -> str:
    """The map in one line for the log."""
    return (
        f"{alias}: {_numbers(found.mapped) or 'nothing'} mapped, {found.new} of them new; {len(found.unmapped)} have "
        f"no counterpart; {found.calls} calls."
    )


def map_numbers(found: MapNote) -> dict[str, int]:
    """The numbers of the map that the UI plots."""
    return {
        "entities/mapped": sum(found.mapped.values()),
        "entities/new": found.new,
        "entities/unmapped": len(found.unmapped),
        "api/calls": found.calls,
    }


def unmapped(found: MapNote) -> pd.DataFrame:
    """The first entities without counterpart, with why."""
    rows = [(one.key, one.name, one.reason) for one in found.unmapped[:SHOWN]]
    return pd.DataFrame(rows, columns=["entity", "name", "reason"])


def plan_summary(made: PlanMade, started_at: datetime) -> Summary:
    """The summary of a run that ends with its plan: nothing was changed yet, so only what was found is counted."""
    counts = made.planned.counts()
    return Summary(
        status="completed",
        started_at=started_at,
        completed_at=datetime.now(UTC),
        warnings=made.warnings,
        kept=counts[Change.KEEP],
        rejected=counts[Change.REJECT],
        held_back=len(made.planned.held),
        api_calls=made.calls,
    )


def plan_line(alias: str, made: PlanMade) -> str:
    """The plan in one line for the log."""
    counts = ", ".join(f"{number} {change}" for change, number in made.planned.counts().items())
    checked = f" {made.checked} entities checked, {made.drifted} had drifted;" if made.checked else ""
    return (
        f"{alias}: plan {made.plan_id}:{checked} {counts}; {len(made.planned.held)} removals held back; "
        f"{plan_cost(made)}"
    )


def plan_cost(made: PlanMade) -> str:
    """What applying the plan costs, in a sentence."""
    cost = made.cost
    pace = f", at least {cost.minutes:g} minutes at the accounts' pace" if cost.minutes else ""
    return (
        f"{cost.calls} calls ({cost.writes} writes and {cost.reads} reads there, {cost.downloads} downloads of the "
        f"main account){pace}; the earlier way: {cost.earlier} calls."
    )


def plan_numbers(made: PlanMade) -> dict[str, int | float]:
    """The numbers of a plan that the UI plots."""
    return {
        **{f"plan/{change}": number for change, number in made.planned.counts().items()},
        "plan/held_back": len(made.planned.held),
        "plan/entities": len(made.planned.tasks),
        "plan/calls": made.cost.calls,
        "plan/minutes": made.cost.minutes,
        "plan/earlier_calls": made.cost.earlier,
        "entities/drifted": made.drifted,
        "api/calls": made.calls,
    }


def changes(made: PlanMade) -> pd.DataFrame:
    """The rows that change, of every kind some first: change, entity, its name, image, reason."""
    changing = changing_rows(made.plan)
    names = {(group, image.key): image.filename for group, task in made.planned.tasks.items() for image in task.images}
    told = changing.assign(
        entity=changing["group"],
        name=changing["group"].map({group: task.name for group, task in made.planned.tasks.items()}),
        image=[names.get(pair, pair[1]) for pair in zip(changing["group"], changing["key"], strict=True)],
    )
    return told.loc[:, ["change", "entity", "name", "image", "reason"]]


def content_lines(alias: str, note: ContentNote) -> list[str]:
    """What became of the content, for the log: the first images by name, the rest in numbers."""
    lines = [
        f"{alias}: {len(note.downloaded)} images downloaded ({note.bytes / MB:.1f} MB), {note.kept} were kept, "
        f"{len(note.failed)} failed, {note.left} wait for the next run; {note.disk_bytes / MB:.1f} MB on disk."
    ]
    lines += [f"Image downloaded: {name} ({size / _KB:.1f} KB)" for name, size in note.downloaded[:SHOWN]]
    lines += list(note.failed.values())[:SHOWN]
    return lines


def content_numbers(note: ContentNote) -> dict[str, int]:
    """The numbers of the content that the UI plots."""
    return {
        "images/downloaded": len(note.downloaded),
        "images/content_kept": note.kept,
        "images/content_failed": len(note.failed),
        "images/reencoded": note.reencoded,
        "bytes/downloaded": note.bytes,
        "disk/images": note.disk_count,
        "disk/bytes": note.disk_bytes,
        "api/calls": note.calls,
    }


def applied_summary(done: PlanApplied, started_at: datetime) -> Summary:
    """The summary of a run that applied a plan, with the names that all connectors have."""
    return summary_of(
        done.applied,
        started_at,
        warnings=done.warnings,
        held_back=done.held_back,
        api_calls=done.calls,
        bytes_downloaded=done.content.bytes,
    )


def applied_lines(alias: str, done: PlanApplied) -> list[str]:
    """What became of the plan, for the log: per entity type, then what was skipped, then the end."""
    lines = []
    failed = _failed(done)
    for kind, number in sorted(Counter(_types(done.tasks)).items()):
        removed = _sum_of(done.written.removed, kind)
        lines += [
            f"{alias}, {kind}: batch image sync started: {number} entities.",
            f"{alias}, {kind}: {removed} existing images deleted.",
            f"{alias}, {kind}: batch upload successful: {_sum_of(done.written.sent, kind)} images uploaded.",
        ]
    lines += list(done.skipped[:SHOWN])
    lines += [f"Failed to sync images for entity {done.tasks[key].name} ({key})" for key in failed[:SHOWN]]
    end = "completed with warnings" if done.warnings else "completed"
    return [*lines, f"{alias}: batch image sync {end}: plan {done.plan_id}, {done.calls} calls."]


def applied_numbers(done: PlanApplied) -> dict[str, int]:
    """The numbers per entity type that the UI plots, and the calls of the earlier way."""
    found = {"api/earlier_calls": done.earlier_calls, "images/skipped": len(done.skipped)}
    found["api/bulk_requests"] = done.written.bulk
    for kind in sorted(set(_types(done.tasks))):
        found[f"{kind}/uploaded"] = _sum_of(done.written.sent, kind)
        found[f"{kind}/deleted"] = _sum_of(done.written.removed, kind)
        found[f"{kind}/failed"] = sum(key_parts(key)[0] == kind for key in _failed(done))
    return found


def skipped(done: PlanApplied) -> pd.DataFrame:
    """Every image that is not there and why, each reason once."""
    return pd.DataFrame({"why": list(done.skipped)})


def queue_numbers(view: QueueView) -> dict[str, int]:
    """The numbers of the queue of requests that the UI plots."""
    return {f"queue/{state}": view.total(state) for state in (State.PENDING, State.FAILED, State.SET_ASIDE)}


def queue_errors(view: QueueView) -> pd.DataFrame:
    """The newest errors of the queue."""
    rows = [(one.id, one.child, one.entity, one.state, one.attempts, one.error) for one in view.errors]
    return pd.DataFrame(rows, columns=["id", "account", "entity", "state", "attempts", "error"])


def _failed(done: PlanApplied) -> Sequence[str]:
    """The entities that were to be written and in which nothing was written."""
    return sorted(done.tasks.keys() - done.applied.affected)


def _types(keys: Iterable[str]) -> list[str]:
    return [key_parts(key)[0] for key in keys]


def _sum_of(numbers: dict[str, int], kind: str) -> int:
    return sum(number for key, number in numbers.items() if key_parts(key)[0] == kind)


def _numbers(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number} {kind}s" for kind, number in sorted(numbers.items()) if number)
