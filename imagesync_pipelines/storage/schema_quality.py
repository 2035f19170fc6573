"""The tables of picture quality: what channels show, what was measured of it, how rule sets judge it, what is alike.

All of it is a memory and no truth: what is forgotten is measured again.
"""

import sqlalchemy as sa

from imagesync_pipelines.storage.schema import json_of, keys, moment, table, texts

# A picture that an account of a connector shows: main pictures, and those that could take a main picture's place.
channel_picture = table(
    "channel_picture",
    *keys("connector", "account", "code", "key"),
    sa.Column("is_main", sa.Boolean, nullable=False),
    sa.Column("product_id", sa.BigInteger, comment="our product, if it is one of ours"),
    *texts("name"),
    sa.Column("kind", sa.Text, nullable=False, comment="what it is a picture of, in the connector's words"),
    sa.Column("picture", sa.Text, nullable=False, comment="where it is: an address, or what the connector reads it by"),
    sa.Column("version", sa.Text, nullable=False, comment="another one: another picture may be there"),
    sa.Column("sha256", sa.Text, nullable=False, server_default="", comment="of what was measured; empty: not yet"),
    sa.Column("problem", sa.Text, nullable=False, server_default="", comment="why it could not be measured"),
    moment("seen_at"),
    moment("measured_at", nullable=True),
    sa.Index(None, "sha256"),
    sa.Index(None, "product_id"),
)

picture_measure = table(
    "picture_measure",
    *keys("sha256"),
    sa.Column("measured_by", sa.Text, nullable=False, comment="the version of the measures"),
    *(sa.Column(name, sa.Integer, nullable=False) for name in ("width", "height")),
    *texts("format"),
    sa.Column("white_background", sa.REAL, nullable=False, comment="share of the background that is 255, 255, 255"),
    sa.Column("fill", sa.REAL, nullable=False, comment="share of the longer side that the product takes; 0: none seen"),
    sa.Column("touched_sides", sa.Text, nullable=False, comment="sides that the product touches, with blanks between"),
    sa.Column("sharpness", sa.REAL, nullable=False, comment="0, blurred, to 1"),
    sa.Column("transparent", sa.REAL, nullable=False, comment="share of points that are not opaque"),
    sa.Column("hash", sa.BigInteger, nullable=False, comment="perceptual, 64 bits as a signed number"),
    sa.Column("words", sa.ARRAY(sa.Text), comment="text that was read in it; NULL: nobody looked for any"),
    sa.Column("words_by", sa.Text, nullable=False, server_default="", comment="what read it"),
    moment("measured_at", default_now=True),
    sa.Column(
        "signature",
        sa.LargeBinary,
        nullable=False,
        server_default=sa.text("''::bytea"),
        comment="tells whether two pictures are the same one; empty: not known",
    ),
    sa.Column(
        "compared",
        sa.Text,
        nullable=False,
        server_default="",
        comment="how it was compared with all others; empty: it was not",
    ),
)

# How a rule set judges a main picture.
picture_score = table(
    "picture_score",
    *keys("rule_set", "connector", "account", "code"),
    sa.Column("score", sa.SmallInteger, nullable=False, comment="0 to 100"),
    json_of(
        "findings",
        "[]",
        comment="rule, severity and value of what is wrong, the worst first; not_looked_at: rules without a value",
    ),
    sa.Column(
        "judged_by",
        sa.Text,
        nullable=False,
        comment="of rules, picture and measures: another one, and it is judged again",
    ),
    moment("judged_at", default_now=True),
    sa.Column(
        "failed", sa.ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'"), comment="the rules that it breaks"
    ),
    sa.Index(None, "rule_set", "score", "connector", "account", "code"),
    sa.Index(None, "failed", postgresql_using="gin"),
    sa.Index(None, "connector", "account", "code"),
)

# One row a day, so that people see where it goes.
quality_day = table(
    "quality_day",
    sa.Column("day", sa.Date, primary_key=True),
    *keys("rule_set", "connector", "account", "kind"),
    *(sa.Column(name, sa.Integer, nullable=False) for name in ("pictures", "failing")),
    sa.Column("score_sum", sa.BigInteger, nullable=False),
)

# Contents that show the same picture, the lesser SHA-256 first; one beside itself where several products show it.
picture_alike = table(
    "picture_alike",
    *keys("sha256", "other_sha256"),
    sa.Column("distance", sa.SmallInteger, nullable=False, comment="bits of the hash that differ"),
    moment("found_at", default_now=True),
    sa.Column("dismissed_by", sa.Text),
    moment("dismissed_at", nullable=True),
    sa.Column(
        "kinds",
        sa.ARRAY(sa.Text),
        nullable=False,
        server_default=sa.text("'{}'::text[]"),
        comment="what is suggested because of it, as of the last run that looked",
    ),
    sa.Index(None, "other_sha256"),
    sa.Index(None, "found_at", "sha256", "other_sha256", postgresql_where=sa.text("kinds <> '{}'::text[]")),
    sa.CheckConstraint("sha256 <= other_sha256", name="order"),
)
