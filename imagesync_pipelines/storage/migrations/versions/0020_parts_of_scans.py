"""What a scan was begun for alone: a part of the source serves nobody who wants all of it.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE imagesync.scan ADD COLUMN part text DEFAULT '' NOT NULL",
    "COMMENT ON COLUMN imagesync.scan.part IS 'what alone it is about; empty: everything'",
    # A scan that was begun for some pages alone has said so in its reason; of those that joined a scan it says "again".
    """
    UPDATE imagesync.scan SET part = substring(reason FROM '^only (pages .*) were read$')
     WHERE reason ~ '^only pages .* were read$'
    """,
)


def upgrade() -> None:
    """Add the column and fill it."""
    for statement in STATEMENTS:
        op.execute(statement)
