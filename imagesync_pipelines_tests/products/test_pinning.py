"""A person's choice of primary: shown at once, kept by every writer, refused for what the product does not have."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import sqlalchemy as sa

from imagesync_pipelines.products.primaries import lock_products, pin_image, pins_of, unpin_image
from imagesync_pipelines.products.table import write_products
from imagesync_pipelines.storage.errors import PinRefusedError
from imagesync_pipelines.sync.model import DeletionLimits
from imagesync_pipelines_tests.products.rows import Picture, add_products, bring, images, plan, primaries

A, B = Picture(1), Picture(2)


def pinned(database: sa.Engine, product: int) -> tuple[str, str] | None:
    with database.connect() as connection:
        return pins_of(connection, [product]).get(product)


def test_a_pin_is_shown_at_once_and_only_the_flags_it_moves_are_written(database: sa.Engine) -> None:
    one, two = add_products(database, 2)
    bring(database, {(one, "7"): A, (one, "8"): B, (one, "9"): B, (two, "7"): A})
    before = images(database, "last_synced")
    pin_image(database, one, "image_db", "8", "anna")
    after = images(database, "last_synced")
    assert primaries(database) == {(one, "8"), (two, "7")}
    assert {at for at in before if after[at] != before[at]} == {(one, "7"), (one, "8")}
    pin_image(database, one, "image_db", "8", "ben")
    assert images(database, "last_synced") == after


def test_another_pin_replaces_the_first_and_unpinning_lets_the_rules_choose(database: sa.Engine) -> None:
    one = add_products(database, 1)[0]
    bring(database, {(one, "7"): A, (one, "8"): B, (one, "9"): B})
    pin_image(database, one, "image_db", "8", "anna")
    pin_image(database, one, "image_db", "9", "anna")
    assert (primaries(database), pinned(database, one)) == ({(one, "9")}, ("image_db", "9"))
    assert [unpin_image(database, one, "anna"), unpin_image(database, one, "anna")] == [True, False]
    assert (primaries(database), pinned(database, one)) == ({(one, "7")}, None)


def test_a_dormant_pin_can_be_taken_back(database: sa.Engine) -> None:
    one = add_products(database, 1)[0]
    bring(database, {(one, "7"): A, (one, "8"): B})
    pin_image(database, one, "image_db", "8", "anna")
    bring(database, {})
    assert unpin_image(database, one, "anna")
    bring(database, {(one, "7"): A, (one, "8"): B})
    assert primaries(database) == {(one, "7")}


def test_a_pin_for_an_image_that_the_product_does_not_have_is_refused(database: sa.Engine) -> None:
    one, two = add_products(database, 2)
    bring(database, {(one, "7"): A, (two, "8"): A})
    pin_image(database, one, "image_db", "7", "anna")
    for product, external_id in ((one, "8"), (one, ""), (10**6, "7")):
        with pytest.raises(PinRefusedError, match=f"Product {product} has no image {external_id}; nothing was pinned"):
            pin_image(database, product, "image_db", external_id, "anna")
    assert (pinned(database, one), pinned(database, two)) == (("image_db", "7"), None)


def waiting(database: sa.Engine) -> int:
    """How many connections wait for a lock."""
    with database.connect() as connection:
        return int(
            connection.scalar(
                sa.text(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            )
            or 0
        )


def until(condition: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_batch_that_waited_for_a_pin_sees_it(database: sa.Engine) -> None:
    one = add_products(database, 1)[0]
    bring(database, {(one, "7"): A, (one, "8"): B})
    # A pin of the image that is the primary already moves no flag: only the lock on the product tells of it.
    stored = plan(database, {(one, "7"): A, (one, "8"): B, (one, "9"): Picture(1, newest=9)})
    with ThreadPoolExecutor() as pool:
        with database.begin() as connection:
            lock_products(connection, [one])
            connection.execute(
                sa.text("INSERT INTO imagesync.pin (product_id, external_id, pinned_by) VALUES (:one, '7', 'anna')"),
                {"one": one},
            )
            applied = pool.submit(stored.apply, database)
            until(lambda: waiting(database) == 1)
        assert applied.result(10).added == 1
    assert primaries(database) == {(one, "7")}


def test_a_pin_that_waited_for_a_batch_sees_what_it_wrote(database: sa.Engine) -> None:
    one = add_products(database, 1)[0]
    bring(database, {(one, "7"): A, (one, "8"): B})
    with ThreadPoolExecutor() as pool:
        with database.begin() as connection:
            lock_products(connection, [one])
            connection.execute(sa.text("DELETE FROM imagesync.product_image WHERE external_id = '8'"))
            pin = pool.submit(pin_image, database, one, "image_db", "8", "anna")
            until(lambda: waiting(database) == 1)
        with pytest.raises(PinRefusedError):
            pin.result(10)
    assert (primaries(database), pinned(database, one)) == ({(one, "7")}, None)


def test_pins_by_the_hand_and_batches_at_the_same_time_leave_the_last_pin_shown(database: sa.Engine) -> None:
    products = add_products(database, 4)
    wanted = {(product, str(number)): Picture(number) for product in products for number in (1, 2, 3)}
    bring(database, wanted)
    stop = threading.Event()

    def synchronise() -> int:
        turns = 0
        while not stop.is_set():
            turns += 1
            version = {at: Picture(picture.priority, version=str(turns)) for at, picture in wanted.items()}
            assert bring(database, version).errors == ()
        return turns

    def pin(product: int) -> None:
        for turn in range(25):
            pin_image(database, product, "image_db", str(1 + turn % 3), "anna")
            assert (product, str(1 + turn % 3)) in primaries(database)
            if turn % 5 == 4:
                unpin_image(database, product, "anna")
        pin_image(database, product, "image_db", "3", "anna")

    with ThreadPoolExecutor() as pool:
        synchronising = pool.submit(synchronise)
        for done in [pool.submit(pin, product) for product in products[:2]]:
            done.result(60)
        stop.set()
        assert synchronising.result(60) > 0
    assert primaries(database) == {(products[0], "3"), (products[1], "3"), (products[2], "1"), (products[3], "1")}


def test_loading_products_waits_for_a_batch_and_never_deadlocks(database: sa.Engine) -> None:
    one, two = add_products(database, 2)
    bring(database, {(one, "7"): A, (two, "7"): A})
    columns = ["kind", "erp_id", "sku", "parent_erp_id", "variant_code", "legacy_sku", "base_sku", "name", "is_active"]
    rows = pd.DataFrame(
        [("variant", str(n), str(n), None, None, None, None, f"name {n}", True) for n in (1, 0)], columns=columns
    )
    aside = pd.DataFrame([], columns=["kind", "erp_id", "sku"])
    with ThreadPoolExecutor() as pool:
        with database.begin() as connection:
            lock_products(connection, [one])
            load = pool.submit(write_products, database, rows, aside, DeletionLimits(1, 9, 9, 9))
            until(lambda: waiting(database) == 1)
            lock_products(connection, [two])
        assert load.result(10).updated == 2
