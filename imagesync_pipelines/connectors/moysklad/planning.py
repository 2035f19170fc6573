"""Main entities and what we know of a child account to a plan: which images each entity gets, what is said about it.

A group is an entity, a row one image on it, and the fingerprint says of which image of the main account it is the
copy: an unchanged id means unchanged name and bytes.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import orjson
import pandas as pd

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.moysklad.accounts import Mode, MoyskladChild, Ownership
from imagesync_pipelines.connectors.moysklad.client.account import EXPANDED_LIMIT
from imagesync_pipelines.connectors.moysklad.client.answers import encoded_size
from imagesync_pipelines.connectors.moysklad.client.calls import UNITS, WINDOW_SECONDS
from imagesync_pipelines.connectors.moysklad.model import MOST_IMAGES, ChildRecord, Entity, EntityTask, Managed, Wanted
from imagesync_pipelines.connectors.moysklad.rules import beyond, choose_images, identity, row_keys, too_large
from imagesync_pipelines.connectors.moysklad.writing import MOST_REQUEST_BYTES, NAMED_BYTES, packed
from imagesync_pipelines.languages import N_
from imagesync_pipelines.sync.carry_out import Loaded
from imagesync_pipelines.sync.frames import REJECTED_COLUMNS, row_frame
from imagesync_pipelines.sync.guard import RULING, approved, guard
from imagesync_pipelines.sync.model import EFFECTS, Change, DeletionLimits, PlanCost, Ruling, Scope
from imagesync_pipelines.sync.plan import build_plan, group_states

# What the fingerprint of an image of the account's owner begins with; ids of images have no such sign.
_OWNERS = "child/"
NO_PLACE = N_(
    "there is no room for it: the account's owner has {number} images of his own on this entity, and ten is the most"
)
NOT_AGAIN = N_("the account refused it; it is sent again by the daily run, or when it leaves the quarantine")
NOT_MAINS = N_("the main account does not have it, and the account is a mirror of that")
NOT_CHOSEN = N_("the account's mode has it left out")
# The column of a stored plan's payload with the tasks as a person approves them.
_IF_APPROVED = "if_approved"


@dataclass(frozen=True)
class ChildPlan:
    """A guarded plan of a child account's images.

    plan: the engine's PLAN columns. held: removals that were held back. owned: key and group of all that is ours in the
    account. tasks: by group, of those that change. if_approved: the same, with what the limits hold back carried out.
    states: the digests of these as they were. skipped: what is told of images that the account does not take, by row
    key. says: the entities whose images all came.
    """

    plan: pd.DataFrame
    held: pd.DataFrame
    owned: pd.DataFrame
    tasks: Mapping[str, EntityTask]
    if_approved: Mapping[str, EntityTask]
    states: Mapping[str, str]
    skipped: Mapping[str, str]
    warnings: Sequence[str]
    says: frozenset[str]


class Row(NamedTuple):
    """One row of wanted or current; content is left empty, so that the same picture may be there twice."""

    key: str
    group: str
    position: int
    fingerprint: str
    content: None = None


class Final(NamedTuple):
    """An image that will be there: its key, the one that it has now (NA: it is new), whether it stays as it is."""

    key: str
    before: object
    as_it_is: bool


class _Entity(NamedTuple):
    """What becomes of one entity. unchosen: keys that the main account has and the account is not to get."""

    wanted: list[Row]
    current: list[Row]
    skipped: dict[str, str]
    unchosen: set[str]


def plan_child(
    entities: Sequence[Entity],
    ids: Mapping[str, str],
    records: Mapping[str, ChildRecord],
    child: MoyskladChild,
    limit: int,
    deletion_limits: DeletionLimits,
    refused: Mapping[str, str],
) -> ChildPlan:
    """Plan from entities of the main account, the map (key to child id), and what we know of the account's lists.

    limit: the largest image that the account takes, in bytes. refused: row key to reason of images that it refused and
    that are not to be sent now. Entities that are not in the map are left out. What an entity no longer has, its own
    list says; a removal that only follows from the account's mode or ownership passes the deletion limits like any
    other.
    """
    there = {entity.key: entity for entity in entities if entity.key in ids}
    known = {key: records.get(key, ChildRecord()) for key in there}
    planned = {key: _plan_entity(entity, known[key], child, limit, refused) for key, entity in there.items()}
    wanted = [row for one in planned.values() for row in one.wanted]
    wanted_keys = {row.key for row in wanted}
    current = [row for one in planned.values() for row in one.current]
    # Nothing takes the place of an image of the owner: it is never taken for one of ours that changed.
    owners = {row.key: row for row in current if is_owners(row.fingerprint) and row.key not in wanted_keys}
    current = [row for row in current if row.key not in owners]
    leaving = list(owners.values()) if child.ownership is Ownership.MIRROR else []
    current_keys = {row.key for row in current}
    skipped = {key: why for one in planned.values() for key, why in one.skipped.items()}
    rejected = [(key, key.partition("#")[0], why) for key, why in skipped.items() if key not in current_keys]
    scope = Scope(frozenset(planned), None, frozenset((current_keys - wanted_keys) | {row.key for row in leaving}))
    built = build_plan(
        row_frame(wanted),
        row_frame(current),
        scope,
        rejected=pd.DataFrame(rejected, columns=list(REJECTED_COLUMNS)).astype("str"),
        match_position=True,
    )
    if leaving:
        gone = row_frame(leaving).rename(columns={"fingerprint": "fingerprint_before"})
        gone = gone.assign(key_before=gone["key"], change=str(Change.REMOVE), reason=NOT_MAINS)
        gone = gone.reindex(columns=list(built.columns)).astype(built.dtypes.to_dict())
        built = pd.concat([built, gone], ignore_index=True)
    unchosen = [key for one in planned.values() for key in one.unchosen]
    by_mode = (built["change"] == Change.REMOVE) & built["key"].isin(unchosen)
    told = built.assign(reason=built["reason"].mask(by_mode, NOT_CHOSEN))
    guarded = guard(told, scope, deletion_limits, owned=rows_frame(records)[["key", "group"]])
    plan = guarded.plan.sort_values(["group", "position", "key"], ignore_index=True)
    warnings = list(guarded.warnings)
    if not guarded.held.empty:
        why = languages.told(f"it has the mode {child.mode} and the ownership {child.ownership}")
        warnings.append(languages.told(f"{len(guarded.held)} images of {child.alias} are held back: {why}."))
    if skipped:
        warnings.append(languages.told(f"{len(skipped)} images are skipped, such as: {next(iter(skipped.values()))}."))

    def tasks_for(rows: pd.DataFrame) -> dict[str, EntityTask]:
        return {
            group: _task(there[group], ids[group], known[group], final, limit, child)
            for group, final in finals_of(rows).items()
        }

    if_approved = tasks_for(approved(plan))
    states = group_states(rows_frame({group: known[group] for group in if_approved}))
    says = frozenset(key for key, entity in there.items() if entity.delivered is not None)
    return ChildPlan(plan, guarded.held, guarded.owned, tasks_for(plan), if_approved, states, skipped, warnings, says)


def finals_of(rows: pd.DataFrame) -> dict[str, list[Final]]:
    """The images that will be there, in their order, of the entities that a guarded plan changes; sorted."""
    changing = sorted(set(rows.loc[rows["change"].isin(EFFECTS), "group"]))
    # What is held back has no place any more and comes last; a picture that is not replaced stays in its place.
    final: dict[str, list[Final]] = {group: [] for group in changing}
    staying = rows[rows["change"].isin([Change.ADD, Change.UPDATE, Change.KEEP]) & rows["group"].isin(changing)]
    # What was added and then undone is not there.
    staying = staying[(staying["change"] != Change.KEEP) | staying["key_before"].notna()]
    kept, after = staying["change"] == Change.KEEP, staying["fingerprint_after"]
    keys = staying["key"].mask(kept, staying["key_before"])
    as_it_is = kept & after.notna() & (after != staying["fingerprint_before"])
    for group, *place in zip(staying["group"], keys, staying["key_before"], as_it_is, strict=True):
        final[group].append(Final(*place))
    return final


def payload_of(plan: ChildPlan) -> pd.DataFrame:
    """What a stored plan keeps of its tasks, as JSON by group; `tasks_of` is the way back."""
    tasks = {group: _as_json(task) for group, task in plan.tasks.items()}
    kept = [(group, tasks.get(group, ""), _as_json(task)) for group, task in sorted(plan.if_approved.items())]
    return pd.DataFrame(kept, columns=["group", "task", _IF_APPROVED]).astype("str")


def tasks_of(payload: pd.DataFrame, loaded: Loaded | None = None) -> dict[str, EntityTask]:
    """The tasks of a plan's payload, by group; those of a plan that a person approved as they are then."""
    texts = payload["task"]
    if loaded is not None and loaded.approved and _IF_APPROVED in payload:
        held = loaded.rows.loc[loaded.rows[RULING] == Ruling.LIMIT, "group"]
        texts = payload[_IF_APPROVED].mask(payload["group"].isin(held), texts)
    read = ((group, orjson.loads(text)) for group, text in zip(payload["group"], texts, strict=True) if text)
    return {
        group: EntityTask(child_id, kind, name, tuple(Wanted(*image) for image in images))
        for group, (child_id, kind, name, images) in read
    }


def _as_json(task: EntityTask) -> str:
    return orjson.dumps(task, default=list).decode()


def rows_frame(records: Mapping[str, ChildRecord]) -> pd.DataFrame:
    """What we know of entities' lists, as the engine's rows."""
    return row_frame(row for group, record in records.items() for row in image_rows(group, record.images))


def _plan_entity(
    entity: Entity, record: ChildRecord, child: MoyskladChild, limit: int, refused: Mapping[str, str]
) -> _Entity:
    group = entity.key
    current = image_rows(group, record.images)
    before = {row.key: row for row in current}
    keys = _main_keys(entity)
    chosen = choose_images(entity.images or (), child.mode)
    wanted: list[Row] = []
    skipped: dict[str, str] = {}
    for key, row in zip(keys, chosen, strict=False):
        source = identity(row.id, limit if row.size > limit else None)
        if row.size > limit and not child.reencode_too_large:
            skipped[key] = too_large(row.filename or row.id, row.size, limit)
            if key not in before:
                continue
            source = before[key].fingerprint
        if key in refused and key not in before:
            skipped[key] = f"{row.filename or row.id}: {NOT_AGAIN}: {refused[key]}"
        elif len(wanted) == MOST_IMAGES - record.others:
            skipped[key] = NO_PLACE.format(number=record.others)
        else:
            wanted.append(Row(key, group, len(wanted), source))
    if chosen and not wanted:
        # Nothing of the new list can be written; an entity is not left bare for that.
        wanted = list(current)
    places = {row.key: row.position for row in wanted}
    unchosen = set(keys) & before.keys() - places.keys()
    skipped = {key: why for key, why in skipped.items() if key not in unchosen}
    return _Entity(wanted, in_places(current, places), skipped, unchosen)


def in_places(current: list[Row], places: Mapping[str, int]) -> list[Row]:
    """What an entity has; places: the wanted ones, by key.

    Where they stand in the wanted order, they are said to have the wanted places; else an image that could not be
    written would shift all that come after it, in every run again.
    """
    stays = [places[row.key] for row in current if row.key in places]
    in_order = stays == sorted(stays)
    return [row._replace(position=places.get(row.key, row.position)) for row in current] if in_order else current


def chosen_keys(entity: Entity, mode: Mode) -> list[str]:
    """The keys of the images of a main entity that an account of this mode is to get."""
    return _main_keys(entity)[: len(choose_images(entity.images or (), mode))]


def policy_of(child: MoyskladChild) -> dict[str, str]:
    """The settings of a child account that decide what is written to it, as people know them."""
    return {"its mode": str(child.mode), "its ownership": str(child.ownership), "its match_field": child.match_field}


def _main_keys(entity: Entity) -> list[str]:
    return row_keys(entity.key, [Managed(row.id, "", "", 0) for row in entity.images or ()])


def image_rows(group: str, images: Sequence[Managed]) -> list[Row]:
    """An entity's list of images as the engine's rows."""
    return [
        Row(key, group, place, fingerprint_of(image))
        for place, (key, image) in enumerate(zip(row_keys(group, images), images, strict=True))
    ]


def fingerprint_of(image: Managed) -> str:
    """What an image of a child account is: the copy of what, or which one of its owner."""
    return image.source or f"{_OWNERS}{image.id}"


def is_owners(fingerprint: str) -> bool:
    """Whether it is that of an image of the account's owner."""
    return fingerprint.startswith(_OWNERS)


def _task(
    entity: Entity, child_id: str, record: ChildRecord, final: Sequence[Final], limit: int, child: MoyskladChild
) -> EntityTask:
    """final: the images that will be there, in their order."""
    main = dict(zip(_main_keys(entity), entity.images or (), strict=True))
    there: dict[object, Managed] = dict(zip(row_keys(entity.key, record.images), record.images, strict=True))
    images = []
    for key, before, as_it_is in final:
        row, here = None if as_it_is else main.get(key), there.get(key)
        # What is there under another key: the image takes its place.
        other = there.get(before) if before != key else None
        replaces = other.id if other is not None else ""
        if row is None:
            # It is held back or was undone.
            images.append(as_it_is_there(key, here, replaces))
            continue
        smaller = row.size > limit
        source = identity(row.id, limit if smaller else None)
        if here is not None and smaller and not child.reencode_too_large:
            source = here.source
        elif here is not None and here.source != source:
            replaces = here.id
        hrefs = (row.download_href, row.permanent_href)
        images.append(Wanted(key, source, replaces, "", limit if smaller else 0, row.filename, row.size, *hrefs))
    return EntityTask(child_id, entity.type, entity.name, tuple(images))


def as_it_is_there(key: str, image: Managed | None, replaces: str = "") -> Wanted:
    """An image that stays as it is in the child account."""
    kept = image or Managed("", "", "", 0)
    return Wanted(key, kept.source, replaces, kept.id, 0, kept.filename, kept.size, "", "")


def needed_of(tasks: Mapping[str, EntityTask], records: Mapping[str, ChildRecord]) -> dict[str, Wanted]:
    """The images of tasks that are not there, as far as we know, by identity: the main account has their content."""
    return {
        image.source: image
        for group, task in tasks.items()
        for image in _missing(task, records.get(group, ChildRecord()))
        if not image.sha256
    }


def _missing(task: EntityTask, record: ChildRecord) -> list[Wanted]:
    back = [image for image in task.images if image.sha256]
    rest = [image for image in task.images if not image.sha256]
    return [*back, *(image for image in beyond(rest, record.images) if not image.child_id)]


def cost_of(
    tasks: Mapping[str, EntityTask],
    records: Mapping[str, ChildRecord],
    child: MoyskladChild,
    kept: Collection[str],
    *,
    main_weight: int,
    child_weight: int,
    lacking: int = 0,
) -> tuple[PlanCost, str]:
    """The cost of writing these entities, and its parts in words. kept: identities of images whose content is there.

    lacking: images that leave, and of which the child account alone has the content. Calls are those to the child
    account (writes, and reads of what is there before) and to the main one (downloads, whose bytes count); the weights
    are their units. minutes: at the accounts' pace at least.
    """
    known = {group: records.get(group, ChildRecord()) for group in tasks}
    missing = {group: _missing(task, known[group]) for group, task in tasks.items()}
    wanted = {
        image.source: image
        for images in missing.values()
        for image in images
        if not image.sha256 and image.source not in kept
    }
    downloads = sum(not image.permanent_href for image in wanted.values())
    writes = 0
    fills: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for group in sorted(tasks):
        size = NAMED_BYTES + sum(map(_encoded, missing[group]))
        bulk = child.bulk_first_fill and missing[group] and not known[group].images
        if bulk and size <= MOST_REQUEST_BYTES:
            fills[tasks[group].type].append((size, 0))
        else:
            writes += max(1, len(packed([(_encoded(image), NAMED_BYTES) for image in missing[group]], 0)))
    for sizes in fills.values():
        writes += sum(ceil(len(portion) / EXPANDED_LIMIT) for portion in packed(sizes, 0))
    reads = ceil(len(tasks) / EXPANDED_LIMIT)
    units = max(downloads * main_weight, (writes + reads + lacking) * child_weight)
    minutes = round(units / UNITS * WINDOW_SECONDS / 60, 1)
    calls = writes + reads + downloads + lacking
    saved = languages.told(f", {lacking} downloads there of what leaves") if lacking else ""
    pace = languages.told(f", at least {minutes:g} minutes at the accounts' pace") if minutes else ""
    parts = languages.told(f"{writes} writes and {reads} reads there, {downloads} downloads of the main account{saved}")
    said = f"{calls} calls ({parts}){pace}"
    return PlanCost(calls, sum(max(0, image.size) for image in wanted.values()), minutes), said


def earlier_calls(there: int, wanted: int) -> int:
    """Calls that the earlier way takes for one entity: list, delete each, HEAD and GET each of the main account, post.

    It leaves an entity alone that has no image in the main account.
    """
    return 1 + there + 2 * wanted + 1 if wanted else 0


def _encoded(image: Wanted) -> int:
    return encoded_size(image.filename, min(image.size, image.limit or image.size))
