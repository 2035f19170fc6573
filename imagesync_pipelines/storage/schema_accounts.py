"""Tables about single accounts of outside systems: whose they are, how often we may call, what we know is in them."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from imagesync_pipelines.storage.schema import identity, json_of, keys, moment, table

account_identity = table(
    "account_identity",
    sa.Column("connector", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, primary_key=True, comment="its name in the accounts file; empty: it has none"),
    sa.Column("told_by", sa.Text, primary_key=True, comment="where the system says whose account it is"),
    sa.Column("identity", sa.Text, nullable=False, comment="the id of the account, as its system says it"),
    moment("recorded_at", default_now=True),
    sa.Column("recorded_run", sa.Text),
    sa.Column(
        "refused",
        sa.Text,
        nullable=False,
        server_default="",
        comment="another account that answered since and was refused; empty: none",
    ),
    moment("refused_at", nullable=True),
)

rate_budget = table(
    "rate_budget",
    sa.Column("principal", sa.Text, primary_key=True, comment="whose calls are counted: an account, a token"),
    sa.Column("window_seconds", sa.Integer, primary_key=True),
    sa.Column("call_limit", sa.Integer, nullable=False, comment="calls in any window of this length"),
    sa.Column("tick", sa.BigInteger, nullable=False, comment="the newest twentieth of a window, counted since 1970"),
    sa.Column("counts", sa.ARRAY(sa.Integer), nullable=False, comment="calls per twentieth, the newest last"),
    moment("blocked_until", nullable=True),
    json_of("leases", "{}", comment="calls in flight: id to the second (since 1970) it is given up"),
)

plytix_asset = table(
    "plytix_asset",
    *keys("account", "asset_id"),
    sa.Column("key", sa.Text, comment="canonical key of the picture; NULL: none of ours"),
    sa.Column("filename", sa.Text, nullable=False, server_default=""),
    sa.Column("content_sha256", sa.Text, comment="of the picture at Amazon, when we have looked at it"),
    moment("noted_at", default_now=True),
    sa.Column("url", sa.Text, nullable=False, server_default="", comment="where Plytix shows it, when it has said so"),
    # One asset per picture; an earlier one that an upload replaced is none of ours any more.
    sa.Index(None, "account", "key", unique=True),
)

plytix_link = table(
    "plytix_link",
    *keys("account", "product_sku", "key"),
    sa.Column("asset_id", sa.Text, nullable=False),
    moment("begun_at", default_now=True),
    moment("linked_at", nullable=True, comment="NULL: it was about to be made, nobody knows whether it was"),
)

moysklad_entity_map = table(
    "moysklad_entity_map",
    sa.Column("child", sa.Text, primary_key=True),
    sa.Column("entity_key", sa.Text, primary_key=True, comment="<type>:<id in the main account>"),
    sa.Column("child_id", sa.Text, nullable=False, comment="its id in the child account"),
    sa.Column("field", sa.Text, nullable=False, comment="by which it was found"),
    sa.Column("value", sa.Text, nullable=False, comment="the value that both have"),
    moment("matched_at", default_now=True),
    moment(
        "gone_at",
        nullable=True,
        comment="since when the child account does not have it; what we manage there is kept for its return",
    ),
    # Two entities of the main account must never write into one of the child's.
    sa.UniqueConstraint("child", "child_id"),
)

moysklad_child_images = table(
    "moysklad_child_images",
    *keys("child", "entity_key"),
    sa.Column("images", JSONB, nullable=False, comment="what we manage there, in order, as last written or seen"),
    sa.Column("writing", JSONB(none_as_null=True), comment="what was about to be written; NULL: the outcome is known"),
    sa.Column("others", sa.Integer, nullable=False, comment="how many images are the owner's"),
    moment("changed_at", default_now=True),
)

target_memory = table(
    "target_memory",
    sa.Column("target", sa.Text, primary_key=True, comment="<connector>/<account>"),
    sa.Column(
        "counter",
        sa.BigInteger,
        nullable=False,
        comment="of the last run of ours that wrote there; the target has it too",
    ),
    moment("noted_at", default_now=True),
    moment(
        "restored_at",
        nullable=True,
        comment="of the installation: when our database was restored from a backup; of a target: the one of these "
        "after which it was read whole",
    ),
)

moysklad_account = table(
    "moysklad_account",
    sa.Column("child", sa.Text, primary_key=True),
    sa.Column("max_image_bytes", sa.BigInteger, nullable=False, comment="what its server named when it refused one"),
    moment("learned_at", default_now=True),
)

moysklad_queue = table(
    "moysklad_queue",
    identity(),
    sa.Column("child", sa.Text, nullable=False, comment="empty: what was set aside is no account's"),
    sa.Column("entity_type", sa.Text, nullable=False),
    sa.Column("entity_id", sa.Text, nullable=False, comment="in the main account"),
    # Text and not JSONB, which cannot keep every JSON text.
    sa.Column("payload", sa.Text, nullable=False, comment="JSON as it came, unknown fields included"),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("once", sa.Text, comment="same words, same request; NULL: every one is its own"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0", comment="begun, the present one included"),
    moment("due_at"),
    sa.Column("run_id", sa.Text),
    sa.Column("last_error", sa.Text, nullable=False),
    moment("created_at"),
    moment("changed_at"),
    sa.CheckConstraint("state IN ('pending', 'running', 'done', 'failed', 'set_aside')", name="state"),
    sa.UniqueConstraint("once"),
    sa.Index(None, "state", "due_at"),
)

# Of a channel: a connector and an account, which is '' where it has none.
exclusion = table(
    "exclusion",
    *keys("connector", "account", "sku"),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("excluded_by", sa.Text, nullable=False),
    moment("excluded_at", default_now=True),
    moment(
        "ended_at",
        nullable=True,
        comment="since when it holds no more, of which no run has planned yet; NULL: it holds",
    ),
    sa.Index(None, "sku"),
)
