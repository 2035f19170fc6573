"""Writing product images: what each change does, what stays, who is refused, and what a poisoned row costs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa

from imagesync_pipelines.products.applying import labels_of
from imagesync_pipelines.products.primaries import pin_image, pins_of, repair_primaries
from imagesync_pipelines.products.target import read_contents, read_current
from imagesync_pipelines.storage.copying import frame_of
from imagesync_pipelines.storage.memory import note_restored
from imagesync_pipelines.storage.quarantine import QuarantineTable
from imagesync_pipelines.storage.schema import primary_to_check, product_image
from imagesync_pipelines_tests.products.rows import Picture, Wanted, add_products, bring, images, plan, primaries

A, B = Picture(1), Picture(2)


@pytest.fixture
def products(database: sa.Engine) -> list[int]:
    return add_products(database, 5)


def pinned(database: sa.Engine, products: list[int]) -> dict[int, tuple[str, str]]:
    with database.connect() as connection:
        return pins_of(connection, products)


def test_images_are_added_with_everything_a_shop_needs(database: sa.Engine, products: list[int]) -> None:
    one, two, *_ = products
    done = bring(database, {(one, "7"): A, (one, "8"): B, (two, "7"): B})
    assert (done.added, done.updated, done.removed, len(done.affected)) == (3, 0, 0, 2)
    assert primaries(database) == {(one, "7"), (two, "7")}
    values = images(database)[one, "7"]
    assert {**A.values("7"), "metadata": {"original_file": {}}}.items() <= dict(
        zip(product_image.c.keys(), values, strict=True)
    ).items()


def test_a_second_time_nothing_is_written(database: sa.Engine, products: list[int]) -> None:
    wanted = {(product, str(number)): B for product in products for number in range(3)}
    bring(database, wanted)
    before = images(database)
    done = bring(database, wanted)
    assert (done.added, done.updated, done.kept, done.affected) == (0, 0, 15, frozenset())
    assert images(database) == before


def test_only_rows_that_are_written_move_last_synced_and_ids_stay(database: sa.Engine, products: list[int]) -> None:
    one, two, *_ = products
    bring(database, {(one, "7"): A, (one, "8"): B, (one, "9"): B, (two, "7"): B})
    before = images(database, "id", "last_synced")
    bring(database, {(one, "7"): A, (one, "8"): Picture(2, version="2"), (one, "9"): B, (two, "7"): B})
    after = images(database, "id", "last_synced")
    assert {at for at in before if after[at] != before[at]} == {(one, "8")}
    assert after[one, "8"][0] == before[one, "8"][0]


def test_a_better_image_takes_over_as_primary_and_the_old_one_is_written_too(
    database: sa.Engine, products: list[int]
) -> None:
    one = products[0]
    bring(database, {(one, "7"): B, (one, "9"): Picture(4)})
    before = images(database, "last_synced")
    bring(database, {(one, "7"): B, (one, "8"): A, (one, "9"): Picture(4)})
    after = images(database, "last_synced")
    assert primaries(database) == {(one, "8")}
    assert {at for at in before if after[at] != before[at]} == {(one, "7")}


def test_when_the_primary_goes_the_next_in_order_takes_over(database: sa.Engine, products: list[int]) -> None:
    one = products[0]
    bring(database, {(one, "7"): A, (one, "8"): Picture(2, newest=1), (one, "9"): Picture(2, newest=5)})
    done = bring(database, {(one, "8"): Picture(2, newest=1), (one, "9"): Picture(2, newest=5)})
    assert (done.removed, done.kept) == (1, 2)
    assert primaries(database) == {(one, "9")}


def test_the_last_image_of_a_product_can_go(database: sa.Engine, products: list[int]) -> None:
    bring(database, {(products[0], "7"): A})
    assert bring(database, {}).removed == 1
    assert images(database) == {}


def test_the_same_picture_under_a_new_id_keeps_its_row_and_its_pin(database: sa.Engine, products: list[int]) -> None:
    one, two, *_ = products
    before_it = {(one, "7"): Picture(2, content="https://media.example.com/a.psd"), (one, "8"): A, (two, "7"): A}
    bring(database, before_it)
    ids = images(database, "id")
    pin_image(database, one, "image_db", "7", "anna")
    pin_image(database, two, "image_db", "7", "anna")
    done = bring(
        database, {(one, "70"): Picture(2, content="https://media.example.com/a.psd"), (one, "8"): A, (two, "7"): A}
    )
    assert (done.added, done.updated, done.removed) == (0, 1, 0)
    assert images(database, "id") == {(one, "70"): ids[one, "7"], (one, "8"): ids[one, "8"], (two, "7"): ids[two, "7"]}
    assert pinned(database, products) == {one: ("image_db", "70"), two: ("image_db", "7")}
    assert primaries(database) == {(one, "70"), (two, "7")}


@pytest.mark.parametrize("force", [False, True])
def test_a_pin_survives_updates_additions_and_force(database: sa.Engine, products: list[int], force: bool) -> None:
    one = products[0]
    bring(database, {(one, "7"): A, (one, "8"): B})
    pin_image(database, one, "image_db", "8", "anna")
    bring(database, {(one, "7"): Picture(1, version="2"), (one, "8"): Picture(2, version="2"), (one, "9"): A})
    done = plan(
        database, {(one, "7"): Picture(1, version="2"), (one, "8"): Picture(2, version="2"), (one, "9"): A}, force=force
    ).apply(database)
    assert done.updated == (3 if force else 0)
    assert primaries(database) == {(one, "8")}


@pytest.mark.parametrize("alone", [False, True], ids=["beside others", "as the only image"])
def test_a_pin_is_dormant_while_its_image_is_gone(database: sa.Engine, products: list[int], alone: bool) -> None:
    one = products[0]
    others: Wanted = {} if alone else {(one, "7"): A}
    bring(database, {**others, (one, "8"): B})
    pin_image(database, one, "image_db", "8", "anna")
    bring(database, others)
    assert primaries(database) == set(others)
    assert pinned(database, products) == {one: ("image_db", "8")}
    bring(database, {(one, "7"): A, (one, "8"): B})
    assert primaries(database) == {(one, "8")}


def test_a_product_that_moved_since_the_plan_is_refused_whole_and_the_others_go_on(
    database: sa.Engine, products: list[int]
) -> None:
    one, two, three, *_ = products
    bring(database, {(one, "7"): A, (two, "7"): A})
    wanted = {(product, "7"): Picture(1, version="2") for product in (one, two)} | {(one, "8"): B, (three, "7"): A}
    stored = plan(database, wanted)
    bring(database, {(one, "7"): A, (one, "9"): B, (two, "7"): A})
    before = images(database)
    done = stored.apply(database)
    assert (done.added, done.updated, done.refused, done.refused_in) == (1, 1, 2, {str(one)})
    assert "plan again" in done.errors[0]
    after = images(database)
    assert {at: values for at, values in after.items() if at[0] == one} == {
        at: values for at, values in before.items() if at[0] == one
    }


def test_a_product_that_came_to_have_images_since_the_plan_is_refused(database: sa.Engine, products: list[int]) -> None:
    stored = plan(database, {(products[0], "7"): A})
    bring(database, {(products[0], "8"): A})
    assert stored.apply(database).refused == 1
    assert set(images(database)) == {(products[0], "8")}


@pytest.mark.parametrize("resumed", [False, True])
def test_a_plan_that_was_broken_off_goes_on_where_it_ended(
    database: sa.Engine, products: list[int], resumed: bool
) -> None:
    one, two, three, *_ = products
    bring(database, {(one, "7"): A, (one, "8"): B, (two, "7"): A})
    stored = plan(
        database, {(one, "70"): Picture(1, content="https://media.example.com/7.psd"), (two, "9"): B, (three, "1"): A}
    )
    half = plan(database, {at: picture for at, picture in stored.wanted.items() if at[0] == one} | {(two, "7"): A})
    half.apply(database)
    before = images(database)
    done = stored.apply(database, resumed=resumed)
    assert set(images(database)) == {(one, "70"), (two, "9"), (three, "1")} if resumed else {(one, "70"), (two, "9")}
    assert images(database)[one, "70"] == before[one, "70"]
    assert done.refused == (0 if resumed else 2)


BAD: dict[str, dict[str, Any]] = {
    "a NUL in a text": {"alt_text": "En\0gel"},
    "a URL of 501 characters": {"image_url": "https://media.example.com/" + "x" * 475},
    "no URL": {"image_url": None},
    "metadata that is no JSON": {"metadata": b"{"},
    "a number that is too large": {"width": 2**31},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("rows_per_batch", [1, 1000], ids=["product by product", "all at once"])
def test_a_poisoned_row_fails_alone(
    database: sa.Engine, products: list[int], bad: dict[str, Any], rows_per_batch: int
) -> None:
    one, two, three, four, _ = products
    bring(database, {(one, "1"): B, (one, "2"): B})
    wanted = {
        (one, "1"): Picture(2, version="2"),
        (one, "3"): Picture(1, more=bad),
        (one, "4"): A,
        (two, "3"): Picture(1, more=bad),
        (three, "3"): A,
        (four, "3"): A,
    }
    done = plan(database, wanted).apply(database, rows_per_batch)
    assert (done.added, done.updated, done.removed, done.failed) == (3, 1, 1, 2)
    assert set(images(database)) == {(one, "1"), (one, "4"), (three, "3"), (four, "3")}
    assert primaries(database) == {(one, "4"), (three, "3"), (four, "3")}
    held = QuarantineTable(database, "image_db").list()
    assert {(entry.key, entry.group) for entry in held} == {(f"{one}/3", str(one)), (f"{two}/3", str(two))}
    assert all(entry.reason and "INSERT" not in entry.reason and "COPY" not in entry.reason for entry in held)
    again = bring(database, {at: A if picture.more else picture for at, picture in wanted.items()})
    assert (again.added, again.failed) == (2, 0)
    assert QuarantineTable(database, "image_db").list() == []


def test_an_image_of_no_product_costs_nobody_else(database: sa.Engine, products: list[int]) -> None:
    done = bring(database, {(products[0], "7"): A, (10**6, "7"): A})
    assert (done.added, done.failed) == (1, 1)
    assert set(images(database)) == {(products[0], "7")}


def test_many_products_in_one_batch_and_in_many_give_the_same(database: sa.Engine) -> None:
    products = add_products(database, 40)
    wanted = {
        (product, str(number)): Picture(1 + (product + number) % 4, newest=number % 3)
        for product in products
        for number in range(product % 5)
    }
    done = plan(database, wanted).apply(database, rows_per_batch=1000)
    at_once = primaries(database)
    bring(database, {})
    assert plan(database, wanted).apply(database, rows_per_batch=7) == done
    assert primaries(database) == at_once
    assert {product for product, _ in at_once} == {product for product, _ in wanted}


def test_current_is_what_is_there_also_when_that_is_nothing(database: sa.Engine, products: list[int]) -> None:
    one, two, *_ = products
    bring(database, {(one, "7"): A, (two, "8"): B})
    frame = read_current(database, "image_db")
    assert frame.sort_values("key").drop(columns="position").to_numpy().tolist() == [
        [f"{one}/7", str(one), A.fingerprint()],
        [f"{two}/8", str(two), B.fingerprint()],
    ]
    asked = pd.Series([f"{two}/8", f"{two}/gone since"], index=[5, 3], dtype="str")
    contents = read_contents(database, "image_db", asked)
    assert contents.dropna().to_dict() == {5: "https://media.example.com/8.psd"}
    assert list(contents.index) == [5, 3]
    assert frame["position"].isna().all()
    empty = read_current(database, "folder")
    assert empty.empty
    pd.testing.assert_series_equal(empty.dtypes, frame.dtypes)


WRONG = {
    "none": "UPDATE imagesync.product_image SET is_primary = false",
    "another one": "UPDATE imagesync.product_image SET is_primary = external_id = '9' WHERE product_id = :product",
    "the primary deleted": "DELETE FROM imagesync.product_image WHERE is_primary AND product_id = :product",
}


@pytest.mark.parametrize("statement", WRONG.values(), ids=WRONG.keys())
def test_what_somebody_elses_hand_did_to_primaries_is_repaired(
    database: sa.Engine, products: list[int], statement: str
) -> None:
    one, two, *_ = products
    bring(database, {(one, "7"): A, (one, "8"): B, (one, "9"): B, (two, "7"): A, (two, "8"): B})
    pin_image(database, one, "image_db", "8", "anna")
    with database.begin() as connection:
        connection.execute(sa.text(statement), {"product": one} if ":product" in statement else {})
    assert repair_primaries(database) == (2 if "WHERE" not in statement else 1)
    gone = (one, "8") not in images(database)
    assert primaries(database) == {(one, "7" if gone else "8"), (two, "7")}
    before = images(database)
    assert repair_primaries(database) == 0
    assert images(database) == before


def test_only_products_that_another_hand_wrote_are_looked_at(database: sa.Engine, products: list[int]) -> None:
    one, two, *_ = products
    bring(database, {(one, "7"): A, (one, "8"): B, (two, "7"): A})
    bring(database, {(one, "8"): A, (two, "7"): Picture(1, version="2")})
    pin_image(database, one, "image_db", "8", "anna")
    assert to_check(database) == set()
    with statements_of(database) as seen:
        assert repair_primaries(database) == 0
    assert seen == ["DELETE FROM imagesync.primary_to_check RETURNING product_id"]
    with database.begin() as connection:
        connection.execute(sa.update(product_image).where(product_image.c.product_id == two).values(alt_text="x"))
    assert to_check(database) == {two}
    assert repair_primaries(database) == 0
    assert to_check(database) == set()


def test_an_image_that_a_hand_moves_to_another_product_is_seen_on_both(
    database: sa.Engine, products: list[int]
) -> None:
    one, two, *_ = products
    bring(database, {(one, "7"): A, (one, "8"): B})
    with database.begin() as connection:
        moved = sa.update(product_image).where(product_image.c.external_id == "7")
        connection.execute(moved.values(product_id=two, is_primary=False))
    assert repair_primaries(database) == 2
    assert primaries(database) == {(one, "8"), (two, "7")}


def test_a_hand_that_lets_go_while_a_run_looks_is_seen_by_the_next_one(
    database: sa.Engine, products: list[int]
) -> None:
    one, *_ = products
    bring(database, {(one, "7"): A})
    with database.begin() as connection:
        connection.execute(sa.text(WRONG["none"]))
        assert repair_primaries(database) == 0
    assert repair_primaries(database) == 1


def test_after_a_restore_every_product_is_looked_at_once(database: sa.Engine, products: list[int]) -> None:
    one, two, *_ = products
    bring(database, {(one, "7"): A, (two, "7"): A})
    with database.begin() as connection:
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        connection.execute(sa.text(WRONG["none"]))
    assert repair_primaries(database) == 0
    note_restored(database, 1)
    assert repair_primaries(database) == 2


def to_check(database: sa.Engine) -> set[int]:
    with database.connect() as connection:
        return set(connection.scalars(sa.select(primary_to_check.c.product_id)))


@contextmanager
def statements_of(database: sa.Engine) -> Iterator[list[str]]:
    """What is executed inside the `with` block."""
    seen: list[str] = []

    def note(*told: Any) -> None:
        seen.append(told[2])

    sa.event.listen(database, "before_cursor_execute", note)
    yield seen
    sa.event.remove(database, "before_cursor_execute", note)


@pytest.mark.parametrize("groups", [[], [None, None], [1, 2, 3, 4], [4, None, 4, 9], [1, 2, 3]])
@pytest.mark.parametrize("pieces", [[4], [2, 2], [0, 4]])
def test_rows_are_labelled_by_their_products_whatever_the_plan_has_and_however_products_came(
    groups: list[int | None], pieces: list[int]
) -> None:
    """A plan without any product, and one of all products of a table that came in several pieces, too."""
    columns = {"id": [1, 2, 3, 4], "sku": ["a", "b", "c", "d"], "name": ["A", "B", "C", "D"]}
    whole, first = pa.table(columns), 0
    parts = []
    for length in pieces:
        parts.append(whole.slice(first, length))
        first += length
    labels = labels_of(pd.Series(groups, dtype="Int64"), frame_of(pa.concat_tables(parts)))
    names = {1: "a A", 2: "b B", 3: "c C", 4: "d D"}
    assert [None if pd.isna(label) else label for label in labels] == [names.get(group or 0) for group in groups]
