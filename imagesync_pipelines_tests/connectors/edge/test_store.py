"""A store's database: what is read, marked, parked and counted."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.model import fingerprint
from imagesync_pipelines.connectors.edge.store import (
    CURRENT_COLUMNS,
    StoreDatabase,
    StoreUnreachableError,
    analyze_if_many,
    anything_pending,
    give_way,
    keep_waiting,
    mark_pending,
    open_store,
    read_current,
    store_lock,
    unknown_products,
    write_with_bytes,
)
from imagesync_pipelines.connectors.edge.store_care import reset, storage_used
from imagesync_pipelines.connectors.edge.store_schema import create_or_check
from imagesync_pipelines.storage.errors import AccountBusyError
from imagesync_pipelines.storage.statistics import MANY
from imagesync_pipelines_tests.connectors.edge.photos import START, photo, picture, rows_of, run_sql, some_id

WAITING = "SELECT photo_id::text FROM imagesync_photo_waiting"


@pytest.fixture
def with_products(database_url: str) -> Iterator[StoreDatabase]:
    """A store whose photos refer to a table of products, which has the products 1 and 2."""
    database = open_store(database_url)
    run_sql(database, 'CREATE TABLE "Product" (uid uuid PRIMARY KEY)')
    run_sql(
        database, 'INSERT INTO "Product" SELECT unnest(CAST(:ids AS uuid[]))',
        ids=[some_id("product", 1), some_id("product", 2)],
    )  # fmt: skip
    create_or_check(database)
    run_sql(
        database, 'ALTER TABLE product_photo ADD FOREIGN KEY (product_id) REFERENCES "Product" (uid) ON DELETE CASCADE'
    )
    yield database
    database.engine.dispose()


def put(database: StoreDatabase, *numbers: int) -> None:
    with database.engine.begin() as connection:
        pairs = [(photo(number), picture(number)) for number in numbers]
        write_with_bytes(connection, database.table, pairs, START)


def waiting(database: StoreDatabase) -> set[str]:
    with database.engine.connect() as connection:
        return set(connection.scalars(sa.text(WAITING)))


def test_a_synced_row_reads_as_the_photo_that_was_written(store: StoreDatabase) -> None:
    put(store, 1)
    current = read_current(store)
    assert tuple(current.columns) == CURRENT_COLUMNS
    row = current.iloc[0]
    assert (row["key"], row["group"]) == (some_id("photo", 1), some_id("product", 1))
    assert row["fingerprint"] == fingerprint(photo(1))
    assert (row["content"], row["has_bytes"]) == (photo(1).checksum, True)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("sync_status = 'failed'", id="failed"),
        pytest.param("sync_status = 'syncing'", id="left by a killed run"),
        pytest.param("sync_status = NULL", id="no status"),
        pytest.param("image_binary = NULL", id="no picture"),
        pytest.param("sort_order = 5", id="another order"),
        pytest.param("checksum = NULL", id="no checksum"),
    ],
)
def test_a_row_that_is_not_as_it_was_synced_counts_as_different(store: StoreDatabase, change: str) -> None:
    put(store, 1)
    run_sql(store, f"UPDATE product_photo SET {change}")
    assert read_current(store).iloc[0]["fingerprint"] != fingerprint(photo(1))


def test_a_column_of_times_without_a_zone_is_read_in_the_zone_in_which_it_is_written(store: StoreDatabase) -> None:
    put(store, 1)
    run_sql(store, f"""ALTER DATABASE "{store.engine.url.database}" SET timezone = 'Asia/Jakarta'""")
    store.engine.dispose()
    run_sql(store, "ALTER TABLE product_photo ALTER COLUMN updated_at TYPE timestamp")
    assert read_current(store).iloc[0]["fingerprint"] == fingerprint(photo(1))


def test_reading_takes_only_the_photos_asked_for(store: StoreDatabase) -> None:
    put(store, 1, 2, 3)
    assert set(read_current(store, [some_id("photo", 2), some_id("photo", 9)])["key"]) == {some_id("photo", 2)}


def test_marking_keeps_the_picture_and_what_is_known_of_it(store: StoreDatabase) -> None:
    put(store, 1)
    assert mark_pending(store, [photo(1, b"other", sort_order=9), photo(2)]) == 2
    rows = rows_of(store)
    old, new = rows[some_id("photo", 1)], rows[some_id("photo", 2)]
    assert (old["sync_status"], old["checksum"], old["sort_order"]) == ("pending", photo(1).checksum, 0)
    assert bytes(old["image_binary"]) == picture(1)
    assert (new["sync_status"], new["image_binary"]) == ("pending", None)


def test_photos_without_an_image_upstream_are_not_marked(store: StoreDatabase) -> None:
    assert mark_pending(store, [photo(1, checksum=""), photo(2, size=0)]) == 0
    assert not anything_pending(store)


@pytest.mark.parametrize("status", ["pending", "syncing", "failed"])
def test_what_is_not_synced_is_pending(store: StoreDatabase, status: str) -> None:
    put(store, 1)
    assert not anything_pending(store)
    run_sql(store, f"UPDATE product_photo SET sync_status = '{status}'")
    assert anything_pending(store)


def test_a_photo_waits_for_its_product_and_is_pending_once_it_came(with_products: StoreDatabase) -> None:
    mark_pending(with_products, [photo(1), photo(7)])
    assert set(rows_of(with_products)) == {some_id("photo", 1)}
    assert waiting(with_products) == {some_id("photo", 7)}
    run_sql(with_products, "UPDATE product_photo SET sync_status = 'synced'")
    assert not anything_pending(with_products)
    run_sql(with_products, 'INSERT INTO "Product" VALUES (:id)', id=some_id("product", 7))
    assert anything_pending(with_products)


def test_unknown_products_are_those_the_foreign_key_would_refuse(with_products: StoreDatabase) -> None:
    asked = [some_id("product", number) for number in (1, 2, 3)]
    assert unknown_products(with_products, asked) == {some_id("product", 3)}


def test_without_a_table_of_products_every_product_is_known(store: StoreDatabase) -> None:
    assert unknown_products(store, [some_id("product", 1)]) == frozenset()


def test_only_the_photos_of_the_newest_plan_wait(with_products: StoreDatabase) -> None:
    mark_pending(with_products, [photo(7), photo(8)])
    keep_waiting(with_products, {some_id("photo", 8): some_id("product", 8)})
    assert waiting(with_products) == {some_id("photo", 8)}


def test_resetting_failed_photos_leaves_the_others(store: StoreDatabase) -> None:
    put(store, 1, 2)
    run_sql(
        store,
        "UPDATE product_photo SET sync_status = 'failed', sync_error = 'x' WHERE id = :id",
        id=some_id("photo", 1),
    )
    assert reset(store) == 1
    rows = rows_of(store)
    assert (rows[some_id("photo", 1)]["sync_status"], rows[some_id("photo", 1)]["sync_error"]) == ("pending", None)
    assert rows[some_id("photo", 2)]["sync_status"] == "synced"
    assert bytes(rows[some_id("photo", 1)]["image_binary"]) == picture(1)


def test_resetting_all_photos_keeps_their_pictures(store: StoreDatabase) -> None:
    put(store, 1, 2)
    assert reset(store, everything=True) == 2
    assert {row["sync_status"] for row in rows_of(store).values()} == {"pending"}
    assert all(row["image_binary"] for row in rows_of(store).values())


def test_storage_is_counted_by_status(store: StoreDatabase) -> None:
    put(store, 1, 2)
    mark_pending(store, [photo(3)])
    size, photos = storage_used(store)
    assert photos == {"synced": 2, "pending": 1}
    assert size > 0


def test_two_runs_cannot_hold_a_store_at_once(store: StoreDatabase, database_url: str) -> None:
    other = open_store(database_url)
    with store_lock(store, 0), pytest.raises(AccountBusyError), store_lock(other, 0):
        raise AssertionError("the lock was given twice")
    with store_lock(other, 0):
        other.engine.dispose()


def test_a_database_that_does_not_answer_is_one_line_without_the_password() -> None:
    with pytest.raises(StoreUnreachableError) as error:
        open_store("postgresql://store:s3cret@127.0.0.1:1/photos")
    assert "s3cret" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("number", [MANY, 2 * MANY])
def test_a_batch_into_a_table_that_was_just_filled_reads_its_own_products_alone(
    store: StoreDatabase, number: int
) -> None:
    photos = [photo(nth) for nth in range(number)]
    mark_pending(store, photos)
    run_sql(store, "DELETE FROM pg_statistic WHERE starelid = 'product_photo'::regclass")
    analyze_if_many(store, number)
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'product_photo'"
    with store.engine.begin() as connection:
        for first in range(0, number, 100):
            give_way(connection, store.table, [one._replace(is_primary=True) for one in photos[first : first + 100]])
        assert connection.scalar(sa.text(read)) <= number
