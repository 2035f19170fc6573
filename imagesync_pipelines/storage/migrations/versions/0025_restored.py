"""When our database was restored from a backup, and which targets were read whole since.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE imagesync.target_memory ADD COLUMN restored_at timestamp with time zone",
    """
    COMMENT ON COLUMN imagesync.target_memory.restored_at
        IS 'of the installation: when our database was restored from a backup; '
            'of a target: the one of these after which it was read whole'
    """,
)


def upgrade() -> None:
    """Add the column."""
    for statement in STATEMENTS:
        op.execute(statement)
