"""The images that are shown for a list of products: the fallback between numbers, the order, the number of queries."""

import pytest
import sqlalchemy as sa

from imagesync_pipelines.products.showing import image_owners, images_of
from imagesync_pipelines.storage.schema import product, product_image

PARENT, OWN, BARE, LONE, OLD, CHILDLESS = 1, 2, 3, 4, 5, 6

PRODUCTS = (
    {"id": PARENT, "kind": "parent", "sku": "100000", "parent_id": None, "base_sku": None},
    {"id": OWN, "kind": "variant", "sku": "200001", "parent_id": PARENT, "base_sku": "11400"},
    {"id": BARE, "kind": "variant", "sku": "200002", "parent_id": PARENT, "base_sku": "11400"},
    {"id": LONE, "kind": "variant", "sku": "200003", "parent_id": None, "base_sku": "200003"},
    {"id": OLD, "kind": "variant", "sku": "200004", "parent_id": None, "base_sku": "200001"},
    {"id": CHILDLESS, "kind": "parent", "sku": "100001", "parent_id": None, "base_sku": None},
)


@pytest.fixture
def shop(database: sa.Engine) -> sa.Engine:
    """A few products; images are added by the tests."""
    with database.begin() as connection:
        for row in PRODUCTS:
            connection.execute(product.insert().values(**row, erp_id=str(row["id"]), name=f"Product {row['id']}"))
    return database


def add_image(engine: sa.Engine, product_id: int, external_id: str, **values: object) -> None:
    row = {"image_url": f"https://media.example/{external_id}.jpg", "priority": 4, **values}
    with engine.begin() as connection:
        connection.execute(product_image.insert().values(product_id=product_id, external_id=external_id, **row))


def ids(engine: sa.Engine, product_id: int, **options: bool) -> list[str]:
    with engine.connect() as connection:
        owner = image_owners(connection, [product_id], **options)[product_id]
        return [image.external_id for image in images_of(connection, [owner]).get(owner, [])] if owner else []


@pytest.mark.parametrize(
    ("on", "asked", "own_first", "expected"),
    [
        pytest.param([PARENT, OWN], OWN, False, PARENT, id="a variant shows its parent's images first"),
        pytest.param([PARENT, OWN], OWN, True, OWN, id="the setting puts its own images first"),
        pytest.param([OWN], OWN, False, OWN, id="its own when the parent has none"),
        pytest.param([PARENT], BARE, True, PARENT, id="the parent's when it has none of its own"),
        pytest.param([OWN], PARENT, False, None, id="a parent never shows a variant's images"),
        pytest.param([LONE], LONE, False, LONE, id="a variant without parent shows its own"),
        pytest.param([OWN], OLD, False, OWN, id="a variant without parent falls back to its base SKU"),
        pytest.param([OWN, OLD], OLD, False, OWN, id="and tries its base SKU before its own"),
        pytest.param([], CHILDLESS, False, None, id="a product without images shows none"),
    ],
)
def test_the_first_number_that_has_images_gives_them(
    shop: sa.Engine, on: list[int], asked: int, own_first: bool, expected: int | None
) -> None:
    for product_id in on:
        add_image(shop, product_id, f"image of {product_id}")
    assert ids(shop, asked, own_images_first=own_first) == ([f"image of {expected}"] if expected else [])


def test_trap_13_a_whole_list_is_answered_from_one_set_of_numbers_with_images(shop: sa.Engine) -> None:
    everything = [PARENT, OWN, BARE, LONE, OLD, CHILDLESS]
    for product_id in (OWN, LONE):
        add_image(shop, product_id, f"image of {product_id}")
    with shop.connect() as connection:
        owners = image_owners(connection, everything)
    assert owners == {PARENT: None, OWN: OWN, BARE: None, LONE: LONE, OLD: OWN, CHILDLESS: None}
    add_image(shop, PARENT, "image of the parent")
    with shop.connect() as connection:
        owners = image_owners(connection, everything)
        own_first = image_owners(connection, everything, own_images_first=True)
    assert owners == {PARENT: PARENT, OWN: PARENT, BARE: PARENT, LONE: LONE, OLD: OWN, CHILDLESS: None}
    assert own_first == {**owners, OWN: OWN}


def test_images_of_two_numbers_are_never_merged(shop: sa.Engine) -> None:
    add_image(shop, PARENT, "parent's")
    add_image(shop, OWN, "own 1")
    add_image(shop, OWN, "own 2")
    assert ids(shop, OWN) == ["parent's"]


def test_the_primary_comes_first_and_the_rest_in_display_order(shop: sa.Engine) -> None:
    add_image(shop, LONE, "30", priority=2, newest_export=sa.text("'2024-01-01'"))
    add_image(shop, LONE, "20", priority=2, newest_export=sa.text("'2025-01-01'"))
    add_image(shop, LONE, "10", priority=1)
    add_image(shop, LONE, "40", priority=4, is_primary=True)
    assert ids(shop, LONE) == ["40", "10", "20", "30"]


def test_a_number_that_is_both_a_variant_and_a_parent_means_the_variant(shop: sa.Engine) -> None:
    with shop.begin() as connection:
        connection.execute(product.insert().values(id=7, kind="parent", erp_id="7", sku="200003", name="twin"))
    add_image(shop, 7, "of the parent")
    add_image(shop, LONE, "of the variant")
    assert ids(shop, LONE) == ["of the variant"]


def test_any_number_of_products_costs_three_queries(shop: sa.Engine) -> None:
    for row in PRODUCTS:
        add_image(shop, int(str(row["id"])), f"image of {row['id']}")
    with counted(shop) as statements, shop.connect() as connection:
        owners = image_owners(connection, [int(str(row["id"])) for row in PRODUCTS])
        shown = images_of(connection, {owner for owner in owners.values() if owner is not None})
    assert owners.keys() == {row["id"] for row in PRODUCTS}
    assert shown.keys() == {owner for owner in owners.values() if owner is not None}
    assert len([text for text in statements if text.startswith("SELECT imagesync")]) == 3


def test_a_product_that_we_do_not_have_is_left_out(shop: sa.Engine) -> None:
    with shop.connect() as connection:
        assert image_owners(connection, [LONE, 999]).keys() == {LONE}


class counted:  # noqa: N801 - reads as a word in a with statement
    """The statements that an engine executes inside the block."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine, self.statements = engine, list[str]()

    def __enter__(self) -> list[str]:
        sa.event.listen(self.engine, "before_cursor_execute", self._note)
        return self.statements

    def __exit__(self, *_: object) -> None:
        sa.event.remove(self.engine, "before_cursor_execute", self._note)

    def _note(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self.statements.append(statement)
