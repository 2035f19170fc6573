"""Proves what a product search finds, which columns it gives and how its pages go."""

from collections.abc import Iterator
from typing import Any

import pytest

from imagesync_pipelines.sandbox.plytix.model import NewProduct
from imagesync_pipelines.sandbox.plytix.server import GALLERY, plytix_sandbox
from imagesync_pipelines_tests.sandbox.plytix.callers import NO_LIMITS, Caller, condition, errors_of

pytestmark = pytest.mark.slow

PRODUCTS = (
    NewProduct("AMZN-US-B01", label="Red Mule", gtin="0100"),
    NewProduct("amzn-us-b01", label="Same SKU in small letters"),
    NewProduct("AMZN-US-B01-2", label="Blue mule"),
    NewProduct("AMZN-CA-B01", parent="AMZN-US-B01"),
)
SKU_IN = [[condition("sku", "in", ["AMZN-US-B01", "AMZN-CA-B01", "NOT-THERE"])]]


@pytest.fixture(scope="module")
def shared() -> Iterator[Caller]:
    """Four products; the first shows two assets and a thumbnail."""
    with plytix_sandbox(products=PRODUCTS, limits=NO_LIMITS) as sandbox:
        for name in ("main.jpg", "pt01.jpg"):
            sandbox.mutate("add_image", sku="AMZN-US-B01", filename=name)
        sandbox.mutate("set_thumbnail", sku="AMZN-US-B01", asset_id=sandbox.gallery("AMZN-US-B01")[0])
        yield Caller(sandbox)


@pytest.fixture(scope="module")
def many() -> Iterator[Caller]:
    """10,001 products."""
    with plytix_sandbox(products=[NewProduct(f"P-{nth:05}") for nth in range(10_001)], limits=NO_LIMITS) as sandbox:
        yield Caller(sandbox)


def skus(caller: Caller, filters: object) -> list[str]:
    answer = caller.search("products", filters)
    assert answer.status_code == 200, answer.text
    return [row["sku"] for row in answer.json()["data"]]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([], [0, 1, 2, 3]),
        ([[condition("sku", "eq", "AMZN-us-B01")]], [0, 1]),
        ([[condition("sku", "!eq", "AMZN-us-B01")]], [2, 3]),
        ([[condition("sku", "like", "us-b01")]], [0, 1, 2]),
        ([[condition("sku", "like", "%US%")]], []),
        (SKU_IN, [0, 1, 3]),
        ([[condition("sku", "!in", ["AMZN-US-B01"])]], [2, 3]),
        ([[condition("label", "like", "MULE"), condition("gtin", "eq", "0100")]], [0]),
        ([[condition("gtin", "eq", "0100")], [condition("label", "like", "blue")]], [0, 2]),
        ([[condition("gtin", "exists")]], [0]),
        ([[condition("thumbnail", "exists")]], [0]),
        ([[condition("thumbnail", "!exists")]], [1, 2, 3]),
        ([[condition(f"attributes.{GALLERY}", "exists")]], [0]),
        ([[condition("assets", "!exists")]], [1, 2, 3]),
        ([[condition("product_level", "eq", 2)]], [3]),
        ([[condition("created", "gt", "2020-01-01")]], [0, 1, 2, 3]),
        ([[condition("created", "lt", "2020-01-01T00:00:00+00:00")]], []),
        ([[]], [0, 1, 2, 3]),
    ],
    ids=lambda value: str(value)[:70],
)
def test_filters_are_an_or_of_ands(shared: Caller, filters: object, found: list[int]) -> None:
    assert skus(shared, filters) == [PRODUCTS[nth].sku for nth in found]


@pytest.mark.parametrize(
    "filters",
    [
        condition("sku", "eq", "x"),
        [condition("sku", "eq", "x")],
        [["sku"]],
        [[condition("no_such_field", "eq", "x")]],
        [[condition(GALLERY, "exists")]],
        [[condition("attributes.no_such_label", "exists")]],
        [[condition(f"attributes.{GALLERY}", "eq", "x")]],
        [[condition("sku", "contains", "x")]],
        [[condition("sku", "gt", "x")]],
        [[condition("sku", "eq")]],
        [[condition("sku", "in", "x")]],
        [[condition("sku", "in", [["x"]])]],
        [[condition("created", "gt", "yesterday")]],
    ],
    ids=lambda value: str(value)[:70],
)
def test_filters_that_are_not_known_are_a_422(shared: Caller, filters: object) -> None:
    answer = shared.search("products", filters)
    assert answer.status_code == 422
    assert errors_of(answer)[-1] == ("filters", "Unable to decode filters properly")


def test_in_on_skus_can_be_refused_and_groups_of_eq_find_the_same(shared: Caller) -> None:
    found = skus(shared, SKU_IN)
    shared.sandbox.switches.in_refused = True
    try:
        assert shared.search("products", SKU_IN).status_code == 422
        assert skus(shared, [[condition("sku", "eq", sku)] for sku in SKU_IN[0][0]["value"]]) == found  # type: ignore[attr-defined]
    finally:
        shared.sandbox.switches.in_refused = False


def test_at_most_100_skus_go_into_one_list(shared: Caller) -> None:
    names = [f"P-{nth}" for nth in range(101)]
    assert shared.search("products", [[condition("sku", "in", names)]]).status_code == 422
    assert shared.search("products", [[condition("sku", "in", names[:100])]]).status_code == 200


def test_the_number_of_groups_can_be_limited(shared: Caller) -> None:
    shared.sandbox.switches.groups_most = 2
    try:
        groups = [[condition("sku", "eq", name)] for name in "abc"]
        assert shared.search("products", groups).status_code == 422
        assert shared.search("products", groups[:2]).status_code == 200
    finally:
        shared.sandbox.switches.groups_most = None


def test_without_columns_only_id_and_sku_come_back(shared: Caller) -> None:
    rows = shared.search("products").json()["data"]
    assert set(rows[0]) == {"id", "sku", "attributes", "num_variations"}
    assert (rows[0]["attributes"], rows[0]["num_variations"]) == ({}, 1)
    assert rows[3]["_parent_id"] == rows[0]["id"]


def test_v2_calls_the_parent_differently_and_gives_media_as_ids(shared: Caller) -> None:
    newer = Caller(shared.sandbox, version=2)
    columns = ["thumbnail", f"attributes.{GALLERY}", "assets"]
    rows = newer.search("products", columns=columns).json()["data"]
    gallery = list(shared.sandbox.gallery("AMZN-US-B01"))
    assert rows[3]["parent_id"] == rows[0]["id"]
    assert (rows[0]["thumbnail"], rows[0]["attributes"][GALLERY]) == ({"id": gallery[0]}, gallery)
    assert rows[0]["assets"] == [{"id": asset_id} for asset_id in gallery]


def test_columns_are_given_when_they_are_asked_for(shared: Caller) -> None:
    columns = ["label", "thumbnail", f"attributes.{GALLERY}", "images"]
    first, second, *_ = shared.search("products", columns=columns).json()["data"]
    gallery = list(shared.sandbox.gallery("AMZN-US-B01"))
    assert first["label"] == "Red Mule"
    assert [one["id"] for one in first["attributes"][GALLERY]] == gallery
    assert first["thumbnail"]["id"] == gallery[0]
    assert [one["filename"] for one in first["images"]] == ["main.jpg", "pt01.jpg"]
    assert (second["thumbnail"], second["attributes"]) == (None, {})


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        (["no_such_column"], "no_such_column"),
        ([GALLERY], GALLERY),
        (["product_family_id"], "product_family_id"),
        (["sku"] * 21, "schema"),
    ],
    ids=["unknown", "without prefix", "family", "more than 20"],
)
def test_columns_that_are_not_given_are_a_422(shared: Caller, columns: list[str], field: str) -> None:
    answer = shared.search("products", columns=columns)
    assert (answer.status_code, errors_of(answer)[0][0]) == (422, field)


def test_columns_are_a_list(shared: Caller) -> None:
    answer = shared.ask("POST", "products/search", {"filters": [], "attributes": "sku"})
    assert (answer.status_code, errors_of(answer)[0][0]) == (422, "attributes")


@pytest.mark.parametrize(
    ("pagination", "field"),
    [
        ({"page_size": 101}, "page_size"),
        ({"page_size": 0}, "page_size"),
        ({"page": 0}, "page"),
        ({"page": "1"}, "page"),
        ({"order": "label"}, "order"),
    ],
    ids=str,
)
def test_a_page_that_there_cannot_be_is_a_422(shared: Caller, pagination: dict[str, object], field: str) -> None:
    answer = shared.search("products", **pagination)
    assert (answer.status_code, errors_of(answer)[0][0]) == (422, field)


def test_count_is_of_matches_and_total_count_of_the_account(shared: Caller) -> None:
    answer = shared.search("products", [[condition("sku", "like", "-us-")]], page_size=2, page=2)
    assert answer.json()["pagination"] == {"count": 3, "order": None, "page": 2, "page_size": 2, "total_count": 4}
    assert len(answer.json()["data"]) == 1


def test_the_counts_can_be_meant_as_the_newer_documents_say(shared: Caller) -> None:
    shared.sandbox.switches.counts = "page of matches"
    try:
        pagination = shared.search("products", [[condition("sku", "like", "-us-")]], page_size=2).json()["pagination"]
    finally:
        shared.sandbox.switches.counts = "matches of account"
    assert (pagination["count"], pagination["total_count"]) == (2, 3)


def test_pages_are_of_25_rows_unless_asked_and_end_empty(many: Caller) -> None:
    assert len(many.search("products").json()["data"]) == 25
    last = many.search("products", page_size=100, page=101).json()
    assert [row["sku"] for row in last["data"]] == ["P-10000"]
    beyond = many.search("products", page_size=100, page=102)
    assert (beyond.status_code, beyond.json()["data"]) == (200, [])


def test_more_than_10000_hits_cannot_be_ordered(many: Caller) -> None:
    assert many.search("products", order="sku").status_code == 428
    assert many.search("products", page_size=100).status_code == 200
    fewer = [[condition("sku", "!eq", "P-00000")]]
    rows = many.search("products", fewer, order="-sku", page_size=2).json()["data"]
    assert [row["sku"] for row in rows] == ["P-10000", "P-09999"]


def test_listing_products_is_not_a_get(shared: Caller) -> None:
    assert shared.ask("GET", "products").status_code == 405


@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("id", lambda row: row["id"]),
        ("sku", lambda row: row["sku"]),
        ("modified", lambda row: row["modified"]),
        (f"attributes.{GALLERY}", lambda row: [one["id"] for one in row["attributes"].get(GALLERY, [])]),
    ],
)
def test_a_search_can_be_ordered_either_way(shared: Caller, order: str, key: Any) -> None:
    columns = ["modified", f"attributes.{GALLERY}"]
    rows = shared.search("products", columns=columns, order=order).json()["data"]
    assert len(rows) == 4
    assert [key(row) for row in rows] == sorted(key(row) for row in rows)
    turned = shared.search("products", columns=columns, order=f"-{order}").json()["data"]
    assert [key(row) for row in turned] == sorted((key(row) for row in rows), reverse=True)


@pytest.mark.parametrize("order", [None, ""])
def test_no_order_and_an_empty_one_are_the_order_of_creation(shared: Caller, order: str | None) -> None:
    answer = shared.search("products", order=order).json()
    assert [row["sku"] for row in answer["data"]] == [product.sku for product in PRODUCTS]
    assert answer["pagination"]["order"] == order


def test_a_product_without_a_label_says_null(shared: Caller) -> None:
    rows = shared.search("products", columns=["label"]).json()["data"]
    assert [row["label"] for row in rows] == ["Red Mule", "Same SKU in small letters", "Blue mule", None]


def test_v2_names_the_assets_of_a_product_by_their_ids(shared: Caller) -> None:
    found = Caller(shared.sandbox, version=2).ask("GET", f"products/{shared.id_of('AMZN-US-B01')}").json()["data"][0]
    assert found["assets"] == [{"id": asset_id} for asset_id in shared.sandbox.gallery("AMZN-US-B01")]
