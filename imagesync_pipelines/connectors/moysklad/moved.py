"""Matches that moved: the value by which a counterpart was found is another one's now, in the main account or there.

A moved match is made anew. What is managed on a card belongs to the card: it passes to the entity that the card is the
counterpart of now. A card that is nobody's any more is planned as an entity without images, under a key of its own, so
that what we put there leaves it through the guard as any other removal does.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import MAIN, MatchField, MoyskladChild
from imagesync_pipelines.connectors.moysklad.model import MATCHED_BY, NAME, Entity, key_parts, values_of
from imagesync_pipelines.languages import told
from imagesync_pipelines.storage.schema_accounts import moysklad_child_images as lists
from imagesync_pipelines.storage.schema_accounts import moysklad_entity_map as table

# The field of a card that was a counterpart and is nobody's any more; its value is the entity that lost it.
LEFT = "left"

_MOVED_IN_MAIN = """
SELECT known.entity_key
  FROM imagesync.moysklad_entity_map known
  JOIN imagesync.mirror m ON m.connector = :connector AND m.account = :main AND m.key = known.entity_key
 WHERE known.child = :child AND known.field = :field AND known.gone_at IS NULL AND m.gone_at IS NULL
   AND NOT coalesce(CASE jsonb_typeof(m.payload -> :name)
                    WHEN 'array' THEN m.payload -> :name @> to_jsonb(known.value)
                    ELSE m.payload ->> :name = known.value END, false)
"""

_DONE = """
DELETE FROM imagesync.moysklad_entity_map known
 WHERE child = :child AND field = :left
   AND NOT EXISTS (SELECT FROM imagesync.moysklad_child_images kept
                    WHERE kept.child = known.child AND kept.entity_key = known.entity_key
                      AND (kept.images <> '[]' OR kept.writing IS NOT NULL))
"""


class Match(NamedTuple):
    """A remembered counterpart: its id in the child account, and the value by which it was found."""

    child_id: str
    value: str


def matches_of(engine: sa.Engine, child: MoyskladChild) -> dict[str, Match]:
    """What is remembered, by key, found by the field that the account names now."""
    query = sa.select(table.c.entity_key, table.c.child_id, table.c.value)
    there = table.c.gone_at.is_(None)
    chosen = (table.c.child == child.alias) & (table.c.field == child.match_field) & there
    with engine.connect() as connection:
        return {key: Match(child_id, value) for key, child_id, value in connection.execute(query.where(chosen))}


def moved_in_main(engine: sa.Engine, child: MoyskladChild) -> set[str]:
    """The keys of entities that have the value no more by which their counterpart was found; no call is made."""
    field = child.match_field
    values = {"connector": NAME, "main": MAIN, "child": child.alias, "field": field, "name": MATCHED_BY[field]}
    with engine.connect() as connection:
        return set(connection.scalars(sa.text(_MOVED_IN_MAIN), values))


def moved_there(matches: Mapping[str, Match], there: Sequence[Entity], field: MatchField) -> set[str]:
    """The keys of entities whose counterpart has another value now.

    there: all entities of the child account of the types of these matches. A counterpart that is not among them only
    counts as moved where another entity of its type has its value: being missing from a list alone proves nothing.
    """
    values = {entity.id: values_of(entity, field) for entity in there}
    places = {(entity.type, value) for entity in there for value in values_of(entity, field)}
    return {
        key
        for key, match in matches.items()
        if (
            match.value not in values[match.child_id]
            if match.child_id in values
            else (key_parts(key)[0], match.value) in places
        )
    }


def pass_on(
    connection: sa.Connection, alias: str, gives_way: Mapping[str, str], owners: Mapping[str, str]
) -> Collection[str]:
    """Let cards' notes pass to their new owners; gives the keys whose rows of the map are not true any more.

    gives_way: child ids to the keys that they are no longer surely the counterparts of. owners: child ids to the keys
    that they were found for just now. A card that lost its key to nobody is kept as one that was left.
    """
    found = set(owners.values())
    passed = {
        key: owners.get(child_id, left_key(key, child_id))
        for child_id, key in gives_way.items()
        if child_id in owners or key in found
    }
    moving = {before: after for before, after in passed.items() if before != after}
    noted = lists.delete().where(lists.c.child == alias, lists.c.entity_key.in_([*moving, *moving.values()]))
    rows = [
        {**row, "entity_key": moving[row["entity_key"]]}
        for row in connection.execute(noted.returning(*lists.c)).mappings()
        if row["entity_key"] in moving
    ]
    if rows:
        connection.execute(lists.insert(), rows)
    ids = {key: child_id for child_id, key in gives_way.items()}
    lost = {moving[key]: ids[key] for key in moving if ids[key] not in owners and key != left_key(key, ids[key])}
    losers = {after: before for before, after in moving.items()}
    noted_keys = {row["entity_key"] for row in rows if row["images"] or row["writing"]}
    # The rows of the map that were not true any more have to go first.
    connection.execute(table.delete().where(table.c.child == alias, table.c.entity_key.in_(passed)))
    for key in lost.keys() & noted_keys:
        values = {"child": alias, "entity_key": key, "child_id": lost[key], "field": LEFT, "value": losers[key]}
        connection.execute(table.insert().values(values))
    return passed.keys()


def left_key(key: str, child_id: str) -> str:
    """The key of a card that is nobody's counterpart any more: ids are never the same in two accounts."""
    return f"{key_parts(key)[0]}:{child_id}"


def left_cards(engine: sa.Engine, alias: str) -> dict[str, str]:
    """The cards of a child account that were counterparts and are nobody's any more: key to child id."""
    query = sa.select(table.c.entity_key, table.c.child_id).where(table.c.child == alias, table.c.field == LEFT)
    with engine.connect() as connection:
        return {row.entity_key: row.child_id for row in connection.execute(query)}


def forget_settled(engine: sa.Engine, alias: str) -> None:
    """Forget the cards that were left and hold nothing of ours any more."""
    with engine.begin() as connection:
        connection.execute(sa.text(_DONE), {"child": alias, "left": LEFT})


def as_entities(cards: Collection[str], alias: str) -> list[Entity]:
    """Cards that were left as a plan sees them: entities without images."""
    return [
        Entity(
            type=key_parts(key)[0],
            id=key_parts(key)[1],
            name=told(f"what was a counterpart in {alias}"),
            external_code="",
            code="",
            article="",
            barcodes=(),
            archived=False,
            product_id="",
            updated=datetime.min.replace(tzinfo=UTC),
            image_count=0,
            images=(),
        )
        for key in sorted(cards)
    ]
