"""Plans of edge stores name their store as every other plan names its account.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STATEMENT = """
    UPDATE imagesync.plan
       SET scope = (scope - 'store') || jsonb_build_object('account', scope -> 'store')
     WHERE connector = 'edge' AND jsonb_exists(scope, 'store')
"""


def upgrade() -> None:
    """Rename the word in the scopes of stored plans."""
    op.execute(STATEMENT)
