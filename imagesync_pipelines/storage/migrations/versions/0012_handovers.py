"""Hand-overs between the steps of a run: rows instead of small files.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.handover (
        connector text NOT NULL,
        account text NOT NULL,
        run_id text NOT NULL,
        step text NOT NULL,
        value jsonb NOT NULL,
        made_at timestamptz DEFAULT now() NOT NULL,
        PRIMARY KEY (connector, account, run_id, step)
    )
    """,
    """
    CREATE INDEX handover_connector_account_step_made_at_idx
        ON imagesync.handover (connector, account, step, made_at)
    """,
)


def upgrade() -> None:
    """Create the table."""
    for statement in STATEMENTS:
        op.execute(statement)
