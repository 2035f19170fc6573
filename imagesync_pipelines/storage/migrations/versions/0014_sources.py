"""A source for every product image: several connectors bring images of the same products.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# Whatever is there came from the image database. A constant default rewrites no row.
STATEMENTS = (
    "ALTER TABLE imagesync.product_image ADD COLUMN source text DEFAULT 'image_db' NOT NULL",
    """
    ALTER TABLE imagesync.product_image
        ADD CONSTRAINT product_image_product_id_source_external_id_key UNIQUE (product_id, source, external_id)
    """,
    "ALTER TABLE imagesync.product_image DROP CONSTRAINT product_image_product_id_external_id_key",
    "ALTER TABLE imagesync.pin ADD COLUMN source text DEFAULT 'image_db' NOT NULL",
    "ALTER TABLE imagesync.unmatched_article ADD COLUMN source text DEFAULT 'image_db' NOT NULL",
    "ALTER TABLE imagesync.unused_image ADD COLUMN source text DEFAULT 'image_db' NOT NULL",
    "ALTER TABLE imagesync.unused_image DROP CONSTRAINT unused_image_pkey",
    "ALTER TABLE imagesync.unused_image ADD CONSTRAINT unused_image_pkey PRIMARY KEY (external_id, source)",
    """
    COMMENT ON COLUMN imagesync.image_content.source
        IS 'whose picture it is, such as <connector>:<account>:<image id>'
    """,
)


def upgrade() -> None:
    """Add the columns and the keys that need them."""
    for statement in STATEMENTS:
        op.execute(statement)
