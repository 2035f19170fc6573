"""What can end an alert, and since when it is over.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE imagesync.alert ADD COLUMN ends_with text NOT NULL DEFAULT ''",
    "ALTER TABLE imagesync.alert ADD COLUMN over_at timestamp with time zone",
    """
    COMMENT ON COLUMN imagesync.alert.ends_with
        IS 'what can end it, such as run <id>; empty: who told it sees that for himself'
    """,
    "COMMENT ON COLUMN imagesync.alert.over_at IS 'since when it is over, which waits to be told; NULL: it is not'",
)


def upgrade() -> None:
    """Add the columns."""
    for statement in STATEMENTS:
        op.execute(statement)
