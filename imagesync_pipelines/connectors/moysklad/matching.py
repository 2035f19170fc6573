"""Which entity of a child account is which of the main account (contract section 10).

What belongs here: the rules, pure. What does not: asking the child account and the table (mapping.py). An id means
nothing in another account, and no field is surely unique: none or several matches are told, never guessed.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from imagesync_pipelines.accounts.moysklad import MatchField
from imagesync_pipelines.connectors.moysklad.api.pages import values_of
from imagesync_pipelines.connectors.moysklad.model import Entity

Place = tuple[str, str, str]
"""Where an entity is looked for: its type, the product of a variant ('' for others), a value of the field."""


@dataclass(frozen=True)
class Match:
    """An entity of the main account (key) and its counterpart's id in the child account, found by `value`.

    images: how many the counterpart says that it has, 0 where it does not say.
    """

    key: str
    child_id: str
    value: str
    images: int = 0


@dataclass(frozen=True)
class Unmatched:
    """An entity of the main account without counterpart, and why."""

    key: str
    name: str
    reason: str


def match_entities(
    wanted: Sequence[Entity],
    candidates: Sequence[Entity],
    match_field: MatchField,
    *,
    products: Mapping[str, str],
    taken: Mapping[str, str],
    shared: Collection[Place],
) -> tuple[list[Match], list[Unmatched]]:
    """Find the counterpart of every wanted entity among candidates of the same type in the child account.

    products: ids of products in the main account to their counterparts' ids, for variants, which are only looked for
    within their matched product. taken: ids of the child account to the keys that they are the counterpart of already.
    shared: where the main account itself has several entities; none of them is matched.
    """
    by_value: defaultdict[tuple[str, str], dict[str, Entity]] = defaultdict(dict)
    for candidate in candidates:
        for value in values_of(candidate, match_field):
            by_value[candidate.type, value][candidate.id] = candidate
    matches: list[Match] = []
    unmatched: list[Unmatched] = []
    for entity in wanted:
        found = _match(entity, by_value, match_field, products, taken, shared)
        if isinstance(found, Match):
            matches.append(found)
        else:
            unmatched.append(Unmatched(entity.key, entity.name, found))
    return _without_shared(matches, unmatched, {entity.key: entity.name for entity in wanted})


def _match(
    entity: Entity,
    by_value: Mapping[tuple[str, str], Mapping[str, Entity]],
    match_field: MatchField,
    products: Mapping[str, str],
    taken: Mapping[str, str],
    shared: Collection[Place],
) -> Match | str:
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
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    for value in values:
        for candidate in by_value.get((entity.type, value), {}).values():
            if entity.type != "variant" or candidate.product_id == product:
                found.setdefault(candidate.id, value)
                counts[candidate.id] = max(0, candidate.image_count)
    if not found:
        return f"the child account has no {entity.type} with {said}"
    if len(found) > 1:
        return f"the child account has {len(found)} of the type {entity.type} with {said}; make it unique there"
    child_id, value = next(iter(found.items()))
    owner = taken.get(child_id)
    if owner is not None and owner != entity.key:
        return f"its counterpart by {said} is already that of {owner}; make it unique in the main account"
    return Match(entity.key, child_id, value, counts[child_id])


def _without_shared(
    matches: Sequence[Match], unmatched: Sequence[Unmatched], names: Mapping[str, str]
) -> tuple[list[Match], list[Unmatched]]:
    """Take out what two entities of the main account share: each would overwrite the other's images."""
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for match in matches:
        keys[match.child_id].append(match.key)
    shared = [
        Unmatched(match.key, names[match.key], f"{', '.join(keys[match.child_id])} have the same value {match.value}")
        for match in matches
        if len(keys[match.child_id]) > 1
    ]
    return [match for match in matches if len(keys[match.child_id]) == 1], [*unmatched, *shared]
