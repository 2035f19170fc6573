"""Image content by source, what we put into child accounts of МойСклад, and what those accounts were found to take.

What belongs here: the change from version 0006 to 0007, in plain SQL. It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.image_content (
        source TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        size BIGINT NOT NULL,
        format TEXT NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        last_used_at TIMESTAMP WITH TIME ZONE NOT NULL,
        in_use_until TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT image_content_pkey PRIMARY KEY (source)
    )
    """,
    "CREATE INDEX image_content_sha256_idx ON imagesync.image_content (sha256)",
    "COMMENT ON COLUMN imagesync.image_content.source IS 'whose picture it is, such as moysklad:main:<image id>'",
    "COMMENT ON COLUMN imagesync.image_content.size IS 'bytes'",
    "COMMENT ON COLUMN imagesync.image_content.in_use_until IS 'no clean-up takes it before'",
    """
    CREATE TABLE imagesync.moysklad_child_images (
        child TEXT NOT NULL,
        entity_key TEXT NOT NULL,
        images JSONB NOT NULL,
        writing JSONB,
        others INTEGER NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT moysklad_child_images_pkey PRIMARY KEY (child, entity_key)
    )
    """,
    "COMMENT ON COLUMN imagesync.moysklad_child_images.images IS "
    "'what we manage there, in order, as last written or seen'",
    "COMMENT ON COLUMN imagesync.moysklad_child_images.writing IS "
    "'what was about to be written; NULL: the outcome is known'",
    "COMMENT ON COLUMN imagesync.moysklad_child_images.others IS 'how many images are the owner''s'",
    """
    CREATE TABLE imagesync.moysklad_account (
        child TEXT NOT NULL,
        max_image_bytes BIGINT NOT NULL,
        learned_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT moysklad_account_pkey PRIMARY KEY (child)
    )
    """,
    "COMMENT ON COLUMN imagesync.moysklad_account.max_image_bytes IS 'what its server named when it refused one'",
)


def upgrade() -> None:
    """Create the three tables."""
    for statement in STATEMENTS:
        op.execute(statement)
