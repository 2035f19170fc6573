"""Wrong passwords are counted by name and address together, so that strangers lock nobody out.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.wrong_login (
        whose text NOT NULL,
        wrong double precision NOT NULL,
        noted_at timestamp with time zone NOT NULL,
        let_in_at timestamp with time zone,
        CONSTRAINT wrong_login_pkey PRIMARY KEY (whose)
    )
    """,
    "CREATE INDEX wrong_login_noted_at_idx ON imagesync.wrong_login (noted_at)",
    "COMMENT ON COLUMN imagesync.wrong_login.whose IS 'digest of a name and an address, or of an address'",
    "COMMENT ON COLUMN imagesync.wrong_login.wrong IS 'wrong passwords, less those forgotten by noted_at'",
    "COMMENT ON COLUMN imagesync.wrong_login.let_in_at IS 'when this name last came in from this address'",
    "DELETE FROM imagesync.rate_budget WHERE principal LIKE 'catalogue:login:%'",
)


def upgrade() -> None:
    """Make the table; what was counted by name alone is forgotten."""
    for statement in STATEMENTS:
        op.execute(statement)
