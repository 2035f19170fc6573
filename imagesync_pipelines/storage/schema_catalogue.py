"""What the catalogue adds to our tables.

What belongs here: indexes that its searches need on the tables of others. What does not: those tables (schema.py,
schema_moysklad.py), queries (web/catalogue/reading/), changes of existing databases (migrations/).
"""

import sqlalchemy as sa

from imagesync_pipelines.storage.schema import mirror, plytix_link, product, product_image, unmatched_article
from imagesync_pipelines.storage.schema_moysklad import moysklad_entity_map

# Words of a name, and the beginning of a number in a database of any collation.
sa.Index(
    "product_name_words_idx",
    sa.func.to_tsvector(sa.text("'simple'::regconfig"), product.c.name),
    postgresql_using="gin",
)
for _number in (product.c.sku, product.c.legacy_sku):
    sa.Index(f"product_{_number.name}_beginning_idx", _number, postgresql_ops={_number.name: "varchar_pattern_ops"})

# The filters of the list.
sa.Index("product_image_front_idx", product_image.c.product_id, postgresql_where=product_image.c.is_front)
sa.Index(
    "product_image_primary_height_idx",
    product_image.c.height,
    product_image.c.product_id,
    postgresql_where=product_image.c.is_primary,
)
sa.Index(
    "unmatched_article_candidates_idx",
    unmatched_article.c.candidates,
    postgresql_using="gin",
    postgresql_ops={"candidates": "jsonb_path_ops"},
)

# Where the images of a product also live, asked for by its SKU.
sa.Index(
    "mirror_edge_product_sku_idx",
    mirror.c.payload["product_sku"].astext,
    postgresql_where=(mirror.c.room == sa.literal_column("'edge'")) & mirror.c.gone_at.is_(None),
)
sa.Index("plytix_link_product_sku_idx", plytix_link.c.product_sku)
sa.Index("moysklad_entity_map_value_idx", moysklad_entity_map.c.value)
