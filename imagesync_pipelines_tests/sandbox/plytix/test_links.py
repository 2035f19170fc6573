"""Proves what a link does, what it answers, and how it is undone."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagesync_pipelines.sandbox.plytix.server import GALLERY
from imagesync_pipelines_tests.sandbox.plytix.callers import Caller, errors_of

pytestmark = pytest.mark.slow

SKU = "AMZN-US-B01"


def test_a_link_appends_to_the_gallery(caller: Caller) -> None:
    ids = [caller.asset(f"{name}.jpg") for name in "cab"]
    answers = [caller.link(SKU, asset_id) for asset_id in ids]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert answers[0].json() == {"data": [{"id": ids[0]}]}
    assert caller.sandbox.gallery(SKU) == tuple(ids)
    assert caller.sandbox.filenames(SKU) == ("c.jpg", "a.jpg", "b.jpg")


@pytest.mark.parametrize("label", [GALLERY, "thumbnail", "swatch_image"])
def test_a_link_that_is_there_is_a_409_that_says_so(caller: Caller, label: str) -> None:
    asset_id = caller.asset("a.jpg")
    caller.link(SKU, asset_id, label)
    answer = caller.link(SKU, asset_id, label)
    assert answer.status_code == 409
    assert answer.json()["error"]["msg"] == f"Asset id {asset_id} is already linked to product attribute"
    assert errors_of(answer) == [("asset.id", "already linked")]


def test_the_same_asset_may_be_in_two_galleries_and_the_thumbnail(caller: Caller) -> None:
    asset_id = caller.asset("a.jpg")
    labels = (GALLERY, "lifestyle_images", "thumbnail", "swatch_image")
    assert [caller.link(SKU, asset_id, label).status_code for label in labels] == [201] * 4
    listed = caller.ask("GET", f"products/{caller.id_of(SKU)}/assets").json()["data"]
    assert [asset["id"] for asset in listed] == [asset_id]


@pytest.mark.parametrize("label", ["thumbnail", "swatch_image"])
def test_a_single_place_is_replaced(caller: Caller, label: str) -> None:
    first, second = caller.asset("a.jpg"), caller.asset("b.jpg")
    caller.link(SKU, first, label)
    assert caller.link(SKU, second, label).status_code == 201
    shown = {"thumbnail": (caller.sandbox.thumbnail(SKU),), "swatch_image": caller.sandbox.gallery(SKU, "swatch_image")}
    assert shown[label] == (second,)


def test_an_asset_that_is_not_there_is_a_404_on_the_asset(caller: Caller) -> None:
    answer = caller.link(SKU, "0" * 24)
    assert answer.status_code == 404
    assert answer.json()["error"]["msg"] == f"Asset id {'0' * 24} does not exist"
    assert errors_of(answer) == [("asset.id", "asset does not exist")]


@pytest.mark.parametrize("product_id", ["0" * 24, "non-existing-id"])
def test_a_product_that_is_not_there_is_a_404_on_the_id(caller: Caller, product_id: str) -> None:
    body = {"id": caller.asset("a.jpg"), "attribute_label": GALLERY}
    answer = caller.ask("POST", f"products/{product_id}/assets", body)
    assert (answer.status_code, errors_of(answer)) == (404, [("id", "product does not exist")])


@pytest.mark.parametrize("label", ["no_such_label", "Amazon Images", "amazon_title", "attributes.amazon_images"])
def test_a_label_that_holds_no_assets_is_a_422(caller: Caller, label: str) -> None:
    answer = caller.link(SKU, caller.asset("a.jpg"), label)
    assert (answer.status_code, errors_of(answer)) == (422, [("attribute_label", "label does not exist")])


def test_a_link_without_an_asset_is_refused_in_the_words_of_its_version(caller: Caller, newer: Caller) -> None:
    assert errors_of(caller.link(SKU, None)) == [("id", "Missing data for required field.")]
    assert errors_of(newer.link(SKU, None)) == [("asset.id", "asset id not found in request")]


def test_a_link_without_a_label_is_refused(caller: Caller) -> None:
    answer = caller.ask("POST", f"products/{caller.id_of(SKU)}/assets", {"id": caller.asset("a.jpg")})
    assert (answer.status_code, errors_of(answer)[0][0]) == (422, "attribute_label")


def test_v2_links_too(newer: Caller, caller: Caller) -> None:
    asset_id = caller.asset("a.jpg")
    assert newer.link(SKU, asset_id).status_code == 201
    assert caller.sandbox.gallery(SKU) == (asset_id,)


def test_a_product_shows_at_most_300_assets(caller: Caller) -> None:
    for nth in range(299):
        caller.sandbox.mutate("add_image", sku=SKU, filename=f"{nth}.jpg", label="lifestyle_images")
    first, second = caller.asset("a.jpg"), caller.asset("b.jpg")
    assert caller.link(SKU, first).status_code == 201
    assert caller.link(SKU, first, "thumbnail").status_code == 201
    refused = caller.link(SKU, second)
    assert (refused.status_code, errors_of(refused)[0][0]) == (422, "assets")
    assert caller.link(SKU, second, "thumbnail").status_code == 422
    assert caller.sandbox.gallery(SKU) == (first,)


def test_an_asset_knows_how_many_products_show_it(caller: Caller) -> None:
    asset_id = caller.asset("a.jpg")
    caller.link(SKU, asset_id)
    caller.link(SKU, asset_id, "thumbnail")
    caller.link("ERP-7", asset_id)
    [asset] = caller.ask("GET", f"assets/{asset_id}").json()["data"]
    assert (asset["assigned"], asset["n_products"]) == (True, 2)


def test_unlinking_takes_the_asset_out_of_everything(caller: Caller) -> None:
    asset_id, other = caller.asset("a.jpg"), caller.asset("b.jpg")
    for label in (GALLERY, "lifestyle_images", "thumbnail", "swatch_image"):
        caller.link(SKU, asset_id, label)
    caller.link(SKU, other)
    path = f"products/{caller.id_of(SKU)}/assets/{asset_id}"
    assert caller.ask("GET", path).json()["data"][0]["filename"] == "a.jpg"
    assert caller.ask("DELETE", path).status_code == 204
    assert caller.sandbox.gallery(SKU) == (other,)
    assert caller.sandbox.thumbnail(SKU) is None
    assert {asset.id for asset in caller.sandbox.assets()} == {asset_id, other}
    again = caller.ask("DELETE", path)
    assert (again.status_code, errors_of(again)[0][0]) == (404, "asset_id")
    assert caller.ask("GET", path).status_code == 404


def test_there_is_no_unlinking_of_a_list(caller: Caller) -> None:
    assert caller.ask("DELETE", f"products/{caller.id_of(SKU)}/assets", ["x"]).status_code == 405


@pytest.mark.parametrize("race", [True, False], ids=["race", "no race"])
def test_two_links_of_one_product_at_once_lose_one_only_with_the_race(caller: Caller, race: bool) -> None:
    caller.sandbox.switches.lost_update_race = race
    caller.sandbox.switches.race_seconds = 0.3
    ids = [caller.asset("a.jpg"), caller.asset("b.jpg")]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda asset_id: caller.link(SKU, asset_id).status_code, ids))
    assert answers == [201, 201]
    assert len(caller.sandbox.gallery(SKU)) == (1 if race else 2)


def test_with_the_race_links_one_after_the_other_and_links_of_two_products_are_safe(caller: Caller) -> None:
    caller.sandbox.switches.lost_update_race = True
    ids = [caller.asset(f"{nth}.jpg") for nth in range(3)]

    def fill(sku: str) -> None:
        for asset_id in ids:
            caller.link(sku, asset_id)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(fill, (SKU, "ERP-7")))
    assert caller.sandbox.gallery(SKU) == caller.sandbox.gallery("ERP-7") == tuple(ids)


def test_a_product_that_is_deleted_while_it_is_linked_is_a_404(caller: Caller) -> None:
    caller.sandbox.switches.lost_update_race = True
    caller.sandbox.switches.race_seconds = 0.3
    asset_id, product_id = caller.asset("a.jpg"), caller.id_of(SKU)
    body = {"id": asset_id, "attribute_label": GALLERY}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(caller.ask, "POST", f"products/{product_id}/assets", body)
        while not caller.sandbox.ledger.under_way("link"):
            time.sleep(0.01)
        time.sleep(0.1)
        caller.sandbox.mutate("delete_product", sku=SKU)
        assert answer.result().status_code == 404
