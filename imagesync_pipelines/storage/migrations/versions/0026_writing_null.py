"""Entities of which nothing is being written say so by NULL; earlier releases wrote the JSON null.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the JSON null NULL."""
    op.execute("UPDATE imagesync.moysklad_child_images SET writing = NULL WHERE writing = 'null'")
