"""The steps content and child_images: a child account's plan carried out, and the clean-up of content.

Images of the main account become kept content, each once for all child accounts; then the lists are written. A log
has a line per kind of event and entity type, never one per image; what happened to single images is in the tables.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import pandas as pd
from pydantic import BaseModel

from imagesync_pipelines.connectors.moysklad.child import ChildRun, Run, child_of, left_by, look_at, main_api, open_api
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.counterparts import read_map
from imagesync_pipelines.connectors.moysklad.downloads import Downloads
from imagesync_pipelines.connectors.moysklad.errors import FATAL
from imagesync_pipelines.connectors.moysklad.mapping import ENTITY_MAP, SHOWN
from imagesync_pipelines.connectors.moysklad.missing import hold_missing
from imagesync_pipelines.connectors.moysklad.model import ACCOUNT_ID, ChildMap, ContentFetched, EntityTask
from imagesync_pipelines.connectors.moysklad.moved import as_entities, left_cards
from imagesync_pipelines.connectors.moysklad.plan_step import settle_open
from imagesync_pipelines.connectors.moysklad.planning import chosen_keys, needed_of, policy_of, tasks_of
from imagesync_pipelines.connectors.moysklad.queue import Queue, QueueError, State
from imagesync_pipelines.connectors.moysklad.reading import entities_of, mirrored, reading_of
from imagesync_pipelines.connectors.moysklad.rules import MB, image_of, source_of
from imagesync_pipelines.connectors.moysklad.settings import EVERYTHING
from imagesync_pipelines.connectors.moysklad.target import FirstFill, ImageTarget
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.storage.contents import Contents
from imagesync_pipelines.storage.plans import is_reversal
from imagesync_pipelines.storage.quarantine import REFUSED_STAGE, QuarantineItem
from imagesync_pipelines.sync.carry_out import (
    ApplyOptions,
    Loaded,
    applied_summary,
    applied_warnings,
    carry_out_remotely,
    load_plan,
)
from imagesync_pipelines.sync.identity import only
from imagesync_pipelines.sync.remote import UNSETTLED
from imagesync_pipelines.sync.stale import SourceNow
from imagesync_pipelines.sync.steps import CheckResult, Pictures, StepResult, Table, Texts
from imagesync_pipelines.sync.tally import APPLY_STAGE, Applied

CONTENT = "content"
# Requests that are done are kept for people to look at; all others stay for good.
QUEUE_KEPT = timedelta(days=30)
NOT_IN_MAIN = N_("the main account does not have it any more, or it is archived there")


def content(context: Run, options: ApplyOptions) -> StepResult:
    """The pictures that the plan needs, each downloaded once for all child accounts, decoded whole, kept by hash.

    What is too large for the account is not downloaded; a picture that cannot be had stops no other.
    """
    with main_api(context) as main:
        return fetch_content(child_of(context), main, options.plan_id)


def fetch_content(child: ChildRun, main: MoyskladApi, plan_id: int | None = None) -> StepResult:
    """Have the content of the images that a stored plan needs; each is downloaded once for all child accounts.

    An image that cannot be had stops no other; when the main account stops, the rest is left. Raises SkippedOffError,
    PlanMissingError, NoPlanOfThisRunError, AccountRefusedError, AccountForbiddenError.
    """
    child.refuse_off()
    context, calls = child.context, main.calls
    loaded = load_plan(context, plan_id)
    plan_id = loaded.header.id
    tasks = tasks_of(context.plans.need_payload(plan_id), loaded)
    needed = needed_of(tasks, child.records(tasks))
    kept = child.kept_of(needed)
    missing = [image for source, image in sorted(needed.items()) if source not in kept]
    downloads = Downloads(main, child.contents)
    downloaded: list[tuple[str, int]] = []
    failed: dict[str, str] = {}
    left = reencoded = 0
    with ThreadPoolExecutor(context.settings.workers, thread_name_prefix="download") as pool:
        for done, (image, outcome) in enumerate(zip(missing, pool.map(downloads.fetch, missing), strict=True), 1):
            if outcome is None:
                left += 1
                continue
            context.progress(told("images downloaded"), done - left, len(needed))
            if isinstance(outcome, str):
                failed[image.source] = outcome
                continue
            reencoded += bool(image.limit)
            if outcome:
                downloaded.append((image.filename or image_of(image.source), outcome))
    found = ContentFetched(
        run_id=context.run_id,
        plan_id=plan_id,
        downloaded=tuple(downloaded),
        failed=failed,
        left=left,
        stopped=downloads.stopped,
        calls=main.calls - calls,
    )
    context.keep(CONTENT, found)
    were_kept = len(needed) - len(downloaded) - len(failed) - left
    count, size = child.contents.used()
    return StepResult(
        rows=count,
        size=size,
        numbers={
            "images/downloaded": len(downloaded),
            "images/content_kept": were_kept,
            "images/content_failed": len(failed),
            "images/reencoded": reencoded,
            "bytes/downloaded": found.bytes,
            "disk/images": count,
            "disk/bytes": size,
            "api/calls": found.calls,
        },
        shown={
            "failed": Texts(found.problems),
            "pictures": pictures_of_plan(child, plan_id, 12),
            "stopped": found.stopped or "-",
        },
        lines=[
            told(
                f"{child.alias}: {len(downloaded)} images downloaded ({found.bytes / MB:.1f} MB), "
                f"{were_kept} were kept, {len(failed)} failed, {left} wait for the next run; "
                f"{size / MB:.1f} MB on disk."
            ),
            *(told(f"Image downloaded: {name} ({number / 1000:.1f} KB)") for name, number in downloaded[:SHOWN]),
            *list(failed.values())[:SHOWN],
        ],
        warnings=[found.stopped] if found.stopped else (),
    )


def pictures_of_plan(child: ChildRun, plan_id: int, number: int) -> Pictures:
    """The first images of a stored plan whose content is kept, each once, for people to see what changes."""
    tasks = tasks_of(child.context.plans.need_payload(plan_id))
    names = {source_of(image.source): image.filename for task in tasks.values() for image in task.images}
    kept = child.contents.find(names)
    shown = [(name, source) for source, name in names.items() if source in kept][:number]
    return Pictures(shown, lambda source: child.contents.read(kept[source]))


def every_picture_could_be_had(context: Run) -> CheckResult:
    """Each picture that the plan needs was downloaded whole, or was kept, and can be decoded to its last byte."""
    found = look_at(context, CONTENT, ContentFetched)
    number = len(found.failed)
    said = told(f"{number} pictures could not be had, {found.left} wait for the next run")
    return CheckResult(not number and not found.left, said, {"pictures": Texts(found.problems), "number": number})


def forget_content(context: Run, options: BaseModel) -> StepResult:
    """Removes image content that was not used for MOYSKLAD_CONTENT_HOURS, and requests done long ago."""
    place, hours = context.installation, context.settings.content_hours
    gone = Contents(place.engine, place.storage).forget_older(hours)
    requests = Queue(place.engine).forget_done(datetime.now(UTC) - QUEUE_KEPT)
    line = told(
        f"{gone.count} pictures with {gone.bytes:,} bytes were not used for {hours:g} hours and are removed, "
        f"{gone.in_use} are in use; {requests} requests done long ago are forgotten."
    )
    return StepResult(lines=[line])


def child_images(context: Run, options: ApplyOptions) -> StepResult:
    """The lists of images of the child account's entities, as the plan has them: one call per changed entity.

    A bad image stops no entity, a bad entity no account; what is skipped is told with its reason and tried again.
    """
    child = child_of(context)
    with open_api(context, child.child.account) as api:
        return apply_plan(child, api, options.plan_id)


def apply_plan(child: ChildRun, api: MoyskladApi, plan_id: int | None = None) -> StepResult:
    """Write the images of a stored plan's entities, and tell of it: of the plan named, or that of this run's lineage.

    An entity that cannot be written stops no other. When the account stops, the rest waits for the next run, which
    plans it again. Raises SkippedOffError, AccountBusyError, PlanMissingError, NoPlanOfThisRunError,
    AccountRefusedError, AccountForbiddenError.
    """
    child.refuse_off()
    context, calls = child.context, api.calls
    loaded = load_plan(context, plan_id)
    payload, content = context.plans.need_payload(loaded.header.id), _content_of(child, loaded.header.id)
    with context.lock():
        limit = int(loaded.scope["limit"])
        if loaded.resumed:
            settle_open(child, api, limit)
        target = ImageTarget(child, api, tasks_of(payload, loaded), content.failed, limit)
        fill = FirstFill(target)
        bulk = fill if child.child.bulk_first_fill else None
        # Whose account answered the map; the lists that are read before they are written tell it again.
        mapped = left_by(context, ENTITY_MAP, ChildMap)
        said = only(ACCOUNT_ID, mapped.accounts if mapped is not None else ())
        applied = carry_out_remotely(
            context,
            loaded,
            partial(undo_known_now if is_reversal(loaded.scope) else known_now, child, target.tasks),
            target,
            child,
            payload=payload,
            what="images",
            fatal=FATAL,
            bulk=bulk,
            identify=lambda: child.identity.record(said),
            spent=lambda: content.calls + api.calls - calls,
        )
        _remember_refused(child, target)
        hold_missing(child, target.missing)
    _settle_requests(child, applied, target.stopped)
    warnings = applied_warnings(
        context, loaded, applied, groups="entities", found=_warnings(target, content), stopped=target.stopped
    )
    calls = content.calls + api.calls - calls
    summary = applied_summary(context, loaded, applied, warnings=tuple(warnings), calls=calls, received=content.bytes)
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
            told(f"{child.alias}, {kind}: batch image sync started: {number} entities."),
            told(f"{child.alias}, {kind}: {removed} existing images deleted."),
            told(f"{child.alias}, {kind}: batch upload successful: {sent} images uploaded."),
        ]
    lines += skipped[:SHOWN]
    lines += [told(f"Failed to sync images for entity {target.tasks[key].name} ({key})") for key in unwritten[:SHOWN]]
    end = told("completed with warnings") if warnings else "completed"
    errors = pd.DataFrame(queue.errors, columns=list(QueueError._fields)).rename(columns={"child": "account"})
    return StepResult(
        rows=applied.kept + applied.added + applied.updated,
        numbers=numbers,
        shown={
            "skipped": Table(pd.DataFrame({"why": skipped})),
            "queue_errors": Table(errors.drop(columns="changed_at")),
            "stopped": target.stopped or "-",
            "account": child.identity.said(),
        },
        lines=[
            *lines,
            told(f"{child.alias}: batch image sync {end}: plan {loaded.header.id}, {summary.api_calls} calls."),
        ],
        warnings=warnings,
        summary=summary,
    )


def known_now(child: ChildRun, tasks: Mapping[str, EntityTask], loaded: Loaded) -> Iterator[SourceNow]:
    """What the main account, as it was last read, wants of these entities, and where they are in the child account.

    A list is written whole, so one that an image joined is another list. The id of an image is that of its name and
    bytes, and its key has it.
    """
    alias, left = child.alias, left_cards(child.engine, child.alias)
    ids = read_map(child.engine, child.child) | left
    entities = {entity.key: entity for some in mirrored(child.engine, EVERYTHING, tasks) for entity in some}
    entities |= {card.key: card for card in as_entities(left.keys() & tasks.keys(), alias)}
    chosen = {key: chosen_keys(entity, child.child.mode) for key, entity in entities.items()}
    planned = set(loaded.rows["key"])
    moved = _other_counterparts(tasks, ids, alias)
    for key, task in tasks.items():
        if key not in entities:
            moved[key] = f"{task.name} ({key}): {NOT_IN_MAIN}"
        elif key not in moved and set(chosen[key]) - planned:
            moved[key] = told(f"{task.name} ({key}) has other images in the main account now")
    yield SourceNow(
        wanted=pd.DataFrame(
            {"key": [key for keys in chosen.values() for key in keys], "fingerprint": None}, dtype="str"
        ),
        whole=frozenset(entities),
        moved=moved,
        policy=policy_of(child.child),
        by=told("the last reading of the main account"),
    )


def undo_known_now(child: ChildRun, tasks: Mapping[str, EntityTask], loaded: Loaded) -> Iterator[SourceNow]:
    """What an undo rests on: where entities are in the child account, and its settings; not what the main one wants."""
    ids = read_map(child.engine, child.child) | left_cards(child.engine, child.alias)
    yield SourceNow(moved=_other_counterparts(tasks, ids, child.alias), policy=policy_of(child.child))


def _other_counterparts(tasks: Mapping[str, EntityTask], ids: Mapping[str, str], alias: str) -> dict[str, str]:
    """The entities that have another counterpart than when they were planned, or none, each with that reason."""
    return {
        key: told(
            f"{task.name} ({key}) has another counterpart in {alias} now"
            if key in ids
            else f"{task.name} ({key}) has no counterpart in {alias} now"
        )
        for key, task in tasks.items()
        if ids.get(key) != task.child_id
    }


def no_image_is_in_quarantine(context: Run) -> CheckResult:
    """No image of the account is set aside; one that is has its reason and is tried again at every run."""
    aside = [f"{entry.key}: {entry.reason}" for entry in context.quarantine.list()]
    number = len(aside)
    return CheckResult(not aside, told(f"{number} images are set aside"), {"images": Texts(aside), "number": number})


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


def _warnings(target: ImageTarget, content: ContentFetched) -> list[str]:
    found: list[str] = []
    if target.unjudged:
        found.append(
            told(
                f"{sum(target.unjudged.values())} images that the owner of {target.child.alias} added "
                "meanwhile stay for now; the next run plans their removal, which passes the deletion "
                "limits."
            )
        )
    if content.stopped:
        found.append(told(f"{content.left} images were not downloaded; the next run goes on: {content.stopped}"))
    if target.reasons:
        first = next(iter(target.reasons.values()))
        found.append(told(f"{len(target.reasons)} images could not be written, such as: {first}"))
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
    aside = [entry for entry in context.quarantine.list() if entry.run_id == context.run_id and entry.group]
    # What another attempt may make as the main account has it.
    failed = dict(read.unread) if read is not None else {}
    failed |= dict.fromkeys(applied.refused_in, stopped or told("it changed while the run was at work"))
    failed |= {one.group: UNSETTLED for one in child.open_intents() if one.group not in unmapped}
    failed |= {str(entry.group): entry.reason for entry in aside if entry.stage != REFUSED_STAGE}
    asked = {request.entity for request in held}
    with child.engine.connect() as connection:
        known = {entity.key for entity in entities_of(connection, sorted(asked))}
    notes = {str(entry.group): entry.reason for entry in aside} | unmapped
    notes |= dict.fromkeys(asked - known, NOT_IN_MAIN)
    by_end: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for request in held:
        why = failed.get(request.entity, "")
        by_end[why, "" if why else notes.get(request.entity, "")].append(request.id)
    for (why, note), ids in by_end.items():
        if why:
            queue.fail(context.run_id, ids, why, now)
        else:
            queue.finish(context.run_id, ids, now, note)
