"""The step child_images: what comes of a child account's plan once its content is there.

A log has a line per kind of event and entity type, never one per image; what happened to single images is in the
tables.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from imagesync_pipelines.connectors.moysklad.accounts import MAIN
from imagesync_pipelines.connectors.moysklad.child import (
    REFUSED_STAGE,
    ChildRun,
    child_api,
    child_of,
    left_by,
)
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.content import CONTENT, kept_of
from imagesync_pipelines.connectors.moysklad.filling import FirstFill
from imagesync_pipelines.connectors.moysklad.mapping import ENTITY_MAP, SHOWN
from imagesync_pipelines.connectors.moysklad.model import NAME, ChildMap, ContentFetched, EntityTask, key_parts
from imagesync_pipelines.connectors.moysklad.plan_step import forget_entities
from imagesync_pipelines.connectors.moysklad.planning import tasks_of
from imagesync_pipelines.connectors.moysklad.queue import Queue, QueueView, State
from imagesync_pipelines.connectors.moysklad.reading import reading_of
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.connectors.moysklad.target import (
    FATAL,
    ChildLists,
    ChildTools,
    ImageTarget,
    SizeLimit,
    WrittenImages,
)
from imagesync_pipelines.storage.mirror import read_mirror
from imagesync_pipelines.sync.applied import (
    ApplyOptions,
    Loaded,
    applied_summary,
    applied_warnings,
    carry_out_remotely,
    load_plan,
    payload_of,
    states_of,
)
from imagesync_pipelines.sync.apply import APPLY_STAGE, Applied
from imagesync_pipelines.sync.model import QuarantineItem
from imagesync_pipelines.sync.remote import UNSETTLED
from imagesync_pipelines.sync.report import Summary
from imagesync_pipelines.sync.steps import CheckResult, RunContext, StepResult, Table, Texts

NOT_IN_MAIN = "the main account does not have it any more, or it is archived there"
CHANGED = "it changed while the run was at work"


@dataclass(frozen=True)
class ChildApplied:
    """What came of applying a child account's plan.

    written.sent, written.removed: images by entity; tasks: the entities that were to be written. skipped: what is told
    of images that are not there. stopped: why the rest of it waits for the next run, '' when nothing does.
    earlier_calls: what the earlier way would have taken for the plan's entities. summary: of the whole run.
    """

    loaded: Loaded
    applied: Applied
    written: WrittenImages
    tasks: Mapping[str, EntityTask]
    content: ContentFetched
    skipped: tuple[str, ...]
    earlier_calls: int
    stopped: str
    summary: Summary


def child_images(context: RunContext[MoyskladSettings], options: ApplyOptions) -> StepResult:
    """The lists of images of the child account's entities, as the plan has them: one call per changed entity."""
    child = child_of(context)
    with child_api(child) as api:
        done = apply_plan(child, api, plan_id=options.plan_id)
    settle_requests(child, done)
    queue = Queue(child.engine).view()
    return StepResult(
        rows=done.applied.kept + done.applied.added + done.applied.updated,
        numbers={**applied_numbers(done), **queue_numbers(queue)},
        shown={
            "skipped": Table(pd.DataFrame({"why": list(done.skipped)})),
            "queue_errors": Table(queue_errors(queue)),
            "stopped": done.stopped or "-",
        },
        lines=applied_lines(child, done),
        warnings=done.summary.warnings,
        summary=done.summary,
    )


def apply_plan(child: ChildRun, api: MoyskladApi, *, plan_id: int | None = None) -> ChildApplied:
    """Write the images of a stored plan's entities, and tell of it: of the plan named, or that of this run's lineage.

    An entity that cannot be written stops no other. When the account stops, the rest waits for the next run, which
    plans it again. Raises SkippedOffError, AccountBusyError, PlanMissingError, NoPlanOfThisRunError,
    AccountRefusedError, AccountForbiddenError.
    """
    child.refuse_off()
    context = child.context
    loaded = load_plan(context, plan_id)
    payload = payload_of(context, loaded)
    tasks = tasks_of(payload)
    content, calls = _content_of(child, loaded), api.calls
    with context.lock():
        tools = _tools(child, api, tasks, content, int(loaded.scope["limit"]))
        target = ImageTarget(tools, tasks)
        applied = carry_out_remotely(
            context,
            loaded,
            target,
            child.intents,
            what="images",
            states=states_of(loaded, payload),
            fatal=FATAL,
            bulk=FirstFill(tools, tasks) if child.child.bulk_first_fill else None,
        )
        _remember_refused(child, tools.written)
    return ChildApplied(
        loaded=loaded,
        applied=applied,
        written=tools.written,
        tasks=tasks,
        content=content,
        skipped=tuple(dict.fromkeys((*loaded.scope["skipped"], *tools.written.reasons.values()))),
        earlier_calls=int(loaded.scope["earlier_calls"]),
        stopped=target.stopped,
        summary=applied_summary(
            context,
            loaded,
            applied,
            warnings=tuple(_warnings(child, loaded, applied, tools.written, target.stopped, content)),
            calls=content.calls + api.calls - calls,
            received=content.bytes,
        ),
    )


def settle_requests(child: ChildRun, done: ChildApplied) -> None:
    """Tell the queue what became of the run's requests: done, or why not; those are tried again.

    What no attempt can help (the child account has no such entity, or will not take an image) is done, with a note. A
    run that dies before this tells nothing; the sensor gives its requests back.
    """
    queue, run_id, now = Queue(child.engine), child.context.run_id, child.context.clock()
    held = queue.held(run_id)
    mapped = left_by(child.context, ENTITY_MAP, ChildMap)
    unmapped = {one.key: one.reason for one in (mapped.unmapped if mapped is not None else ())}
    failed = _failures(child, done, unmapped)
    notes = _notes(child, unmapped, {request.entity for request in held})
    by_end: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for request in held:
        why = failed.get(request.entity, "")
        by_end[why, "" if why else notes.get(request.entity, "")].append(request.id)
    for (why, note), ids in by_end.items():
        if why:
            queue.fail(run_id, ids, why, now)
        else:
            queue.finish(run_id, ids, now, note)


def no_image_is_in_quarantine(context: RunContext[MoyskladSettings]) -> Mapping[str, CheckResult]:
    """Which images of the account are set aside."""
    aside = context.quarantine.list()
    result = CheckResult(
        not aside,
        f"{len(aside)} images are set aside",
        {"images": Texts([f"{entry.key}: {entry.reason}" for entry in aside]), "number": len(aside)},
    )
    return {"no_image_is_in_quarantine": result}


def applied_lines(child: ChildRun, done: ChildApplied) -> list[str]:
    """What became of the plan, for the log: per entity type, then what was skipped, then the end."""
    lines, alias = [], child.alias
    for kind, number in sorted(Counter(_types(done.tasks)).items()):
        removed = _sum_of(done.written.removed, kind)
        lines += [
            f"{alias}, {kind}: batch image sync started: {number} entities.",
            f"{alias}, {kind}: {removed} existing images deleted.",
            f"{alias}, {kind}: batch upload successful: {_sum_of(done.written.sent, kind)} images uploaded.",
        ]
    lines += list(done.skipped[:SHOWN])
    lines += [f"Failed to sync images for entity {done.tasks[key].name} ({key})" for key in _failed(done)[:SHOWN]]
    end = "completed with warnings" if done.summary.warnings else "completed"
    return [*lines, f"{alias}: batch image sync {end}: plan {done.loaded.header.id}, {done.summary.api_calls} calls."]


def applied_numbers(done: ChildApplied) -> dict[str, int]:
    """The numbers per entity type that the UI plots, and the calls of the earlier way."""
    found = {"api/earlier_calls": done.earlier_calls, "images/skipped": len(done.skipped)}
    found["api/bulk_requests"] = done.written.bulk
    for kind in sorted(set(_types(done.tasks))):
        found[f"{kind}/uploaded"] = _sum_of(done.written.sent, kind)
        found[f"{kind}/deleted"] = _sum_of(done.written.removed, kind)
        found[f"{kind}/failed"] = sum(key_parts(key)[0] == kind for key in _failed(done))
    return found


def queue_numbers(view: QueueView) -> dict[str, int]:
    """The numbers of the queue of requests that the UI plots."""
    return {f"queue/{state}": view.total(state) for state in (State.PENDING, State.FAILED, State.SET_ASIDE)}


def queue_errors(view: QueueView) -> pd.DataFrame:
    """The newest errors of the queue."""
    rows = [(one.id, one.child, one.entity, one.state, one.attempts, one.error) for one in view.errors]
    return pd.DataFrame(rows, columns=["id", "account", "entity", "state", "attempts", "error"])


def _tools(
    child: ChildRun, api: MoyskladApi, tasks: Mapping[str, EntityTask], content: ContentFetched, limit: int
) -> ChildTools:
    kept = kept_of(child.contents, {one.source for task in tasks.values() for one in task.images if not one.child_id})
    ownership, clock = child.child.ownership, child.context.clock
    return ChildTools(
        api=api,
        child=child.child,
        state=child.state,
        lists=ChildLists(api, child.state, tasks, sorted(tasks), ownership, child.identity, kept, clock),
        contents=child.contents,
        kept=kept,
        failed=content.failed,
        limit=SizeLimit(child.state, limit),
        forget=lambda key: forget_entities(child, frozenset({key})),
        written=WrittenImages(),
    )


def _remember_refused(child: ChildRun, written: WrittenImages) -> None:
    """Set what the account refused aside as that, so that it is not sent again by every run."""
    quarantine = child.context.quarantine
    failed = [entry.id for entry in quarantine.list() if entry.stage == APPLY_STAGE and entry.key in written.refused]
    quarantine.put(
        [
            QuarantineItem(key, key.partition("#")[0], REFUSED_STAGE, written.reasons[key], None)
            for key in sorted(written.refused)
        ]
    )
    quarantine.drop(failed)


def _content_of(child: ChildRun, loaded: Loaded) -> ContentFetched:
    """What became of this plan's content in this run's lineage; nothing when it was another plan's.

    The calls of an earlier run are not this one's.
    """
    context, plan_id = child.context, loaded.header.id
    found = left_by(context, CONTENT, ContentFetched)
    if found is None or found.plan_id != plan_id:
        return ContentFetched(run_id=context.run_id, plan_id=plan_id)
    return found if found.run_id == context.run_id else found.model_copy(update={"calls": 0})


def _warnings(
    child: ChildRun, loaded: Loaded, applied: Applied, written: WrittenImages, stopped: str, content: ContentFetched
) -> list[str]:
    found = []
    if content.stopped:
        found.append(f"{content.left} images were not downloaded; the next run goes on: {content.stopped}")
    if written.reasons:
        first = next(iter(written.reasons.values()))
        found.append(f"{len(written.reasons)} images could not be written, such as: {first}")
    if written.gone:
        found.append(
            f"{len(written.gone)} entities are not in the child account any more, such as "
            f"{min(written.gone)}; the next run looks for them again."
        )
    return applied_warnings(child.context, loaded, applied, groups="entities", found=found, stopped=stopped)


def _failures(child: ChildRun, done: ChildApplied, unmapped: Mapping[str, str]) -> dict[str, str]:
    """The entities that are not as the main account has them, though another attempt may make them so, and why."""
    context = child.context
    read = reading_of(context)
    failed = dict(read.unread) if read is not None else {}
    failed |= dict.fromkeys(done.applied.refused_in, done.stopped or CHANGED)
    unsettled = [intent.group for intent in child.intents.open_intents()]
    failed |= {group: UNSETTLED for group in unsettled if group not in unmapped}
    for entry in context.quarantine.list():
        if entry.run_id == context.run_id and entry.group_key is not None and entry.stage != REFUSED_STAGE:
            failed[entry.group_key] = entry.reason
    return failed


def _notes(child: ChildRun, unmapped: Mapping[str, str], keys: set[str]) -> dict[str, str]:
    """Of these entities, those with which another attempt would do no better, and why."""
    with child.engine.connect() as connection:
        known = set(read_mirror(connection, NAME, MAIN)["key"])
    run_id, aside = child.context.run_id, child.context.quarantine.list()
    notes = {entry.group_key or "": entry.reason for entry in aside if entry.run_id == run_id}
    return notes | dict(unmapped) | dict.fromkeys(keys - known, NOT_IN_MAIN)


def _failed(done: ChildApplied) -> Sequence[str]:
    """The entities that were to be written and in which nothing was written."""
    return sorted(done.tasks.keys() - done.applied.affected)


def _types(keys: Iterable[str]) -> list[str]:
    return [key_parts(key)[0] for key in keys]


def _sum_of(numbers: Mapping[str, int], kind: str) -> int:
    return sum(number for key, number in numbers.items() if key_parts(key)[0] == kind)
