"""The first image of each entity of a child account, for who judges pictures."""

from collections.abc import Iterator

import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import MAIN
from imagesync_pipelines.connectors.moysklad.model import NAME
from imagesync_pipelines.products.channel_pictures import joined_by_sku, told_apart
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.schema import SCHEMA
from imagesync_pipelines.sync.channel_picture import SHA256, ChannelPicture, pictures_by

# An image is a list as of model.Managed; keys are those of rules.row_keys. What was made smaller has no address.
_FIRSTS = f"""
WITH list AS (
    SELECT l.entity_key, e.value AS sku, l.images -> 0 ->> 0 AS source, l.images -> 0 ->> 1 AS child_id,
           coalesce(l.images -> 0 ->> 4, '') AS sha256
      FROM {SCHEMA}.moysklad_child_images l
      JOIN {SCHEMA}.moysklad_entity_map e ON e.child = l.child AND e.entity_key = l.entity_key AND e.gone_at IS NULL
     WHERE l.child = :child AND jsonb_array_length(l.images) > 0
), first AS (
    SELECT list.*, coalesce(m.payload ->> 'name', '') AS name,
           coalesce(nullif(m.payload ->> 'code', ''), nullif(m.payload ->> 'article', ''),
                    m.payload ->> 'external_code', '') AS code,
           (SELECT i ->> 'permanent_href' FROM jsonb_array_elements(nullif(m.payload -> 'images', 'null')) AS i
             WHERE i ->> 'id' = list.source LIMIT 1) AS address
      FROM list
      LEFT JOIN {SCHEMA}.mirror m ON m.connector = '{NAME}' AND m.account = '{MAIN}' AND m.key = list.entity_key
)
SELECT {told_apart("code", "entity_key")},
       entity_key || '#' || coalesce(nullif(split_part(source, '~', 1), ''), 'child/' || child_id) || '#0', true,
       ours.id, first.name, split_part(entity_key, ':', 1), coalesce(address, ''),
       CASE WHEN sha256 <> '' THEN '{SHA256}' || sha256 WHEN source <> '' THEN source ELSE 'child/' || child_id END
  FROM first {joined_by_sku("first.sku")}
"""  # noqa: S608 - names of ours


def channel_pictures(engine: sa.Engine, shared: Settings, account: str) -> Iterator[ChannelPicture]:
    """The first image of each entity, as last written or seen; of images that the owner keeps beside ours, ours."""
    return pictures_by(engine, sa.text(_FIRSTS).bindparams(child=account))
