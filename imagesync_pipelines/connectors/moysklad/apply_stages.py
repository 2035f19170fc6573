"""What comes of a child account's plan, each a function without Dagster: content, then the entities' images.

What belongs here: joining content, the engine and storage, one function per Dagster asset. What does not: making the
plan (plan_stages.py), effects (downloading.py, writing.py, filling.py), what the UI shows (assets.py, telling.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from imagesync_pipelines.connectors.moysklad.api.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.applying import FATAL, ImageTarget, Limit, Tools, Written
from imagesync_pipelines.connectors.moysklad.costs import needed_of
from imagesync_pipelines.connectors.moysklad.desk import REFUSED_STAGE, Desk
from imagesync_pipelines.connectors.moysklad.downloading import download_all, kept_of
from imagesync_pipelines.connectors.moysklad.errors import AccountStoppedError
from imagesync_pipelines.connectors.moysklad.filling import fill_in_bulk
from imagesync_pipelines.connectors.moysklad.lists import ChildLists
from imagesync_pipelines.connectors.moysklad.notes import ContentNote
from imagesync_pipelines.connectors.moysklad.plan_stages import forget_entities
from imagesync_pipelines.connectors.moysklad.planning import rows_frame
from imagesync_pipelines.connectors.moysklad.reading import CONNECTOR
from imagesync_pipelines.connectors.moysklad.stages import refuse_off
from imagesync_pipelines.connectors.moysklad.state import Record
from imagesync_pipelines.connectors.moysklad.tasks import Task, tasks_of
from imagesync_pipelines.storage.notes import keep_note
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.sync.apply import APPLY_STAGE, Applied, Tally, apply_remote, group_works, moved_groups
from imagesync_pipelines.sync.handovers import note_of, plan_to_apply
from imagesync_pipelines.sync.model import EFFECTS, QuarantineItem
from imagesync_pipelines.sync.plan import group_states
from imagesync_pipelines.sync.progress import Progress, silent
from imagesync_pipelines.upstream.errors import UpstreamError


@dataclass(frozen=True)
class PlanApplied:
    """What came of applying a child account's plan.

    sent, removed: images by entity; tasks: the entities that were to be written. skipped: what is told of images that
    are not there. stopped: why the rest of it waits for the next run, '' when nothing does. calls: of this run in all,
    to both accounts; earlier_calls: what the earlier way would have taken for the plan's entities.
    """

    plan_id: int
    applied: Applied
    written: Written
    tasks: Mapping[str, Task]
    content: ContentNote
    skipped: tuple[str, ...]
    calls: int
    earlier_calls: int
    held_back: int
    stopped: str
    warnings: tuple[str, ...]


def fetch_content(
    desk: Desk,
    main: MoyskladApi,
    run_id: str,
    *,
    ancestors: Sequence[str] = (),
    plan_id: int | None = None,
    progress: Progress = silent,
) -> ContentNote:
    """Have the content of the images that a stored plan needs; each is downloaded once for all child accounts.

    An image that cannot be had stops no other. Raises SkippedOffError, PlanMissingError, NoPlanOfThisRunError,
    AccountRefusedError, NotAllowedError.
    """
    refuse_off(desk)
    plans = Plans(desk.place.engine, desk.place.storage)
    header = plan_to_apply(plans, CONNECTOR, run_id, ancestors, plan_id, {"account": desk.alias})
    tasks = tasks_of(plans.need_payload(header.id))
    records = desk.state.records(tasks)
    needed = {
        image.source: image for group, task in tasks.items() for image in needed_of(task, records.get(group, Record()))
    }
    calls, total = main.calls, len(needed)
    done = download_all(
        main,
        desk.contents,
        needed,
        workers=desk.settings.workers,
        on_progress=lambda number: progress("images downloaded", number, total),
    )
    count, size = desk.contents.used()
    note = ContentNote(
        run_id=run_id,
        plan_id=header.id,
        needed=total,
        kept=total - len(done.downloaded) - len(done.failed) - done.left,
        downloaded=tuple(done.downloaded),
        reencoded=done.reencoded,
        failed=dict(done.failed),
        left=done.left,
        stopped=done.stopped,
        calls=main.calls - calls,
        disk_count=count,
        disk_bytes=size,
    )
    keep_note(desk.place.storage, desk.alias, note)
    return note


def apply_plan(
    desk: Desk,
    api: MoyskladApi,
    run_id: str,
    *,
    ancestors: Sequence[str] = (),
    plan_id: int | None = None,
    progress: Progress = silent,
) -> PlanApplied:
    """Write the images of a stored plan's entities, and tell of it: of the plan named, or that of this run's lineage.

    An entity that cannot be written stops no other. When the account stops, the rest waits for the next run, which
    plans it again. Raises SkippedOffError, AccountBusyError, PlanMissingError, NoPlanOfThisRunError,
    AccountRefusedError, NotAllowedError.
    """
    refuse_off(desk)
    plans = Plans(desk.place.engine, desk.place.storage)
    header = plan_to_apply(plans, CONNECTOR, run_id, ancestors, plan_id, {"account": desk.alias})
    rows, payload = plans.load(header.id), plans.need_payload(header.id)
    tasks = tasks_of(payload)
    states = dict(zip(payload["group"], payload["state_before"], strict=True))
    content = _content_note(desk, header, run_id, ancestors)
    calls = api.calls
    total = int(rows["change"].isin(EFFECTS).sum())
    with desk.locked():
        tools = _tools(desk, api, tasks, content, int(header.scope["limit"]))
        target = ImageTarget(tools, tasks, stopped="")
        plans.mark_begun(header.id, run_id)
        filled, rest = _fill(desk, run_id, rows, states, tasks, tools)
        applied = apply_remote(
            rest,
            target,
            desk.intents(run_id),
            desk.quarantine(run_id),
            workers=desk.settings.workers,
            states=states,
            fatal=FATAL,
            clock=desk.clock,
            on_progress=lambda number: progress("images written", number, total),
        ).plus(filled)
        _remember_refused(desk, run_id, tools.written)
    plans.mark_applied(header.id, run_id)
    skipped = tuple(dict.fromkeys((*header.scope["skipped"], *tools.written.reasons.values())))
    return PlanApplied(
        plan_id=header.id,
        applied=applied,
        written=tools.written,
        tasks=tasks,
        content=content,
        skipped=skipped,
        calls=(int(header.scope["calls"]) if header.run_id == run_id else 0) + content.calls + api.calls - calls,
        earlier_calls=int(header.scope["earlier_calls"]),
        held_back=int(header.scope["held_back"]),
        stopped=target.stopped,
        warnings=(*header.scope["warnings"], *_warnings(applied, tools, target.stopped, content, header, run_id)),
    )


def _tools(desk: Desk, api: MoyskladApi, tasks: Mapping[str, Task], content: ContentNote, limit: int) -> Tools:
    kept = kept_of(desk.contents, {one.source for task in tasks.values() for one in task.images if not one.child_id})
    return Tools(
        api=api,
        child=desk.child,
        state=desk.state,
        lists=ChildLists(api, desk.state, tasks, sorted(tasks), desk.child.ownership, desk.identity, kept, desk.clock),
        contents=desk.contents,
        kept=kept,
        failed=content.failed,
        limit=Limit(desk.state, limit),
        forget=lambda key: forget_entities(desk, frozenset({key})),
        written=Written(),
    )


def _fill(
    desk: Desk,
    run_id: str,
    rows: pd.DataFrame,
    states: Mapping[str, str],
    tasks: Mapping[str, Task],
    tools: Tools,
) -> tuple[Applied, pd.DataFrame]:
    """Write in bulk what may be written so; what came of it, and the rows of the plan that are left."""
    if not desk.child.bulk_first_fill:
        return Applied(), rows
    intents = desk.intents(run_id)
    unsettled = {intent.group for intent in intents.open_intents()}
    works = [work for work in group_works(rows, states) if work.group not in unsettled]
    moved = moved_groups(works, group_states(rows_frame(desk.state.records([work.group for work in works]))))
    tally = Tally(desk.quarantine(run_id))
    told: set[str] = set()
    try:
        for results in fill_in_bulk([work for work in works if work.group not in moved], tasks, tools, intents):
            tally.take(results)
            told |= {result.group for result in results}
    except FATAL:
        raise
    except (AccountStoppedError, UpstreamError):
        # Written one by one, every entity gets its own answer, and the account's stop its own sentence.
        pass
    is_told = rows["group"].isin(list(told))
    return tally.result(rows[is_told]), rows[~is_told]


def _remember_refused(desk: Desk, run_id: str, written: Written) -> None:
    """Set what the account refused aside as that, so that it is not sent again by every run."""
    quarantine = desk.quarantine(run_id)
    failed = [entry.id for entry in quarantine.list() if entry.stage == APPLY_STAGE and entry.key in written.refused]
    quarantine.put(
        [
            QuarantineItem(key, key.partition("#")[0], REFUSED_STAGE, written.reasons[key], None)
            for key in sorted(written.refused)
        ]
    )
    quarantine.drop(failed)


def _content_note(desk: Desk, header: PlanHeader, run_id: str, ancestors: Sequence[str]) -> ContentNote:
    """What became of this plan's content in this run's lineage; nothing when it was another plan's.

    The calls of an earlier run are not this one's.
    """
    note = note_of(desk.place.storage, desk.alias, run_id, ancestors, ContentNote)
    if note is None or note.plan_id != header.id:
        return ContentNote(run_id=run_id, plan_id=header.id)
    return note if note.run_id == run_id else note.model_copy(update={"run_id": run_id, "calls": 0})


def _warnings(
    applied: Applied, tools: Tools, stopped: str, content: ContentNote, header: PlanHeader, run_id: str
) -> list[str]:
    found = []
    if header.applied_at is not None and header.applied_run != run_id:
        found.append(f"Plan {header.id} had been applied before, by run {header.applied_run}.")
    if content.stopped:
        found.append(f"{content.left} images were not downloaded; the next run goes on: {content.stopped}")
    if tools.written.reasons:
        first = next(iter(tools.written.reasons.values()))
        found.append(f"{len(tools.written.reasons)} images could not be written, such as: {first}")
    if tools.written.gone:
        found.append(
            f"{len(tools.written.gone)} entities are not in the child account any more, such as "
            f"{min(tools.written.gone)}; the next run looks for them again."
        )
    if stopped:
        found.append(f"Stopped with {applied.refused} images left; the next run goes on: {stopped}")
    elif applied.refused:
        found.append(
            f"{applied.refused} images of {len(applied.refused_in)} entities were refused, because they changed since "
            "the plan was made; plan again."
        )
    if applied.failed:
        found.append(f"{applied.failed} images failed; the next run tries them again.")
    if applied.unknown:
        found.append(f"The answer was lost for {applied.unknown} images; the next run looks and goes on.")
    return found
