"""The tables of webhooks out: who wants to be told of changes, what there is to tell, and what came of telling it."""

import sqlalchemy as sa

from imagesync_pipelines.storage.schema import SCHEMA, identity, json_of, moment, table, texts

webhook_subscription = table(
    "webhook_subscription",
    identity(),
    *texts("name", "form"),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("secret", sa.Text, nullable=False, comment="env:NAME, the variable that holds it; never the secret"),
    sa.Column("old_secret", sa.Text, comment="the one before, valid too while a receiver changes over"),
    moment("old_secret_until", nullable=True),
    *(
        sa.Column(name, sa.ARRAY(sa.Text), nullable=False, server_default="{}", comment="empty: all")
        for name in ("connectors", "events", "skus")
    ),
    json_of("options", "{}", comment="what its form needs beside the address"),
    sa.Column("state", sa.Text, nullable=False, server_default="active"),
    sa.Column("said", sa.Text, nullable=False, server_default="", comment="why it is paused or disabled"),
    sa.Column("cursor", sa.BigInteger, nullable=False, comment="the last event that is done"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0"), comment="that failed in a row"),
    moment("failing_since", nullable=True),
    moment("due_at", nullable=True, comment="not tried before; NULL: at once"),
    moment("delivered_at", nullable=True, comment="the last delivery that was accepted"),
    moment("created_at", default_now=True),
    sa.UniqueConstraint("name"),
    sa.CheckConstraint("state IN ('active', 'paused', 'disabled')", name="state"),
)

# One writer, so that the ids rise in the order in which the changes were committed.
webhook_event = table(
    "webhook_event",
    identity(),
    sa.Column("message_id", sa.Text, nullable=False, comment="by which a receiver knows a repeat"),
    sa.Column("sku", sa.Text, nullable=False),
    *(sa.Column(name, sa.ARRAY(sa.Text), nullable=False) for name in ("connectors", "events")),
    sa.Column("addresses", sa.ARRAY(sa.Text), nullable=False, comment="of pictures, before and after"),
    sa.Column("body", sa.Text, nullable=False),
    moment("changed_at"),
    moment("noted_at", default_now=True),
    sa.UniqueConstraint("message_id"),
)

# Written with the effect itself. It is no cursor: of two transactions at once the later may have the lower numbers.
webhook_effect = table(
    "webhook_effect",
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    comment="effects that are still to be told of; filled for connectors that a subscription names",
)

webhook_seen = table(
    "webhook_seen",
    sa.Column("product_id", sa.BigInteger, primary_key=True, autoincrement=False),
    json_of("shown", "{}", comment="what the product showed when it was last looked at"),
    comment="filled while there are subscriptions",
)

webhook_delivery = table(
    "webhook_delivery",
    identity(),
    sa.Column(
        "subscription_id",
        sa.BigInteger,
        sa.ForeignKey(f"{SCHEMA}.webhook_subscription.id", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("event_id", sa.BigInteger, comment="NULL: a test"),
    *texts("message_id", "sku"),
    sa.Column("attempt", sa.Integer, nullable=False),
    moment("at"),
    sa.Column("accepted", sa.Boolean, nullable=False),
    sa.Column("status", sa.Integer, comment="of HTTP; NULL: there was no answer"),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("said", sa.Text, nullable=False, server_default=""),
    sa.Index(None, "subscription_id", "id"),
    sa.Index(None, "at"),
)
