"""A migrated database is the one that schema.py describes; older ones are upgraded, newer ones are refused."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from imagesync_pipelines.storage import database as code
from imagesync_pipelines.storage import schema
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.errors import DatabaseUnreachableError, StorageError
from imagesync_pipelines.storage.identities import read_identities
from imagesync_pipelines_tests.storage.schemas import schema_of


@pytest.fixture
def empty_url(server: EmbeddedServer, request: pytest.FixtureRequest) -> str:
    """The URL of a fresh database without any table; it goes with the server."""
    name = f"empty_{os.urandom(6).hex()}"
    engine = sa.create_engine(server.url("postgres", "psycopg"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    return server.url(name, "psycopg")


INDEX_OF_ONE_CONNECTOR = """
CREATE INDEX mirror_edge_product_sku_idx ON imagesync.mirror ((payload ->> 'product_sku'))
 WHERE connector = 'edge'
"""


def test_a_migrated_database_equals_the_schema(database: sa.Engine) -> None:
    options = {
        "include_schemas": True,
        "version_table_schema": schema.SCHEMA,
        "compare_type": True,
        "compare_server_default": True,
        "include_name": lambda name, kind, _: kind != "schema" or name == schema.SCHEMA,
    }
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, schema.metadata)
    # The index of one connector's rows is its migration's alone.
    assert [(kind, found.name) for kind, found in differences] == [("remove_index", "mirror_edge_product_sku_idx")]


def test_postgresql_itself_sees_no_difference_between_migrations_and_schema(database_url: str, empty_url: str) -> None:
    engine = sa.create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(schema.SCHEMA))
        schema.metadata.create_all(connection)
        connection.execute(sa.text(INDEX_OF_ONE_CONNECTOR))
    engine.dispose()
    assert schema_of(database_url) == schema_of(empty_url)


def test_the_head_named_in_the_code_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "imagesync_pipelines:storage/migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == code.HEAD


def upgraded_to(url: str, revision: str) -> sa.Engine:
    """A database as a release with this migration as its newest one left it."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    config = Config()
    config.set_main_option("script_location", "imagesync_pipelines:storage/migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    return engine


def test_what_an_earlier_release_knew_of_accounts_is_known(empty_url: str) -> None:
    ids = [("child-1", " 11AA-b "), ("child-2", "22bb"), ("child-3", " ")]
    rows = [{"connector": "moysklad/account_id", "account": name, "value": value} for name, value in ids]
    lists = """
    INSERT INTO imagesync.moysklad_child_images (child, entity_key, images, writing, others)
    VALUES ('child-1', 'product:1', '[]', 'null', 0), ('child-1', 'product:2', '[]', '[]', 0)
    """
    with upgraded_to(empty_url, "0015").begin() as connection:
        connection.execute(schema.cursor.insert(), [*rows, {"connector": "moysklad", "account": "main", "value": "t"}])
        connection.execute(sa.text(lists))
    with code.open_database(empty_url).connect() as connection:
        found = [(one.account, one.told_by, one.identity) for one in read_identities(connection, "moysklad")]
        cursors = connection.execute(sa.select(schema.cursor.c.connector, schema.cursor.c.value)).all()
        writing = connection.execute(
            sa.text("SELECT entity_key FROM imagesync.moysklad_child_images WHERE writing IS NULL")
        )
        assert list(writing.scalars()) == ["product:1"]
    assert found == [("child-1", "accountId", "11aa-b"), ("child-2", "accountId", "22bb")]
    assert cursors == [("moysklad", "t")]


def test_opening_at_once_upgrades_once(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        engines = list(pool.map(lambda _: code.open_database(empty_url), range(4)))
    with engines[0].connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM imagesync.alembic_version")).scalars().all() == [
            code.HEAD
        ]
    for engine in engines:
        engine.dispose()


def test_a_newer_database_is_refused_and_left_alone(database: sa.Engine, database_url: str) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE imagesync.alembic_version SET version_num = '9999'"))
    before = schema_of(database_url)
    with pytest.raises(StorageError, match=r"version 9999.*Install the newer program"):
        code.open_database(database_url)
    assert schema_of(database_url) == before


@pytest.mark.parametrize("version", ["0001", "0009"])
def test_an_older_database_is_told_which_commit_to_pass_through_and_left_alone(
    database: sa.Engine, database_url: str, version: str
) -> None:
    with database.begin() as connection:
        connection.execute(sa.text(f"UPDATE imagesync.alembic_version SET version_num = '{version}'"))
    before = schema_of(database_url)
    with pytest.raises(StorageError, match=rf"version {version}, .* from 0010 on\. Pass through commit 7115364 "):
        code.open_database(database_url)
    assert schema_of(database_url) == before
    with database.connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM imagesync.alembic_version")).scalar() == version


def test_a_user_without_rights_gets_one_clear_line(database: sa.Engine, empty_url: str) -> None:
    engine = sa.create_engine(empty_url)
    role = f"guest_{os.urandom(4).hex()}"
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE ROLE {role} LOGIN"))
    engine.dispose()
    url = sa.make_url(empty_url).set(username=role).render_as_string(hide_password=False)
    with pytest.raises(
        StorageError, match=rf"may not create our tables .* CREATE SCHEMA imagesync AUTHORIZATION {role}"
    ):
        code.open_database(url)


def test_our_connections_carry_our_name(database: sa.Engine) -> None:
    with database.connect() as connection:
        assert connection.execute(sa.text("SHOW application_name")).scalar() == "imagesync"


def test_a_database_that_does_not_answer_is_said_so() -> None:
    with pytest.raises(DatabaseUnreachableError, match="does not answer"):
        code.open_database("postgresql://nobody:hidden@127.0.0.1:1/none")


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p%40ss@h:5433/d?sslmode=require",
        "postgresql://u:p%40ss@h:5433/d?sslmode=require",
        "postgresql+psycopg2://u:p%40ss@h:5433/d?sslmode=require",
        " postgresql+asyncpg://u:p%40ss@h:5433/d?sslmode=require\n",
    ],
    ids=["postgres", "postgresql", "psycopg2", "blanks around"],
)
def test_any_form_of_a_postgresql_url_is_taken(url: str) -> None:
    assert code.with_driver(url, "psycopg") == "postgresql+psycopg://u:p%40ss@h:5433/d?sslmode=require"


@pytest.mark.parametrize("url", ["sqlite:///x.db", "mysql://u:hidden@h/d", "hidden", ""])
def test_another_database_is_refused_without_repeating_the_url(url: str) -> None:
    with pytest.raises(StorageError, match=r"postgresql://") as caught:
        code.with_driver(url, "psycopg")
    assert "hidden" not in str(caught.value)
