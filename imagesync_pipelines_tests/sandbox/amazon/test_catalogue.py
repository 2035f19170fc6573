"""Proves that the catalogue answers as the contract's sections 1 to 3 have it: rules, pages, pace, shapes."""

from dataclasses import asdict
from typing import Any

import pytest
import requests

from imagesync_pipelines.sandbox.amazon.catalogue import Imageless
from imagesync_pipelines.sandbox.amazon.listings import MARKETPLACES, AmazonListing, ListedImage
from imagesync_pipelines.sandbox.amazon.pictures import AmazonPicture
from imagesync_pipelines_tests.sandbox import mishaps
from imagesync_pipelines_tests.sandbox.amazon.callers import Caller
from imagesync_pipelines_tests.sandbox.amazon.making import in_marketplace

pytestmark = pytest.mark.slow

US, CA = MARKETPLACES["US"], MARKETPLACES["CA"]


def asins(caller: Caller, number: int) -> str:
    return ",".join(listing.asin for listing in caller.sandbox.listings[:number])


def images_of(answer: Any) -> list[dict[str, Any]]:
    """The entries of the first group of the first item."""
    item = answer.json()["items"][0] if "items" in answer.json() else answer.json()
    entries: list[dict[str, Any]] = item["images"][0]["images"]
    return entries


def test_twenty_items_come_in_one_search_by_identifier(caller: Caller) -> None:
    answer = caller.search(
        identifiers=asins(caller, 20), identifiersType="ASIN", includedData="images,summaries", pageSize=20
    )
    found = answer.json()
    assert [item["asin"] for item in found["items"]] == asins(caller, 20).split(",")
    assert (found["numberOfResults"], found["pagination"]) == (20, {})
    assert set(found["items"][0]) == {"asin", "images", "summaries"}
    assert answer.headers["x-amzn-RateLimit-Limit"] == "2.0"
    assert answer.headers["x-amzn-RequestId"]


def test_a_search_has_ten_items_a_page_unless_asked(caller: Caller) -> None:
    first = caller.search(identifiers=asins(caller, 15), identifiersType="ASIN").json()
    assert (len(first["items"]), first["numberOfResults"]) == (10, 15)
    token = first["pagination"]["nextToken"]
    second = caller.search(identifiers=asins(caller, 15), identifiersType="ASIN", pageToken=token).json()
    assert len(second["items"]) == 5
    assert set(second["pagination"]) == {"previousToken"}
    seen = [item["asin"] for item in first["items"] + second["items"]]
    assert seen == asins(caller, 15).split(",")


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ({"marketplaceIds": ""}, "marketplaceIds is required"),
        ({"marketplaceIds": f"{US},{CA}", "keywords": "x"}, "exactly one"),
        ({"marketplaceIds": "nowhere", "keywords": "x"}, "not a valid marketplace"),
        ({"identifiers": "B1", "identifiersType": "ASIN", "keywords": "x"}, "cannot be used together"),
        ({}, "identifiers or keywords"),
        ({"brandNames": "Patchwork"}, "identifiers or keywords"),
        ({"identifiers": ",".join(["B1"] * 21), "identifiersType": "ASIN"}, "at most 20"),
        ({"keywords": ",".join(["x"] * 21)}, "at most 20"),
        ({"identifiers": "B1"}, "identifiersType is required"),
        ({"identifiers": "B1", "identifiersType": "PLU"}, "not one of"),
        ({"identifiers": "B1", "identifiersType": "SKU"}, "sellerId"),
        ({"keywords": "x", "pageSize": 21}, "between 1 and 20"),
        ({"keywords": "x", "pageSize": 0}, "between 1 and 20"),
        ({"keywords": "x", "pageToken": "***"}, "pageToken"),
        ({"keywords": "x", "includedData": "images,variations"}, "'variations'"),
    ],
)
def test_a_wrong_search_is_refused(caller: Caller, query: dict[str, Any], complaint: str) -> None:
    answer = caller.search(**query)
    error = answer.json()["errors"][0]
    assert (answer.status_code, error["code"]) == (400, "InvalidInput")
    assert complaint in error["details"]
    assert "x-amzn-RateLimit-Limit" in answer.headers


def test_only_summaries_come_unless_images_are_asked_for(caller: Caller) -> None:
    listing = caller.sandbox.listings[1]
    assert set(caller.item(listing.asin).json()) == {"asin", "summaries"}
    everything = caller.item(listing.asin, includedData="images,attributes,identifiers,productTypes,salesRanks").json()
    assert everything["identifiers"][0]["identifiers"][0] == {"identifierType": "UPC", "identifier": listing.upc}
    assert (everything["attributes"], everything["salesRanks"]) == ({}, [])


def test_an_item_has_one_group_per_marketplace_that_lists_it(caller: Caller) -> None:
    listing = caller.sandbox.listings[1]
    caller.sandbox.shelf.put(*in_marketplace([listing], "CA"))
    found = caller.item(listing.asin, marketplaceIds=f"{US},{CA}", includedData="images").json()
    assert [group["marketplaceId"] for group in found["images"]] == [US, CA]
    first, second = ({one["link"] for one in group["images"] if one["variant"] == "MAIN"} for group in found["images"])
    assert first != second


def test_an_unknown_item_is_a_404_and_not_found_in_a_search(caller: Caller) -> None:
    answer = caller.item("B000000000")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "NOT_FOUND")
    assert caller.search(identifiers="B000000000", identifiersType="ASIN").json()["items"] == []
    assert caller.get("/a/b/c").status_code == 404


def test_a_large_picture_is_listed_in_three_sizes_and_a_small_one_once(caller: Caller) -> None:
    large, small = AmazonPicture("91uohwV+k3L", "large", 2560, 1707), AmazonPicture("31aaaaaaaaL", "small", 400, 400)
    listing = AmazonListing("B000000001", "US", "Two", (ListedImage("MAIN", large), ListedImage("PT01", small)))
    caller.sandbox.shelf.put(listing)
    entries = images_of(caller.item(listing.asin, includedData="images"))
    mains = [entry for entry in entries if entry["variant"] == "MAIN"]
    assert sorted((entry["width"], entry["height"]) for entry in mains) == [(75, 50), (500, 333), (2560, 1707)]
    links = {entry["width"]: entry["link"] for entry in mains}
    assert links[2560] == large.url()
    assert links[75] == links[500].replace(".jpg", "._SL75_.jpg")
    assert [entry["link"] for entry in entries if entry["variant"] == "PT01"] == [small.url()]
    assert all(set(entry) == {"variant", "link", "height", "width"} for entry in entries)


def test_a_large_picture_may_be_listed_in_two_sizes_only(caller: Caller) -> None:
    large = AmazonPicture("91uohwV+k3L", "large", 2560, 1707)
    caller.sandbox.shelf.put(AmazonListing("B000000001", "US", "One", (ListedImage("MAIN", large),)))
    caller.sandbox.switches.tiny_copies = False
    entries = images_of(caller.item("B000000001", includedData="images"))
    assert sorted((entry["width"], entry["height"]) for entry in entries) == [(500, 333), (2560, 1707)]


def test_what_is_linked_is_served_at_the_size_that_is_said(caller: Caller) -> None:
    listing = caller.sandbox.listings[1]
    entries = images_of(caller.item(listing.asin, includedData="images"))[:6]
    assert entries
    for entry in entries:
        answer = caller.sandbox.fetch(entry["link"])
        assert (answer.status, answer.content_type) == (200, "image/jpeg")


def test_entries_are_in_no_order(caller: Caller) -> None:
    orders = set()
    for listing in [one for one in caller.sandbox.listings if len(one.images) > 3][:5]:
        entries = images_of(caller.item(listing.asin, includedData="images"))
        orders.add(tuple(entry["variant"] for entry in entries) == tuple(sorted(entry["variant"] for entry in entries)))
    assert orders == {False}


def test_a_parent_names_its_children_and_few_children_their_parent(caller: Caller) -> None:
    parent = next(listing for listing in caller.sandbox.listings if listing.is_parent)
    found = caller.item(parent.asin, includedData="summaries,relationships").json()
    assert found["summaries"][0]["itemClassification"] == "VARIATION_PARENT"
    relation = found["relationships"][0]["relationships"][0]
    assert (relation["type"], relation["childAsins"]) == ("VARIATION", list(parent.child_asins))
    child = AmazonListing("B000000002", "US", "Child", parent_asin=parent.asin, package_asin="B000000003")
    caller.sandbox.shelf.put(child)
    relations = caller.item(child.asin, includedData="relationships").json()["relationships"][0]["relationships"]
    assert {one["type"]: one["parentAsins"] for one in relations} == {
        "PACKAGE_HIERARCHY": ["B000000003"],
        "VARIATION": [parent.asin],
    }


def test_parents_are_found_by_identifier_and_by_words_only_with_the_switch(caller: Caller) -> None:
    parent = next(listing for listing in caller.sandbox.listings if listing.is_parent)
    assert len(caller.search(identifiers=parent.asin, identifiersType="ASIN").json()["items"]) == 1
    without = caller.search(keywords=f"patchwork {parent.model_number}").json()["numberOfResults"]
    caller.sandbox.switches.parents_in_keyword_search = True
    assert caller.search(keywords=f"patchwork {parent.model_number}").json()["numberOfResults"] == without + 1


@pytest.mark.parametrize(
    ("imageless", "shown"),
    [("no key", {}), ("no group", {"images": []}), ("empty group", {"images": [{"marketplaceId": US, "images": []}]})],
)
def test_an_item_without_images_may_show_it_in_three_ways(
    caller: Caller, imageless: Imageless, shown: dict[str, Any]
) -> None:
    caller.sandbox.switches.imageless = imageless
    caller.sandbox.shelf.put(AmazonListing("B000000004", "US", "Nothing to see"))
    assert caller.item("B000000004", includedData="images").json() == {"asin": "B000000004", **shown}


def test_unknown_slots_are_left_out_unless_the_answer_is_an_old_one(caller: Caller) -> None:
    pictures = [
        ListedImage(slot, AmazonPicture(f"31aaaaaaa{nth}L", "x", 90, 90)) for nth, slot in enumerate(("PT09", None))
    ]
    caller.sandbox.shelf.put(AmazonListing("B000000005", "US", "Old", tuple(pictures)))
    assert images_of(caller.item("B000000005", includedData="images")) == []
    caller.sandbox.switches.old_variants = True
    entries = images_of(caller.item("B000000005", includedData="images"))
    assert {entry["variant"] for entry in entries} == {"PT09", None}


def test_slashes_may_be_escaped_and_mean_the_same(caller: Caller) -> None:
    asin = caller.sandbox.listings[1].asin
    plain = images_of(caller.item(asin, includedData="images"))
    caller.sandbox.switches.escaped_slashes = True
    answer = caller.item(asin, includedData="images")
    assert r"https:\/\/m.media-amazon.com\/images\/I\/" in answer.text
    assert images_of(answer) == plain


def test_no_more_than_a_thousand_items_are_reached(caller: Caller) -> None:
    caller.sandbox.shelf.put(*(AmazonListing(f"B1{nth:08d}", "DE", "Endless") for nth in range(1_100)))
    caller.sandbox.switches.burst = 100
    query = {"keywords": "endless", "marketplaceIds": MARKETPLACES["DE"], "pageSize": 20}
    found, token = 0, {}
    while True:
        page = caller.search(wait=60, **query, **token).json()
        found += len(page["items"])
        if "nextToken" not in page["pagination"]:
            break
        token = {"pageToken": page["pagination"]["nextToken"]}
    assert (found, page["numberOfResults"]) == (1_000, 1_100)


def test_two_calls_go_at_once_and_then_two_a_second_for_each_operation(caller: Caller) -> None:
    asin = caller.sandbox.listings[0].asin
    query = {"identifiers": asin, "identifiersType": "ASIN"}
    assert [caller.search(wait=0, **query).status_code for _ in range(3)] == [200, 200, 429]
    assert [caller.item(asin, wait=0).status_code for _ in range(3)] == [200, 200, 429]
    assert [caller.search(wait=wait, **query).status_code for wait in (0.4, 0.1, 0.0, 0.5, 10, 0, 0)] == [
        429,
        200,
        429,
        200,
        200,
        200,
        429,
    ]


def test_a_429_has_a_code_and_no_word_on_waiting(caller: Caller) -> None:
    for _ in range(3):
        answer = caller.search(wait=0, keywords="cushion")
    assert answer.status_code == 429
    assert answer.json()["errors"][0]["code"] == "QuotaExceeded"
    assert "Retry-After" not in answer.headers
    assert "x-amzn-RateLimit-Limit" not in answer.headers
    assert answer.headers["x-amzn-RequestId"]


def test_a_clock_that_is_moved_back_takes_no_calls_away(caller: Caller) -> None:
    assert caller.search(wait=0, keywords="cushion").status_code == 200
    assert caller.search(wait=-3600, keywords="cushion").status_code == 200


@pytest.mark.parametrize(
    ("changed", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "wrong"}, 401, "invalid_client"),
        ({"refresh_token": "wrong"}, 400, "invalid_grant"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
def test_a_wrong_request_gets_no_token(caller: Caller, changed: dict[str, str], status: int, error: str) -> None:
    answer = caller.log_in(**changed)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


def test_a_token_may_be_asked_for_with_json(caller: Caller) -> None:
    application = caller.sandbox.application
    body = {"grant_type": "refresh_token", **asdict(application)}
    assert caller.ask_for_token(json=body).status_code == 200
    assert caller.search(keywords="cushion").status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"client_id": 7}'])
def test_nonsense_gets_no_token(caller: Caller, body: bytes) -> None:
    answer = requests.post(
        caller.sandbox.token_url, data=body, headers={"Content-Type": "application/json"}, timeout=10
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a_token_lives_an_hour(caller: Caller) -> None:
    answer = caller.log_in()
    assert (answer.json()["expires_in"], answer.json()["token_type"]) == (3600, "bearer")
    assert caller.search(wait=3599, keywords="cushion").status_code == 200
    expired = caller.search(wait=1, keywords="cushion")
    assert (expired.status_code, expired.json()["errors"][0]["code"]) == (403, "Unauthorized")
    assert "expired" in expired.json()["errors"][0]["details"]
    caller.log_in()
    assert caller.search(keywords="cushion").status_code == 200
    caller.sandbox.tokens.revoke()
    assert caller.search(keywords="cushion").status_code == 403


def test_a_call_without_a_token_is_refused_and_costs_nothing(caller: Caller) -> None:
    headers, caller.headers = caller.headers, {}
    for _ in range(4):
        assert caller.search(wait=0, keywords="cushion").status_code == 403
    caller.headers = headers
    assert caller.search(wait=0, keywords="cushion").status_code == 200


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (mishaps.quota_exceeded(), 429, "QuotaExceeded"),
        (mishaps.internal_failure(), 500, "InternalFailure"),
        (mishaps.token_refused(), 403, "Unauthorized"),
    ],
)
def test_a_call_may_go_wrong_once(caller: Caller, fault: Any, status: int, code: str) -> None:
    caller.sandbox.faults.add(fault)
    answer = caller.search(keywords="cushion")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)
    assert caller.search(keywords="cushion").status_code == 200
    assert caller.sandbox.ledger.as_json()["search"] == {"200": 1, str(status): 1}
