"""Calls in flight beside the rate budgets, and which entity of a child account is which of the main account.

What belongs here: the change from version 0005 to 0006, in plain SQL. It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE imagesync.rate_budget ADD COLUMN leases JSONB DEFAULT '{}'::jsonb NOT NULL",
    "COMMENT ON COLUMN imagesync.rate_budget.leases IS 'calls in flight: id to the second (since 1970) it is given up'",
    """
    CREATE TABLE imagesync.moysklad_entity_map (
        child TEXT NOT NULL,
        entity_key TEXT NOT NULL,
        child_id TEXT NOT NULL,
        field TEXT NOT NULL,
        value TEXT NOT NULL,
        matched_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT moysklad_entity_map_pkey PRIMARY KEY (child, entity_key),
        CONSTRAINT moysklad_entity_map_child_child_id_key UNIQUE (child, child_id)
    )
    """,
    "COMMENT ON COLUMN imagesync.moysklad_entity_map.entity_key IS '<type>:<id in the main account>'",
    "COMMENT ON COLUMN imagesync.moysklad_entity_map.child_id IS 'its id in the child account'",
    "COMMENT ON COLUMN imagesync.moysklad_entity_map.field IS 'by which it was found'",
    "COMMENT ON COLUMN imagesync.moysklad_entity_map.value IS 'the value that both have'",
)


def upgrade() -> None:
    """Add the column and create the table."""
    for statement in STATEMENTS:
        op.execute(statement)
