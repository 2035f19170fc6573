"""Rate budgets: the calls of a principal, shared by all processes.

What belongs here: the change from version 0003 to 0004, in plain SQL. It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.rate_budget (
        principal TEXT NOT NULL,
        window_seconds INTEGER NOT NULL,
        call_limit INTEGER NOT NULL,
        tick BIGINT NOT NULL,
        counts INTEGER[] NOT NULL,
        blocked_until TIMESTAMP WITH TIME ZONE,
        CONSTRAINT rate_budget_pkey PRIMARY KEY (principal, window_seconds)
    )
    """,
    "COMMENT ON COLUMN imagesync.rate_budget.principal IS 'whose calls are counted: an account, a token'",
    "COMMENT ON COLUMN imagesync.rate_budget.call_limit IS 'calls in any window of this length'",
    "COMMENT ON COLUMN imagesync.rate_budget.tick IS 'the newest twentieth of a window, counted since 1970'",
    "COMMENT ON COLUMN imagesync.rate_budget.counts IS 'calls per twentieth, the newest last'",
)


def upgrade() -> None:
    """Create the table."""
    for statement in STATEMENTS:
        op.execute(statement)
