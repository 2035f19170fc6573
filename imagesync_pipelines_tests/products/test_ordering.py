"""Pictures in a person's order: which it is, what follows it, and that a plan of it is looked at first."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.products import ordering
from imagesync_pipelines.products.kept_exports import write_exports
from imagesync_pipelines.products.ordering import Arrange, Order, by_hand, by_rule, carry_out, plan_orders
from imagesync_pipelines.products.orders import order_of, renamed
from imagesync_pipelines.products.past import images_at
from imagesync_pipelines.products.pins_by_rule import Picture as Looked
from imagesync_pipelines.products.primaries import pin_image, repair_primaries, unpin_image
from imagesync_pipelines.products.showing import images_of
from imagesync_pipelines.products.undoing import undo_choice
from imagesync_pipelines.storage.effects import Effect, effects_of_group
from imagesync_pipelines.storage.schema import picture_order, product
from imagesync_pipelines.storage.schema_catalogue import shown_image
from imagesync_pipelines_tests.products.rows import Picture, add_products, bring, images, primaries

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE = Looked(1, 7, "image_db", "9", 1, NOON, True, True, None, None, "Produktfoto")
SCENE = replace(ONE, id=2, external_id="10", priority=4, is_front=False, image_type="Szene")
DETAIL = replace(SCENE, id=3, external_id="8", priority=5, image_type=" detailfoto ", newest_export=NOON + timedelta(1))
OTHER = replace(SCENE, id=4, source="folder", external_id="a/7²-2.jpg", image_type="", newest_export=None)
LATER = replace(OTHER, id=5, external_id="a/7²-10.jpg")
A, B, C = Picture(1), Picture(2), Picture(3)


@pytest.mark.parametrize(
    ("arrange", "expected"),
    [
        (by_rule("types"), [1, 3, 2, 5, 4]),
        (by_rule("types", [" szene ", "Szene", "", "front"]), [2, 1, 5, 4, 3]),
        (by_rule("newest"), [3, 1, 2, 5, 4]),
        (by_rule("number"), [3, 1, 2, 4, 5]),
        (by_rule("rules"), []),
        (by_hand([5, 3, 99]), [5, 3, 1, 2, 4]),
        (by_hand([]), [1, 2, 3, 4, 5]),
    ],
)
def test_the_orders_that_rules_and_people_give(arrange: Arrange, expected: list[int]) -> None:
    assert [one.id for one in arrange([ONE, SCENE, DETAIL, OTHER, LATER])] == expected


def test_no_rule_looks_at_the_order_that_a_person_gave() -> None:
    pictures = [replace(one, place=at) for at, one in enumerate([LATER, SCENE, ONE])]
    for rule in ordering.RULES:
        assert [one.id for one in by_rule(rule)(pictures)] == [one.id for one in by_rule(rule)([ONE, SCENE, LATER])]


def test_renamed_pictures_keep_their_places() -> None:
    assert renamed(["x/1", "x/2", "x/3"], {"x/1": "x/2", "x/2": "x/1"}) == ["x/2", "x/1", "x/3"]
    assert renamed(["x/1", "x/2"], {"x/1": "x/2"}) == ["x/2"], "the one that was called so is gone"


def shown(database: sa.Engine, product: int) -> list[str]:
    with database.connect() as connection:
        return [image.external_id for image in images_of(connection, [product]).get(product, [])]


def planned(database: sa.Engine, products: Sequence[int], arrange: Arrange) -> list[Order]:
    with database.connect() as connection:
        return plan_orders(connection, products, arrange)


def ordered(database: sa.Engine, product: int, external_ids: Sequence[str], who: str = "anna") -> tuple[int, int]:
    """Put the pictures of a product in order, as who looked at the plan does."""
    by_name = {name: number for (one, name), number in images(database, "id").items() if one == product}
    arrange = by_hand([by_name[one] for one in external_ids])
    looked_at = [(one.product_id, one.stamp) for one in planned(database, [product], arrange)]
    return carry_out(database, looked_at, arrange, who)


def released(database: sa.Engine, product: int) -> None:
    arrange = by_rule("rules")
    looked_at = [(one.product_id, one.stamp) for one in planned(database, [product], arrange)]
    assert carry_out(database, looked_at, arrange, "ben") == (1, 0)


def kept(database: sa.Engine) -> dict[int, tuple[list[str], str]]:
    with database.connect() as connection:
        rows = connection.execute(sa.select(picture_order))
        return {row.product_id: (row.pictures, row.ordered_by) for row in rows}


def told(database: sa.Engine, product: int) -> list[Effect]:
    return effects_of_group(database, "image_db", "", str(product))


def test_a_persons_order_stays_whatever_is_brought_until_it_is_released(database: sa.Engine) -> None:
    one, other = add_products(database, 2)
    whole = {(one, "7"): A, (one, "8"): B, (one, "9"): C, (other, "7"): A, (other, "8"): B}
    bring(database, whole)
    assert ordered(database, one, ["9", "7", "8"]) == (1, 0)
    assert (shown(database, one), shown(database, other)) == (["9", "7", "8"], ["7", "8"])
    assert primaries(database) == {(one, "9"), (other, "7")}
    before = images(database, "last_synced")
    bring(database, whole, force=True)
    bring(database, {**whole, (one, "5"): Picture(1, version="2")})
    assert shown(database, one) == ["9", "7", "8", "5"], "what comes later stands behind"
    assert images(database, "is_primary")[one, "9"]
    bring(database, {at: picture for at, picture in whole.items() if at != (one, "9")})
    assert (shown(database, one), primaries(database)) == (["7", "8"], {(one, "7"), (other, "7")})
    bring(database, whole)
    assert shown(database, one) == ["9", "7", "8"], "and one that returns has its place"
    assert repair_primaries(database) == 0
    pin_image(database, one, "image_db", "8", "ben")
    assert shown(database, one) == ["8", "9", "7"], "a pin is stronger"
    bring(database, whole, force=True)
    assert shown(database, one) == ["8", "9", "7"]
    unpin_image(database, one, "ben")
    assert primaries(database) == {(one, "9"), (other, "7")}
    released(database, one)
    assert (shown(database, one), kept(database)) == (["7", "8", "9"], {})
    assert images(database, "last_synced").keys() == before.keys()


def test_a_renamed_picture_keeps_its_place(database: sa.Engine) -> None:
    [one] = add_products(database, 1)
    same = replace(B, content="https://media.example.com/same.psd")
    bring(database, {(one, "7"): A, (one, "8"): same})
    ordered(database, one, ["8", "7"])
    bring(database, {(one, "7"): A, (one, "9"): same})
    assert (shown(database, one), primaries(database)) == (["9", "7"], {(one, "9")})
    assert kept(database) == {one: (["image_db/9", "image_db/7"], "anna")}


def test_a_plan_says_what_each_product_gets_and_what_moved_since_is_left_alone(database: sa.Engine) -> None:
    products = add_products(database, 5)
    bring(database, {**{(one, name): A for one in products[:3] for name in ("7", "8", "9")}, (products[3], "7"): A})
    ordered(database, products[2], ["9", "8", "7"], "ben")
    arrange: Arrange = lambda pictures: sorted(pictures, key=lambda one: one.external_id, reverse=True)  # noqa: E731
    plans = planned(database, products, arrange)
    assert [(one.why, one.moves, one.ordered_by) for one in plans] == [
        ("", True, ""),
        ("", True, ""),
        ("they are in this order already", False, "ben"),
        ("it has one picture", False, ""),
        ("it has no picture of its own", False, ""),
    ]
    assert set(kept(database)) == {products[2]}
    pin_image(database, products[1], "image_db", "8", "carl")
    looked_at = [(one.product_id, one.stamp) for one in plans]
    assert carry_out(database, looked_at, arrange, "anna") == (1, 1)
    assert [shown(database, one) for one in products[:3]] == [["9", "8", "7"], ["8", "7", "9"], ["9", "8", "7"]]
    assert carry_out(database, looked_at, arrange, "anna") == (0, 2), "the same page sent again"


def test_an_order_is_in_the_history_is_taken_back_and_brought_back(database: sa.Engine) -> None:
    [one] = add_products(database, 1)
    bring(database, {(one, "7"): A, (one, "8"): B, (one, "9"): C})
    ordered(database, one, ["9", "7", "8"])
    ordered(database, one, ["9", "8", "7"], "ben")
    first, second = told(database, one)[1:]
    assert [(row.change, row.key) for row in first.rows] == [
        ("order", f"{one}/9"), ("primary", f"{one}/7"), ("primary", f"{one}/9")
    ]  # fmt: skip
    assert (second.by.person, [row.change for row in second.rows]) == ("ben", ["order"])
    assert undo_choice(database, "0", "carl") == "0: its pictures have their earlier order again"
    assert shown(database, one) == ["9", "7", "8"]
    undo_choice(database, "0", "carl")
    assert shown(database, one) == ["9", "8", "7"]
    released(database, one)
    with database.connect() as connection:
        assert order_of(connection, one) == []
        assert first.at is not None
        assert second.at is not None
        for at, expected in ((first.at, ["9", "7", "8"]), (second.at, ["9", "8", "7"])):
            there = images_at(connection, ["image_db"], one, at)
            assert [image["external_id"] for image in there] == expected
    assert undo_choice(database, "0", "carl") == "0: its pictures have their earlier order again"
    assert shown(database, one) == ["9", "8", "7"]


def test_everything_that_shows_the_pictures_is_told_of_an_order(database: sa.Engine, tmp_path: Path) -> None:
    [one] = add_products(database, 1)
    with database.begin() as connection:
        values = {"kind": "variant", "erp_id": "x", "sku": "x", "base_sku": "0"}
        borrower = connection.execute(product.insert().values(**values).returning(product.c.id)).scalar_one()
    bring(database, {(one, "7"): A, (one, "8"): B, (one, "9"): C})

    def moments() -> dict[int, datetime]:
        with database.connect() as connection:
            query = sa.select(shown_image.c.product_id, shown_image.c.changed_at)
            return {row.product_id: row.changed_at for row in connection.execute(query)}

    write_exports(database, UPath(tmp_path))
    before = moments()
    ordered(database, one, ["7", "9", "8"])
    after = moments()
    assert {of for of in after if after[of] > before[of]} == {one, borrower}
    assert write_exports(database, UPath(tmp_path)).anew
    assert not write_exports(database, UPath(tmp_path)).anew


def test_an_order_that_somebody_elses_hand_wrote_is_heeded_by_the_next_run(database: sa.Engine) -> None:
    [one] = add_products(database, 1)
    bring(database, {(one, "7"): A, (one, "8"): B})
    with database.begin() as connection:
        values = {"product_id": one, "pictures": ["image_db/8"], "ordered_by": "x"}
        connection.execute(picture_order.insert().values(**values))
    assert (repair_primaries(database), primaries(database)) == (1, {(one, "8")})
    assert repair_primaries(database) == 0
