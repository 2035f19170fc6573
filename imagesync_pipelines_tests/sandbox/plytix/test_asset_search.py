"""Proves what an asset search finds: the documented operators, and never by address."""

from collections.abc import Iterator

import pytest

from imagesync_pipelines.sandbox.plytix.server import plytix_sandbox
from imagesync_pipelines_tests.sandbox.plytix.callers import NO_LIMITS, Caller, condition, errors_of

pytestmark = pytest.mark.slow

NAMES = ("amazon_31+ab.jpg", "amazon_31+AB.jpg", "other.png", "by-hand.jpg")


@pytest.fixture(scope="module")
def shared() -> Iterator[Caller]:
    with plytix_sandbox(limits=NO_LIMITS) as sandbox:
        sandbox.mutate("add_product", sku="A")
        for name in NAMES[:3]:
            sandbox.mutate("upload", filename=name, content=b"\xff\xd8\xff" + name.encode())
        sandbox.mutate("add_image", sku="A", filename=NAMES[3])
        yield Caller(sandbox)


def ids(caller: Caller) -> list[str]:
    return [asset.id for asset in caller.sandbox.assets()]


def test_only_the_id_comes_back_unless_columns_are_asked_for(shared: Caller) -> None:
    assert shared.search("assets").json()["data"] == [{"id": asset_id} for asset_id in ids(shared)]
    [row, *_] = shared.search("assets", columns=["filename", "file_size", "n_products"]).json()["data"]
    assert row == {"id": ids(shared)[0], "filename": NAMES[0], "file_size": 3 + len(NAMES[0]), "n_products": 0}


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([[condition("filename", "eq", "AMAZON_31+ab.jpg")]], [0, 1]),
        ([[condition("filename", "eq", NAMES[2])], [condition("filename", "eq", NAMES[3])]], [2, 3]),
        ([[condition("filename", "like", "AMAZON")]], [0, 1]),
        ([[condition("filename", "!eq", NAMES[2])]], [0, 1, 3]),
        ([[condition("extension", "eq", "png")]], [2]),
        ([[condition("file_type", "in", ["IMAGES"])]], [0, 1, 2, 3]),
        ([[condition("file_type", "!in", ["IMAGES", "OTHER"])]], []),
        ([[condition("assigned", "eq", True)]], [3]),
        ([[condition("file_size", "lt", 15)]], [2]),
        ([[condition("categories", "exists")]], []),
        ([[condition("modified", "gte", "2020-01-01")]], [0, 1, 2, 3]),
    ],
    ids=lambda value: str(value)[:70],
)
def test_the_documented_operators_work(shared: Caller, filters: object, found: list[int]) -> None:
    rows = shared.search("assets", filters, columns=["filename"]).json()["data"]
    assert [row["filename"] for row in rows] == [NAMES[nth] for nth in found]


def test_assets_are_found_by_a_list_of_ids(shared: Caller) -> None:
    wanted = ids(shared)[1:3]
    rows = shared.search("assets", [[condition("id", "in", [*wanted, "0" * 24])]]).json()["data"]
    assert [row["id"] for row in rows] == wanted


@pytest.mark.parametrize(
    "wrong",
    [
        condition("url", "eq", "https://x.example/a.jpg"),
        condition("url", "like", "amazon"),
        condition("filename", "in", ["a.jpg"]),
        condition("sha256", "eq", "0"),
        condition("id", "like", "0"),
    ],
    ids=lambda value: f"{value['field']} {value['operator']}",
)
def test_other_fields_and_operators_are_a_422(shared: Caller, wrong: dict[str, object]) -> None:
    answer = shared.search("assets", [[wrong]])
    assert answer.status_code == 422
    assert ("filters", "Unable to decode filters properly") in errors_of(answer)


def test_an_unknown_field_is_named(shared: Caller) -> None:
    answer = shared.search("assets", [[condition("url", "eq", "x")]])
    assert errors_of(answer)[0] == ("url", "unknown field")


def test_filters_have_to_be_there_even_if_empty(shared: Caller) -> None:
    answer = shared.ask("POST", "assets/search", {"attributes": []})
    assert (answer.status_code, errors_of(answer)[0][0]) == (422, "filters")


def test_pages_and_orders_are_as_with_products(shared: Caller) -> None:
    answer = shared.search("assets", columns=["filename"], page_size=3, page=2, order="-filename").json()
    assert [row["filename"] for row in answer["data"]] == ["amazon_31+AB.jpg"]
    assert answer["pagination"]["total_count"] == 4
    assert shared.search("assets", page_size=101).status_code == 422
    assert shared.search("assets", columns=["source_url"]).status_code == 422


def test_a_new_asset_is_found_late_when_the_switch_says_so(caller: Caller) -> None:
    caller.sandbox.switches.search_delay = 2
    asset_id = caller.asset("a.jpg")
    assert caller.search("assets").json()["data"] == []
    assert caller.ask("GET", f"assets/{asset_id}").status_code == 200
    caller.sandbox.clock.move(2)
    assert caller.search("assets").json()["data"] == [{"id": asset_id}]


def test_a_deleted_asset_is_not_found(caller: Caller) -> None:
    asset_id = caller.asset("a.jpg")
    caller.ask("DELETE", f"assets/{asset_id}")
    answer = caller.search("assets").json()
    assert (answer["data"], answer["pagination"]["total_count"]) == ([], 0)
