"""The history of an edge photo is found by its SKU after it was listed, too: an index without that condition."""

from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

STATEMENTS = (
    "DROP INDEX imagesync.mirror_edge_product_sku_idx",
    """
    CREATE INDEX mirror_edge_product_sku_idx
        ON imagesync.mirror ((payload ->> 'product_sku')) WHERE connector = 'edge'
    """,
)


def upgrade() -> None:
    """Make the index anew; writers of the mirror wait meanwhile."""
    for statement in STATEMENTS:
        op.execute(statement)
