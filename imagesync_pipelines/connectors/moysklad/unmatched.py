"""Entities of the main account that have images and no counterpart in a child account, as the newest runs saw it."""

from collections.abc import Sequence

import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.connectors.moysklad.mapping import ENTITY_MAP
from imagesync_pipelines.connectors.moysklad.model import NAME, ChildMap
from imagesync_pipelines.connectors.moysklad.reading import entities_of
from imagesync_pipelines.connectors.moysklad.rules import identity, source_of
from imagesync_pipelines.storage.contents import Contents, kept_picture
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines.storage.schema_accounts import moysklad_entity_map
from imagesync_pipelines.sync.connector import WithoutMatch


def without_match(engine: sa.Engine, storage: UPath, account: str) -> Sequence[WithoutMatch]:
    """What the newest run found no counterpart for, and what earlier ones did that nobody looked for since."""
    table, reasons = moysklad_entity_map.c, dict[str, str]()
    maps = HandOvers(engine, storage, NAME, account).all(ENTITY_MAP, ChildMap)
    with engine.connect() as connection:
        there = sa.select(table.entity_key).where(table.child == account, table.gone_at.is_(None))
        mapped = set(connection.scalars(there))
        for one in maps:
            newest = one is maps[0]
            for entity in one.unmapped:
                if newest or entity.key not in mapped:
                    reasons.setdefault(entity.key, entity.reason)
        entities = [entity for entity in entities_of(connection, sorted(reasons)) if entity.images]
    first = {entity.key: entity.images[0] for entity in entities if entity.images}
    sources = {key: source_of(identity(image.id)) for key, image in first.items()}
    kept = Contents(engine, storage).find(set(sources.values()))
    return [
        WithoutMatch(
            entity.key,
            entity.code or entity.article or entity.external_code,
            entity.name,
            reasons[entity.key],
            len(entity.images or ()),
            kept_picture(kept[source]) if (source := sources[entity.key]) in kept else first[entity.key].permanent_href,
            {"entity": entity.id},
        )
        for entity in entities
    ]
