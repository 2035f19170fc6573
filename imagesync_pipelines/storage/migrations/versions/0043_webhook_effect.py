"""Effects in other systems that webhooks are still to tell of, and the addresses of assets in Plytix.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.webhook_effect (
        id bigint NOT NULL,
        CONSTRAINT webhook_effect_pkey PRIMARY KEY (id)
    )
    """,
    "COMMENT ON TABLE imagesync.webhook_effect IS "
    "'effects that are still to be told of; filled for connectors that a subscription names'",
    "ALTER TABLE imagesync.plytix_asset ADD COLUMN url text NOT NULL DEFAULT ''",
    "COMMENT ON COLUMN imagesync.plytix_asset.url IS 'where Plytix shows it, when it has said so'",
)


def upgrade() -> None:
    """Make the table and the column."""
    for statement in STATEMENTS:
        op.execute(statement)
