"""The list of the catalogue: indexes for its orders, by name and by the newest picture, and views that people keep."""

from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE INDEX product_shown_name_idx
        ON imagesync.product (lower(coalesce(nullif(name, ''), sku)), id)
    """,
    # It serves whoever asked the one before.
    "CREATE INDEX product_image_last_synced_product_id_idx ON imagesync.product_image (last_synced, product_id)",
    "DROP INDEX imagesync.product_image_last_synced_idx",
    """
    CREATE TABLE imagesync.saved_view (
        user_id bigint NOT NULL,
        name text NOT NULL,
        query text NOT NULL,
        CONSTRAINT saved_view_pkey PRIMARY KEY (user_id, name),
        CONSTRAINT saved_view_user_id_fkey FOREIGN KEY (user_id) REFERENCES imagesync.web_user (id) ON DELETE CASCADE
    )
    """,
)


def upgrade() -> None:
    """Make the indexes and the table; writers of products and images wait meanwhile."""
    for statement in STATEMENTS:
        op.execute(statement)
