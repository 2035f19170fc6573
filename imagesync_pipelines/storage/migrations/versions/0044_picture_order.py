"""The order that a person gave the pictures of a product, with its triggers: picture_order.sql.

That file is never edited again; a change is a new file.
"""

from pathlib import Path

from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.picture_order (
        product_id bigint NOT NULL,
        pictures text[] NOT NULL,
        ordered_by text NOT NULL,
        ordered_at timestamp with time zone DEFAULT now() NOT NULL,
        CONSTRAINT picture_order_pkey PRIMARY KEY (product_id),
        CONSTRAINT picture_order_product_id_fkey FOREIGN KEY (product_id) REFERENCES imagesync.product (id)
            ON DELETE RESTRICT
    )
    """,
    "COMMENT ON COLUMN imagesync.picture_order.pictures IS 'source/external_id, the first one first'",
)


def upgrade() -> None:
    """Make the table, its function and triggers."""
    for statement in STATEMENTS:
        op.execute(statement)
    text = Path(__file__).with_name("picture_order.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(text)
