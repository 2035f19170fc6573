"""The step plan: a child account's plan, made from the mirror, stored with all that applying needs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from imagesync_pipelines.connectors.moysklad.accounts import Ownership
from imagesync_pipelines.connectors.moysklad.child import ChildRun, child_api, child_of, left_by, main_api
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.content import source_of
from imagesync_pipelines.connectors.moysklad.mapping import ENTITY_MAP, forget, read_map
from imagesync_pipelines.connectors.moysklad.model import ChildMap, ChildRecord, Entity
from imagesync_pipelines.connectors.moysklad.options import EVERYTHING, ChildPlanOptions, EntityChoice, chosen_by
from imagesync_pipelines.connectors.moysklad.planning import (
    ChildCost,
    ChildPlan,
    cost_of,
    needed_of,
    plan_child,
    rows_frame,
)
from imagesync_pipelines.connectors.moysklad.reading import mirrored, reading_of
from imagesync_pipelines.connectors.moysklad.rules import expected_of, recognised, seen_of, size_limit
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.connectors.moysklad.target import read_lists
from imagesync_pipelines.sync.model import PlanCost
from imagesync_pipelines.sync.planned import Planned, deletion_limits, plan_result, store_plan
from imagesync_pipelines.sync.remote import recover
from imagesync_pipelines.sync.report import changing_rows
from imagesync_pipelines.sync.steps import RunContext, StepResult, Texts


@dataclass(frozen=True)
class StoredChildPlan:
    """A stored plan of one child account and what there is to tell about it.

    settled: entities whose outcome an earlier run did not learn, read now. checked: entities whose list in the account
    was read. drifted: those of them that were not as we left them.
    """

    plan_id: int
    planned: Planned
    found: ChildPlan
    cost: ChildCost
    settled: int
    checked: int
    drifted: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """What people have to know before it is applied."""
        return self.planned.warnings


@dataclass(frozen=True)
class _Check:
    """What reading lists of the account found: keys of entities that are gone there, and of those that drifted.

    unread: key to reason of those whose list did not come; nothing is concluded from that.
    """

    gone: frozenset[str] = frozenset()
    drifted: frozenset[str] = frozenset()
    unread: Mapping[str, str] = field(default_factory=dict)


def plan(context: RunContext[MoyskladSettings], options: ChildPlanOptions) -> StepResult:
    """What would change in the child account, image by image with its reason, and what it costs."""
    child = child_of(context)
    with child_api(child) as api, main_api(context) as main:
        made = make_plan(
            child,
            api,
            main,
            chosen=chosen_by(context, options),
            check_child=options.check_child,
            allow_mass_delete=options.allow_mass_delete,
            dry_run=options.dry_run,
        )
    return plan_told(child, made)


def make_plan(
    child: ChildRun,
    api: MoyskladApi,
    main: MoyskladApi,
    *,
    chosen: EntityChoice = EVERYTHING,
    check_child: bool = False,
    allow_mass_delete: bool = False,
    dry_run: bool = False,
) -> StoredChildPlan:
    """Plan from the mirror and the lists we manage, and store the plan. check_child: read the account's lists first.

    dry_run: the plan is carried out only by its number. What the account refused earlier is then sent once more.

    Nothing is asked of the main account; its weight is for the predicted minutes. Raises SkippedOffError,
    AccountBusyError, and the errors of the API where the account is read.
    """
    child.refuse_off()
    context, calls = child.context, api.calls
    with context.lock():
        ids = _ids(child)
        settled = _settle(child, api, ids)
        ids = _ids(child) if settled.gone else ids
        entities = [entity for some in mirrored(child.engine, chosen, ids) for entity in some]
        checked = _check(child, api, entities, ids) if check_child else _look_at_owners(child, api, entities, ids)
        # A mirror is written whole: where its list could not be read, nobody knows what that would take away.
        unseen = checked.unread if child.child.ownership is Ownership.MIRROR else {}
        ids = {key: child_id for key, child_id in ids.items() if key not in checked.gone and key not in unseen}
        records = child.state.records()
        limit = size_limit(child.child.max_image_mb, child.state.max_image_bytes())
        limits = deletion_limits(context.installation.settings, lifted=allow_mass_delete)
        refused = {} if check_child else child.refused()
        found = plan_child(entities, ids, records, child.child, limit, limits, refused)
        _clear_quarantine(child, {entity.key for entity in entities if entity.key in ids}, found)
    cost = _cost(child, found, records, entities, main_weight=main.weight, child_weight=api.weight)
    before, warned = _told_before(child)
    planned = Planned(
        plan=found.plan,
        held=found.held,
        cost=PlanCost(cost.calls, cost.bytes, cost.minutes),
        states=found.states,
        payload=[found.payload()],
        scope={
            "limit": limit,
            "skipped": list(dict.fromkeys(found.skipped.values())),
            "earlier_calls": cost.earlier,
        },
        warnings=(*warned, *found.warnings, *_warnings(checked)),
        calls=before + api.calls - calls,
    )
    return StoredChildPlan(
        plan_id=store_plan(context, planned, dry_run=dry_run),
        planned=planned,
        found=found,
        cost=cost,
        settled=len(settled.drifted) + len(settled.gone),
        checked=len(ids) if check_child else 0,
        drifted=len(checked.drifted) + len(checked.gone),
    )


def plan_told(child: ChildRun, made: StoredChildPlan) -> StepResult:
    """What is told of a plan."""
    cost = made.cost
    pace = f", at least {cost.minutes:g} minutes at the accounts' pace" if cost.minutes else ""
    checked = f"{child.alias}: {made.checked} entities checked, {made.drifted} had drifted."
    return plan_result(
        child.context,
        made.planned,
        made.plan_id,
        cost=f"{cost.calls} calls ({cost.writes} writes and {cost.reads} reads there, {cost.downloads} downloads of "
        f"the main account){pace}; the earlier way: {cost.earlier} calls.",
        changes=_changes(made.found),
        shown={
            "mode": str(child.child.mode),
            "ownership": str(child.child.ownership),
            "skipped": Texts(list(dict.fromkeys(made.found.skipped.values()))),
        },
        numbers={
            "plan/held_back": len(made.found.held),
            "plan/entities": len(made.found.tasks),
            "plan/calls": cost.calls,
            "plan/minutes": cost.minutes,
            "plan/earlier_calls": cost.earlier,
            "entities/drifted": made.drifted,
            "api/calls": made.planned.calls,
        },
        lines=[checked] if made.checked else (),
    )


def forget_entities(child: ChildRun, keys: frozenset[str]) -> None:
    """Forget entities that the child account does not have any more: they are looked for again."""
    if not keys:
        return
    child.state.forget(keys)
    with child.engine.begin() as connection:
        forget(connection, child.child, keys)


class _Unsettled:
    """The lists of entities whose outcome an earlier run did not learn, as the engine has them read.

    An entity that the map lacks now has no counterpart that could be read: it waits until it has one again.
    """

    def __init__(self, child: ChildRun, api: MoyskladApi, ids: Mapping[str, str]) -> None:
        self._child = child
        self._api = api
        self._ids = ids
        self._unread: frozenset[str] = frozenset()
        self.gone: frozenset[str] = frozenset()
        self.read_now: frozenset[str] = frozenset()

    def read(self, groups: Sequence[str]) -> pd.DataFrame:
        """What the account holds of these entities; it is noted, and entities that are gone are forgotten."""
        mapped = {group: self._ids[group] for group in groups if group in self._ids}
        entities = [entity for some in mirrored(self._child.engine, EVERYTHING, mapped) for entity in some]
        found = _read(self._child, self._api, entities, mapped)
        self._unread = frozenset(found.unread) | (set(groups) - mapped.keys())
        self.gone |= found.gone
        self.read_now |= mapped.keys() - found.gone
        return rows_frame(self._child.state.records(groups))

    def unread(self) -> frozenset[str]:
        """Those of the entities just asked for whose list did not come."""
        return self._unread


def _ids(child: ChildRun) -> dict[str, str]:
    with child.engine.connect() as connection:
        return read_map(connection, child.child)


def _settle(child: ChildRun, api: MoyskladApi, ids: Mapping[str, str]) -> _Check:
    """Read the entities whose outcome an earlier run did not learn, note what they hold, and close their intents."""
    lists = _Unsettled(child, api, ids)
    recover(child.intents, lists, unread=lists.unread)
    return _Check(lists.gone, lists.read_now)


def _check(child: ChildRun, api: MoyskladApi, entities: Sequence[Entity], ids: Mapping[str, str]) -> _Check:
    """Read the account's own lists of these entities, and note what they hold."""
    return _read(child, api, entities, {entity.key: ids[entity.key] for entity in entities if entity.key in ids})


def _look_at_owners(child: ChildRun, api: MoyskladApi, entities: Sequence[Entity], ids: Mapping[str, str]) -> _Check:
    """Read the lists of a mirror that hold images of the owner we have not listed: its next write takes them away."""
    if child.child.ownership is not Ownership.MIRROR:
        return _Check()
    owned = {key for key, record in child.state.records(ids).items() if record.others}
    found = _check(child, api, [entity for entity in entities if entity.key in owned], ids)
    return _Check(found.gone, frozenset(), found.unread)


def _read(child: ChildRun, api: MoyskladApi, entities: Sequence[Entity], ids: Mapping[str, str]) -> _Check:
    """Read lists and note them; entities that the account does not have any more are forgotten, and matched anew."""
    records = child.state.records(ids)
    expected = {entity.key: expected_of(entity.images or ()) for entity in entities}
    gone: set[str] = set()
    drifted: set[str] = set()
    unread: dict[str, str] = {}
    for found in read_lists(api, ids, child.identity):
        images = {
            key: recognised(rows, records.get(key, ChildRecord()), expected.get(key, ()))
            for key, rows in found.rows.items()
        }
        seen = {key: seen_of(there, child.child.ownership) for key, there in images.items()}
        child.state.note(seen)
        drifted |= {key for key, one in seen.items() if one.images != records.get(key, ChildRecord()).images}
        forget_entities(child, found.gone)
        gone |= found.gone
        unread |= found.unread
    return _Check(frozenset(gone), frozenset(drifted), unread)


def _clear_quarantine(child: ChildRun, groups: Collection[str], found: ChildPlan) -> None:
    """Take out of quarantine what the main account no longer has on these entities, or the account is not to get."""
    quarantine, keys = child.context.quarantine, set(found.plan["key"])
    gone = [entry.key for entry in quarantine.list() if entry.group_key in groups and entry.key not in keys]
    quarantine.clear(gone)


def _cost(
    child: ChildRun,
    found: ChildPlan,
    records: Mapping[str, ChildRecord],
    entities: Sequence[Entity],
    *,
    main_weight: int,
    child_weight: int,
) -> ChildCost:
    needed = {
        image.source
        for group, task in found.tasks.items()
        for image in needed_of(task, records.get(group, ChildRecord()))
    }
    names = {source_of(source): source for source in needed}
    kept = {names[name] for name in child.contents.find(names)}
    return cost_of(
        found.tasks, records, child.child, kept, entities, main_weight=main_weight, child_weight=child_weight
    )


def _told_before(child: ChildRun) -> tuple[int, list[str]]:
    """Calls that this run made to both accounts before its plan, and the warnings of the steps of its lineage."""
    found = [
        one for one in (reading_of(child.context), left_by(child.context, ENTITY_MAP, ChildMap)) if one is not None
    ]
    calls = sum(one.calls for one in found if one.run_id == child.context.run_id)
    return calls, [warning for one in found for warning in one.warnings]


def _changes(found: ChildPlan) -> pd.DataFrame:
    """The rows that change, of every kind some first: change, entity, its name, image, reason."""
    changing = changing_rows(found.plan)
    names = {(group, image.key): image.filename for group, task in found.tasks.items() for image in task.images}
    told = changing.assign(
        entity=changing["group"],
        name=changing["group"].map({group: task.name for group, task in found.tasks.items()}),
        image=[names.get(pair, pair[1]) for pair in zip(changing["group"], changing["key"], strict=True)],
    )
    return told.loc[:, ["change", "entity", "name", "image", "reason"]]


def _warnings(checked: _Check) -> list[str]:
    found = []
    if checked.gone:
        found.append(
            f"{len(checked.gone)} entities are not in the child account any more, such as {min(checked.gone)}; the "
            "next run looks for them again."
        )
    if checked.unread:
        key, why = next(iter(checked.unread.items()))
        found.append(f"{len(checked.unread)} entities of the child account could not be read, such as {key}: {why}.")
    return found
