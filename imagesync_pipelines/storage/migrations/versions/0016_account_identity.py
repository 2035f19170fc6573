"""Whose account each name of the accounts file opened, as its system told; and an id of this installation's database.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# МойСклад's ids were kept beside the cursors.
STATEMENTS = (
    """
    CREATE TABLE imagesync.account_identity (
        connector text NOT NULL,
        account text NOT NULL,
        told_by text NOT NULL,
        identity text NOT NULL,
        recorded_at timestamptz DEFAULT now() NOT NULL,
        recorded_run text,
        refused text DEFAULT '' NOT NULL,
        refused_at timestamptz,
        CONSTRAINT account_identity_pkey PRIMARY KEY (connector, account, told_by)
    )
    """,
    "COMMENT ON COLUMN imagesync.account_identity.account IS 'its name in the accounts file; empty: it has none'",
    "COMMENT ON COLUMN imagesync.account_identity.told_by IS 'where the system says whose account it is'",
    "COMMENT ON COLUMN imagesync.account_identity.identity IS 'the id of the account, as its system says it'",
    """
    COMMENT ON COLUMN imagesync.account_identity.refused
        IS 'another account that answered since and was refused; empty: none'
    """,
    """
    INSERT INTO imagesync.account_identity (connector, account, told_by, identity, recorded_at)
    SELECT 'moysklad', account, 'accountId', lower(btrim(value)), moved_at
      FROM imagesync.cursor WHERE connector = 'moysklad/account_id' AND btrim(value) <> ''
    """,
    "DELETE FROM imagesync.cursor WHERE connector = 'moysklad/account_id'",
    """
    INSERT INTO imagesync.account_identity (connector, account, told_by, identity)
    VALUES ('installation', '', 'row in its database', gen_random_uuid()::text)
    """,
)


def upgrade() -> None:
    """Create the table, and take over what was known."""
    for statement in STATEMENTS:
        op.execute(statement)
