"""How far each target was brought: a number that the target has too.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.target_memory (
        target text NOT NULL,
        counter bigint NOT NULL,
        noted_at timestamp with time zone DEFAULT now() NOT NULL,
        CONSTRAINT target_memory_pkey PRIMARY KEY (target)
    )
    """,
    "COMMENT ON COLUMN imagesync.target_memory.target IS '<connector>/<account>'",
    """
    COMMENT ON COLUMN imagesync.target_memory.counter
        IS 'of the last run of ours that wrote there; the target has it too'
    """,
)


def upgrade() -> None:
    """Make the table."""
    for statement in STATEMENTS:
        op.execute(statement)
