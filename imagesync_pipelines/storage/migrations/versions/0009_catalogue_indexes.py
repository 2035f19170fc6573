"""The indexes that the catalogue's searches need.

What belongs here: the change from version 0008 to 0009, in plain SQL. It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    "CREATE INDEX product_name_words_idx ON imagesync.product USING gin (to_tsvector('simple'::regconfig, name))",
    "CREATE INDEX product_sku_beginning_idx ON imagesync.product (sku varchar_pattern_ops)",
    "CREATE INDEX product_legacy_sku_beginning_idx ON imagesync.product (legacy_sku varchar_pattern_ops)",
    "CREATE INDEX product_image_front_idx ON imagesync.product_image (product_id) WHERE is_front",
    "CREATE INDEX product_image_primary_height_idx ON imagesync.product_image (height, product_id) WHERE is_primary",
    """
    CREATE INDEX unmatched_article_candidates_idx
        ON imagesync.unmatched_article USING gin (candidates jsonb_path_ops)
    """,
    """
    CREATE INDEX mirror_edge_product_sku_idx
        ON imagesync.mirror ((payload ->> 'product_sku')) WHERE room = 'edge' AND gone_at IS NULL
    """,
    "CREATE INDEX plytix_link_product_sku_idx ON imagesync.plytix_link (product_sku)",
    "CREATE INDEX moysklad_entity_map_value_idx ON imagesync.moysklad_entity_map (value)",
)


def upgrade() -> None:
    """Create the indexes."""
    for statement in STATEMENTS:
        op.execute(statement)
