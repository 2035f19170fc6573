"""Pictures that are the same one: the signature that tells it, what was compared, what is suggested because of it."""

from alembic import op

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE imagesync.picture_measure
        ADD COLUMN signature BYTEA DEFAULT ''::bytea NOT NULL,
        ADD COLUMN compared TEXT DEFAULT '' NOT NULL
    """,
    """
    COMMENT ON COLUMN imagesync.picture_measure.signature
        IS 'tells whether two pictures are the same one; empty: not known'
    """,
    """
    COMMENT ON COLUMN imagesync.picture_measure.compared
        IS 'how it was compared with all others; empty: it was not'
    """,
    """
    ALTER TABLE imagesync.picture_alike
        ADD COLUMN kinds TEXT[] DEFAULT '{}'::text[] NOT NULL,
        DROP CONSTRAINT picture_alike_order_check,
        ADD CONSTRAINT picture_alike_order_check CHECK (sha256 <= other_sha256)
    """,
    """
    COMMENT ON COLUMN imagesync.picture_alike.kinds
        IS 'what is suggested because of it, as of the last run that looked'
    """,
    """
    CREATE INDEX picture_alike_found_at_sha256_other_sha256_idx
        ON imagesync.picture_alike (found_at, sha256, other_sha256) WHERE kinds <> '{}'::text[]
    """,
)


def upgrade() -> None:
    """Add the columns."""
    for statement in STATEMENTS:
        op.execute(statement)
