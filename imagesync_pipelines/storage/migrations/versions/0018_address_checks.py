"""What addresses of pictures were last seen to give, for asking whether it is still the same.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.address_check (
        source text NOT NULL,
        sha256 text NOT NULL,
        etag text NOT NULL,
        last_modified text NOT NULL,
        checked_at timestamptz NOT NULL,
        CONSTRAINT address_check_pkey PRIMARY KEY (source)
    )
    """,
    "COMMENT ON COLUMN imagesync.address_check.source IS 'as in image_content'",
)


def upgrade() -> None:
    """Make the table."""
    for statement in STATEMENTS:
        op.execute(statement)
