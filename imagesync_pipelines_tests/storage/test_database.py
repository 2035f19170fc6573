"""The migrated database is the one that schema.py describes, and only an older one is upgraded."""

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from imagesync_pipelines.storage import schema


def test_a_migrated_database_equals_the_schema(database: sa.Engine) -> None:
    with database.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "version_table_schema": schema.SCHEMA,
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == schema.SCHEMA,
            },
        )
        assert compare_metadata(context, schema.metadata) == []


def test_the_house_names_both_drivers(house) -> None:
    assert house.environment()["IMAGESYNC_DAGSTER_URL"].startswith("postgresql+psycopg2://")
    assert house.database_url.startswith("postgresql+psycopg://")
