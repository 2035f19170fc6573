"""New images cost what they change in the tables of who shows what: new_images.sql.

It is never edited again; a change is a new file.
"""

from pathlib import Path

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the functions and the trigger; what the tables say stays."""
    op.get_bind().exec_driver_sql(Path(__file__).with_name("new_images.sql").read_text(encoding="utf-8"))
