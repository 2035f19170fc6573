"""Entities of the main account that have images and no counterpart in a child account, as the newest runs saw it."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, distinct_on
from upath import UPath

from imagesync_pipelines.connectors.moysklad.mapping import ENTITY_MAP
from imagesync_pipelines.connectors.moysklad.model import NAME
from imagesync_pipelines.connectors.moysklad.reading import entities_of
from imagesync_pipelines.connectors.moysklad.rules import identity, source_of
from imagesync_pipelines.storage.contents import Contents, kept_picture
from imagesync_pipelines.storage.schema import handover
from imagesync_pipelines.storage.schema_accounts import moysklad_entity_map
from imagesync_pipelines.sync.connector import WithoutMatch


def without_match(engine: sa.Engine, storage: UPath, account: str) -> Sequence[WithoutMatch]:
    """What the newest run found no counterpart for, and what earlier ones did that nobody looked for since."""
    table, column = moysklad_entity_map.c, handover.c
    there = sa.select(table.entity_key).where(table.child == account, table.gone_at.is_(None))
    mine = (column.connector == NAME) & (column.account == account) & (column.step == ENTITY_MAP)
    # Unpacked by PostgreSQL: whole documents of all runs are many times as large as what is told of them.
    is_list = sa.func.jsonb_typeof(column.value["unmapped"]) == "array"
    unmapped = sa.case((is_list, column.value["unmapped"]), else_=sa.literal([], JSONB))
    one = sa.func.jsonb_array_elements(unmapped).table_valued(sa.column("value", JSONB), name="one").lateral()
    key, reason = one.c.value["key"].astext.label("key"), one.c.value["reason"].astext.label("reason")
    newest = sa.select(sa.func.max(column.number)).where(mine).scalar_subquery()
    found = sa.select(key, reason).ext(distinct_on(key)).select_from(handover.join(one, sa.true())).where(mine)
    found = found.where(key.is_not(None) & reason.is_not(None))
    found = found.where((column.number == newest) | key.not_in(there)).order_by(key, column.number.desc())
    with engine.connect() as connection:
        reasons = {row.key: row.reason for row in connection.execute(found)}
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
