"""Primary pictures chosen by a rule: which one it is, the plan of it, and carrying that out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.products.pins_by_rule import UNPIN, Choice, Picture, carry_out, chosen, plan_choices
from imagesync_pipelines.products.primaries import pin_image
from imagesync_pipelines.storage.effects import effects_of_group
from imagesync_pipelines.storage.schema import pin, product, product_image

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST = Picture(1, 7, "image_db", "1", 1, NOON, is_front=False, is_primary=True, width=600, height=600)
FRONT = replace(FIRST, id=2, external_id="2", priority=3, is_front=True, is_primary=False)
LARGE = replace(FIRST, id=3, external_id="3", priority=4, width=4000, height=2000, is_primary=False)
NEW = replace(FIRST, id=4, external_id="4", priority=4, newest_export=NOON + timedelta(days=1), is_primary=False)
BARE = replace(FIRST, id=5, external_id="5", priority=5, newest_export=None, width=None, height=None, is_primary=False)
LATER_FRONT = replace(FRONT, id=6, external_id="6", priority=4)


@pytest.mark.parametrize(
    ("rule", "pictures", "id"),
    [
        ("front", [FIRST, LATER_FRONT, FRONT, LARGE], 2),
        ("front", [FIRST, LARGE], None),
        ("largest", [BARE, FIRST, FRONT, LARGE, NEW], 3),
        ("largest", [FRONT, FIRST, BARE], 1),
        ("newest", [FIRST, BARE, NEW, LARGE], 4),
        ("newest", [BARE], 5),
        ("newest", [], None),
    ],
)
def test_a_rule_chooses_one_picture_whatever_their_order(rule: str, pictures: list[Picture], id: int | None) -> None:
    for order in (pictures, pictures[::-1]):
        found = chosen(order, rule)
        assert (found.id if found else None) == id


class Shop:
    """Products with pictures, by SKU."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine, self.ids = engine, dict[str, int]()

    def product(self, sku: str, *pictures: dict[str, Any]) -> None:
        with self.engine.begin() as connection:
            new = product.insert().values(kind="variant", erp_id=sku, sku=sku, name=f"No {sku}").returning(product.c.id)
            self.ids[sku] = connection.execute(new).scalar_one()
            for number, picture in enumerate(pictures):
                values = {"external_id": str(number), "image_url": "u", "priority": number, "is_primary": number == 0}
                connection.execute(product_image.insert().values(product_id=self.ids[sku], **{**values, **picture}))

    def primary(self, sku: str) -> str:
        image = product_image.c
        query = sa.select(image.external_id).where(image.product_id == self.ids[sku], image.is_primary)
        with self.engine.connect() as connection:
            return str(connection.execute(query).scalar_one())

    def pins(self) -> dict[int, str]:
        with self.engine.connect() as connection:
            return {row.product_id: row.pinned_by for row in connection.execute(sa.select(pin))}


@pytest.fixture
def shop(database: sa.Engine) -> Shop:
    """Three products with a front that is not the primary picture, one without any picture, one without a front."""
    made, front = Shop(database), {"is_front": True}
    for sku in ("1", "2", "3"):
        made.product(sku, {}, front)
    made.product("4")
    made.product("5", {})
    return made


def asked(choices: list[Choice]) -> list[tuple[int, int | None, int | None, int]]:
    return [(one.product_id, one.before, one.after, one.stamp) for one in choices if not one.why]


def test_a_plan_says_what_each_product_gets_or_why_it_stays(shop: Shop) -> None:
    pin_image(shop.engine, shop.ids["2"], "image_db", "0", "ben")
    pin_image(shop.engine, shop.ids["3"], "image_db", "1", "ben")
    before = shop.pins()
    choices = plan_choices(shop.engine, list(shop.ids.values()), "front")
    assert [(one.sku, one.pinned_by, one.why) for one in choices] == [
        ("1", "", ""),
        ("2", "ben", ""),
        ("3", "ben", "it is chosen already"),
        ("4", "", "it has no picture of its own"),
        ("5", "", "it has no front view"),
    ]
    assert shop.pins() == before


def test_what_was_looked_at_is_chosen_in_a_persons_name_and_what_moved_is_left_alone(shop: Shop) -> None:
    choices = asked(plan_choices(shop.engine, list(shop.ids.values()), "front"))
    pin_image(shop.engine, shop.ids["2"], "image_db", "1", "ben")
    with shop.engine.begin() as connection:
        gone = (product_image.c.product_id == shop.ids["3"]) & (product_image.c.external_id == "1")
        connection.execute(product_image.delete().where(gone))
    assert carry_out(shop.engine, choices, "anna") == (1, 2)
    assert [shop.primary(sku) for sku in "123"] == ["1", "1", "0"]
    assert shop.pins() == {shop.ids["1"]: "anna", shop.ids["2"]: "ben"}
    told = [row.change for one in effects_of_group(shop.engine, "image_db", "", str(shop.ids["1"])) for row in one.rows]
    assert "pin" in told
    assert asked(plan_choices(shop.engine, [shop.ids["1"]], "front")) == []


@pytest.mark.parametrize("replaced", ["0", "1"])
def test_a_picture_that_was_replaced_since_is_not_the_one_that_was_looked_at(shop: Shop, replaced: str) -> None:
    choices = asked(plan_choices(shop.engine, [shop.ids["1"], shop.ids["2"]], "front"))
    with shop.engine.begin() as connection:
        its = (product_image.c.product_id == shop.ids["1"]) & (product_image.c.external_id == replaced)
        connection.execute(product_image.update().where(its).values(newest_export=NOON))
    assert carry_out(shop.engine, choices, "anna") == (1, 1)
    assert [shop.primary(sku) for sku in "12"] == ["0", "1"]


def test_the_rules_choose_again_where_somebody_had_chosen(shop: Shop) -> None:
    pin_image(shop.engine, shop.ids["1"], "image_db", "1", "ben")
    choices = plan_choices(shop.engine, list(shop.ids.values()), UNPIN)
    assert [one.sku for one in choices if not one.why] == ["1"]
    assert carry_out(shop.engine, asked(choices), "anna") == (1, 0)
    assert (shop.primary("1"), shop.pins()) == ("0", {})
