"""The step entity_map: which entity of a child account is which of the main account (docs/contracts/moysklad.md).

An id means nothing in another account, and no field is surely unique: none or several matches are told, never
guessed. What was found stays, since ids do not change; only what was found by the field that the account names now
counts. A counterpart whose entity was deleted in the main account passes, with the images that we manage there, to
the entity that has its value now.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import orjson
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.connectors.moysklad.accounts import MAIN, MatchField, MoyskladChild
from imagesync_pipelines.connectors.moysklad.child import (
    ChildIdentity,
    ChildRun,
    child_api,
    child_of,
    forget_lists,
    hand_over,
    look_at,
)
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.client.answers import values_of
from imagesync_pipelines.connectors.moysklad.model import (
    NAME,
    ChildMap,
    Entity,
    EntityType,
    WithoutCounterpart,
    key_parts,
)
from imagesync_pipelines.connectors.moysklad.options import EVERYTHING, ChosenEntities, EntityChoice, chosen_by
from imagesync_pipelines.connectors.moysklad.reading import DELETED, entities_of, kinds_in, mirrored
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.storage.mirror import read_gone, read_mirror
from imagesync_pipelines.storage.schema import moysklad_entity_map as table
from imagesync_pipelines.sync.steps import CheckResult, RunContext, StepResult, Table, Texts

ENTITY_MAP = "entity_map"
# An event is stored whole; the exact numbers are beside the first of them.
SHOWN = 20
# What the fields are called in the mirror.
_FIELDS: Mapping[MatchField, str] = {
    "externalCode": "external_code",
    "code": "code",
    "article": "article",
    "barcode": "barcodes",
}
# Variants are looked for within their product, so products come first.
_ORDER: tuple[EntityType, ...] = ("product", "bundle", "variant")
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
    that were asked for and have none, and why.
    """

    ids: Mapping[str, str]
    new: tuple[Counterpart, ...]
    unmatched: tuple[WithoutCounterpart, ...]
    calls: int


def entity_map(context: RunContext[MoyskladSettings], options: ChosenEntities) -> StepResult:
    """Which entity of the child account is which of the main account."""
    child = child_of(context)
    with child_api(child) as api:
        found = map_entities(child, api, chosen=chosen_by(context, options))
    number = sum(found.mapped.values())
    unmapped = [(one.key, one.name, one.reason) for one in found.unmapped[:SHOWN]]
    return StepResult(
        rows=number,
        numbers={
            "entities/mapped": number,
            "entities/new": found.new,
            "entities/unmapped": len(found.unmapped),
            "api/calls": found.calls,
        },
        shown={
            "match_field": str(child.child.match_field),
            "unmapped": Table(pd.DataFrame(unmapped, columns=["entity", "name", "reason"])),
        },
        lines=[
            f"{child.alias}: {kinds_in(found.mapped) or 'nothing'} mapped, {found.new} of them new; "
            f"{len(found.unmapped)} have no counterpart; {found.calls} calls."
        ],
    )


def map_entities(child: ChildRun, api: MoyskladApi, *, chosen: EntityChoice = EVERYTHING) -> ChildMap:
    """Find the counterparts of the main account's entities that have images; the account is asked for new ones only.

    Raises SkippedOffError, AccountBusyError, SameAccountError, and the errors of the API.
    """
    child.refuse_off()
    identity, calls, new = child.identity, api.calls, 0
    mapped: Counter[str] = Counter()
    unmapped: list[WithoutCounterpart] = []
    with child.context.lock():
        for entities in mirrored(child.engine, chosen):
            with_images = [entity for entity in entities if entity.images]
            found = find_counterparts(child.engine, api, child.child, with_images, identity=identity)
            if child.mirror:
                child.state.note_others({match.key: match.images for match in found.new})
            mapped.update(key_parts(key)[0] for key in found.ids)
            new += len(found.new)
            unmapped += found.unmatched
    warnings = [
        f"{len(unmapped)} entities have no counterpart in {child.alias}, such as {first.name} ({first.key}): "
        f"{first.reason}."
        for first in unmapped[:1]
    ]
    left = ChildMap(
        run_id=child.context.run_id,
        mapped=dict(mapped),
        new=new,
        unmapped=tuple(unmapped),
        calls=api.calls - calls,
        warnings=tuple(warnings),
    )
    child.context.keep(ENTITY_MAP, left)
    return left


def every_entity_has_a_counterpart(context: RunContext[MoyskladSettings]) -> Mapping[str, CheckResult]:
    """Which entities with images the child account lacks."""
    found = look_at(context, ENTITY_MAP, ChildMap)
    problems = [f"{one.name} ({one.key}): {one.reason}" for one in found.unmapped]
    result = CheckResult(
        not problems,
        f"{len(problems)} entities without a counterpart",
        {"entities": Texts(problems), "number": len(problems)},
    )
    return {"every_entity_has_a_counterpart": result}


def read_map(connection: sa.Connection, child: MoyskladChild) -> dict[str, str]:
    """All of a child account's map: key to id in the child account, found by the field that it names now."""
    chosen = (table.c.child == child.alias) & (table.c.field == child.match_field)
    return {row.entity_key: row.child_id for row in connection.execute(sa.select(table).where(chosen))}


def forget_entities(child: ChildRun, keys: Collection[str]) -> None:
    """Forget entities that the child account does not have any more: their counterparts are looked for anew."""
    if keys:
        with child.engine.begin() as connection:
            forget(connection, child.child, keys)


def forget(connection: sa.Connection, child: MoyskladChild, keys: Collection[str]) -> None:
    """Take entities out of the map, with what we manage there, in the caller's transaction."""
    forget_lists(connection, child.alias, keys)
    connection.execute(table.delete().where(table.c.child == child.alias, table.c.entity_key.in_(list(keys))))


def find_counterparts(
    engine: sa.Engine,
    api: MoyskladApi,
    child: MoyskladChild,
    entities: Sequence[Entity],
    *,
    identity: ChildIdentity | None = None,
) -> Mapped:
    """Find the counterparts of these entities of the main account; the child account is asked for unknown ones only.

    The products of unknown variants are looked for as well, whether they were asked for or not. What is found is
    committed type by type. identity: looks at whose the entities are that were found, before anything is written.
    Raises SameAccountError and the errors of the API.
    """
    calls = api.calls
    new: list[Counterpart] = []
    unmatched: list[WithoutCounterpart] = []
    with engine.connect() as connection:
        known = _without_main_itself(connection, child)
        unknown = [entity for entity in entities if entity.key not in known]
        products = {f"product:{entity.product_id}" for entity in unknown if entity.type == "variant"}
        unknown += entities_of(connection, sorted(products - {entity.key for entity in unknown} - known.keys()))
        shared = _shared_places(connection, child.match_field) if unknown else frozenset()
        deleted = read_gone(connection, NAME, MAIN, [DELETED]) if unknown else frozenset()
        connection.commit()
        for kind in _ORDER:
            wanted = [entity for entity in unknown if entity.type == kind]
            if not wanted:
                continue
            values = [value for entity in wanted for value in values_of(entity, child.match_field)]
            candidates = api.find(kind, child.match_field, values) if values else []
            if identity is not None:
                identity.check(candidate.account_id for candidate in candidates)
            found, without = match_entities(
                wanted,
                candidates,
                child.match_field,
                products={key_parts(key)[1]: child_id for key, child_id in known.items()},
                taken={child_id: key for key, child_id in known.items() if key not in deleted},
                shared=shared,
            )
            _keep(connection, child, found, {known[key]: key for key in deleted & known.keys()})
            connection.commit()
            known |= {match.key: match.child_id for match in found}
            new += found
            unmatched += without
    asked = {entity.key for entity in entities}
    return Mapped(
        ids={key: child_id for key, child_id in known.items() if key in asked},
        new=tuple(new),
        unmatched=tuple(entity for entity in unmatched if entity.key in asked),
        calls=api.calls - calls,
    )


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
    by_value: defaultdict[tuple[str, str], list[Entity]] = defaultdict(list)
    for candidate in candidates:
        for value in values_of(candidate, match_field):
            by_value[candidate.type, value].append(candidate)
    matches: list[Counterpart] = []
    unmatched: list[WithoutCounterpart] = []
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for entity in wanted:
        found = _match(entity, by_value, match_field, products, taken, shared)
        if isinstance(found, Counterpart):
            matches.append(found)
            keys[found.child_id].append(entity.key)
        else:
            unmatched.append(WithoutCounterpart(entity.key, entity.name, found))
    names = {entity.key: entity.name for entity in wanted}
    for match in matches:
        if len(keys[match.child_id]) > 1:
            why = f"{', '.join(keys[match.child_id])} have the same value {match.value}"
            unmatched.append(WithoutCounterpart(match.key, names[match.key], why))
    return [match for match in matches if len(keys[match.child_id]) == 1], unmatched


def _match(
    entity: Entity,
    by_value: Mapping[tuple[str, str], Sequence[Entity]],
    match_field: MatchField,
    products: Mapping[str, str],
    taken: Mapping[str, str],
    shared: Collection[Place],
) -> Counterpart | str:
    """The counterpart of one entity, or the sentence why there is none."""
    values = values_of(entity, match_field)
    if not values:
        return f"it has no {match_field}; give it one, the same in both accounts"
    said = f"{match_field} {', '.join(values)}"
    if any((entity.type, entity.product_id, value) in shared for value in values):
        return f"the main account has several of the type {entity.type} with {said}; make it unique there"
    product = products.get(entity.product_id)
    if entity.type == "variant" and product is None:
        return "its product has no counterpart in the child account; variants are only looked for within it"
    found: dict[str, Counterpart] = {}
    for value in values:
        for candidate in by_value.get((entity.type, value), ()):
            if entity.type != "variant" or candidate.product_id == product:
                images = max(0, candidate.image_count)
                found.setdefault(candidate.id, Counterpart(entity.key, candidate.id, value, images))
    if not found:
        return f"the child account has no {entity.type} with {said}"
    if len(found) > 1:
        return f"the child account has {len(found)} of the type {entity.type} with {said}; make it unique there"
    match = next(iter(found.values()))
    owner = taken.get(match.child_id, entity.key)
    if owner != entity.key:
        return f"its counterpart by {said} is already that of {owner}; make it unique in the main account"
    return match


def _without_main_itself(connection: sa.Connection, child: MoyskladChild) -> dict[str, str]:
    """The map without entities that are their own counterpart: it was made with the main account's own token once.

    They are looked for anew, with what we thought to manage there forgotten.
    """
    known = read_map(connection, child)
    own = {key for key, child_id in known.items() if child_id == key_parts(key)[1]}
    if own:
        forget(connection, child, own)
    return {key: child_id for key, child_id in known.items() if key not in own}


def _shared_places(connection: sa.Connection, match_field: MatchField) -> frozenset[Place]:
    """Where the main account, as the mirror has it, has several entities with one value."""
    name = _FIELDS[match_field]
    frame = read_mirror(connection, NAME, MAIN, {name: pa.large_string(), "product_id": pa.large_string()})
    places: Counter[Place] = Counter()
    for key, text, product_id in zip(frame["key"], frame[name], frame["product_id"], strict=True):
        values = set(orjson.loads(text)) if match_field == "barcode" else {text}
        places.update((key_parts(key)[0], product_id, value) for value in values if value)
    return frozenset(place for place, times in places.items() if times > 1)


def _keep(
    connection: sa.Connection, child: MoyskladChild, matches: Sequence[Counterpart], orphaned: Mapping[str, str]
) -> None:
    """Write what was found; what the same entities were found by earlier, by another field, gives way.

    orphaned: child ids to the keys of their deleted entities, which give way as well.
    """
    if not matches:
        return
    ids, keys = [match.child_id for match in matches], [match.key for match in matches]
    passed = {orphaned[match.child_id]: match.key for match in matches if match.child_id in orphaned}
    earlier = (table.c.child == child.alias) & (table.c.child_id.in_(ids) | table.c.entity_key.in_(keys))
    gives_way = (table.c.field != child.match_field) | table.c.entity_key.in_(list(passed))
    connection.execute(table.delete().where(earlier & gives_way))
    hand_over(connection, child.alias, passed)
    names = ("child", "entity_key", "child_id", "field", "value")
    rows = [(child.alias, match.key, match.child_id, child.match_field, match.value) for match in matches]
    connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])
