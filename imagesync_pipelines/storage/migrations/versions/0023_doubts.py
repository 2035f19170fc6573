"""What an answer lacked is doubted before it is believed; a counterpart that is gone keeps what we manage there.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.doubt (
        connector text NOT NULL,
        account text NOT NULL,
        key text NOT NULL,
        since timestamptz NOT NULL,
        readings integer NOT NULL,
        CONSTRAINT doubt_pkey PRIMARY KEY (connector, account, key)
    )
    """,
    "COMMENT ON COLUMN imagesync.doubt.since IS 'when an answer lacked it for the first time'",
    "COMMENT ON COLUMN imagesync.doubt.readings IS 'how many complete readings lacked it'",
    "ALTER TABLE imagesync.moysklad_entity_map ADD COLUMN gone_at timestamptz",
    """
    COMMENT ON COLUMN imagesync.moysklad_entity_map.gone_at
        IS 'since when the child account does not have it; what we manage there is kept for its return'
    """,
)


def upgrade() -> None:
    """Create the table and the column."""
    for statement in STATEMENTS:
        op.execute(statement)
