"""The rules that a picture breaks, by which pictures are found; the worst first by an index."""

from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE imagesync.picture_score ADD COLUMN failed TEXT[] DEFAULT '{}' NOT NULL",
    "COMMENT ON COLUMN imagesync.picture_score.failed IS 'the rules that it breaks'",
    """
    COMMENT ON COLUMN imagesync.picture_score.findings
        IS 'rule, severity and value of what is wrong, the worst first; not_looked_at: rules without a value'
    """,
    """
    COMMENT ON COLUMN imagesync.picture_score.judged_by
        IS 'of rules, picture and measures: another one, and it is judged again'
    """,
    "DROP INDEX imagesync.picture_score_rule_set_score_idx",
    """
    CREATE INDEX picture_score_rule_set_score_connector_account_code_idx
        ON imagesync.picture_score (rule_set, score, connector, account, code)
    """,
    "CREATE INDEX picture_score_failed_idx ON imagesync.picture_score USING gin (failed)",
)


def upgrade() -> None:
    """Add the column and the indexes."""
    for statement in STATEMENTS:
        op.execute(statement)
