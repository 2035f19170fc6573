"""The primary photo of each product of a store, for who judges pictures."""

from collections.abc import Iterator

import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.products.channel_pictures import joined_by_sku, told_apart
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.schema import SCHEMA
from imagesync_pipelines.sync.channel_picture import MD5, ChannelPicture, pictures_by
from imagesync_pipelines.sync.connector import picture_at

# Of several that the head office calls primary the one that primaries.second_primaries lets be.
_PRIMARIES = f"""
WITH main AS (
    SELECT DISTINCT ON (m.group_key) m.group_key, m.key, m.payload ->> 'checksum' AS checksum,
           coalesce(m.payload ->> 'product_sku', '') AS sku, coalesce(m.payload ->> 'product_name', '') AS name
      FROM {SCHEMA}.mirror m
     WHERE m.connector = '{EDGE}' AND m.account = :store AND m.gone_at IS NULL
       AND m.payload ->> 'is_primary' = 'true' AND m.payload ->> 'checksum' <> '' AND (m.payload ->> 'size')::bigint > 0
     ORDER BY m.group_key, (m.payload ->> 'sort_order')::bigint, m.payload ->> 'updated_at' DESC, m.key COLLATE "C"
)
SELECT {told_apart("sku", "group_key")}, main.key, true, ours.id, main.name, 'product', '', checksum
  FROM main {joined_by_sku("nullif(main.sku, '')")}
"""  # noqa: S608 - names of ours


def channel_pictures(engine: sa.Engine, shared: Settings, account: str) -> Iterator[ChannelPicture]:
    """The primary photos that the head office lists for a store; the bytes are those that the store has."""
    for one in pictures_by(engine, sa.text(_PRIMARIES).bindparams(store=account)):
        checksum = one.version
        yield one._replace(picture=picture_at(EDGE, account, one.key, checksum), version=f"{MD5}{checksum}")
