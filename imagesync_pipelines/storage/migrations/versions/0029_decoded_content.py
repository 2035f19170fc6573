"""What full decodes found, so that no content is decoded again for the same answer.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.decoded_content (
        md5 text NOT NULL,
        sha256 text NOT NULL,
        decoder text NOT NULL,
        format text NOT NULL,
        damage text NOT NULL,
        fault text NOT NULL,
        reason text NOT NULL,
        used_at timestamp with time zone NOT NULL DEFAULT now(),
        CONSTRAINT decoded_content_pkey PRIMARY KEY (md5, sha256, decoder)
    )
    """,
    "CREATE INDEX decoded_content_used_at_idx ON imagesync.decoded_content (used_at)",
    "COMMENT ON COLUMN imagesync.decoded_content.md5 IS 'by which sources list it'",
    "COMMENT ON COLUMN imagesync.decoded_content.sha256 IS 'by which it is believed to be the same'",
    "COMMENT ON COLUMN imagesync.decoded_content.decoder IS 'what judged: our check, the libraries, their versions'",
    "COMMENT ON COLUMN imagesync.decoded_content.format IS 'empty: it was refused'",
    "COMMENT ON COLUMN imagesync.decoded_content.damage IS 'of a picture that its source has so; empty: none'",
    "COMMENT ON COLUMN imagesync.decoded_content.fault IS 'for which it was refused; empty: it was not'",
)


def upgrade() -> None:
    """Make the table."""
    for statement in STATEMENTS:
        op.execute(statement)
