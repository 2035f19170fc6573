"""The step plan: a child account's plan, made from the mirror, stored with all that applying needs."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pandas as pd

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.moysklad import moved, planning, rules
from imagesync_pipelines.connectors.moysklad.child import ChildRun, Run, child_of, left_by, main_api, open_api
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.counterparts import read_map
from imagesync_pipelines.connectors.moysklad.downloads import Downloads
from imagesync_pipelines.connectors.moysklad.errors import RowsMissingError
from imagesync_pipelines.connectors.moysklad.keeping import cost_of_plan
from imagesync_pipelines.connectors.moysklad.mapping import ENTITY_MAP
from imagesync_pipelines.connectors.moysklad.missing import doubt_missing
from imagesync_pipelines.connectors.moysklad.model import ChildMap, ChildRecord, Entity, ImageRow, Managed
from imagesync_pipelines.connectors.moysklad.reading import mirrored, reading_of
from imagesync_pipelines.connectors.moysklad.recognising import Recogniser
from imagesync_pipelines.connectors.moysklad.settings import EVERYTHING, ChildPlanOptions
from imagesync_pipelines.connectors.moysklad.target import read_lists
from imagesync_pipelines.languages import N_
from imagesync_pipelines.sync.doubts import due
from imagesync_pipelines.sync.model import DeletionLimits
from imagesync_pipelines.sync.planned import (
    POLICY,
    READ_SINCE,
    Planned,
    limits_of,
    plan_result,
    restored_note,
    rows_to_show,
    store_plan,
)
from imagesync_pipelines.sync.remote import recover
from imagesync_pipelines.sync.steps import StepResult, Texts

_DOUBTED = N_("the child account says that it does not have it any more, which is doubted")


def plan(context: Run, options: ChildPlanOptions) -> StepResult:
    """What would change in the child account, image by image with its reason, and what it costs.

    Hourly compared with what we wrote, daily with the account itself. Images of its owner stay where the account
    is managed; removals pass the deletion limits.
    """
    child = child_of(context)
    with open_api(context, child.child.account) as api, main_api(context) as main:
        return make_plan(child, api, main, options)


def make_plan(child: ChildRun, api: MoyskladApi, main: MoyskladApi, options: ChildPlanOptions) -> StepResult:
    """Plan from the mirror and the lists we manage, store the plan, and tell of it.

    Where the account itself is to be looked at, its lists are read first; what it refused earlier is then sent once
    more. The main account is asked for pictures that may be there already and whose content is not kept. Raises
    SkippedOffError, AccountBusyError, and the errors of the API where an account is read.
    """
    child.refuse_off()
    context, calls = child.context, api.calls + main.calls
    limit = rules.size_limit(child.child.max_image_mb, child.max_image_bytes())
    recogniser = Recogniser(child, api, Downloads(main, child.contents))
    with context.lock():
        # Cards that are nobody's counterpart any more are judged where a run is about everything.
        choice, limits = options.of_run(context), limits_of(context, lifted=options.allow_mass_delete)
        left = moved.left_cards(child.engine, child.alias) if choice == EVERYTHING else {}
        restored_at, told = restored_note(context)
        check_child = options.check_child or bool(restored_at)
        before = read_map(child.engine, child.child) | left
        lists = Lists(child, recogniser, before, limits, options.dry_run, limit)
        recover(child, lists, unread=lambda: lists.unread)
        ids = read_map(child.engine, child.child)
        entities = [entity for some in mirrored(child.engine, choice, ids) for entity in some]
        entities += moved.as_entities(left, child.alias)
        ids |= left
        checked = Lists(child, recogniser, ids, limits, options.dry_run, limit, recall=bool(restored_at))
        looked = {entity.key: ids[entity.key] for entity in entities}
        if not check_child:
            # The next write of a mirror takes away what its owner has there and we have not listed.
            owned = child.records(looked) if child.mirror else {}
            again = due(child.doubts.open(), context.clock())
            looked = {
                key: child_id
                for key, child_id in looked.items()
                if key in again or owned.get(key, ChildRecord()).others
            }
        checked.look(looked, entities)
        # A mirror is written whole: where its list could not be read, nobody knows what that would take away.
        unseen = checked.missing | (checked.unread.keys() if child.mirror else set())
        ids = {key: child_id for key, child_id in ids.items() if key not in unseen}
        records = child.records()
        refused = {} if check_child else child.refused()
        found = planning.plan_child(entities, ids, records, child.child, limit, limits, refused)
        # What the main account no longer has on these entities, or the account is not to get, is set aside no more.
        planned_keys, groups = set(found.plan["key"]), {entity.key for entity in entities} & ids.keys()
        aside = [one for one in context.quarantine.list() if one.group in groups and one.key not in planned_keys]
        context.quarantine.clear([one.key for one in aside])
    sources = {rules.source_of(source): source for source in planning.needed_of(found.if_approved, records)}
    kept = {sources[name] for name in child.contents.find(sources)}
    weights = {"main_weight": main.limiter.weight(), "child_weight": api.limiter.weight()}
    cost, said = cost_of_plan(child, found, records, kept, **weights)
    earlier = 0
    for entity in entities:
        known = records.get(entity.key, ChildRecord())
        wanted = rules.choose_images(entity.images or (), child.child.mode)
        earlier += planning.earlier_calls(len(known.images) + known.others, len(wanted))
    earlier_steps = [one for one in (reading_of(context), left_by(context, ENTITY_MAP, ChildMap)) if one is not None]
    skipped = list(dict.fromkeys(found.skipped.values()))
    names = {entity.key: entity.name or entity.key for entity in entities}
    planned = Planned(
        plan=found.plan.assign(product=labels_of(found, names)),
        held=found.held,
        owned=found.owned,
        cost=cost,
        states=found.states,
        payload=[planning.payload_of(found)],
        of_some=choice != EVERYTHING,
        says=found.says,
        scope={
            "limit": limit,
            "skipped": skipped,
            "earlier_calls": earlier,
            POLICY: planning.policy_of(child.child),
            READ_SINCE: restored_at if choice == EVERYTHING and not checked.unread else "",
        },
        warnings=(
            *told,
            *(warning for one in earlier_steps for warning in one.warnings),
            *found.warnings,
            *checked.warnings(),
        ),
        calls=sum(one.calls for one in earlier_steps if one.run_id == context.run_id) + api.calls + main.calls - calls,
    )
    drifted = (len(checked.drifted) if check_child else 0) + len(checked.missing)
    return plan_result(
        context,
        planned,
        store_plan(context, planned, dry_run=options.dry_run),
        cost=languages.told(f"{said}; the earlier way: {earlier} calls."),
        changes=_changes(found),
        shown={"mode": str(child.child.mode), "ownership": str(child.child.ownership), "skipped": Texts(skipped)},
        numbers={
            "plan/held_back": len(found.held),
            "plan/entities": len(found.tasks),
            "plan/calls": cost.calls,
            "plan/minutes": cost.minutes,
            "plan/earlier_calls": earlier,
            "entities/drifted": drifted,
            "api/calls": planned.calls,
        },
        lines=[
            *(
                [languages.told(f"{child.alias}: {len(ids)} entities checked, {drifted} had drifted.")]
                if check_child and ids
                else ()
            ),
            *(
                [
                    languages.told(
                        f"{child.alias}: {len(recogniser.read)} images of the account were read, to know "
                        "them by their bytes."
                    )
                ]
                if recogniser.read
                else ()
            ),
        ],
    )


@dataclass
class Lists:
    """Lists of the account that are read now and noted, for the engine too, which asks where an outcome is unknown.

    ids: the map. missing: entities that the account says it does not have any more; gone: those that are given up.
    drifted: those that were not as we left them; unread: key to reason of those whose list did not come, or is doubted,
    since the engine asked last; nothing is concluded from that. limit: the largest image that the account takes, in
    bytes. recall: our database was restored from a backup, so all images that it does not know are looked at.
    """

    child: ChildRun
    recogniser: Recogniser
    ids: Mapping[str, str]
    limits: DeletionLimits
    dry_run: bool
    limit: int
    missing: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    drifted: set[str] = field(default_factory=set)
    recall: bool = False
    unread: dict[str, str] = field(default_factory=dict)

    def read(self, groups: Sequence[str]) -> pd.DataFrame:
        """What the account holds of these entities.

        An entity that the map lacks now has no counterpart that could be read: it waits until it has one again.
        """
        mapped = {group: self.ids[group] for group in groups if group in self.ids}
        self.unread = dict.fromkeys(set(groups) - mapped.keys(), languages.told("it has no counterpart"))
        self.look(mapped, (entity for some in mirrored(self.child.engine, EVERYTHING, mapped) for entity in some))
        return planning.rows_frame(self.child.records(groups))

    def look(self, ids: Mapping[str, str], entities: Iterable[Entity]) -> None:
        """Read lists (key to child id) and note them; entities: the same, as the main account has them."""
        records, account = self.child.records(ids), self.child.child
        # What the account is not to get and we do not know there is its owner's, though he has it from the same place.
        expected = {
            entity.key: rules.expected_of(
                rules.choose_images(entity.images or (), account.mode), self.limit, reencode=account.reencode_too_large
            )
            for entity in entities
            if entity.key in ids
        }
        doubted, missing, there = self.child.doubts.open(), set[str](), set[str]()

        def recognised(key: str, rows: tuple[ImageRow, ...]) -> tuple[Managed, ...] | str:
            try:
                images = self.recogniser.recognise(rows, records.get(key, ChildRecord()), expected.get(key, ()))
                unknown = zip(rows, images, strict=True) if self.recall else ()
                recalled = [image if image.source else self.recogniser.recall(row) or image for row, image in unknown]
                return tuple(recalled) if self.recall else images
            except RowsMissingError as error:
                return str(error)

        with ThreadPoolExecutor(self.child.context.settings.workers, thread_name_prefix="compare") as pool:
            for found in read_lists(self.recogniser.api, ids, self.child.identity.look, doubted):
                seen = {}
                listed = {key: rows for key, rows in found.items() if isinstance(rows, tuple)}
                missing |= {key for key, rows in found.items() if rows is None}
                self.unread |= {key: why for key, why in found.items() if isinstance(why, str)}
                there |= listed.keys()
                for key, images in zip(listed, pool.map(recognised, listed, listed.values()), strict=True):
                    if isinstance(images, str):
                        self.unread[key] = images
                        continue
                    seen[key] = rules.seen_of(images, self.child.child.ownership)
                    if seen[key].images != records.get(key, ChildRecord()).images:
                        self.drifted.add(key)
                self.child.context.check_locks()
                self.child.note(seen)
        judged = doubt_missing(self.child, missing, there, self.limits, dry_run=self.dry_run)
        self.missing |= missing
        self.unread |= dict.fromkeys(missing - judged.gone, _DOUBTED)
        self.gone |= judged.gone

    def warnings(self) -> list[str]:
        """What was found, for people; what is doubted is told of as long as it is held."""
        found = [
            languages.told(
                f"{len(self.gone)} entities are not in the child account any more, such as {key}; the "
                "next run looks for them again."
            )
            for key in sorted(self.gone)[:1]
        ]
        unread = {key: why for key, why in self.unread.items() if why is not _DOUBTED}
        for key, why in list(unread.items())[:1]:
            found.append(
                languages.told(f"{len(unread)} entities of the child account could not be read, such as {key}: {why}.")
            )
        return found


def settle_open(child: ChildRun, api: MoyskladApi, limit: int) -> None:
    """Read the lists that a run which broke off was writing, so that its plan goes on. Raises the errors of the API."""
    ids = read_map(child.engine, child.child) | moved.left_cards(child.engine, child.alias)
    lists = Lists(child, Recogniser(child, api), ids, limits_of(child.context, lifted=False), dry_run=True, limit=limit)
    recover(child, lists, unread=lambda: lists.unread)


def labels_of(found: planning.ChildPlan, names: Mapping[str, str]) -> pd.Series:
    """For people, of every row: the entity's name, and the image's file where it is to be written."""
    files = {image.key: image.filename for task in found.tasks.values() for image in task.images}
    keys = zip(found.plan["group"], found.plan["key"], strict=True)
    labels = [": ".join(filter(None, (names.get(group, group), files.get(key, "")))) for group, key in keys]
    return pd.Series(labels, index=found.plan.index, dtype="str")


def _changes(found: planning.ChildPlan) -> pd.DataFrame:
    """The rows that change, of every kind some first: change, entity, its name, image, reason."""
    changing = rows_to_show(found.plan)
    names = {(group, image.key): image.filename for group, task in found.tasks.items() for image in task.images}
    told = changing.assign(
        entity=changing["group"],
        name=changing["group"].map({group: task.name for group, task in found.tasks.items()}),
        image=[names.get(pair, pair[1]) for pair in zip(changing["group"], changing["key"], strict=True)],
    )
    return told.loc[:, ["change", "entity", "name", "image", "reason"]]
