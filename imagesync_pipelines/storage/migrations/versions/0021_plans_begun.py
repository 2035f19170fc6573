"""A mark of its own for plans whose application began and did not end: that one was applied before stays known.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE imagesync.plan ADD COLUMN begun_run text",
    "COMMENT ON COLUMN imagesync.plan.begun_run IS 'whose application began and did not end'",
    # Until now an application that broke off was a run without a time.
    """
    UPDATE imagesync.plan SET begun_run = applied_run, applied_run = NULL
     WHERE applied_at IS NULL AND applied_run IS NOT NULL
    """,
)


def upgrade() -> None:
    """Add the column and move the marks of what broke off to it."""
    for statement in STATEMENTS:
        op.execute(statement)
