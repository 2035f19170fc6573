"""The tables of the МойСклад room, in the same schema and the same metadata as all others.

What belongs here: tables, columns, constraints, indexes. What does not: queries (the room), changes of existing
databases (migrations/). `child` is always the alias of a child account, `entity_key` an entity of the main account.
"""

import sqlalchemy as sa

from imagesync_pipelines.storage.schema import metadata

moysklad_entity_map = sa.Table(
    "moysklad_entity_map",
    metadata,
    sa.Column("child", sa.Text, primary_key=True),
    sa.Column("entity_key", sa.Text, primary_key=True, comment="<type>:<id in the main account>"),
    sa.Column("child_id", sa.Text, nullable=False, comment="its id in the child account"),
    sa.Column("field", sa.Text, nullable=False, comment="by which it was found"),
    sa.Column("value", sa.Text, nullable=False, comment="the value that both have"),
    sa.Column("matched_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    # Two entities of the main account must never write into one of the child's.
    sa.UniqueConstraint("child", "child_id"),
)
