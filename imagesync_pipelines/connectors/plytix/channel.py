"""The main picture of each product of an account, for who judges pictures."""

from collections.abc import Iterator

import sqlalchemy as sa

from imagesync_pipelines.connectors.plytix.ledger import CONNECTOR
from imagesync_pipelines.connectors.plytix.rules import MAIN
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.products.channel_pictures import joined_by_sku
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.schema import SCHEMA
from imagesync_pipelines.sync.channel_picture import ChannelPicture, pictures_by

# What runs left since one read all files, the newest of each product: listings and products are lists as of model.py.
_LEFT = f"""
SELECT h.number, h.value FROM {SCHEMA}.handover h
 WHERE h.connector = '{CONNECTOR}' AND h.account = :account AND h.step = '{{step}}'
   AND h.number >= (SELECT number FROM since)
"""  # noqa: S608 - names of ours
_MAINS = f"""
WITH since AS (
    SELECT coalesce((
        SELECT h.number FROM {SCHEMA}.handover h
         WHERE h.connector = '{CONNECTOR}' AND h.account = :account AND h.step = 'listings'
           AND h.value ->> 'whole' = 'true' AND h.value ->> 'marketplace' = ''
         ORDER BY h.number DESC LIMIT 1), 0) AS number
), listed AS (
    SELECT DISTINCT ON (sku) l ->> 0 AS sku, (l ->> 3)::boolean AS is_parent,
           (SELECT i ->> 2 FROM jsonb_array_elements(l -> 4) AS i WHERE i ->> 0 = '{MAIN}' LIMIT 1) AS key
      FROM ({_LEFT.format(step="images")}) AS h, jsonb_array_elements(h.value -> 'listings') AS l
     ORDER BY sku, h.number DESC
), seen AS (
    SELECT DISTINCT ON (sku) p ->> 1 AS sku, p ->> 2 AS thumbnail, p -> 3 AS gallery
      FROM ({_LEFT.format(step="products")}) AS h, jsonb_array_elements(h.value -> 'products') AS p
     ORDER BY sku, h.number DESC
), main AS (
    SELECT listed.sku, listed.is_parent, coalesce(
               k.asset_id, CASE WHEN seen.gallery ? a.asset_id THEN a.asset_id END, seen.thumbnail) AS asset_id
      FROM listed
      LEFT JOIN seen ON seen.sku = listed.sku
      LEFT JOIN {SCHEMA}.plytix_link k ON k.account = :account AND k.product_sku = listed.sku AND k.key = listed.key
                                      AND k.linked_at IS NOT NULL
      LEFT JOIN {SCHEMA}.plytix_asset a ON a.account = :account AND a.key = listed.key
)
SELECT main.sku, coalesce(a.key, main.asset_id), true, ours.id, coalesce(ours.name, ''),
       CASE WHEN main.is_parent THEN 'parent' ELSE 'child' END,
       coalesce(nullif(a.url, ''), :images || a.key, ''), main.asset_id
  FROM main
  LEFT JOIN {SCHEMA}.plytix_asset a ON a.account = :account AND a.asset_id = main.asset_id
       {joined_by_sku("main.sku")}
 WHERE main.asset_id IS NOT NULL
"""  # noqa: S608 - names of ours


def channel_pictures(engine: sa.Engine, shared: Settings, account: str) -> Iterator[ChannelPicture]:
    """MAIN of each listing that is in the gallery of its product; else the thumbnail, as it was last read."""
    images = f"{load_settings(PlytixSettings).images_url.rstrip('/')}/images/I/"
    return pictures_by(engine, sa.text(_MAINS).bindparams(account=account, images=images))
