"""Alerts get a table: what people are to be told, until a message of it got out.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.alert (
        connector text NOT NULL,
        partition text NOT NULL,
        error text NOT NULL,
        title text NOT NULL,
        body text NOT NULL,
        link text NOT NULL,
        noted_at timestamptz NOT NULL,
        more integer DEFAULT 0 NOT NULL,
        sent_at timestamptz,
        due_at timestamptz,
        attempts integer DEFAULT 0 NOT NULL,
        CONSTRAINT alert_pkey PRIMARY KEY (connector, partition, error)
    )
    """,
    "COMMENT ON COLUMN imagesync.alert.noted_at IS 'when it last happened'",
    "COMMENT ON COLUMN imagesync.alert.more IS 'how often beside that since the last message'",
    "COMMENT ON COLUMN imagesync.alert.due_at IS 'when it is to be sent; NULL: nothing waits'",
    "COMMENT ON COLUMN imagesync.alert.attempts IS 'how often sending what waits failed'",
)


def upgrade() -> None:
    """Make the table."""
    for statement in STATEMENTS:
        op.execute(statement)
