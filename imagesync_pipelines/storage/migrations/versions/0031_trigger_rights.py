"""Triggers write what is kept about products and images with our rights, whoever writes: trigger_rights.sql.

It is never edited again; a change is a new file.
"""

from pathlib import Path

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Give the functions of the triggers the rights of their owner."""
    op.get_bind().exec_driver_sql(Path(__file__).with_name("trigger_rights.sql").read_text(encoding="utf-8"))
