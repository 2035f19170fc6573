"""What an intent is about, so that its effect is told when the outcome is known; and which effects of a store are here.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE imagesync.intent ADD COLUMN rows jsonb NOT NULL DEFAULT '[]'::jsonb",
    "ALTER TABLE imagesync.intent ADD COLUMN details jsonb NOT NULL DEFAULT '{}'::jsonb",
    "ALTER TABLE imagesync.intent ADD COLUMN by jsonb NOT NULL DEFAULT '{}'::jsonb",
    "COMMENT ON COLUMN imagesync.intent.rows IS 'what is to become of the group, as the history has it'",
    """
    COMMENT ON COLUMN imagesync.intent.details
        IS 'what the target said of these rows before it was called, by their keys'
    """,
    "COMMENT ON COLUMN imagesync.intent.by IS 'who does it, as the history has it'",
)


def upgrade() -> None:
    """Add the columns; of an intent that is open now, nothing more is known."""
    for statement in STATEMENTS:
        op.execute(statement)
