"""All tables of version 0010, the first that this program makes: 0010_baseline.sql, statement by statement.

The ten migrations that led here are in commit 7115364, which upgrades what is older.
"""

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    for statement in text.split(";\n\n"):
        op.execute(statement.rstrip(";\n"))
