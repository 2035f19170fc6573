"""A child account's plan, a function without Dagster: made from the mirror, stored with all that applying needs.

What belongs here: joining planning and storage, settling what an earlier run left open, and the daily check of the
account itself. What does not: what is read before the plan (stages.py), what comes of it (apply_stages.py).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from imagesync_pipelines.accounts.moysklad import MAIN, Ownership
from imagesync_pipelines.connectors.moysklad import mapping
from imagesync_pipelines.connectors.moysklad.api.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.costs import Cost, cost_of, needed_of
from imagesync_pipelines.connectors.moysklad.desk import Desk
from imagesync_pipelines.connectors.moysklad.downloading import source_of
from imagesync_pipelines.connectors.moysklad.lists import expected_of, read_lists, seen_of
from imagesync_pipelines.connectors.moysklad.model import Entity
from imagesync_pipelines.connectors.moysklad.notes import MainNote, MapNote
from imagesync_pipelines.connectors.moysklad.planning import ChildPlan, plan_child
from imagesync_pipelines.connectors.moysklad.reading import CONNECTOR
from imagesync_pipelines.connectors.moysklad.rules import size_limit
from imagesync_pipelines.connectors.moysklad.stages import EVERYTHING, Chosen, calls_before_plan, mirrored, refuse_off
from imagesync_pipelines.connectors.moysklad.state import Record
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.plans import NewPlan, Plans
from imagesync_pipelines.sync.handovers import note_of, only_named
from imagesync_pipelines.sync.model import DeletionLimits

KEPT_PLANS = 50


@dataclass(frozen=True)
class PlanMade:
    """A stored plan of one child account and what there is to tell about it.

    settled: entities whose outcome an earlier run did not learn, read now. checked: entities whose list in the account
    was read. drifted: those of them that were not as we left them. calls: of this run so far, to both accounts.
    """

    plan_id: int
    plan: pd.DataFrame
    planned: ChildPlan
    cost: Cost
    settled: int
    checked: int
    drifted: int
    calls: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Check:
    """What reading lists of the account found: keys of entities that are gone there, and of those that drifted."""

    gone: frozenset[str]
    drifted: frozenset[str]
    unread: Mapping[str, str]


def make_plan(
    desk: Desk,
    api: MoyskladApi,
    main: MoyskladApi,
    run_id: str,
    *,
    ancestors: Sequence[str] = (),
    chosen: Chosen = EVERYTHING,
    check_child: bool = False,
    allow_mass_delete: bool = False,
    dry_run: bool = False,
) -> PlanMade:
    """Plan from the mirror and the lists we manage, and store the plan. check_child: read the account's lists first.

    dry_run: the plan is carried out only by its number. What the account refused earlier is then sent once more.

    Nothing is asked of the main account; its weight is for the predicted minutes. Raises SkippedOffError,
    AccountBusyError, and the errors of the API where the account is read.
    """
    refuse_off(desk)
    calls = api.calls
    with desk.locked():
        ids = _ids(desk)
        settled = _settle(desk, api, ids, run_id)
        ids = _ids(desk) if settled.gone else ids
        entities = [entity for some in mirrored(desk.place.engine, chosen, ids) for entity in some]
        checked = _check(desk, api, entities, ids) if check_child else _look_at_owners(desk, api, entities, ids)
        # A mirror is written whole: where its list could not be read, nobody knows what that would take away.
        unseen = checked.unread if desk.child.ownership is Ownership.MIRROR else {}
        ids = {key: child_id for key, child_id in ids.items() if key not in checked.gone and key not in unseen}
        records = desk.state.records()
        limit = size_limit(desk.child.max_image_mb, desk.state.max_image_bytes())
        deletion_limits = limits_of(desk.place.settings, lifted=allow_mass_delete)
        refused = {} if check_child else desk.refused()
        planned = plan_child(entities, ids, records, desk.child, limit, deletion_limits, refused)
        _clear_quarantine(desk, run_id, {entity.key for entity in entities if entity.key in ids}, planned)
    cost = _cost(desk, planned, records, entities, main_weight=main.weight, child_weight=api.weight)
    warnings = (*_told(desk, run_id, ancestors), *planned.warnings, *_warnings(checked))
    used = calls_before_plan(desk, run_id) + api.calls - calls
    plans = Plans(desk.place.engine, desk.place.storage)
    new = NewPlan(
        connector=CONNECTOR,
        run_id=run_id,
        scope={
            "account": desk.alias,
            "limit": limit,
            "read_at": desk.clock().isoformat(),
            "calls": used,
            "held_back": len(planned.held),
            "warnings": list(warnings),
            "skipped": list(dict.fromkeys(planned.skipped.values())),
            "earlier_calls": cost.earlier,
            **only_named(dry_run=dry_run),
        },
        counts=planned.counts(),
        cost={"calls": cost.calls, "bytes": cost.bytes, "minutes": cost.minutes},
        scan_id=None,
    )
    plan_id = plans.save(planned.plan, [planned.payload()], new)
    plans.prune(CONNECTOR, KEPT_PLANS, {"account": desk.alias})
    return PlanMade(
        plan_id=plan_id,
        plan=planned.plan,
        planned=planned,
        cost=cost,
        settled=len(settled.drifted) + len(settled.gone),
        checked=len(ids) if check_child else 0,
        drifted=len(checked.drifted) + len(checked.gone),
        calls=used,
        warnings=warnings,
    )


def limits_of(settings: Settings, *, lifted: bool) -> DeletionLimits:
    """The deletion limits as the settings have them; `lifted` for one run by a person."""
    return DeletionLimits(
        settings.deletion_limit_share,
        settings.deletion_limit_count,
        settings.deletion_limit_bare,
        settings.deletion_limit_floor,
        lifted,
    )


def _ids(desk: Desk) -> dict[str, str]:
    with desk.place.engine.connect() as connection:
        return mapping.read_map(connection, desk.child)


def _settle(desk: Desk, api: MoyskladApi, ids: Mapping[str, str], run_id: str) -> _Check:
    """Read the entities whose outcome an earlier run did not learn, note what they hold, and close their intents."""
    intents = desk.intents(run_id)
    groups = [intent.group for intent in intents.open_intents()]
    mapped = {group: ids[group] for group in groups if group in ids}
    entities = [entity for some in mirrored(desk.place.engine, EVERYTHING, mapped) for entity in some]
    found = _read(desk, api, entities, mapped)
    intents.close([group for group in groups if group not in found.unread])
    return _Check(found.gone, frozenset(mapped) - found.gone, found.unread)


def _check(desk: Desk, api: MoyskladApi, entities: Sequence[Entity], ids: Mapping[str, str]) -> _Check:
    """Read the account's own lists of these entities, and note what they hold."""
    return _read(desk, api, entities, {entity.key: ids[entity.key] for entity in entities if entity.key in ids})


def _look_at_owners(desk: Desk, api: MoyskladApi, entities: Sequence[Entity], ids: Mapping[str, str]) -> _Check:
    """Read the lists of a mirror that hold images of the owner we have not listed: its next write takes them away."""
    if desk.child.ownership is not Ownership.MIRROR:
        return _Check(frozenset(), frozenset(), {})
    owned = {key for key, record in desk.state.records(ids).items() if record.others}
    found = _check(desk, api, [entity for entity in entities if entity.key in owned], ids)
    return _Check(found.gone, frozenset(), found.unread)


def _read(desk: Desk, api: MoyskladApi, entities: Sequence[Entity], ids: Mapping[str, str]) -> _Check:
    """Read lists and note them; entities that the account does not have any more are forgotten, and matched anew."""
    records = desk.state.records(ids)
    expected = {entity.key: expected_of(entity.images or ()) for entity in entities}
    gone: set[str] = set()
    drifted: set[str] = set()
    unread: dict[str, str] = {}
    for found in read_lists(api, ids, records, expected, desk.identity):
        seen = {key: seen_of(images, desk.child.ownership) for key, images in found.seen.items()}
        desk.state.note(seen)
        drifted |= {key for key, one in seen.items() if one.images != records.get(key, Record()).images}
        forget_entities(desk, found.gone)
        gone |= found.gone
        unread |= found.unread
    return _Check(frozenset(gone), frozenset(drifted), unread)


def forget_entities(desk: Desk, keys: frozenset[str]) -> None:
    """Forget entities that the child account does not have any more: they are looked for again."""
    if not keys:
        return
    desk.state.forget(keys)
    with desk.place.engine.begin() as connection:
        mapping.forget(connection, desk.child, keys)


def _clear_quarantine(desk: Desk, run_id: str, groups: Collection[str], planned: ChildPlan) -> None:
    """Take out of quarantine what the main account no longer has on these entities, or the account is not to get."""
    quarantine, keys = desk.quarantine(run_id), set(planned.plan["key"])
    gone = [entry.key for entry in quarantine.list() if entry.group_key in groups and entry.key not in keys]
    quarantine.clear(gone)


def _cost(
    desk: Desk,
    planned: ChildPlan,
    records: Mapping[str, Record],
    entities: Sequence[Entity],
    *,
    main_weight: int,
    child_weight: int,
) -> Cost:
    needed = {
        image.source for group, task in planned.tasks.items() for image in needed_of(task, records.get(group, Record()))
    }
    names = {source_of(source): source for source in needed}
    kept = {names[name] for name in desk.contents.find(names)}
    return cost_of(
        planned.tasks, records, desk.child, kept, entities, main_weight=main_weight, child_weight=child_weight
    )


def _told(desk: Desk, run_id: str, ancestors: Sequence[str]) -> list[str]:
    """The warnings of the stages before, of this run's lineage."""
    read = note_of(desk.place.storage, MAIN, run_id, ancestors, MainNote)
    mapped = note_of(desk.place.storage, desk.alias, run_id, ancestors, MapNote)
    return [*(read.warnings if read is not None else ()), *(mapped.warnings if mapped is not None else ())]


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
