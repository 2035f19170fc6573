"""The ledger of the Plytix room: which asset is which picture, and which links we made.

What belongs here: the change from version 0004 to 0005, in plain SQL. It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.plytix_asset (
        account TEXT NOT NULL,
        asset_id TEXT NOT NULL,
        key TEXT,
        filename TEXT DEFAULT '' NOT NULL,
        content_sha256 TEXT,
        noted_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT plytix_asset_pkey PRIMARY KEY (account, asset_id)
    )
    """,
    "CREATE UNIQUE INDEX plytix_asset_account_key_idx ON imagesync.plytix_asset (account, key)",
    "COMMENT ON COLUMN imagesync.plytix_asset.key IS 'canonical key of the picture; NULL: none of ours'",
    "COMMENT ON COLUMN imagesync.plytix_asset.content_sha256 IS 'of the picture at Amazon, when we have looked at it'",
    """
    CREATE TABLE imagesync.plytix_link (
        account TEXT NOT NULL,
        product_sku TEXT NOT NULL,
        key TEXT NOT NULL,
        asset_id TEXT NOT NULL,
        begun_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        linked_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT plytix_link_pkey PRIMARY KEY (account, product_sku, key)
    )
    """,
    "COMMENT ON COLUMN imagesync.plytix_link.linked_at IS 'NULL: it was about to be made, nobody knows whether it was'",
)


def upgrade() -> None:
    """Create the two tables."""
    for statement in STATEMENTS:
        op.execute(statement)
