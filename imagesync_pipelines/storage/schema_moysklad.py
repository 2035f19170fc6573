"""The tables of the МойСклад connector, in the same schema and the same metadata as all others.

`child` is always the alias of a child account, `entity_key` an entity of the main account.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from imagesync_pipelines.storage.schema import identity, keys, metadata, moment

moysklad_entity_map = sa.Table(
    "moysklad_entity_map",
    metadata,
    sa.Column("child", sa.Text, primary_key=True),
    sa.Column("entity_key", sa.Text, primary_key=True, comment="<type>:<id in the main account>"),
    sa.Column("child_id", sa.Text, nullable=False, comment="its id in the child account"),
    sa.Column("field", sa.Text, nullable=False, comment="by which it was found"),
    sa.Column("value", sa.Text, nullable=False, comment="the value that both have"),
    moment("matched_at", default_now=True),
    # Two entities of the main account must never write into one of the child's.
    sa.UniqueConstraint("child", "child_id"),
)

moysklad_child_images = sa.Table(
    "moysklad_child_images",
    metadata,
    *keys("child", "entity_key"),
    sa.Column("images", JSONB, nullable=False, comment="what we manage there, in order, as last written or seen"),
    sa.Column("writing", JSONB, comment="what was about to be written; NULL: the outcome is known"),
    sa.Column("others", sa.Integer, nullable=False, comment="how many images are the owner's"),
    moment("changed_at", default_now=True),
)

moysklad_account = sa.Table(
    "moysklad_account",
    metadata,
    sa.Column("child", sa.Text, primary_key=True),
    sa.Column("max_image_bytes", sa.BigInteger, nullable=False, comment="what its server named when it refused one"),
    moment("learned_at", default_now=True),
)

moysklad_queue = sa.Table(
    "moysklad_queue",
    metadata,
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
