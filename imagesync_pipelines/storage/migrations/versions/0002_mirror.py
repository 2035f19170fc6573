"""The mirror of a source, the cursor of incremental readings, reports that wait to be sent.

What belongs here: the change from version 0001 to 0002, in plain SQL. It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.mirror (
        room TEXT NOT NULL,
        account TEXT NOT NULL,
        key TEXT NOT NULL,
        group_key TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        payload JSONB NOT NULL,
        source_updated_at TIMESTAMP WITH TIME ZONE,
        seen_walk BIGINT,
        changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        gone_at TIMESTAMP WITH TIME ZONE,
        gone_because TEXT,
        CONSTRAINT mirror_pkey PRIMARY KEY (room, account, key),
        CONSTRAINT mirror_gone_check CHECK ((gone_at IS NULL) = (gone_because IS NULL))
    )
    """,
    "CREATE INDEX mirror_room_account_group_key_idx ON imagesync.mirror (room, account, group_key)",
    "CREATE INDEX mirror_room_account_changed_at_idx ON imagesync.mirror (room, account, changed_at)",
    """
    COMMENT ON COLUMN imagesync.mirror.seen_walk
        IS 'the walk that brought the row as it is; NULL: a reading since a cursor'
    """,
    "COMMENT ON COLUMN imagesync.mirror.changed_at IS 'when we saw it change, gone and back included'",
    """
    CREATE TABLE imagesync.cursor (
        room TEXT NOT NULL,
        account TEXT NOT NULL,
        value TEXT NOT NULL,
        moved_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT cursor_pkey PRIMARY KEY (room, account)
    )
    """,
    """
    CREATE TABLE imagesync.report_outbox (
        room TEXT NOT NULL,
        account TEXT NOT NULL,
        key TEXT NOT NULL,
        payload JSONB NOT NULL,
        queued_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        attempts INTEGER DEFAULT '0' NOT NULL,
        CONSTRAINT report_outbox_pkey PRIMARY KEY (room, account, key)
    )
    """,
)


def upgrade() -> None:
    """Create the three tables."""
    for statement in STATEMENTS:
        op.execute(statement)
