"""Main entities and what we know of a child account to a plan: which images each entity gets, what is said about it.

A group is an entity, a row one image on it, and the fingerprint says of which image of the main account it is the
copy: an unchanged id means unchanged name and bytes.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

import pandas as pd

from imagesync_pipelines.connectors.moysklad.accounts import MoyskladChild, Ownership
from imagesync_pipelines.connectors.moysklad.client.account import EXPANDED_LIMIT
from imagesync_pipelines.connectors.moysklad.client.answers import encoded_size
from imagesync_pipelines.connectors.moysklad.client.calls import UNITS, WINDOW_SECONDS
from imagesync_pipelines.connectors.moysklad.model import (
    MOST_IMAGES,
    ChildRecord,
    Entity,
    EntityTask,
    ImageRow,
    Managed,
    Wanted,
)
from imagesync_pipelines.connectors.moysklad.rules import choose_images, identity, row_keys, too_large
from imagesync_pipelines.connectors.moysklad.writing import MOST_REQUEST_BYTES, packed
from imagesync_pipelines.sync.frames import REJECTED_COLUMNS, ROW_COLUMNS
from imagesync_pipelines.sync.guard import guard
from imagesync_pipelines.sync.model import EFFECTS, Change, DeletionLimits, Scope, group_state
from imagesync_pipelines.sync.plan import build_plan

# What the fingerprint of an image of the account's owner begins with; ids of images have no such sign.
_OWNERS = "child/"
# What naming an image or an entity takes in a request, about.
_NAMED_BYTES = 250
NO_PLACE = "there is no room for it: the account's owner has {} images of his own on this entity, and ten is the most"
NOT_AGAIN = "the account refused it; it is sent again by the daily run, or when it leaves the quarantine"
NOT_MAINS = "the main account does not have it, and the account is a mirror of that"
NOT_CHOSEN = "the account's mode has it left out"


@dataclass(frozen=True)
class ChildPlan:
    """A guarded plan of a child account's images.

    plan: the engine's PLAN columns. held: removals that were held back. tasks: by group, of those that change. states:
    digests of all groups as they were. planned: how many entities were looked at. skipped: what is told of images that
    the account does not take, by row key.
    """

    plan: pd.DataFrame
    held: pd.DataFrame
    tasks: Mapping[str, EntityTask]
    states: Mapping[str, str]
    skipped: Mapping[str, str]
    warnings: tuple[str, ...]

    def payload(self) -> pd.DataFrame:
        """One row per group that changes: what applying needs of it, as JSON; `tasks_of` is the way back."""
        rows = [(group, task.as_json()) for group, task in sorted(self.tasks.items())]
        return pd.DataFrame(rows, columns=["group", "task"]).astype("str")


class _Row(NamedTuple):
    """One row of wanted or current, with the columns of the engine."""

    key: str
    group: str
    position: int
    fingerprint: str


class _Entity(NamedTuple):
    """What becomes of one entity. unchosen: keys that the main account has and the account is not to get."""

    wanted: list[_Row]
    current: list[_Row]
    skipped: dict[str, str]
    unchosen: set[str]


def plan_child(
    entities: Sequence[Entity],
    ids: Mapping[str, str],
    records: Mapping[str, ChildRecord],
    child: MoyskladChild,
    limit: int,
    deletion_limits: DeletionLimits,
    refused: Mapping[str, str] | None = None,
) -> ChildPlan:
    """Plan from entities of the main account, the map (key to child id), and what we know of the account's lists.

    limit: the largest image that the account takes, in bytes. refused: row key to reason of images that it refused and
    that are not to be sent now. Entities that are not in the map are left out. What an entity no longer has, its own
    list says; a removal that only follows from the account's mode or ownership passes the deletion limits like any
    other.
    """
    there = [entity for entity in entities if entity.key in ids]
    planned = {
        entity.key: _plan_entity(entity, records.get(entity.key, ChildRecord()), child, limit, refused or {})
        for entity in there
    }
    wanted = [row for one in planned.values() for row in one.wanted]
    wanted_keys = {row.key for row in wanted}
    current = [row for one in planned.values() for row in one.current]
    mirror = child.ownership is Ownership.MIRROR
    owners = [row for row in current if mirror and _is_owners(row) and row.key not in wanted_keys]
    # Nothing takes the place of an image of the owner: it is never taken for one of ours that changed.
    current = [row for row in current if not _is_owners(row) or row.key in wanted_keys]
    current_keys = {row.key for row in current}
    skipped = {key: why for one in planned.values() for key, why in one.skipped.items()}
    rejected = [(key, key.partition("#")[0], why) for key, why in skipped.items() if key not in current_keys]
    scope = Scope(frozenset(planned), None, frozenset(current_keys - wanted_keys))
    built = build_plan(
        _frame(wanted),
        _frame(current),
        scope,
        rejected=pd.DataFrame(rejected, columns=list(REJECTED_COLUMNS)).astype("str"),
        match_position=True,
    )
    built = pd.concat([built, _removals(owners, built)], ignore_index=True) if owners else built
    scope = replace(scope, absent=scope.absent | {row.key for row in owners})
    unchosen = {key for one in planned.values() for key in one.unchosen}
    by_mode = (built["change"] == Change.REMOVE) & built["key"].isin(list(unchosen))
    guarded = guard(built.assign(reason=built["reason"].mask(by_mode, NOT_CHOSEN)), scope, deletion_limits)
    plan = guarded.plan.sort_values(["group", "position", "key"], ignore_index=True)
    changing = set(plan.loc[plan["change"].isin(EFFECTS), "group"])
    by_key = {entity.key: entity for entity in there}
    warnings = list(guarded.warnings)
    if not guarded.held.empty:
        alias = child.alias
        warnings.append(
            f"{len(guarded.held)} images stay in {alias} (mode {child.mode}, ownership {child.ownership}). To see what "
            f"would go: imagesync sync moysklad --account {alias} --dry-run --allow-mass-delete; imagesync apply with "
            "its number takes them away."
        )
    if skipped:
        warnings.append(f"{len(skipped)} images are skipped, such as: {next(iter(skipped.values()))}.")
    return ChildPlan(
        plan=plan,
        held=guarded.held,
        tasks={
            group: _task(by_key[group], ids[group], keys, records.get(group, ChildRecord()), limit, child)
            for group, keys in _final_keys(plan, changing).items()
        },
        states=states_of({key: record for key, record in records.items() if key in planned}),
        skipped=skipped,
        warnings=tuple(warnings),
    )


def tasks_of(payload: pd.DataFrame) -> dict[str, EntityTask]:
    """The tasks of a plan's payload, by group."""
    return {group: EntityTask.from_json(text) for group, text in zip(payload["group"], payload["task"], strict=True)}


def rows_frame(records: Mapping[str, ChildRecord]) -> pd.DataFrame:
    """What we know of entities' lists, as the engine's rows; `states_of` has their digests."""
    return _frame([row for group, record in records.items() for row in _rows(group, record.images)])


def states_of(records: Mapping[str, ChildRecord]) -> dict[str, str]:
    """The digests of the lists that have any image, by group, as the engine makes them of `rows_frame`."""
    return {
        group: group_state((row.key, row.fingerprint, row.position) for row in _rows(group, record.images))
        for group, record in records.items()
        if record.images
    }


def _plan_entity(
    entity: Entity, record: ChildRecord, child: MoyskladChild, limit: int, refused: Mapping[str, str]
) -> _Entity:
    """The rows of one entity: wanted, current, and what is told of images that cannot be written."""
    group = entity.key
    current = _rows(group, record.images)
    before = {row.key: row for row in current}
    images = entity.images or ()
    chosen = choose_images(images, child.mode)
    keys = _main_keys(entity)
    most = MOST_IMAGES - record.others
    wanted: list[_Row] = []
    skipped: dict[str, str] = {}
    for key, row in zip(keys, chosen, strict=False):
        source = _identity(row, child, limit)
        if source is None:
            skipped[key] = too_large(row.filename or row.id, row.size, limit)
            if key not in before:
                continue
            source = before[key].fingerprint
        if key in refused and key not in before:
            skipped[key] = f"{row.filename or row.id}: {NOT_AGAIN}: {refused[key]}"
            continue
        if len(wanted) == most:
            skipped[key] = NO_PLACE.format(record.others)
            continue
        wanted.append(_Row(key, group, len(wanted), source))
    if chosen and not wanted:
        # Nothing of the new list can be written; an entity is not left bare for that.
        wanted = list(current)
    unchosen = set(keys) & before.keys() - {row.key for row in wanted}
    skipped = {key: why for key, why in skipped.items() if key not in unchosen}
    return _Entity(wanted, _in_same_order(current, wanted), skipped, unchosen)


def _identity(row: ImageRow, child: MoyskladChild, limit: int) -> str | None:
    """As what an image is sent; None: not at all, it is too large."""
    if row.size <= limit:
        return identity(row.id)
    return identity(row.id, limit) if child.reencode_too_large else None


def _main_keys(entity: Entity) -> list[str]:
    """The keys in a plan of an entity's images in the main account."""
    return row_keys(entity.key, [Managed(row.id, "", "", 0) for row in entity.images or ()])


def _rows(group: str, images: Sequence[Managed]) -> list[_Row]:
    """The rows of a list that we know."""
    return [
        _Row(key, group, place, image.source or f"{_OWNERS}{image.id}")
        for place, (key, image) in enumerate(zip(row_keys(group, images), images, strict=True))
    ]


def _in_same_order(current: Sequence[_Row], wanted: Sequence[_Row]) -> list[_Row]:
    """The current rows, with the places that they are wanted at where they stand in the wanted order.

    Else an image that could not be written would shift all that come after it, in every run again.
    """
    places = {row.key: row.position for row in wanted}
    stays = [places[row.key] for row in current if row.key in places]
    if stays != sorted(stays):
        return list(current)
    return [row._replace(position=places.get(row.key, row.position)) for row in current]


def _final_keys(plan: pd.DataFrame, changing: Collection[str]) -> dict[str, list[tuple[str, str]]]:
    """By group, the keys that will be there in their order, with the key that each takes the place of ('' for none).

    What is held back has no place any more and comes last.
    """
    staying = plan[plan["group"].isin(list(changing))]
    found: dict[str, list[tuple[str, str]]] = {group: [] for group in sorted(changing)}
    rows = zip(staying["group"], staying["key"], staying["key_before"], staying["change"], strict=True)
    for group, key, key_before, change in rows:
        if change in (Change.ADD, Change.UPDATE, Change.KEEP):
            renamed = isinstance(key_before, str) and key_before != key
            found[group].append((key, key_before if renamed else ""))
    return found


def _task(
    entity: Entity,
    child_id: str,
    keys: Iterable[tuple[str, str]],
    record: ChildRecord,
    limit: int,
    child: MoyskladChild,
) -> EntityTask:
    images = entity.images or ()
    main = dict(zip(_main_keys(entity), images, strict=True))
    there = dict(zip(row_keys(entity.key, record.images), record.images, strict=True))
    wanted = (
        _wanted(key, main.get(key), there.get(key), there.get(before), limit, reencode=child.reencode_too_large)
        for key, before in keys
    )
    return EntityTask(child_id, entity.type, entity.name, tuple(wanted))


def _wanted(
    key: str, row: ImageRow | None, there: Managed | None, before: Managed | None, limit: int, *, reencode: bool
) -> Wanted:
    """An image of a task: from the main account, or (held back) as it is in the child account."""
    replaces = before.id if before is not None else ""
    if row is None:
        kept = there or Managed("", "", "", 0)
        return Wanted(key, kept.source, replaces, kept.id, 0, kept.filename, kept.size, "", "")
    smaller = row.size > limit
    source = identity(row.id, limit) if smaller else identity(row.id)
    if there is not None and smaller and not reencode:
        source = there.source
    elif there is not None and there.source != source:
        replaces = there.id
    hrefs = (row.download_href, row.permanent_href)
    return Wanted(key, source, replaces, "", limit if smaller else 0, row.filename, row.size, *hrefs)


def _is_owners(row: _Row) -> bool:
    """Whether an image is the owner's; we know of it only where the account is a mirror, or was."""
    return row.fingerprint.startswith(_OWNERS)


def _removals(rows: Sequence[_Row], plan: pd.DataFrame) -> pd.DataFrame:
    """The rows of a plan that take images away, with the columns and types of `plan`."""
    frame = pd.DataFrame(rows, columns=list(_Row._fields)).rename(columns={"fingerprint": "fingerprint_before"})
    frame = frame.assign(key_before=frame["key"], change=str(Change.REMOVE), reason=NOT_MAINS)
    return frame.reindex(columns=list(plan.columns)).astype(plan.dtypes.to_dict())


def _frame(rows: Sequence[_Row]) -> pd.DataFrame:
    """Rows as the engine takes them; content is left empty, so that the same picture may be there twice."""
    frame = pd.DataFrame(rows, columns=list(_Row._fields)).assign(content=None)
    return frame.astype({"key": "str", "group": "str", "fingerprint": "str", "content": "str", "position": "Int64"})[
        list(ROW_COLUMNS)
    ]


class ChildCost(NamedTuple):
    """Calls to the child account (writes, and reads of what its owner has) and to the main one (downloads).

    bytes: to be downloaded. minutes: at the accounts' pace at least. earlier: calls of the earlier way for all entities
    that were looked at.
    """

    writes: int
    reads: int
    downloads: int
    bytes: int
    minutes: float
    earlier: int

    @property
    def calls(self) -> int:
        """All of them."""
        return self.writes + self.reads + self.downloads


def needed_of(task: EntityTask, record: ChildRecord) -> list[Wanted]:
    """The images of a task that are not there, as far as we know: their content is needed."""
    there = Counter(image.source for image in record.images)
    needed = []
    for image in task.images:
        if image.child_id or there[image.source] > 0:
            there[image.source] -= 1
        else:
            needed.append(image)
    return needed


def cost_of(
    tasks: Mapping[str, EntityTask],
    records: Mapping[str, ChildRecord],
    child: MoyskladChild,
    kept: Collection[str],
    entities: Sequence[Entity],
    *,
    main_weight: int,
    child_weight: int,
) -> ChildCost:
    """The cost of writing these entities. kept: identities of images whose content is there. The weights: units."""
    known = {key: records.get(key, ChildRecord()) for key in (*tasks, *(entity.key for entity in entities))}
    needed = {group: needed_of(task, known[group]) for group, task in tasks.items()}
    wanted = {image.source: image for images in needed.values() for image in images if image.source not in kept}
    downloads = sum(not image.permanent_href for image in wanted.values())
    writes = 0
    fills: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for group in sorted(tasks):
        size = _NAMED_BYTES + sum(map(_encoded, needed[group]))
        bulk = child.bulk_first_fill and needed[group] and not known[group].images
        if bulk and size <= MOST_REQUEST_BYTES:
            fills[tasks[group].type].append((size, 0))
        else:
            writes += max(1, len(packed([(_encoded(image), _NAMED_BYTES) for image in needed[group]], 0)))
    for sizes in fills.values():
        writes += sum(ceil(len(portion) / EXPANDED_LIMIT) for portion in packed(sizes, 0))
    reads = ceil(len(tasks) / EXPANDED_LIMIT) if child.ownership is Ownership.MANAGED else 0
    units = max(downloads * main_weight, (writes + reads) * child_weight)
    return ChildCost(
        writes=writes,
        reads=reads,
        downloads=downloads,
        bytes=sum(image.size for image in wanted.values()),
        minutes=round(units / UNITS * WINDOW_SECONDS / 60, 1),
        earlier=sum(
            earlier_calls(
                len(known[entity.key].images) + known[entity.key].others,
                len(choose_images(entity.images or (), child.mode)),
            )
            for entity in entities
        ),
    )


def earlier_calls(there: int, wanted: int) -> int:
    """Calls that the earlier way takes for one entity: list, delete each, HEAD and GET each of the main account, post.

    It leaves an entity alone that has no image in the main account.
    """
    return 1 + there + 2 * wanted + 1 if wanted else 0


def _encoded(image: Wanted) -> int:
    return encoded_size(image.filename, min(image.size, image.limit or image.size))
