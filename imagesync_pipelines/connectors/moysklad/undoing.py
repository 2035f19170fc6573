"""Taking back what a run wrote into a child account: the plan of it, from the history and the account as it is now.

Pictures come back from the content that was kept when they left; the main account is not asked for anything.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count

import pandas as pd

from imagesync_pipelines.connectors.moysklad import planning, rules
from imagesync_pipelines.connectors.moysklad.child import HOLD, ChildRun, Run, child_of, open_api
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.counterparts import groups_of, read_map
from imagesync_pipelines.connectors.moysklad.keeping import cost_of_plan
from imagesync_pipelines.connectors.moysklad.model import ChildRecord, EntityTask, Managed, Wanted, key_parts
from imagesync_pipelines.connectors.moysklad.moved import left_cards
from imagesync_pipelines.connectors.moysklad.plan_step import Lists, labels_of
from imagesync_pipelines.connectors.moysklad.reading import mirrored
from imagesync_pipelines.connectors.moysklad.recognising import Recogniser
from imagesync_pipelines.connectors.moysklad.settings import EVERYTHING
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.contents import Content
from imagesync_pipelines.storage.effects import Effect, EffectRow
from imagesync_pipelines.sync.frames import row_frame
from imagesync_pipelines.sync.guard import approved, guard
from imagesync_pipelines.sync.model import EFFECTS, Change, DeletionLimits, Scope
from imagesync_pipelines.sync.plan import build_plan, group_states
from imagesync_pipelines.sync.planned import POLICY, Planned
from imagesync_pipelines.sync.remote import recover
from imagesync_pipelines.sync.steps import StepResult
from imagesync_pipelines.sync.undo import BY_COMMAND, Reversal, moved_only
from imagesync_pipelines.sync.undoing import Asked, UndoRefusedError, limits_of_undo, undo_result, what_to_undo

NOT_KEPT = N_("its bytes are not kept any more")
_NO_COUNTERPART = N_("it has no counterpart in {alias} any more")
_NOT_THERE = N_("{alias} does not have it any more")


def plan_undo(context: Run, options: Asked) -> StepResult:
    """What would give entities of the child account the images back that they had before a run, or take ours away.

    Nothing is changed yet. Their lists are read first: entities that somebody changed since are left alone, each with
    who it was. Removals pass the deletion limits. The plan is carried out only by its number.

    Raises UndoRefusedError, SkippedOffError, AccountBusyError, and the errors of the API.
    """
    child = child_of(context)
    with open_api(context, child.child.account) as api:
        return make_undo_plan(child, api, options)


def make_undo_plan(child: ChildRun, api: MoyskladApi, options: Asked) -> StepResult:
    """As plan_undo, with the account that is meant."""
    child.refuse_off()
    context, calls, limits = child.context, api.calls, limits_of_undo(child.context)
    limit = rules.size_limit(child.child.max_image_mb, child.max_image_bytes())
    with context.lock():
        ids = read_map(child.engine, child.child) | left_cards(child.engine, child.alias)
        lists = Lists(child, Recogniser(child, api), ids, limits, dry_run=True, limit=limit)
        read = recover(child, lists, unread=lambda: lists.unread)
        undoing = what_to_undo(context, options, partial(_groups_of, child))
        there = {group: ids[group] for group in undoing.groups if group in ids}
        entities = [entity for some in mirrored(child.engine, EVERYTHING, there) for entity in some]
        lists.look({group: child_id for group, child_id in there.items() if group not in read}, entities)
        records = child.records()
        kept = child.contents.hold_bytes(_hashes(undoing.effects), HOLD)
    current = planning.rows_frame({group: records[group] for group in there if group in records})
    theirs = current["fingerprint"].map(planning.is_owners)
    found = _by_bytes(undoing.reversal(current, lambda effects: _as_kept(effects, kept), theirs=theirs, listed=True))
    others = dict.fromkeys(undoing.groups - there.keys(), _NO_COUNTERPART.format(alias=child.alias))
    others |= lists.unread | dict.fromkeys(lists.gone, _NOT_THERE.format(alias=child.alias))
    found = replace(
        found, refused={**found.refused, **{group: others[group] for group in others.keys() & undoing.groups}}
    )
    names = {entity.key: entity.name or entity.key for entity in entities}
    plan = plan_reversal(found, undoing.groups - found.refused.keys(), ids, records, names, kept, limits)
    cost, said = cost_of_plan(child, plan, records, (), main_weight=0, child_weight=api.limiter.weight())
    planned = Planned(
        plan=plan.plan.assign(product=labels_of(plan, names)),
        held=plan.held,
        owned=plan.owned,
        cost=cost,
        states=plan.states,
        payload=[planning.payload_of(plan)],
        scope={"limit": limit, "skipped": [], "earlier_calls": 0, POLICY: planning.policy_of(child.child)},
        warnings=tuple(plan.warnings),
        calls=api.calls - calls,
    )
    return undo_result(context, planned, undoing, found, names=names, groups="entities", cost=said)


def plan_reversal(
    found: Reversal,
    groups: Collection[str],
    ids: Mapping[str, str],
    records: Mapping[str, ChildRecord],
    names: Mapping[str, str],
    kept: Mapping[str, Content],
    limits: DeletionLimits,
) -> planning.ChildPlan:
    """The guarded plan that gives these entities what `found` wants; kept: content by its SHA-256."""
    wanted: dict[str, list[planning.Row]] = {group: [] for group in sorted(groups)}
    columns = (found.wanted[name].tolist() for name in ("key", "group", "position", "fingerprint"))
    for row in zip(*columns, strict=True):
        if row[1] in wanted:
            wanted[row[1]].append(planning.Row(*row))
    known = {group: records.get(group, ChildRecord()) for group in wanted}
    current = [
        row
        for group, rows in wanted.items()
        for row in planning.in_places(
            planning.image_rows(group, known[group].images), {one.key: one.position for one in rows}
        )
    ]
    scope = Scope(frozenset(groups), BY_COMMAND)
    built = build_plan(
        row_frame(row for rows in wanted.values() for row in rows), row_frame(current), scope, match_position=True
    )
    guarded = guard(built, scope, limits, owned=planning.rows_frame(records)[["key", "group"]])
    plan = guarded.plan.sort_values(["group", "position", "key"], ignore_index=True)
    fingerprints = {row.key: row.fingerprint for rows in wanted.values() for row in rows}
    back = {key: values for key, values in found.values.items() if values.get("sha256") in kept}

    def tasks_for(rows: pd.DataFrame) -> dict[str, EntityTask]:
        return {
            group: EntityTask(
                ids[group],
                key_parts(group)[0],
                names.get(group, group),
                tuple(_images(group, known[group], final, fingerprints, back, kept)),
            )
            for group, final in planning.finals_of(rows).items()
        }

    if_approved = tasks_for(approved(plan))
    states = group_states(planning.rows_frame({group: known[group] for group in if_approved}))
    return planning.ChildPlan(
        plan, guarded.held, guarded.owned, tasks_for(plan), if_approved, states, {}, guarded.warnings, frozenset()
    )


def _images(
    group: str,
    record: ChildRecord,
    finals: Sequence[planning.Final],
    fingerprints: Mapping[str, str],
    back: Mapping[str, Mapping[str, str]],
    kept: Mapping[str, Content],
) -> list[Wanted]:
    """The images of an entity in their order: those that are there as they are, the others from what was kept."""
    there: dict[object, Managed] = dict(zip(rules.row_keys(group, record.images), record.images, strict=True))
    images = []
    for key, before, as_it_is in finals:
        here = there.get(key)
        other = here if before == key else there.get(before)
        # What is there and not wanted is held back: it stays.
        if as_it_is or (here is not None and fingerprints.get(key) in (None, planning.fingerprint_of(here))):
            images.append(planning.as_it_is_there(key, here))
            continue
        values = back[key]
        content, replaces = kept[values["sha256"]], other.id if other is not None else ""
        name = values["name"]
        images.append(Wanted(key, fingerprints[key], replaces, "", 0, name, content.size, "", "", content.sha256))
    return images


def _by_bytes(found: Reversal) -> Reversal:
    """The same with images of the account's owner that come back known by their bytes: their ids will be others."""
    wanted, values = found.wanted, dict(found.values)
    back = wanted[wanted["fingerprint"].map(planning.is_owners).astype(bool) & wanted["key"].isin(list(values))]
    if back.empty:
        return found
    keys, prints, there = wanted["key"].copy(), wanted["fingerprint"].copy(), set(wanted["key"])
    for at, key, group in zip(back.index, back["key"], back["group"], strict=True):
        prints[at] = rules.recalled(str(values[key]["sha256"]))
        numbered = (f"{group}#{prints[at]}#{number}" for number in count())
        keys[at] = next(name for name in numbered if name not in there)
        there.add(keys[at])
        values[keys[at]] = values.pop(key)
    return replace(found, wanted=wanted.assign(key=keys, fingerprint=prints), values=values)


def _as_kept(effects: Sequence[Effect], kept: Collection[str]) -> list[Effect]:
    """Effects as they can be taken back: a picture whose bytes are not kept is lost."""

    def judged(row: EffectRow) -> EffectRow:
        missing = _left(row) and not row.lost and (row.before or {}).get("sha256") not in kept
        return replace(row, lost=NOT_KEPT) if missing else row

    return [replace(one, rows=tuple(map(judged, one.rows))) for one in effects]


def _hashes(effects: Sequence[Effect]) -> set[str]:
    """The SHA-256 of what left."""
    rows = (row for one in effects for row in one.rows if _left(row) and row.before)
    return {str(row.before["sha256"]) for row in rows if row.before and row.before.get("sha256")}


def _left(row: EffectRow) -> bool:
    """Whether a picture left with a row of an effect."""
    return row.change in EFFECTS and row.change != Change.ADD and not moved_only(row)


def _groups_of(child: ChildRun, skus: Sequence[str]) -> set[str]:
    """The entities whose counterparts were found by these SKUs. Raises UndoRefusedError for one that found none."""
    found = set[str]()
    with child.engine.connect() as connection:
        for sku in skus:
            groups = set(groups_of(connection, 0, sku))
            if not groups:
                raise UndoRefusedError(
                    f"No entity was found in {child.alias} by {child.child.match_field} {sku}; nothing was planned."
                )
            found |= groups
    return found
