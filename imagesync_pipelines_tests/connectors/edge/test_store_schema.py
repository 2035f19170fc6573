"""The table of photos: made new, checked, and brought up to date from every shape that stores have (contract 6)."""

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.errors import StoreNotReadyError
from imagesync_pipelines.connectors.edge.store import StoreDatabase, mark_pending, open_store, write_with_bytes
from imagesync_pipelines.connectors.edge.store_care import products_with_several_primaries
from imagesync_pipelines.connectors.edge.store_schema import create_or_check, migrate, require_ready
from imagesync_pipelines_tests.connectors.edge.photos import photo, rows_of, run_sql, some_id
from imagesync_pipelines_tests.connectors.edge.test_store import put

BASE = """
CREATE TABLE product_photo (
    id uuid PRIMARY KEY, product_id uuid NOT NULL, object_key varchar(500), filename varchar(255), size integer,
    content_type varchar(100), checksum varchar(32), version integer DEFAULT 1, is_primary boolean DEFAULT false,
    sort_order integer DEFAULT 0, created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now());
CREATE INDEX ON product_photo (product_id);
CREATE INDEX ON product_photo (product_id, is_primary)
"""
DJANGO = """
CREATE TABLE core_productphoto (
    id uuid PRIMARY KEY, product_id uuid NOT NULL, image varchar(100) NOT NULL, caption varchar(200) NOT NULL,
    is_active boolean NOT NULL, object_key varchar(500) NOT NULL, filename varchar(255) NOT NULL,
    size integer NOT NULL, content_type varchar(100) NOT NULL, checksum varchar(64) NOT NULL,
    version integer NOT NULL, is_primary boolean NOT NULL, sort_order integer NOT NULL,
    created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, last_sync_at timestamptz);
CREATE INDEX ON core_productphoto (product_id)
"""
SHAPES = [pytest.param(BASE, id="the guide's table"), pytest.param(DJANGO, id="the Django table")]
COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = :table"


def opened(url: str, shape: str) -> StoreDatabase:
    database = open_store(url)
    run_sql(database, shape)
    database.engine.dispose()
    return open_store(url)


def columns(database: StoreDatabase) -> set[str]:
    with database.engine.connect() as connection:
        return set(connection.scalars(sa.text(COLUMNS), {"table": database.table}))


def test_a_new_table_lacks_nothing(database_url: str) -> None:
    database = open_store(database_url)
    assert create_or_check(database) == []
    assert migrate(database) == []
    storage = "SELECT attstorage::text FROM pg_attribute WHERE attrelid = 'product_photo'::regclass AND attname = :name"
    with database.engine.connect() as connection:
        assert connection.scalar(sa.text(storage), {"name": "image_binary"}) == "e"
        indexes = set(connection.scalars(sa.text("SELECT indexname FROM pg_indexes WHERE tablename = 'product_photo'")))
    assert {"idx_product_photo_sync_status", "idx_product_photo_last_sync"} <= indexes
    database.engine.dispose()


@pytest.mark.parametrize("shape", SHAPES)
def test_an_older_table_is_refused_with_what_to_run_and_left_as_it_is(database_url: str, shape: str) -> None:
    database = opened(database_url, shape)
    before = columns(database)
    findings = create_or_check(database)
    with pytest.raises(StoreNotReadyError, match=r"no column image_binary.*imagesync edge migrate --store north"):
        require_ready(findings, "north")
    assert columns(database) == before
    database.engine.dispose()


@pytest.mark.parametrize("shape", SHAPES)
def test_an_older_table_is_brought_up_to_date_and_keeps_everything(database_url: str, shape: str) -> None:
    database = opened(database_url, shape)
    before = columns(database)
    assert migrate(database)
    assert columns(database) >= before
    assert create_or_check(database) == []
    require_ready([], "north")
    put(database, 1)
    mark_pending(database, [photo(2)])
    assert rows_of(database)[some_id("photo", 1)]["sync_status"] == "synced"
    assert rows_of(database)[some_id("photo", 2)]["sync_status"] == "pending"
    database.engine.dispose()


def test_photos_of_an_older_table_are_still_there_and_are_to_be_fetched(database_url: str) -> None:
    database = opened(database_url, BASE)
    run_sql(database, "INSERT INTO product_photo (id, product_id, checksum) VALUES (:id, :product, 'abc')",
            id=some_id("photo", 1), product=some_id("product", 1))  # fmt: skip
    migrate(database)
    row = rows_of(database)[some_id("photo", 1)]
    assert (row["checksum"], row["sync_status"], row["image_binary"]) == ("abc", "pending", None)
    database.engine.dispose()


def test_a_table_that_is_none_of_photos_is_not_touched(database_url: str) -> None:
    database = opened(database_url, "CREATE TABLE product_photo (name text)")
    with pytest.raises(StoreNotReadyError, match="no table of photos"):
        create_or_check(database)
    assert columns(database) == {"name"}
    database.engine.dispose()


def test_a_missing_index_does_not_stop_a_run(store: StoreDatabase) -> None:
    run_sql(store, "DROP INDEX idx_product_photo_sync_status")
    findings = create_or_check(store)
    assert [finding.what for finding in findings] == ["product_photo has no index on sync_status"]
    require_ready(findings, "north")
    assert migrate(store) == ["product_photo has no index on sync_status"]


@pytest.mark.parametrize("shape", SHAPES)
def test_migrate_leaves_one_primary_of_a_product_and_sees_to_it_from_then_on(database_url: str, shape: str) -> None:
    database = opened(database_url, shape)
    migrate(database)
    run_sql(database, f"ALTER TABLE {database.table} DROP CONSTRAINT {database.table}_one_primary")
    put(database, 1, 2)
    with database.engine.begin() as connection:
        second = photo(9, product_id=photo(1).product_id, updated_at=photo(9).updated_at)
        write_with_bytes(connection, database.table, [(second, b"x")], second.updated_at)
    findings = create_or_check(database)
    assert [finding.told for finding in findings] == [False, False], "no run tells of it"
    require_ready(findings, "store1")
    assert products_with_several_primaries(database) == 1
    migrate(database)
    assert products_with_several_primaries(database) == 0
    assert rows_of(database)[second.photo_id]["is_primary"], "of two the newer one"
    assert create_or_check(database) == []
    with pytest.raises(sa.exc.IntegrityError):
        run_sql(database, f"UPDATE {database.table} SET is_primary = true")
    database.engine.dispose()
