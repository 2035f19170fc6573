"""What the history says of product images: all that was done, in the transaction that did it, and nothing else."""

from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesync_pipelines.products.past import images_at
from imagesync_pipelines.products.primaries import pin_image, repair_primaries, unpin_image
from imagesync_pipelines.storage.effects import Author, Effect, EffectRow, effects_of_group
from imagesync_pipelines.storage.schema_effects import effect
from imagesync_pipelines_tests.products.rows import Picture, Wanted, add_products, bring, images, plan
from imagesync_pipelines_tests.products.test_applying_histories import PRODUCTS, pictures, places

A, B = Picture(1), Picture(2)
BAD = Picture(1, more={"alt_text": "En\0gel"})
RUN = Author("run 1", plan_id=7)


@pytest.fixture
def products(database: sa.Engine) -> list[int]:
    return add_products(database, 3)


def told(database: sa.Engine, product: int, source: str = "image_db") -> list[Effect]:
    return effects_of_group(database, source, "", str(product))


def said(row: EffectRow) -> tuple[str, str, str | None, Any]:
    """The image, what became of it, its id before, and whether it was the primary before."""
    before = None if row.before is None else row.before.get("is_primary")
    return row.key.partition("/")[2], row.change, row.key_before and row.key_before.partition("/")[2], before


def count(database: sa.Engine) -> int:
    with database.connect() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(effect)) or 0)


def test_each_product_of_a_batch_has_one_effect_with_its_rows(database: sa.Engine, products: list[int]) -> None:
    one, two, _ = products
    bring(database, {(one, "7"): A, (one, "8"): B, (two, "7"): B})
    assert count(database) == 2
    assert [[said(row) for row in done.rows] for done in told(database, one)] == [
        [("7", "add", None, None), ("8", "add", None, None)]
    ]
    row = told(database, one)[0].rows[0]
    assert (row.reason, row.fingerprint_after, row.before) == ("new", A.fingerprint(), None)


def test_the_row_as_it_was_is_kept_with_whoever_changed_it(database: sa.Engine, products: list[int]) -> None:
    one = products[0]
    bring(database, {(one, "7"): A, (one, "8"): B})
    names = ("id", "image_url", "fingerprint", "metadata", "width", "is_primary", "matched_by")
    before = images(database, *names)
    plan(database, {(one, "7"): Picture(1, version="2")}).apply(database, by=RUN)
    done = told(database, one)[-1]
    assert done.by == RUN
    assert [said(row) for row in done.rows] == [("7", "update", "7", True), ("8", "remove", "8", False)]
    for row in done.rows:
        assert row.before is not None
        assert tuple(row.before[name] for name in names) == before[one, row.key.partition("/")[2]]
        assert not {"product_id", "source"} & row.before.keys()


def test_a_rename_a_pin_that_goes_with_it_and_primaries_that_moved(database: sa.Engine, products: list[int]) -> None:
    one, two, _ = products
    same = Picture(2, content="https://media.example.com/a.psd")
    bring(database, {(one, "7"): same, (one, "8"): A, (two, "7"): B, (two, "8"): Picture(3)})
    pin_image(database, one, "image_db", "7", "anna")
    pin_image(database, two, "image_db", "7", "anna")
    bring(database, {(one, "70"): same, (one, "8"): A, (two, "8"): Picture(3)})
    assert [said(row) for row in told(database, one)[-1].rows] == [
        ("70", "update", "7", True), ("70", "pin_moved", "7", None)
    ]  # fmt: skip
    assert [said(row) for row in told(database, two)[-1].rows] == [
        ("7", "remove", "7", True), ("7", "pin_dormant", None, None), ("8", "primary", None, False)
    ]  # fmt: skip


def test_an_image_of_another_connector_that_is_no_longer_primary_is_named_as_its(
    database: sa.Engine, products: list[int]
) -> None:
    one = products[0]
    bring(database, {(one, "7"): B})
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE imagesync.product_image SET source = 'folder'"))
    bring(database, {(one, "7"): A})
    flip = told(database, one)[-1].rows[-1]
    assert (flip.change, flip.before) == ("primary", {"is_primary": True, "source": "folder"})


def test_a_second_time_nothing_is_noted_and_nothing_is_said_to_the_database(
    database: sa.Engine, products: list[int]
) -> None:
    wanted = {(product, "7"): A for product in products}
    bring(database, wanted)
    again, seen = plan(database, wanted), list[str]()
    sa.event.listen(database, "before_cursor_execute", lambda *given: seen.append(given[2]))
    again.apply(database)
    assert [one for one in seen if "effect" in one or "product_image" in one] == []
    assert count(database) == len(products)


@pytest.mark.parametrize("products_in_it", [1, 3])
def test_a_batch_is_noted_with_no_statement_for_each_of_its_products(
    database: sa.Engine, products: list[int], products_in_it: int
) -> None:
    bring(database, {(product, "7"): A for product in products[:products_in_it]})
    changed = plan(database, {(product, "7"): Picture(1, version="2") for product in products[:products_in_it]})
    seen: list[str] = []
    sa.event.listen(database, "before_cursor_execute", lambda *given: seen.append(given[2]))
    changed.apply(database)
    assert len([one for one in seen if "to_jsonb" in one]) == 1
    assert count(database) == 2 * products_in_it


def test_what_failed_is_not_in_the_history_and_what_was_applied_row_by_row_is_as_if_at_once(
    database: sa.Engine, products: list[int]
) -> None:
    one = products[0]
    bring(database, {(one, "1"): A, (one, "2"): B, (one, "3"): Picture(3)})
    before = images(database, "is_primary")
    plan(database, {(one, "2"): Picture(2, version="2"), (one, "3"): Picture(3), (one, "4"): BAD}).apply(database)
    done = told(database, one)[-1]
    assert [said(row) for row in done.rows] == [("1", "remove", "1", True), ("2", "update", "2", False)]
    with database.connect() as connection:
        assert done.at is not None
        there = images_at(connection, ["image_db"], one, before_it(database, one))
    assert {(one, image["external_id"]): image["is_primary"] for image in there} == before


def before_it(database: sa.Engine, product: int) -> datetime:
    """The moment of the last but one effect."""
    at = told(database, product)[-2].at
    assert at is not None
    return at


def test_what_does_not_come_to_its_end_is_not_in_the_history(database: sa.Engine, products: list[int]) -> None:
    stored = plan(database, {(products[0], "7"): A})
    stop: Any = lambda *given: (_ for _ in ()).throw(sa.exc.OperationalError("COMMIT", None, Exception("gone")))  # noqa: E731
    sa.event.listen(database, "commit", stop)
    with pytest.raises(sa.exc.OperationalError):
        stored.apply(database)
    sa.event.remove(database, "commit", stop)
    assert (images(database), count(database)) == ({}, 0)
    stored.apply(database, resumed=True)
    assert (set(images(database)), count(database)) == ({(products[0], "7")}, 1)
    stored.apply(database, resumed=True)
    assert count(database) == 1


def test_a_choice_is_an_effect_of_that_person_once(database: sa.Engine, products: list[int]) -> None:
    one = products[0]
    bring(database, {(one, "7"): A, (one, "8"): B})
    for _ in range(2):
        pin_image(database, one, "image_db", "8", "anna")
    assert unpin_image(database, one, "bert")
    assert not unpin_image(database, one, "bert")
    _, chosen, left = told(database, one)
    assert (chosen.by, left.by) == (Author(person="anna"), Author(person="bert"))
    assert [said(row) for row in chosen.rows] == [
        ("8", "pin", None, None), ("7", "primary", None, True), ("8", "primary", None, False)
    ]  # fmt: skip
    assert chosen.rows[0].before is None
    assert chosen.rows[0].after == {"source": "image_db", "external_id": "8"}
    pin = left.rows[0].before
    assert pin is not None
    assert (left.rows[0].change, pin["external_id"], pin["pinned_by"]) == ("unpin", "8", "anna")


def test_primaries_that_a_run_repairs_are_effects_of_that_run(database: sa.Engine, products: list[int]) -> None:
    one = products[0]
    bring(database, {(one, "7"): A, (one, "8"): B})
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE imagesync.product_image SET is_primary = false"))
    assert repair_primaries(database, by=RUN) == 1
    assert [(done.by, [said(row) for row in done.rows]) for done in told(database, one)[1:]] == [
        (RUN, [("7", "primary", None, False)])
    ]
    assert repair_primaries(database, by=RUN) == 0
    assert len(told(database, one)) == 2


def gallery(database: sa.Engine) -> dict[int, list[tuple[Any, ...]]]:
    """Every product's images as they are, in no order."""
    found: dict[int, list[tuple[Any, ...]]] = {}
    for (product, external_id), row in images(database, "fingerprint", "is_primary", "original_url", "id").items():
        found.setdefault(product, []).append((external_id, *row))
    return {product: sorted(rows) for product, rows in found.items()}


wholes = st.dictionaries(places, st.one_of(pictures, pictures, st.just(BAD)), max_size=8)
syncs = st.tuples(st.just("sync"), wholes, st.sampled_from([1, 1000]))
histories = st.lists(
    st.one_of(
        syncs, syncs, st.tuples(st.just("pin"), places), st.tuples(st.just("unpin"), st.integers(0, PRODUCTS - 1))
    ),
    min_size=1,
    max_size=7,
)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(history=histories)
def test_the_gallery_as_of_every_commit_is_what_was_there_then(database: sa.Engine, history: list[Any]) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("TRUNCATE imagesync.product_image, imagesync.pin, imagesync.product CASCADE"))
    products = add_products(database, PRODUCTS)
    kept: list[tuple[datetime, dict[int, list[tuple[Any, ...]]]]] = []
    for kind, *what in history:
        if kind == "sync":
            wanted: Wanted = {(products[product], one): picture for (product, one), picture in what[0].items()}
            plan(database, wanted).apply(database, rows_per_batch=what[1])
        elif kind == "pin":
            at = (products[what[0][0]], what[0][1])
            if at in images(database):
                pin_image(database, at[0], "image_db", at[1], "anna")
        else:
            unpin_image(database, products[what[0]], "anna")
        with database.connect() as connection:
            now = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
        kept.append((now, gallery(database)))
    names = ("external_id", "fingerprint", "is_primary", "original_url", "id")
    for moment, there in kept:
        with database.connect() as connection:
            found = {one: images_at(connection, ["image_db"], one, moment) for one in products}
        told_then = {
            one: sorted(tuple(image[name] for name in names) for image in rows) for one, rows in found.items() if rows
        }
        assert told_then == there
