"""The step entity_map: which entity of a child account is which of the main account (docs/contracts/moysklad.md).

An id means nothing in another account, and no field is surely unique: none or several matches are told, never
guessed. What was found stays, since ids do not change, as long as both still have the value by which it was found: what
moved is matched anew (moved.py). Only what was found by the field that the account names now counts. A counterpart
whose entity was deleted in the main account passes, with the images that we manage there, to the entity that has its
value now.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import orjson
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.connectors.moysklad import moved as moved_cards
from imagesync_pipelines.connectors.moysklad.accounts import MAIN, MatchField, MoyskladChild
from imagesync_pipelines.connectors.moysklad.child import ChildRun, Run, child_of, look_at, open_api
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.counterparts import forget, forget_entities, read_map
from imagesync_pipelines.connectors.moysklad.model import (
    ACCOUNT_ID,
    MATCHED_BY,
    NAME,
    TYPES,
    ChildMap,
    Entity,
    WithoutCounterpart,
    key_parts,
    values_of,
)
from imagesync_pipelines.connectors.moysklad.reading import DELETED, entities_of, kinds_in, mirrored, reading_of
from imagesync_pipelines.connectors.moysklad.settings import EVERYTHING, ChosenEntities
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.mirror import read_gone, read_mirror
from imagesync_pipelines.storage.schema_accounts import moysklad_entity_map as table
from imagesync_pipelines.storage.statistics import analyze_if_many
from imagesync_pipelines.sync.identity import only
from imagesync_pipelines.sync.steps import CheckResult, StepResult, Table, Texts

ENTITY_MAP = "entity_map"
# An event is stored whole; the exact numbers are beside the first of them.
SHOWN = 20
Place = tuple[str, str, str]
"""Where an entity is looked for: its type, the product of a variant ('' for others), a value of the field."""


class Counterpart(NamedTuple):
    """An entity of the main account (key) and its counterpart's id in the child account, found by `value`.

    images: how many the counterpart says that it has, 0 where it does not say.
    """

    key: str
    child_id: str
    value: str
    images: int = 0


class Mapped(NamedTuple):
    """The counterparts of entities in a child account.

    ids: key to id in the child account, of those that were asked for and have one. new: found now; unmatched: those
    that were asked for and have none, and why. accounts: the ids of the account, as the entities say it that came.
    """

    ids: Mapping[str, str]
    new: Sequence[Counterpart]
    unmatched: Sequence[WithoutCounterpart]
    accounts: Collection[str] = ()


def entity_map(context: Run, options: ChosenEntities) -> StepResult:
    """Which entity of the child account is which of the main account, by the field that the accounts file names.

    Variants are looked for within their matched product. None or several matches are reported, never guessed.
    """
    child = child_of(context)
    with open_api(context, child.child.account) as api:
        return map_entities(child, api, options)


def map_entities(child: ChildRun, api: MoyskladApi, options: ChosenEntities) -> StepResult:
    """Find the counterparts of the main account's entities that have images; the account is asked for new ones only.

    Raises SkippedOffError, AccountBusyError, IdentityRefusedError, and the errors of the API.
    """
    child.refuse_off()
    calls, new = api.calls, 0
    moved_on: list[Counterpart] = []
    mapped: Counter[str] = Counter()
    unmapped: list[WithoutCounterpart] = []
    said: set[str] = set()
    with child.context.lock():
        moved_cards.forget_settled(child.engine, child.alias)
        choice = options.of_run(child.context)
        before = moved_cards.matches_of(child.engine, child.child)
        moved = _moved(child, api, before, whole=choice == EVERYTHING, said=said)
        for entities in mirrored(child.engine, choice):
            asked = [entity for entity in entities if entity.images or entity.key in moved]
            found = find_counterparts(child, api, asked, moved)
            if child.mirror:
                child.note_others({match.key: match.images for match in found.new})
            mapped.update(key_parts(key)[0] for key in found.ids)
            new += len(found.new)
            moved_on += [one for one in found.new if one.key in before and before[one.key].child_id != one.child_id]
            unmapped += found.unmatched
            said |= set(found.accounts)
    warnings = [
        told(
            f"{len(unmapped)} entities have no counterpart in {child.alias}, such as {first.name} ({first.key}): "
            f"{first.reason}."
        )
        for first in unmapped[:1]
    ]
    warnings += [
        told(
            f"{len(moved_on)} entities have another counterpart in {child.alias} than before, because a value of "
            f"{child.child.match_field} moved, such as {first.key}: found by {first.value} now, before by "
            f"{before[first.key].value}. Their images move with it; removals pass the deletion limits."
        )
        for first in moved_on[:1]
    ]
    now = moved_cards.matches_of(child.engine, child.child)
    stay = sorted(key for key in moved if key in now and now[key] == before[key])
    warnings += [
        told(
            f"{len(stay)} entities have no {child.child.match_field} in common any more with their counterpart in "
            f"{child.alias}, such as {first} (it was {before[first].value}); no other one has it, so they keep theirs. "
            "Give both the same value."
        )
        for first in stay[:1]
    ]
    calls = api.calls - calls
    left = ChildMap(
        run_id=child.context.run_id,
        unmapped=tuple(unmapped),
        calls=calls,
        accounts=frozenset(said),
        warnings=tuple(warnings),
    )
    child.context.keep(ENTITY_MAP, left)
    first_of_them = pd.DataFrame(unmapped[:SHOWN], columns=["key", "name", "reason"]).rename(columns={"key": "entity"})
    return StepResult(
        rows=mapped.total(),
        numbers={
            "entities/mapped": mapped.total(),
            "entities/new": new,
            "entities/moved": len(moved_on),
            "entities/unmapped": len(unmapped),
            "api/calls": calls,
        },
        shown={"match_field": str(child.child.match_field), "unmapped": Table(first_of_them)},
        lines=[
            told(
                f"{child.alias}: {kinds_in(mapped) or N_('nothing')} mapped, {new} of them new; {len(unmapped)} "
                f"have no counterpart; {calls} calls."
            )
        ],
    )


def every_entity_has_a_counterpart(context: Run) -> CheckResult:
    """Each entity with images is found in the child account, by a value that only one there has."""
    problems = [f"{one.name} ({one.key}): {one.reason}" for one in look_at(context, ENTITY_MAP, ChildMap).unmapped]
    said = told(f"{len(problems)} entities without a counterpart")
    return CheckResult(not problems, said, {"entities": Texts(problems), "number": len(problems)})


def _moved(
    child: ChildRun, api: MoyskladApi, before: Mapping[str, moved_cards.Match], *, whole: bool, said: set[str]
) -> frozenset[str]:
    """The keys of entities whose remembered match is not true any more, except those that are being written.

    In a full run the child account is asked for what its entities have now, 1,000 per call; said: the ids of the
    account that they tell.
    """
    moved = moved_cards.moved_in_main(child.engine, child.child)
    reading = reading_of(child.context)
    if whole and reading is not None and reading.full:
        kinds = {key_parts(key)[0] for key in before}
        there = [entity for kind in TYPES if kind in kinds for entity in api.entities(kind)]
        said |= {entity.account_id for entity in there}
        child.identity.look(only(ACCOUNT_ID, said))
        moved |= moved_cards.moved_there(before, there, child.child.match_field)
    return frozenset(moved - {intent.group for intent in child.open_intents()})


def find_counterparts(
    child: ChildRun, api: MoyskladApi, entities: Sequence[Entity], moved: Collection[str] = ()
) -> Mapped:
    """Find the counterparts of these entities of the main account; the child account is asked for unknown ones only.

    moved: keys whose remembered match is not true any more. They are looked for anew; one that is not found keeps what
    it has, unless that is another's now.

    The products of unknown variants are looked for as well, whether they were asked for or not. What is found is
    committed type by type. Whose the entities are that were found is looked at before anything is written. Raises
    IdentityRefusedError and the errors of the API.
    """
    field = child.child.match_field
    new: list[Counterpart] = []
    unmatched: list[WithoutCounterpart] = []
    said: set[str] = set()
    known = read_map(child.engine, child.child)
    # An entity that is its own counterpart: the map was made with the main account's own token once.
    own = {key for key, child_id in known.items() if child_id == key_parts(key)[1]}
    forget_entities(child.engine, child.alias, own)
    known = {key: child_id for key, child_id in known.items() if key not in own}
    gone = read_map(child.engine, child.child, gone=True)
    with child.engine.connect() as connection:
        unknown = [entity for entity in entities if entity.key not in known or entity.key in moved]
        products = {f"product:{entity.product_id}" for entity in unknown if entity.type == "variant"}
        unknown += entities_of(connection, sorted(products - {entity.key for entity in unknown} - known.keys()))
        shared = _shared_places(connection, field) if unknown else frozenset()
        loose = read_gone(connection, NAME, MAIN, [DELETED]) | frozenset(moved) if unknown else frozenset()
        left = moved_cards.left_cards(child.engine, child.alias) if unknown else {}
        connection.commit()
        # Variants are looked for within their product, and TYPES has products first.
        for kind in TYPES:
            wanted = [entity for entity in unknown if entity.type == kind]
            values = [value for entity in wanted for value in values_of(entity, field)]
            candidates = api.find(kind, field, values) if values else []
            said |= {candidate.account_id for candidate in candidates}
            child.identity.look(only(ACCOUNT_ID, said))
            counterparts = {key_parts(key)[1]: child_id for key, child_id in known.items()}
            taken = {child_id: key for key, child_id in known.items() if key not in loose}
            found, without = match_entities(
                wanted, candidates, field, products=counterparts, taken=taken, shared=shared
            )
            # What is managed on a card that is gone for good goes with it.
            away = {one.key for one in found if gone.get(one.key, one.child_id) != one.child_id}
            child.context.check_locks()
            forget(connection, child.alias, away)
            gives_way = {known[key]: key for key in loose & known.keys()} | {left[key]: key for key in left}
            gives_way |= {child_id: key for key, child_id in gone.items() if key not in away}
            lost = _keep(connection, child.child, found, gives_way)
            connection.commit()
            known = {key: child_id for key, child_id in known.items() if key not in lost}
            gone = {key: child_id for key, child_id in gone.items() if key not in lost and key not in away}
            known |= {match.key: match.child_id for match in found}
            loose -= {match.key for match in found}
            left = moved_cards.left_cards(child.engine, child.alias) if lost else left
            new += found
            unmatched += [one for one in without if one.key not in known]
    asked = {entity.key for entity in entities}
    ids = {key: child_id for key, child_id in known.items() if key in asked}
    return Mapped(ids, new, [entity for entity in unmatched if entity.key in asked], said)


def match_entities(
    wanted: Sequence[Entity],
    candidates: Sequence[Entity],
    match_field: MatchField,
    *,
    products: Mapping[str, str],
    taken: Mapping[str, str],
    shared: Collection[Place],
) -> tuple[list[Counterpart], list[WithoutCounterpart]]:
    """Find the counterpart of every wanted entity among candidates of the same type in the child account.

    products: ids of products in the main account to their counterparts' ids, for variants, which are only looked for
    within their matched product. taken: ids of the child account to the keys that they are the counterpart of already.
    shared: where the main account itself has several entities; none of them is matched. What two of the wanted
    entities share is no match either: each would overwrite the other's images.
    """
    by_value: defaultdict[str, list[Entity]] = defaultdict(list)
    for candidate in candidates:
        for value in values_of(candidate, match_field):
            by_value[value].append(candidate)
    matches: list[Counterpart] = []
    unmatched: list[WithoutCounterpart] = []
    for entity in wanted:
        product = products.get(entity.product_id)
        found = {
            candidate.id: Counterpart(entity.key, candidate.id, value, max(0, candidate.image_count))
            for value in reversed(values_of(entity, match_field))
            for candidate in by_value[value]
            if candidate.type == entity.type and (entity.type != "variant" or candidate.product_id == product)
        }
        why = _why_none(entity, list(found), match_field, product, taken, shared)
        if why:
            unmatched.append(WithoutCounterpart(entity.key, entity.name, why))
        else:
            matches += found.values()
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for match in matches:
        keys[match.child_id].append(match.key)
    names = {entity.key: entity.name for entity in wanted}
    unmatched += [
        WithoutCounterpart(match.key, names[match.key], told(f"{', '.join(several)} have the same value {match.value}"))
        for match in matches
        if len(several := keys[match.child_id]) > 1
    ]
    return [match for match in matches if len(keys[match.child_id]) == 1], unmatched


def _why_none(
    entity: Entity,
    found: Sequence[str],
    match_field: MatchField,
    product: str | None,
    taken: Mapping[str, str],
    shared: Collection[Place],
) -> str:
    """Why none of the entities that were found (ids) is the counterpart of this one; '' when the only one is."""
    values = values_of(entity, match_field)
    said = f"{match_field} {', '.join(values)}"
    if not values:
        return told(f"it has no {match_field}; give it one, the same in both accounts")
    if any((entity.type, entity.product_id, value) in shared for value in values):
        return told(f"the main account has several of the type {entity.type} with {said}; make it unique there")
    if entity.type == "variant" and product is None:
        return told("its product has no counterpart in the child account; variants are only looked for within it")
    if not found:
        return told(f"the child account has no {entity.type} with {said}")
    if len(found) > 1:
        return told(f"the child account has {len(found)} of the type {entity.type} with {said}; make it unique there")
    owner = taken.get(found[0], entity.key)
    if owner != entity.key:
        return told(f"its counterpart by {said} is already that of {owner}; make it unique in the main account")
    return ""


def _shared_places(connection: sa.Connection, match_field: MatchField) -> frozenset[Place]:
    """Where the main account, as the mirror has it, has several entities with one value."""
    name = MATCHED_BY[match_field]
    frame = read_mirror(connection, NAME, MAIN, {name: pa.large_string(), "product_id": pa.large_string()})
    places: Counter[Place] = Counter()
    for key, text, product_id in zip(frame["key"], frame[name], frame["product_id"], strict=True):
        values = set(orjson.loads(text)) if match_field == "barcode" else {text}
        places.update((key_parts(key)[0], product_id, value) for value in values if value)
    return frozenset(place for place, times in places.items() if times > 1)


def _keep(
    connection: sa.Connection, child: MoyskladChild, matches: Sequence[Counterpart], gives_way: Mapping[str, str]
) -> Collection[str]:
    """Write what was found; what the same entities were found by earlier, by another field, gives way.

    gives_way: child ids to the keys of entities that were deleted or whose match moved, and of cards that were left;
    what we manage there is managed under the keys that they are found for now. Gives the keys that gave way.
    """
    if not matches:
        return ()
    ids, keys = [match.child_id for match in matches], [match.key for match in matches]
    lost = moved_cards.pass_on(connection, child.alias, gives_way, dict(zip(ids, keys, strict=True)))
    earlier = (table.c.child == child.alias) & (among(table.c.child_id, ids) | among(table.c.entity_key, keys))
    connection.execute(table.delete().where(earlier & (table.c.field != child.match_field)))
    names = ("child", "entity_key", "child_id", "field", "value")
    rows = [(child.alias, match.key, match.child_id, child.match_field, match.value) for match in matches]
    connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])
    analyze_if_many(connection, table, len(rows))
    return lost
