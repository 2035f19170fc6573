"""Alembic's entry point: it runs our migrations on the connection that database.py hands over."""

import sqlalchemy as sa
from alembic import context

# Their tables belong to the metadata.
from imagesync_pipelines.storage import schema_catalogue, schema_effects, schema_quality, schema_webhooks  # noqa: F401
from imagesync_pipelines.storage.database import VERSION_TABLE
from imagesync_pipelines.storage.schema import SCHEMA, metadata


def _run() -> None:
    connection = context.config.attributes["connection"]
    # Asked first: where an administrator made the schema, we may have no right to make one.
    if connection.execute(sa.text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}).scalar() is None:
        connection.execute(sa.text(f"CREATE SCHEMA {SCHEMA}"))
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=lambda name, kind, _: kind != "schema" or name == SCHEMA,
    )
    context.run_migrations()


_run()
