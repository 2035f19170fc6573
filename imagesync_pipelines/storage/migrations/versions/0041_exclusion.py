"""Products that people excluded from a channel."""

from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.exclusion (
        connector text NOT NULL,
        account text NOT NULL,
        sku text NOT NULL,
        why text NOT NULL,
        excluded_by text NOT NULL,
        excluded_at timestamp with time zone DEFAULT now() NOT NULL,
        ended_at timestamp with time zone,
        CONSTRAINT exclusion_pkey PRIMARY KEY (connector, account, sku)
    )
    """,
    """
    COMMENT ON COLUMN imagesync.exclusion.ended_at
        IS 'since when it holds no more, of which no run has planned yet; NULL: it holds'
    """,
    "CREATE INDEX exclusion_sku_idx ON imagesync.exclusion (sku)",
)


def upgrade() -> None:
    """Make the table."""
    for statement in STATEMENTS:
        op.execute(statement)
