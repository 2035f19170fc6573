"""The history in our tables: what was done to whom, and since when all of it is known."""

import sqlalchemy as sa

from imagesync_pipelines.storage.schema import identity, json_of, moment, table, texts

# Nothing refers to it: plans and runs are forgotten before it, products are never deleted for it.
effect = table(
    "effect",
    identity(),
    # Not that of the transaction, which may have waited for another one that wrote the same group.
    sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    *texts("connector"),
    sa.Column("account", sa.Text, nullable=False, server_default="", comment="empty: the connector has none"),
    sa.Column("group_key", sa.Text, nullable=False, comment="what is written in one go, as plans name it"),
    sa.Column("run_id", sa.Text, comment="NULL: a person did it by hand"),
    sa.Column("person", sa.Text, comment="NULL: a run that nobody named"),
    sa.Column("plan_id", sa.BigInteger, comment="such plans are forgotten in time"),
    sa.Column("undoes_run", sa.Text, comment="it belongs to the undo of that run"),
    json_of("rows", "[]", comment="what became of each image; absent: it was not there before, or still is so now"),
    sa.Index(None, "connector", "group_key", "account", "id"),
    sa.Index(None, "run_id"),
)

effects_known = table(
    "effects_known", moment("since", comment="of what was done until then nothing may be known"), comment="one row"
)
