"""The list of products: what is found, in which order, with which picture."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.products.settings import ShowingSettings
from imagesync_pipelines.storage.schema import unmatched_article
from imagesync_pipelines.web.catalogue import listing
from imagesync_pipelines.web.catalogue.listing import Filters, Found, Order, count_each, count_found, list_products
from imagesync_pipelines.web.catalogue.models import ProductPage
from imagesync_pipelines.web.catalogue.pages import products as pages
from imagesync_pipelines.web.catalogue.queries import CursorError
from imagesync_pipelines_tests.web.catalogue.world import NOW, World


def find(world: World, filters: Filters, cursor: str | None = None, limit: int = 50) -> ProductPage:
    page = list_products(world.engine, filters, cursor, limit, world.opened.showing)
    if cursor is None and page.next_cursor is None:
        assert count_each(world.engine, {"": filters}, world.opened.showing)[""] == len(page.items)
        assert count_found(world.engine, filters, world.opened.showing)[:2] == (len(page.items), True)
    return page


def skus(world: World, **filters: Any) -> list[str]:
    return [row.sku for row in find(world, Filters(**filters)).items]


@pytest.fixture
def shop(world: World) -> World:
    """Products of every kind that a filter speaks about."""
    parent = world.product("P1", "Großer Fuchs", kind="parent")
    good = world.product("100", "Großer Fuchs BE", parent=parent, variant_code="BE", legacy_sku="7450A-BE")
    world.product("101", "Großer Fuchs OX", parent=parent, variant_code="OX")
    small = world.product("200", "Kleiner Bär-Engel")
    bare = world.product("300", "Müder 55% Hase_")
    world.product("400", "Weg", left_erp_at=NOW)
    world.image(good, "10")
    world.image(good, "11", is_primary=False, priority=2, is_front=False)
    world.image(small, "20", height=200, is_front=False, last_synced=NOW - timedelta(days=30))
    assert bare
    with world.engine.begin() as connection:
        candidates = [{"sku": "300", "name": "Müder Hase", "why": "one character differs"}]
        values = {"number": "301", "external_id": "9", "reason": "the ERP has no product 301", "candidates": candidates}
        connection.execute(unmatched_article.insert().values(**values))
    return world


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["100", "101", "200", "300", "P1"]),
    ({"kind": "parent"}, ["P1"]),
    ({"without_image": True}, ["101", "300"]),
    ({"without_front": True}, ["200"]),
    ({"low_resolution": True}, ["200"]),
    ({"unmatched": True}, ["300"]),
    ({"changed_since": NOW - timedelta(days=1)}, ["100"]),
    ({"changed_since": NOW - timedelta(days=31)}, ["100", "200"]),
    ({"changed_since": NOW + timedelta(seconds=1)}, []),
    ({"q": "fuchs", "without_image": True}, ["101"]),
    ({"kind": "parent", "low_resolution": True}, []),
]
SEARCHES = {
    "10": ["100", "101"],
    "p1": ["P1"],
    "7450a-b": ["100"],
    "GROSSER": [],
    "großer fu": ["100", "101", "P1"],
    "fuchs gro": ["100", "101", "P1"],
    "uchs": [],
    "engel": ["200"],
    "bär-eng": ["200"],
    "  bär   kleiner ": ["200"],
    "55%": ["300"],
    "%": [],
    "_": [],
    "'": [],
    "fuchs' | 'hase": [],
    "fuchs:* & !": ["100", "101", "P1"],
    "\\": [],
    "fu\0chs": [],
    "400": [],
    "weg": [],
}


def test_a_filter_finds_what_it_says(shop: World) -> None:
    assert [(filters, skus(shop, **filters)) for filters, _ in FILTERS] == FILTERS


@pytest.mark.parametrize(
    ("few", "sampled", "at_most"),
    [
        pytest.param(2000, 6, 200, id="the first products have enough hits, or the indexes find few"),
        pytest.param(2000, 0, 200, id="the indexes find few"),
        pytest.param(0, 0, 200, id="the indexes find many, and the products in their order have enough"),
        pytest.param(0, 0, 0, id="the indexes find many, which are sorted"),
    ],
)
def test_a_search_finds_beginnings_of_numbers_and_words(
    shop: World, monkeypatch: pytest.MonkeyPatch, few: int, sampled: int, at_most: int
) -> None:
    for name, value in (("FEW", few), ("SAMPLED", sampled), ("AT_MOST", at_most)):
        monkeypatch.setattr(f"imagesync_pipelines.web.catalogue.listing.{name}", value)
    assert {text: skus(shop, q=text) for text in SEARCHES} == SEARCHES


def test_a_variant_without_front_of_its_own_is_not_called_so_when_it_has_no_image(shop: World) -> None:
    assert "101" not in skus(shop, without_front=True)


def test_every_row_has_the_picture_that_is_shown_for_it(shop: World) -> None:
    rows = {row.sku: row for row in find(shop, Filters()).items}
    shown = {
        sku: (row.primary and row.primary.external_id, row.image_count, row.images_from) for sku, row in rows.items()
    }
    assert shown == {
        "100": ("10", 2, ""),
        "101": (None, 0, ""),
        "200": ("20", 1, ""),
        "300": (None, 0, ""),
        "P1": ("10", 0, "100"),
    }


def test_a_variant_shows_its_parents_picture_and_says_whose_it_is(world: World) -> None:
    parent = world.product("P1", kind="parent")
    world.product("100", parent=parent)
    world.image(parent, "7")
    row = find(world, Filters()).items[0]
    assert (row.sku, row.primary and row.primary.external_id, row.images_from, row.image_count) == ("100", "7", "P1", 1)
    assert skus(world, without_image=True) == []


def test_a_variant_shows_the_picture_of_its_base_number(world: World) -> None:
    base = world.product("11400")
    world.product("803721", base_sku="11400")
    world.image(base, "7")
    assert [row.images_from for row in find(world, Filters()).items] == ["", "11400"]
    assert skus(world, without_image=True) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_give_every_product_once_in_order(world: World, limit: int) -> None:
    for number in ("9", "10", "A", "a", "B-1", "É", "1"):
        world.product(number, kind="variant")
    world.product("10", kind="parent", erp_id="other")
    seen: list[str] = []
    cursor = None
    while True:
        page = find(world, Filters(), cursor, limit)
        seen += [row.sku for row in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
        assert len(page.items) == limit
    assert len(seen) == 8
    assert seen == [row.sku for row in find(world, Filters()).items]


def test_kept_lists_are_paged_in_the_order_of_skus_and_with_other_filters(world: World) -> None:
    for number in range(5):
        world.image(world.product(str(number), "Fuchs"), str(number), is_front=False, height=100 + 600 * (number % 2))
    world.image(world.product("9", "Bär"), "9", is_front=False)
    first = find(world, Filters(without_front=True), limit=4)
    second = find(world, Filters(without_front=True), first.next_cursor, 4)
    assert [row.sku for row in (*first.items, *second.items)] == list("012349")
    assert skus(world, without_front=True, low_resolution=True) == list("024")
    with world.engine.connect() as connection:
        # The shorter one is gone through for the other.
        two = Filters(without_front=True, low_resolution=True)
        assert listing._kept_list(connection, two, world.opened.showing) == "low_resolution"
    assert skus(world, without_front=True, q="fuchs") == list("01234")
    assert skus(world, without_image=True, low_resolution=True) == []


def test_a_height_for_which_no_list_is_kept_is_looked_up(shop: World) -> None:
    for height, expected in ((199, []), (201, ["200"]), (2000, ["100", "200"])):
        showing = ShowingSettings(image_db_detail_min_height=height)
        page = list_products(shop.engine, Filters(low_resolution=True), None, 50, showing)
        assert [row.sku for row in page.items] == expected
        assert count_each(shop.engine, {"": Filters(low_resolution=True)}, showing) == {"": len(expected)}


def test_the_counts_of_the_page_are_read_and_not_counted(shop: World) -> None:
    """Two statements for what is kept, and one that counts: the articles that are close to a product."""
    seen: list[str] = []
    sa.event.listen(shop.engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    assert pages.count_each(shop.opened) == {
        "without_image": 2, "without_front": 1, "low_resolution": 1, "unmatched": 1
    }  # fmt: skip
    assert len(seen) == 3, seen
    assert sum("FROM imagesync.product " in one for one in seen) == 1


def test_a_word_that_postgresql_splits_is_found_where_its_parts_stand(world: World) -> None:
    for sku, name in (("1", "Kerze 13E15 e"), ("2", "KERZE 13e15e"), ("3", "Kerze 13E15"), ("4", "R2D2 kerze")):
        world.product(sku, name)
    wanted = {"13E15e": ["1", "2"], "kerze 13e15": ["1", "2", "3"], "r2": ["4"], "Kerze": list("1234")}
    assert {text: skus(world, q=text) for text in wanted} == wanted


@pytest.mark.parametrize("few", [2, 2000])
def test_many_hits_of_a_search_are_paged_too(world: World, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr("imagesync_pipelines.web.catalogue.listing.FEW", few)
    for number in range(5):
        world.product(str(number), "Fuchs")
    first = find(world, Filters(q="fuchs"), limit=3)
    second = find(world, Filters(q="fuchs"), first.next_cursor, 3)
    assert [row.sku for row in (*first.items, *second.items)] == list("01234")


ORDERS: dict[Order, list[str]] = {
    "": ["100", "200", "P1", "101", "300"],
    "newest": ["100", "200", "101", "300", "P1"],
    "name": ["P1", "100", "101", "200", "300"],
    "sku": ["100", "101", "200", "300", "P1"],
}


def pages_of(world: World, order: Order, limit: int, **filters: Any) -> list[str]:
    """The SKUs of every page, one after the other."""
    seen: list[str] = []
    cursor = None
    while True:
        page = list_products(world.engine, Filters(**filters), cursor, limit, world.opened.showing, order)
        seen += [row.sku for row in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return seen
        assert len(page.items) == limit


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_gives_every_product_once_on_pages_of_any_size(shop: World, order: Order) -> None:
    assert [pages_of(shop, order, limit) for limit in range(1, 7)] == [ORDERS[order]] * 6


@pytest.mark.parametrize("order", ORDERS)
def test_every_filter_finds_the_same_products_in_every_order(shop: World, order: Order) -> None:
    for filters, expected in FILTERS:
        assert pages_of(shop, order, 2, **filters) == [sku for sku in ORDERS[order] if sku in expected], filters


@pytest.mark.parametrize("few", [0, 2000])
@pytest.mark.parametrize("order", ORDERS)
def test_a_search_is_sorted_too(shop: World, monkeypatch: pytest.MonkeyPatch, order: Order, few: int) -> None:
    for name, value in (("FEW", few), ("SAMPLED", 0), ("AT_MOST", 0)):
        monkeypatch.setattr(f"imagesync_pipelines.web.catalogue.listing.{name}", value)
    for text, expected in SEARCHES.items():
        assert pages_of(shop, order, 2, q=text) == [sku for sku in ORDERS[order] if sku in expected], text


def test_a_product_with_several_pictures_is_as_new_as_the_newest_of_them(world: World) -> None:
    for sku, hours in (("1", (9, 2)), ("2", (3,)), ("3", (1, 1))):
        made = world.product(sku)
        for nth, ago in enumerate(hours):
            world.image(made, f"{sku}{nth}", is_primary=not nth, last_synced=NOW - timedelta(hours=ago))
    assert pages_of(world, "newest", 1) == ["3", "1", "2"]


@pytest.mark.parametrize("cursor", ["2.", "x.", "1", "1.x", "-1.", "1.1.", "."])
def test_a_cursor_of_no_part_of_the_list_is_refused(shop: World, cursor: str) -> None:
    with pytest.raises(CursorError, match="begin again"):
        list_products(shop.engine, Filters(), cursor, 2, shop.opened.showing, "")


def test_of_very_many_products_that_fit_it_is_said_that_there_are_more(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_COUNTED", 2)
    assert count_found(shop.engine, Filters(kind="variant"), shop.opened.showing) == Found(2, False, 5)
    assert count_found(shop.engine, Filters(), shop.opened.showing) == Found(5, True, 5)
    monkeypatch.setattr(listing, "MOST_HITS", 1)
    since = Filters(changed_since=NOW - timedelta(days=31), without_front=True)
    assert count_found(shop.engine, since, shop.opened.showing) == Found(1, True, 5)
    assert count_found(shop.engine, Filters(q="kleiner"), shop.opened.showing) == Found(1, True, 5)
    assert count_found(shop.engine, Filters(q="fuchs", kind="parent"), shop.opened.showing) == Found(1, True, 5)
    assert count_found(shop.engine, Filters(q="fuchs", without_front=True), shop.opened.showing).is_exact is False


def add_candles(world: World) -> None:
    """3,000 products more, each with an image; PostgreSQL has looked at its tables.

    It looks soon, too: until then every row of a statement is compared with every other one.
    """
    # Every table that is read: one keeps what PostgreSQL knew of the rows of a test before, or nobody has looked.
    read = ("product", "product_image", "shown_image", "listed_product", "unmatched_article")
    looked = sa.text(f"ANALYZE {', '.join(f'imagesync.{name}' for name in read)}")
    products = sa.text(
        "INSERT INTO imagesync.product (kind, erp_id, sku, name) "
        "SELECT 'variant', 'x' || n, 'x' || n, 'Kerze ' || n "
        "FROM generate_series(CAST(:first AS int), :last) n RETURNING id"
    )
    images = sa.text(
        "INSERT INTO imagesync.product_image (product_id, external_id, image_url, last_synced) "
        "SELECT id, sku, '', now() - interval '1 minute' * id FROM imagesync.product WHERE id = ANY(:ids)"
    )
    with world.engine.begin() as connection:
        for first, last in ((1, 100), (101, 3000)):
            ids = list(connection.scalars(products, {"first": first, "last": last}))
            connection.execute(images, {"ids": ids})
            connection.execute(looked)


def test_no_order_sorts_the_whole_list(shop: World) -> None:
    """Each walks along an index; it is sorted where that index leaves ties."""
    add_candles(shop)
    for order in ORDERS:
        with shop.engine.connect() as connection:
            first = listing._parts(connection, Filters(), shop.opened.showing, order)[0]
            ordered = listing.ordered_after(first.query, first.order, None, falling=first.falling).limit(49)
            text = str(ordered.compile(shop.engine, compile_kwargs={"literal_binds": True}))
            lines = connection.scalars(sa.text(f"EXPLAIN {text.replace(':', chr(92) + ':')}")).all()
        assert not [
            line for line in lines if "Sort" in line and "Incremental Sort" not in line and "Sort Key" not in line
        ], lines
        assert not [line for line in lines if "Seq Scan on product" in line], lines


def read_for(world: World, ask: Callable[[], object]) -> float:
    """How many rows PostgreSQL takes from its tables for what is asked, those included that it leaves out."""
    asked: list[tuple[str, Any]] = []

    def note(*given: Any) -> None:
        asked.append((given[2], given[3]))

    sa.event.listen(world.engine, "before_cursor_execute", note)
    ask()
    sa.event.remove(world.engine, "before_cursor_execute", note)

    def of(node: dict[str, Any]) -> float:
        inner = sum(of(one) for one in node.get("Plans", ()))
        is_table = "Relation Name" in node and node["Node Type"] != "Bitmap Index Scan"
        own = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        return float(inner + (own * node["Actual Loops"] if is_table else 0))

    with world.engine.connect() as connection:
        # Of so few products PostgreSQL may read all.
        connection.execute(sa.text("SET enable_seqscan = off"))
        plans = [connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", given).scalar_one()
                 for text, given in asked]  # fmt: skip
    return sum(of(plan[0]["Plan"]) for plan in plans)


@pytest.mark.parametrize(
    "filters",
    [
        Filters(q="Kerze"),
        Filters(q="x1", kind="variant"),
        Filters(q="nobody"),
        Filters(q="Kerze", without_front=True),
        Filters(unmatched=True),
    ],
)
def test_what_a_page_and_its_number_read_does_not_grow_with_the_catalogue(
    shop: World, monkeypatch: pytest.MonkeyPatch, filters: Filters
) -> None:
    """Of 3,005 products and images: a page of two products, and the first hundred of those that fit."""
    for name, value in (("MOST_COUNTED", 100), ("MOST_HITS", 100), ("FEW", 50)):
        monkeypatch.setattr(listing, name, value)
    add_candles(shop)
    showing = shop.opened.showing
    listed = read_for(shop, lambda: list_products(shop.engine, filters, None, 2, showing, ""))
    counted = read_for(shop, lambda: count_found(shop.engine, filters, showing))
    assert [listed < 1000, counted < 1000] == [True, True], (listed, counted)
