"""Proves the original's listing: its envelope, its order, what `since` and `limit` do, and how junk is answered."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import UUID

import pytest
import requests

from imagesync_pipelines.sandbox.head_office.original import Order, OriginalSwitches, Stamps
from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox
from imagesync_pipelines_tests.sandbox.head_office.callers import ROOT, SECONDS, Caller
from imagesync_pipelines_tests.sandbox.head_office.callers import listed as listed_rows

pytestmark = pytest.mark.slow

FIELDS = [
    "id", "product_id", "product_sku", "product_name", "object_key", "filename", "size", "content_type", "checksum",
    "version", "is_primary", "sort_order", "updated_at", "image_url",
]  # fmt: skip


@pytest.fixture
def switches(read_original: Caller) -> Iterator[OriginalSwitches]:
    """The switches, put back at the end."""
    switches = read_original.sandbox.switches
    yield switches
    switches.order, switches.stamps = "arbitrary", "offset"


def test_the_envelope_and_the_fields_are_those_of_the_contract(read_original: Caller) -> None:
    answer = read_original.ask("limit=7").json()
    assert list(answer) == ["status", "data"]
    assert list(answer["data"]) == ["photos", "total", "has_more", "next_offset"]
    assert (answer["data"]["total"], answer["data"]["has_more"], answer["data"]["next_offset"]) == (30, True, 7)
    assert all(list(photo) == FIELDS for photo in answer["data"]["photos"])


def test_the_last_page_says_so(read_original: Caller) -> None:
    data = read_original.page("limit=7&offset=28")
    assert (len(data["photos"]), data["has_more"], data["next_offset"]) == (2, False, None)


def test_each_store_sees_its_part_and_nothing_hidden(read_original: Caller) -> None:
    sandbox = read_original.sandbox
    assert len(sandbox.beginning.stores) > 1
    for store in sandbox.beginning.stores:
        listed = read_original.everything(f"store_id={store.id}")
        assert listed
        assert set(listed) == {str(one.photo_id) for one in sandbox.beginning.products if one.brand in store.brands}
        assert set(listed) == {str(row.id) for row in listed_rows(sandbox, store.id)}


def test_any_account_reads_any_store(read_original: Caller) -> None:
    listed = read_original.everything(f"store_id={read_original.sandbox.foreign_store}")
    assert len(listed) == 2


@pytest.mark.parametrize("order", ["arbitrary", "updated_at"])
def test_equal_rows_come_in_another_order_on_every_call(
    read_original: Caller, switches: OriginalSwitches, order: Order
) -> None:
    switches.order = order
    orders = [[photo["id"] for photo in read_original.page("limit=1000")["photos"]] for _ in range(2)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_an_offset_walk_over_an_arbitrary_order_repeats_and_loses(read_original: Caller) -> None:
    walked = [photo["id"] for offset in range(0, 30, 5) for photo in
              read_original.page(f"limit=5&offset={offset}")["photos"]]  # fmt: skip
    assert len(walked) == 30
    assert len(set(walked)) < 30


def test_as_stored_the_order_holds_until_a_row_is_written(original: HeadOfficeSandbox) -> None:
    original.switches.order = "stored"
    caller = Caller(original)
    orders = [[photo["id"] for photo in caller.page("limit=1000")["photos"]] for _ in range(2)]
    assert orders[0] == orders[1]
    first = orders[0][0]
    original.mutate("edit", photo_id=UUID(first), is_primary=False)
    assert [photo["id"] for photo in caller.page("limit=1000")["photos"]] == [*orders[0][1:], first]


def test_by_time_the_order_is_that_of_the_stamps(read_original: Caller, switches: OriginalSwitches) -> None:
    switches.order = "updated_at"
    stamps = [datetime.fromisoformat(photo["updated_at"]) for photo in read_original.page("limit=1000")["photos"]]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize(("stamps", "end"), [("offset", "+00:00"), ("zulu", "Z")])
def test_stamps_come_in_both_forms_with_and_without_a_fraction(
    read_original: Caller, switches: OriginalSwitches, stamps: Stamps, end: str
) -> None:
    switches.stamps = stamps
    written = [photo["updated_at"] for photo in read_original.everything().values()]
    assert all(stamp.endswith(end) for stamp in written)
    assert any("." in stamp for stamp in written)
    assert any("." not in stamp for stamp in written)


def test_since_is_inclusive(read_original: Caller) -> None:
    stamps = sorted(datetime.fromisoformat(photo["updated_at"]) for photo in read_original.everything().values())
    newest = stamps[-1]
    for since, expected in ((newest, 1), (newest + timedelta(microseconds=1), 0)):
        assert read_original.page(f"since={quote(since.isoformat())}")["total"] == expected


def test_since_without_a_zone_is_jakartas_time(read_original: Caller) -> None:
    newest = max(datetime.fromisoformat(photo["updated_at"]) for photo in read_original.everything().values())
    naive = newest.astimezone(UTC).replace(tzinfo=None)
    assert read_original.page(f"since={naive.isoformat()}")["total"] >= 1
    assert read_original.page(f"since={(naive + timedelta(hours=7)).isoformat()}")["total"] == 1
    assert read_original.page(f"since={(naive + timedelta(hours=7, seconds=1)).isoformat()}")["total"] == 0


def test_limits_are_not_clamped_and_a_limit_of_0_never_gets_on(read_original: Caller) -> None:
    assert len(read_original.page("limit=1000000")["photos"]) == 30
    for offset in (0, 12):
        data = read_original.page(f"limit=0&offset={offset}")
        assert (data["photos"], data["has_more"], data["next_offset"]) == ([], True, offset)


def test_an_offset_past_the_end_is_an_empty_page(read_original: Caller) -> None:
    data = read_original.page("offset=31")
    assert (data["photos"], data["total"], data["has_more"], data["next_offset"]) == ([], 30, False, None)


@pytest.mark.parametrize(
    "junk", ["limit=-1", "limit=x", "offset=-1", "offset=1.5", "since=yesterday", "since=2026-01-01T00:00:00+00:00"]
)
def test_junk_is_a_500_page_of_html(read_original: Caller, junk: str) -> None:
    answer = read_original.ask(junk)
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        pytest.param("store_id=", 400, "store_id is required", id="none"),
        pytest.param("store_id=00000000-0000-4000-8000-000000000000", 404, "Store not found", id="unknown"),
        pytest.param("store_id={closed}", 404, "Store not found", id="inactive"),
        pytest.param("store_id=ST001", 500, "Internal server error", id="no uuid"),
    ],
)
def test_a_wrong_store_is_answered_in_v1s_shape(read_original: Caller, query: str, status: int, message: str) -> None:
    answer = read_original.ask(query.format(closed=read_original.sandbox.closed_store))
    assert (answer.status_code, answer.json()["status"], answer.json()["message"]) == (status, "error", message)


def test_image_urls_point_where_no_other_machine_gets(read_original: Caller) -> None:
    photos = read_original.everything()
    assert photos
    for photo in photos.values():
        assert photo["image_url"] == (
            f"http://localhost:9000/product-images/{photo['object_key']}?v={photo['checksum'][:8]}"
        )


def test_skus_keep_their_zeros_and_names_their_letters(read_original: Caller) -> None:
    photos = read_original.everything()
    products = {str(product.photo_id): product for product in read_original.sandbox.beginning.products}
    assert {key: (photo["product_sku"], photo["product_name"]) for key, photo in photos.items()} == {
        key: (product.sku, product.name) for key, product in products.items()
    }


@pytest.mark.parametrize("path", [ROOT.rstrip("/"), ROOT + "not-a-uuid/download/", "/api/token/"])
def test_a_url_without_a_route_is_a_404_page_before_any_token(read_original: Caller, path: str) -> None:
    answer = requests.get(read_original.sandbox.url + path, timeout=SECONDS, allow_redirects=False)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


def test_a_wrong_method_is_a_405_but_the_token_comes_first(read_original: Caller) -> None:
    answer = read_original.ask(method="PUT")
    assert (answer.status_code, answer.json()) == (405, {"detail": 'Method "PUT" not allowed.'})
    assert requests.post(read_original.sandbox.url + ROOT, timeout=SECONDS).status_code == 401
