"""What each target acknowledged last, as a whole."""

from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; it fills with the next runs."""
    op.execute(
        """
        CREATE TABLE imagesync.acknowledged (
            connector text NOT NULL,
            account text NOT NULL,
            plan_id bigint,
            run_id text,
            at timestamp with time zone,
            state text,
            images bigint,
            left_plan bigint,
            left_rows bigint DEFAULT 0 NOT NULL,
            CONSTRAINT acknowledged_pkey PRIMARY KEY (connector, account)
        )
        """
    )
    comments = {
        "plan_id": "the newest plan of all we own there that was wholly carried out",
        "state": "SHA-256 of keys, fingerprints and places of the images that it has since",
        "images": "how many these are",
        "left_plan": "the newest plan of which something could not be carried out",
        "left_rows": "so much of it",
    }
    for column, comment in comments.items():
        op.execute(f"COMMENT ON COLUMN imagesync.acknowledged.{column} IS '{comment}'")
