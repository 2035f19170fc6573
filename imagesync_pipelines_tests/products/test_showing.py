"""The images that are shown for a list of products: the fallback between numbers, the order, the number of queries."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from imagesync_pipelines.products.showing import images_of, whose_images
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
        whose = whose_images(connection, [product_id], **options).get(product_id)
        owner = whose.owner_id if whose else 0
        return [image.external_id for image in images_of(connection, [owner]).get(owner, [])]


def owners(engine: sa.Engine, product_ids: list[int], **options: bool) -> dict[int, int]:
    with engine.connect() as connection:
        return {one: whose.owner_id for one, whose in whose_images(connection, product_ids, **options).items()}


@pytest.mark.parametrize(
    ("on", "asked", "own_first", "expected"),
    [
        pytest.param([PARENT, OWN], OWN, False, PARENT, id="a variant shows its parent's images first"),
        pytest.param([PARENT, OWN], OWN, True, OWN, id="the setting puts its own images first"),
        pytest.param([OWN], OWN, False, OWN, id="its own when the parent has none"),
        pytest.param([PARENT], BARE, True, PARENT, id="the parent's when it has none of its own"),
        pytest.param([OWN], PARENT, False, OWN, id="a parent without any shows a variant's"),
        pytest.param([OWN, PARENT], PARENT, True, PARENT, id="and its own when it has some"),
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
    assert owners(shop, everything) == {PARENT: OWN, OWN: OWN, LONE: LONE, OLD: OWN}
    add_image(shop, PARENT, "image of the parent")
    assert owners(shop, everything) == {PARENT: PARENT, OWN: PARENT, BARE: PARENT, LONE: LONE, OLD: OWN}
    own_first = {PARENT: PARENT, OWN: OWN, BARE: PARENT, LONE: LONE, OLD: OWN}
    assert owners(shop, everything, own_images_first=True) == own_first


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


def test_any_number_of_products_costs_two_queries(shop: sa.Engine) -> None:
    for row in PRODUCTS:
        add_image(shop, int(str(row["id"])), f"image of {row['id']}")
    with counted(shop) as statements, shop.connect() as connection:
        shows = whose_images(connection, [int(str(row["id"])) for row in PRODUCTS] + [999])
        shown = images_of(connection, {whose.owner_id for whose in shows.values()})
    assert shows.keys() == {row["id"] for row in PRODUCTS}
    assert shown.keys() == {whose.owner_id for whose in shows.values()}
    assert len([text for text in statements if text.startswith("SELECT imagesync")]) == 2


def change(engine: sa.Engine, product_id: int, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(product.update().where(product.c.id == product_id).values(**values))


def test_a_product_that_left_the_erp_lends_nothing_not_even_to_the_sku_that_took_its_number(shop: sa.Engine) -> None:
    for product_id in (LONE, OWN):
        add_image(shop, product_id, f"image of {product_id}")
    assert owners(shop, [PARENT, BARE, OWN, OLD, LONE]) == {PARENT: OWN, OWN: OWN, OLD: OWN, LONE: LONE}
    for product_id in (LONE, OWN):
        change(shop, product_id, left_erp_at=sa.func.now())
    newcomer = {"id": 7, "kind": "variant", "erp_id": "7", "sku": "200003", "name": "another product"}
    with shop.begin() as connection:
        connection.execute(product.insert().values(newcomer))
    assert owners(shop, [PARENT, BARE, OWN, OLD, LONE, 7]) == {OWN: OWN, LONE: LONE}
    change(shop, OWN, left_erp_at=None)
    assert owners(shop, [PARENT, BARE, OWN, OLD]) == {PARENT: OWN, OWN: OWN, OLD: OWN}


@pytest.mark.parametrize(
    ("moved", "values", "expected"),
    [
        pytest.param(OWN, {"parent_id": CHILDLESS}, {CHILDLESS: OWN, OWN: OWN, OLD: OWN}, id="a variant moves"),
        pytest.param(OWN, {"sku": "9"}, {PARENT: OWN, OWN: OWN}, id="the lender gets another SKU"),
        pytest.param(BARE, {"base_sku": "200001", "parent_id": None}, {PARENT: OWN, OWN: OWN, OLD: OWN, BARE: OWN},
                     id="a borrower gets another base"),
    ],
)  # fmt: skip
def test_a_changed_product_changes_who_shows_whose_images(
    shop: sa.Engine, moved: int, values: dict[str, object], expected: dict[int, int]
) -> None:
    add_image(shop, OWN, "1")
    change(shop, moved, **values)
    assert owners(shop, [PARENT, OWN, BARE, LONE, OLD, CHILDLESS]) == expected


def test_the_variant_that_stands_for_its_parent_follows_its_flags(shop: sa.Engine) -> None:
    add_image(shop, OWN, "1", image_type="Produktfoto")
    add_image(shop, BARE, "2", image_type="Produktfoto")
    assert owners(shop, [PARENT]) == {PARENT: OWN}
    with shop.begin() as connection:
        better = product_image.update().where(product_image.c.external_id == "2")
        connection.execute(better.values(is_primary=True, is_front=True))
    assert owners(shop, [PARENT]) == {PARENT: BARE}
    change(shop, OWN, variant_code="BE")
    assert owners(shop, [PARENT]) == {PARENT: OWN}


def test_two_writers_at_once_leave_what_is_right(shop: sa.Engine) -> None:
    """The second waits for the first, so neither overwrites with what it saw before the other's images."""
    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(add_image, shop, product_id, "1") for product_id in (PARENT, OWN)]
        for one in done:
            one.result()
    assert owners(shop, [PARENT, OWN, BARE]) == {PARENT: PARENT, OWN: PARENT, BARE: PARENT}


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
