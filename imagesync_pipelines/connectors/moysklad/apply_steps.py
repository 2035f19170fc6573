"""The step child_images: what comes of a child account's plan once its content is there.

A log has a line per kind of event and entity type, never one per image; what happened to single images is in the
tables.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import pandas as pd

from imagesync_pipelines.connectors.moysklad.accounts import MAIN
from imagesync_pipelines.connectors.moysklad.child import REFUSED_STAGE, ChildRun, child_api, child_of, left_by
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.content import CONTENT
from imagesync_pipelines.connectors.moysklad.mapping import ENTITY_MAP, SHOWN
from imagesync_pipelines.connectors.moysklad.model import NAME, ChildMap, ContentFetched
from imagesync_pipelines.connectors.moysklad.planning import tasks_of
from imagesync_pipelines.connectors.moysklad.queue import Queue, State
from imagesync_pipelines.connectors.moysklad.reading import reading_of
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.connectors.moysklad.target import FATAL, FirstFill, ImageTarget
from imagesync_pipelines.storage.mirror import read_mirror
from imagesync_pipelines.sync.applied import (
    ApplyOptions,
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
from imagesync_pipelines.sync.steps import CheckResult, RunContext, StepResult, Table, Texts

NOT_IN_MAIN = "the main account does not have it any more, or it is archived there"
CHANGED = "it changed while the run was at work"


def child_images(context: RunContext[MoyskladSettings], options: ApplyOptions) -> StepResult:
    """The lists of images of the child account's entities, as the plan has them: one call per changed entity."""
    child = child_of(context)
    with child_api(child) as api:
        return apply_plan(child, api, plan_id=options.plan_id)


def apply_plan(child: ChildRun, api: MoyskladApi, *, plan_id: int | None = None) -> StepResult:
    """Write the images of a stored plan's entities, and tell of it: of the plan named, or that of this run's lineage.

    An entity that cannot be written stops no other. When the account stops, the rest waits for the next run, which
    plans it again. Raises SkippedOffError, AccountBusyError, PlanMissingError, NoPlanOfThisRunError,
    AccountRefusedError, AccountForbiddenError.
    """
    child.refuse_off()
    context, calls = child.context, api.calls
    loaded = load_plan(context, plan_id)
    payload, content = payload_of(context, loaded), _content_of(child, loaded.header.id)
    with context.lock():
        target = ImageTarget(child, api, tasks_of(payload), content.failed, int(loaded.scope["limit"]))
        fill = FirstFill(target)
        applied = carry_out_remotely(
            context,
            loaded,
            target,
            child.intents,
            what="images",
            states=states_of(loaded, payload),
            fatal=FATAL,
            bulk=fill if child.child.bulk_first_fill else None,
        )
        _remember_refused(child, target)
    _settle_requests(child, applied, target.stopped)
    warnings = applied_warnings(
        context, loaded, applied, groups="entities", found=_warnings(target, content), stopped=target.stopped
    )
    summary = applied_summary(
        context,
        loaded,
        applied,
        warnings=tuple(warnings),
        calls=content.calls + api.calls - calls,
        received=content.bytes,
    )
    unwritten = sorted(target.tasks.keys() - applied.affected)
    skipped = list(dict.fromkeys((*loaded.scope["skipped"], *target.reasons.values())))
    queue = Queue(child.engine).view()
    numbers = {
        "api/earlier_calls": int(loaded.scope["earlier_calls"]),
        "api/bulk_requests": fill.requests,
        "images/skipped": len(skipped),
        **{f"queue/{state}": queue.total(state) for state in (State.PENDING, State.FAILED, State.SET_ASIDE)},
    }
    lines = []
    for kind, number in sorted(Counter(task.type for task in target.tasks.values()).items()):
        sent, removed = target.sent[kind], target.removed[kind]
        failed = sum(target.tasks[key].type == kind for key in unwritten)
        numbers |= {f"{kind}/uploaded": sent, f"{kind}/deleted": removed, f"{kind}/failed": failed}
        lines += [
            f"{child.alias}, {kind}: batch image sync started: {number} entities.",
            f"{child.alias}, {kind}: {removed} existing images deleted.",
            f"{child.alias}, {kind}: batch upload successful: {sent} images uploaded.",
        ]
    lines += skipped[:SHOWN]
    lines += [f"Failed to sync images for entity {target.tasks[key].name} ({key})" for key in unwritten[:SHOWN]]
    end = "completed with warnings" if warnings else "completed"
    errors = [(one.id, one.child, one.entity, one.state, one.attempts, one.error) for one in queue.errors]
    return StepResult(
        rows=applied.kept + applied.added + applied.updated,
        numbers=numbers,
        shown={
            "skipped": Table(pd.DataFrame({"why": skipped})),
            "queue_errors": Table(
                pd.DataFrame(errors, columns=["id", "account", "entity", "state", "attempts", "error"])
            ),
            "stopped": target.stopped or "-",
        },
        lines=[*lines, f"{child.alias}: batch image sync {end}: plan {loaded.header.id}, {summary.api_calls} calls."],
        warnings=warnings,
        summary=summary,
    )


def no_image_is_in_quarantine(context: RunContext[MoyskladSettings]) -> Mapping[str, CheckResult]:
    """Which images of the account are set aside."""
    aside = context.quarantine.list()
    result = CheckResult(
        not aside,
        f"{len(aside)} images are set aside",
        {"images": Texts([f"{entry.key}: {entry.reason}" for entry in aside]), "number": len(aside)},
    )
    return {"no_image_is_in_quarantine": result}


def _content_of(child: ChildRun, plan_id: int) -> ContentFetched:
    """What became of this plan's content in this run's lineage; nothing when it was another plan's.

    The calls of an earlier run are not this one's.
    """
    found = left_by(child.context, CONTENT, ContentFetched)
    if found is None or found.plan_id != plan_id:
        return ContentFetched(plan_id=plan_id)
    return found if found.run_id == child.context.run_id else found.model_copy(update={"calls": 0})


def _remember_refused(child: ChildRun, target: ImageTarget) -> None:
    """Set what the account refused aside as that, so that it is not sent again by every run."""
    quarantine = child.context.quarantine
    failed = [entry.id for entry in quarantine.list() if entry.stage == APPLY_STAGE and entry.key in target.refused]
    quarantine.put(
        [
            QuarantineItem(key, key.partition("#")[0], REFUSED_STAGE, target.reasons[key], None)
            for key in sorted(target.refused)
        ]
    )
    quarantine.drop(failed)


def _warnings(target: ImageTarget, content: ContentFetched) -> Sequence[str]:
    found = []
    if content.stopped:
        found.append(f"{content.left} images were not downloaded; the next run goes on: {content.stopped}")
    if target.reasons:
        first = next(iter(target.reasons.values()))
        found.append(f"{len(target.reasons)} images could not be written, such as: {first}")
    if target.gone:
        found.append(
            f"{len(target.gone)} entities are not in the child account any more, such as {min(target.gone)}; the next "
            "run looks for them again."
        )
    return found


def _settle_requests(child: ChildRun, applied: Applied, stopped: str) -> None:
    """Tell the queue what became of the run's requests: done, or why not; those are tried again.

    What no attempt can help (the child account has no such entity, or will not take an image) is done, with a note. A
    run that dies before this tells nothing; the sensor gives its requests back.
    """
    queue, context, now = Queue(child.engine), child.context, child.context.clock()
    held = queue.held(context.run_id)
    if not held:
        return
    mapped, read = left_by(context, ENTITY_MAP, ChildMap), reading_of(context)
    unmapped = {one.key: one.reason for one in (mapped.unmapped if mapped is not None else ())}
    aside = [entry for entry in context.quarantine.list() if entry.run_id == context.run_id and entry.group_key]
    # What another attempt may make as the main account has it.
    failed = dict(read.unread) if read is not None else {}
    failed |= dict.fromkeys(applied.refused_in, stopped or CHANGED)
    failed |= {one.group: UNSETTLED for one in child.intents.open_intents() if one.group not in unmapped}
    failed |= {str(entry.group_key): entry.reason for entry in aside if entry.stage != REFUSED_STAGE}
    with child.engine.connect() as connection:
        known = set(read_mirror(connection, NAME, MAIN)["key"])
    notes = {str(entry.group_key): entry.reason for entry in aside} | unmapped
    notes |= dict.fromkeys({request.entity for request in held} - known, NOT_IN_MAIN)
    by_end: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for request in held:
        why = failed.get(request.entity, "")
        by_end[why, "" if why else notes.get(request.entity, "")].append(request.id)
    for (why, note), ids in by_end.items():
        if why:
            queue.fail(context.run_id, ids, why, now)
        else:
            queue.finish(context.run_id, ids, now, note)
