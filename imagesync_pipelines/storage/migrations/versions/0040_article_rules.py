"""What people say of article numbers: this number is that product."""

from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.article_rule (
        number text NOT NULL,
        variant text NOT NULL,
        product_id bigint NOT NULL,
        made_by text NOT NULL,
        made_at timestamp with time zone DEFAULT now() NOT NULL,
        CONSTRAINT article_rule_pkey PRIMARY KEY (number, variant),
        CONSTRAINT article_rule_product_id_fkey FOREIGN KEY (product_id) REFERENCES imagesync.product (id)
            ON DELETE RESTRICT
    )
    """,
    "CREATE INDEX article_rule_product_id_idx ON imagesync.article_rule (product_id)",
)


def upgrade() -> None:
    """Make the table."""
    for statement in STATEMENTS:
        op.execute(statement)
