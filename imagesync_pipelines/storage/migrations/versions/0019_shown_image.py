"""Who shows whose images becomes a table, which triggers keep right: shown_image.sql.

It is never edited again; a change is a new file.
"""

from pathlib import Path

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.shown_image (
        product_id bigint NOT NULL,
        owner_id bigint,
        own_first_id bigint,
        lent_image_id bigint,
        changed_at timestamp with time zone NOT NULL,
        CONSTRAINT shown_image_pkey PRIMARY KEY (product_id),
        CONSTRAINT shown_image_product_id_fkey FOREIGN KEY (product_id)
            REFERENCES imagesync.product (id) ON DELETE CASCADE
    )
    """,
    "COMMENT ON COLUMN imagesync.shown_image.owner_id IS 'the product whose images are shown; none without images'",
    """
    COMMENT ON COLUMN imagesync.shown_image.own_first_id
        IS 'the same where own images come first (IMAGE_DB_OWN_IMAGES_FIRST)'
    """,
    """
    COMMENT ON COLUMN imagesync.shown_image.lent_image_id
        IS 'the image of a variant that stands for its parent in lists'
    """,
    """
    COMMENT ON COLUMN imagesync.shown_image.changed_at
        IS 'when whose images these are, or a person''s choice among them, last changed'
    """,
    "CREATE INDEX shown_image_owner_id_idx ON imagesync.shown_image (owner_id)",
    "CREATE INDEX shown_image_own_first_id_idx ON imagesync.shown_image (own_first_id)",
    "CREATE INDEX shown_image_changed_at_idx ON imagesync.shown_image (changed_at)",
    "CREATE INDEX product_base_sku_idx ON imagesync.product (base_sku)",
)

# What was shown before is no news, except where a product that left the ERP lent its images.
FILL = (
    "SELECT imagesync.refresh_shown_images(array_agg(id), '{}') FROM imagesync.product",
    "UPDATE imagesync.shown_image SET changed_at = 'epoch'",
    """
    SELECT imagesync.refresh_shown_images('{}', imagesync.may_show_images_of(array_agg(id), array_agg(sku)))
      FROM imagesync.product
     WHERE left_erp_at IS NOT NULL
       AND EXISTS (SELECT FROM imagesync.product_image i WHERE i.product_id = product.id)
    """,
)


def upgrade() -> None:
    """Make the table, its functions and triggers, and fill it."""
    for statement in STATEMENTS:
        op.execute(statement)
    text = Path(__file__).with_name("shown_image.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(text)
    for statement in FILL:
        op.execute(statement)
