"""Picture quality: what channels show, what was measured of it, how it is judged, what is alike."""

from alembic import op

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imagesync.channel_picture (
        connector TEXT NOT NULL,
        account TEXT NOT NULL,
        code TEXT NOT NULL,
        key TEXT NOT NULL,
        is_main BOOLEAN NOT NULL,
        product_id BIGINT,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        picture TEXT NOT NULL,
        version TEXT NOT NULL,
        sha256 TEXT DEFAULT '' NOT NULL,
        problem TEXT DEFAULT '' NOT NULL,
        seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
        measured_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT channel_picture_pkey PRIMARY KEY (connector, account, code, key)
    )
    """,
    "CREATE INDEX channel_picture_product_id_idx ON imagesync.channel_picture (product_id)",
    "CREATE INDEX channel_picture_sha256_idx ON imagesync.channel_picture (sha256)",
    """
    COMMENT ON COLUMN imagesync.channel_picture.product_id
        IS 'our product, if it is one of ours'
    """,
    """
    COMMENT ON COLUMN imagesync.channel_picture.kind
        IS 'what it is a picture of, in the connector''s words'
    """,
    """
    COMMENT ON COLUMN imagesync.channel_picture.picture
        IS 'where it is: an address, or what the connector reads it by'
    """,
    """
    COMMENT ON COLUMN imagesync.channel_picture.version
        IS 'another one: another picture may be there'
    """,
    """
    COMMENT ON COLUMN imagesync.channel_picture.sha256
        IS 'of what was measured; empty: not yet'
    """,
    """
    COMMENT ON COLUMN imagesync.channel_picture.problem
        IS 'why it could not be measured'
    """,
    """
    CREATE TABLE imagesync.picture_measure (
        sha256 TEXT NOT NULL,
        measured_by TEXT NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        format TEXT NOT NULL,
        white_background REAL NOT NULL,
        fill REAL NOT NULL,
        touched_sides TEXT NOT NULL,
        sharpness REAL NOT NULL,
        transparent REAL NOT NULL,
        hash BIGINT NOT NULL,
        words TEXT[],
        words_by TEXT DEFAULT '' NOT NULL,
        measured_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT picture_measure_pkey PRIMARY KEY (sha256)
    )
    """,
    """
    COMMENT ON COLUMN imagesync.picture_measure.measured_by
        IS 'the version of the measures'
    """,
    """
    COMMENT ON COLUMN imagesync.picture_measure.white_background
        IS 'share of the background that is 255, 255, 255'
    """,
    """
    COMMENT ON COLUMN imagesync.picture_measure.fill
        IS 'share of the longer side that the product takes; 0: none seen'
    """,
    """
    COMMENT ON COLUMN imagesync.picture_measure.touched_sides
        IS 'sides that the product touches, with blanks between'
    """,
    """
    COMMENT ON COLUMN imagesync.picture_measure.sharpness
        IS '0, blurred, to 1'
    """,
    """
    COMMENT ON COLUMN imagesync.picture_measure.transparent
        IS 'share of points that are not opaque'
    """,
    """
    COMMENT ON COLUMN imagesync.picture_measure.hash
        IS 'perceptual, 64 bits as a signed number'
    """,
    """
    COMMENT ON COLUMN imagesync.picture_measure.words
        IS 'text that was read in it; NULL: nobody looked for any'
    """,
    """
    COMMENT ON COLUMN imagesync.picture_measure.words_by
        IS 'what read it'
    """,
    """
    CREATE TABLE imagesync.picture_score (
        rule_set TEXT NOT NULL,
        connector TEXT NOT NULL,
        account TEXT NOT NULL,
        code TEXT NOT NULL,
        score SMALLINT NOT NULL,
        findings JSONB DEFAULT '[]'::jsonb NOT NULL,
        judged_by TEXT NOT NULL,
        judged_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT picture_score_pkey PRIMARY KEY (rule_set, connector, account, code)
    )
    """,
    "CREATE INDEX picture_score_connector_account_code_idx ON imagesync.picture_score (connector, account, code)",
    "CREATE INDEX picture_score_rule_set_score_idx ON imagesync.picture_score (rule_set, score)",
    """
    COMMENT ON COLUMN imagesync.picture_score.score
        IS '0 to 100'
    """,
    """
    COMMENT ON COLUMN imagesync.picture_score.findings
        IS 'what is wrong: rule, severity, value; the worst first'
    """,
    """
    COMMENT ON COLUMN imagesync.picture_score.judged_by
        IS 'the version of the rule set'
    """,
    """
    CREATE TABLE imagesync.quality_day (
        day DATE NOT NULL,
        rule_set TEXT NOT NULL,
        connector TEXT NOT NULL,
        account TEXT NOT NULL,
        kind TEXT NOT NULL,
        pictures INTEGER NOT NULL,
        failing INTEGER NOT NULL,
        score_sum BIGINT NOT NULL,
        CONSTRAINT quality_day_pkey PRIMARY KEY (day, rule_set, connector, account, kind)
    )
    """,
    """
    CREATE TABLE imagesync.picture_alike (
        sha256 TEXT NOT NULL,
        other_sha256 TEXT NOT NULL,
        distance SMALLINT NOT NULL,
        found_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        dismissed_by TEXT,
        dismissed_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT picture_alike_pkey PRIMARY KEY (sha256, other_sha256),
        CONSTRAINT picture_alike_order_check CHECK (sha256 < other_sha256)
    )
    """,
    "CREATE INDEX picture_alike_other_sha256_idx ON imagesync.picture_alike (other_sha256)",
    """
    COMMENT ON COLUMN imagesync.picture_alike.distance
        IS 'bits of the hash that differ'
    """,
)


def upgrade() -> None:
    """Make the tables."""
    for statement in STATEMENTS:
        op.execute(statement)
