"""The step plan: a child account's plan, made from the mirror, stored with all that applying needs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from imagesync_pipelines.connectors.moysklad.child import ChildRun, child_api, child_of, left_by, main_api
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.content import source_of
from imagesync_pipelines.connectors.moysklad.mapping import ENTITY_MAP, forget_entities, read_map
from imagesync_pipelines.connectors.moysklad.model import ChildMap, ChildRecord, Entity
from imagesync_pipelines.connectors.moysklad.options import EVERYTHING, ChildPlanOptions, EntityChoice, chosen_by
from imagesync_pipelines.connectors.moysklad.planning import (
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


def plan(context: RunContext[MoyskladSettings], options: ChildPlanOptions) -> StepResult:
    """What would change in the child account, image by image with its reason, and what it costs."""
    child = child_of(context)
    with child_api(child) as api, main_api(context) as main:
        return make_plan(
            child,
            api,
            main,
            chosen=chosen_by(context, options),
            check_child=options.check_child,
            allow_mass_delete=options.allow_mass_delete,
            dry_run=options.dry_run,
        )


def make_plan(
    child: ChildRun,
    api: MoyskladApi,
    main: MoyskladApi,
    *,
    chosen: EntityChoice = EVERYTHING,
    check_child: bool = False,
    allow_mass_delete: bool = False,
    dry_run: bool = False,
) -> StepResult:
    """Plan from the mirror and the lists we manage, store the plan, and tell of it.

    check_child: read the account's lists first; what the account refused earlier is then sent once more. dry_run: the
    plan is carried out only by its number. Nothing is asked of the main account; its weight is for the predicted
    minutes. Raises SkippedOffError, AccountBusyError, and the errors of the API where the account is read.
    """
    child.refuse_off()
    context, calls = child.context, api.calls
    with context.lock():
        lists = _Lists(child, api, _ids(child))
        recover(child.intents, lists, unread=lists.unread_of_last)
        ids = _ids(child)
        entities = [entity for some in mirrored(child.engine, chosen, ids) for entity in some]
        checked = _Lists(child, api, ids)
        if check_child:
            checked.look(entities)
        elif child.mirror:
            # The next write of a mirror takes away what its owner has there and we have not listed.
            owned = {key for key, record in child.state.records(ids).items() if record.others}
            checked.look([entity for entity in entities if entity.key in owned])
        # A mirror is written whole: where its list could not be read, nobody knows what that would take away.
        unseen = checked.gone | (checked.unread.keys() if child.mirror else set())
        ids = {key: child_id for key, child_id in ids.items() if key not in unseen}
        records = child.state.records()
        limit = size_limit(child.child.max_image_mb, child.state.max_image_bytes())
        limits = deletion_limits(context.installation.settings, lifted=allow_mass_delete)
        found = plan_child(entities, ids, records, child.child, limit, limits, {} if check_child else child.refused())
        # What the main account no longer has on these entities, or the account is not to get, is set aside no more.
        planned_keys, groups = set(found.plan["key"]), {entity.key for entity in entities} & ids.keys()
        aside = [one for one in context.quarantine.list() if one.group_key in groups and one.key not in planned_keys]
        context.quarantine.clear([one.key for one in aside])
    names = {
        source_of(image.source): image.source
        for group, task in found.tasks.items()
        for image in needed_of(task, records.get(group, ChildRecord()))
    }
    kept = {names[name] for name in child.contents.find(names)}
    cost = cost_of(found.tasks, records, child.child, kept, entities, main_weight=main.weight, child_weight=api.weight)
    before = [one for one in (reading_of(context), left_by(context, ENTITY_MAP, ChildMap)) if one is not None]
    skipped = list(dict.fromkeys(found.skipped.values()))
    planned = Planned(
        plan=found.plan,
        held=found.held,
        cost=PlanCost(cost.calls, cost.bytes, cost.minutes),
        states=found.states,
        payload=[found.payload()],
        scope={"limit": limit, "skipped": skipped, "earlier_calls": cost.earlier},
        warnings=(*(warning for one in before for warning in one.warnings), *found.warnings, *checked.warnings()),
        calls=sum(one.calls for one in before if one.run_id == context.run_id) + api.calls - calls,
    )
    drifted = (len(checked.drifted) if check_child else 0) + len(checked.gone)
    pace = f", at least {cost.minutes:g} minutes at the accounts' pace" if cost.minutes else ""
    return plan_result(
        context,
        planned,
        store_plan(context, planned, dry_run=dry_run),
        cost=f"{cost.calls} calls ({cost.writes} writes and {cost.reads} reads there, {cost.downloads} downloads of "
        f"the main account){pace}; the earlier way: {cost.earlier} calls.",
        changes=_changes(found),
        shown={"mode": str(child.child.mode), "ownership": str(child.child.ownership), "skipped": Texts(skipped)},
        numbers={
            "plan/held_back": len(found.held),
            "plan/entities": len(found.tasks),
            "plan/calls": cost.calls,
            "plan/minutes": cost.minutes,
            "plan/earlier_calls": cost.earlier,
            "entities/drifted": drifted,
            "api/calls": planned.calls,
        },
        lines=[f"{child.alias}: {len(ids)} entities checked, {drifted} had drifted."] if check_child and ids else (),
    )


@dataclass
class _Lists:
    """Lists of the account that are read now and noted, for the engine too, which asks where an outcome is unknown.

    ids: the map. gone: entities that the account does not have any more, forgotten and matched anew; drifted: those
    that were not as we left them; unread: key to reason of those whose list did not come; nothing is concluded from
    that.
    """

    child: ChildRun
    api: MoyskladApi
    ids: Mapping[str, str]
    gone: set[str] = field(default_factory=set)
    drifted: set[str] = field(default_factory=set)
    unread: dict[str, str] = field(default_factory=dict)
    _last: frozenset[str] = frozenset()

    def read(self, groups: Sequence[str]) -> pd.DataFrame:
        """What the account holds of these entities.

        An entity that the map lacks now has no counterpart that could be read: it waits until it has one again.
        """
        mapped = {group: self.ids[group] for group in groups if group in self.ids}
        self.unread.clear()
        self._read(mapped, (entity for some in mirrored(self.child.engine, EVERYTHING, mapped) for entity in some))
        self._last = frozenset(self.unread) | (set(groups) - mapped.keys())
        return rows_frame(self.child.state.records(groups))

    def unread_of_last(self) -> frozenset[str]:
        """Those of the entities just asked for whose list did not come."""
        return self._last

    def look(self, entities: Sequence[Entity]) -> None:
        """Read the lists of those of these entities that the map has."""
        self._read({entity.key: self.ids[entity.key] for entity in entities if entity.key in self.ids}, entities)

    def warnings(self) -> list[str]:
        """What was found, for people."""
        found = []
        if self.gone:
            found.append(
                f"{len(self.gone)} entities are not in the child account any more, such as {min(self.gone)}; the next "
                "run looks for them again."
            )
        if self.unread:
            key, why = next(iter(self.unread.items()))
            found.append(f"{len(self.unread)} entities of the child account could not be read, such as {key}: {why}.")
        return found

    def _read(self, ids: Mapping[str, str], entities: Iterable[Entity]) -> None:
        state, ownership = self.child.state, self.child.child.ownership
        records = state.records(ids)
        expected = {entity.key: expected_of(entity.images or ()) for entity in entities}
        for found in read_lists(self.api, ids, self.child.identity):
            seen = {
                key: seen_of(recognised(rows, records.get(key, ChildRecord()), expected.get(key, ())), ownership)
                for key, rows in found.rows.items()
            }
            state.note(seen)
            self.drifted |= {key for key, one in seen.items() if one.images != records.get(key, ChildRecord()).images}
            forget_entities(self.child, found.gone)
            self.gone |= found.gone
            self.unread |= found.unread


def _ids(child: ChildRun) -> dict[str, str]:
    with child.engine.connect() as connection:
        return read_map(connection, child.child)


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
