"""The listing: envelope, scope, order, paging, bad input, and what it says about photos that are gone."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
import requests

from imagesync_pipelines.web.head_office import accounts, catalogue, tables
from imagesync_pipelines.web.head_office.office import HeadOffice, HeadOfficeSettings
from imagesync_pipelines.web.head_office.tokens import hash_password
from imagesync_pipelines_tests.web.head_office import operators
from imagesync_pipelines_tests.web.head_office.conftest import SetClock
from imagesync_pipelines_tests.web.head_office.serving import PASSWORD, PHOTOS, USERNAME, Client, Shop, served

FIELDS = {
    "id", "product_id", "product_sku", "product_name", "object_key", "filename", "size", "content_type", "checksum",
    "version", "is_primary", "sort_order", "updated_at", "image_url",
}  # fmt: skip


def many(office: HeadOffice, shop: Shop, count: int) -> list[UUID]:
    """So many products with a photo each; all photos have the same `updated_at`."""
    products = catalogue.add_products(office, shop.brand, {f"{nth:04}": f"Dish {nth}" for nth in range(count)})
    new = [catalogue.NewPhoto(one, str(one).encode(), "a.jpg") for one in products.values()]
    return catalogue.put_photos(office, new)


def test_a_page_has_the_fields_of_the_contract(client: Client, office: HeadOffice, shop: Shop) -> None:
    photo_id = operators.put_photo(office, shop.product, b"picture", filename="Menu.png", content_type="image/png")
    page = client.page()
    assert {*page} == {"photos", "total", "has_more", "next_offset", "server_time"}
    (row,) = page["photos"]
    assert {*row} == FIELDS
    assert (row["id"], row["product_sku"], row["size"]) == (str(photo_id), "05018970", 7)
    assert row["image_url"].endswith(f"/{row['object_key']}?v={row['checksum'][:8]}")
    assert re.fullmatch(r"2026-02-03T10:\d\d:\d\d\.\d{6}Z", row["updated_at"])


def test_every_photo_comes_once_over_all_pages_although_the_stamps_are_equal(
    client: Client, office: HeadOffice, shop: Shop
) -> None:
    expected = many(office, shop, 23)
    found, offset = [], 0
    while offset is not None:
        page = client.page(limit=5, offset=offset)
        found += [row["id"] for row in page["photos"]]
        assert (page["total"], page["has_more"]) == (23, page["next_offset"] is not None)
        offset = page["next_offset"]
    assert len(found) == 23
    assert set(found) == {str(one) for one in expected}


@pytest.mark.parametrize(
    ("limit", "rows"), [(0, 1), (-5, 1), (3, 3), (10**30, 7)], ids=["zero", "negative", "usual", "very large"]
)
def test_a_limit_is_cut_to_what_is_allowed(
    client: Client, office: HeadOffice, shop: Shop, limit: int, rows: int
) -> None:
    many(office, shop, 7)
    page = client.page(limit=limit)
    assert len(page["photos"]) == rows
    assert page["next_offset"] in (rows, None)


def test_an_offset_behind_the_end_gives_an_empty_last_page(client: Client, office: HeadOffice, shop: Shop) -> None:
    many(office, shop, 3)
    page = client.page(offset=50)
    assert (page["photos"], page["total"], page["has_more"], page["next_offset"]) == ([], 3, False, None)


def test_since_includes_its_own_moment(client: Client, office: HeadOffice, shop: Shop) -> None:
    operators.put_photo(office, shop.product, b"x", filename="a.jpg")
    stamp = client.page()["photos"][0]["updated_at"]
    later = (datetime.fromisoformat(stamp) + timedelta(microseconds=1)).isoformat()
    assert client.page(since=stamp)["total"] == 1
    assert client.page(since=later)["total"] == 0


def test_since_without_a_zone_is_read_in_the_offices(client: Client, office: HeadOffice, shop: Shop) -> None:
    """As the original did: what was changed at 10:00 UTC was changed at 17:00 in Jakarta."""
    operators.put_photo(office, shop.product, b"x", filename="a.jpg")
    moment = datetime.fromisoformat(client.page()["photos"][0]["updated_at"])
    naive = moment.astimezone(ZoneInfo("Asia/Jakarta")).replace(tzinfo=None)
    assert client.page(since=naive.isoformat())["total"] == 1
    assert client.page(since=(naive + timedelta(microseconds=1)).isoformat())["total"] == 0
    with served(replace(office, settings=HeadOfficeSettings(timezone="UTC"))) as other:
        other.store = shop.store
        assert other.page(since=naive.isoformat())["total"] == 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "store_id is required"),
        ({"store_id": "12"}, "store_id: Input should be a valid UUID"),
        ({"store_id": uuid4(), "limit": "ten"}, "limit: Input should be a valid integer"),
        ({"store_id": uuid4(), "offset": -1}, "offset: Input should be greater than or equal to 0"),
        ({"store_id": uuid4(), "offset": 10**30}, "offset: "),
        ({"store_id": uuid4(), "since": "yesterday"}, "since: not a time like"),
        ({"store_id": uuid4(), "since": "2026-02-03T10:00:00 00:00"}, "a + has to be sent as %2B"),
        ({"store_id": uuid4(), "since": "0001-01-01T00:00:00+14:00"}, "out of the range"),
    ],
    ids=["nothing", "no uuid", "limit", "offset", "huge offset", "since", "raw plus", "before all times"],
)
def test_bad_input_is_refused_with_a_clear_message(client: Client, query: dict[str, object], message: str) -> None:
    answer = client.get(PHOTOS, **query)
    assert answer.status_code == 400
    assert answer.json()["status"] == "error"
    assert message in answer.json()["message"]


@pytest.mark.parametrize(
    ("which", "status", "message"),
    [("unknown", 404, "Store not found"), ("closed", 404, "Store not found"), ("foreign", 403, "may not read")],
)
def test_a_store_is_checked(
    client: Client, office: HeadOffice, shop: Shop, which: str, status: int, message: str
) -> None:
    if which == "closed":
        operators.set_store_active(office, shop.store, active=False)
    store = {"unknown": uuid4(), "closed": shop.store, "foreign": shop.other_store}[which]
    answer = client.get(PHOTOS, store_id=store)
    assert answer.status_code == status
    assert message in answer.json()["message"]


def test_a_revoked_grant_works_at_once(client: Client, office: HeadOffice, shop: Shop) -> None:
    accounts.revoke(office, USERNAME, shop.store)
    assert client.get(PHOTOS, store_id=shop.store).status_code == 403


def test_an_account_of_all_stores_reads_every_store(client: Client, office: HeadOffice, shop: Shop) -> None:
    accounts.add_account(office, "operator", hash_password(PASSWORD), all_stores=True)
    client.log_in("operator")
    assert client.get(PHOTOS, store_id=shop.other_store).status_code == 200


def test_deleted_ids_name_what_is_gone_since_then_and_only_with_since(
    client: Client, office: HeadOffice, shop: Shop, clock: SetClock
) -> None:
    photo_id = operators.put_photo(office, shop.product, b"x", filename="a.jpg")
    before = clock().isoformat()
    assert client.page(since=before)["deleted_ids"] == []
    operators.delete_photo(office, photo_id)
    after = clock().isoformat()
    assert client.page(since=before)["deleted_ids"] == [str(photo_id)]
    assert client.page(since=after)["deleted_ids"] == []
    assert "deleted_ids" not in client.page()


def test_a_photo_that_is_seen_again_is_listed_by_since_and_not_called_deleted(
    client: Client, office: HeadOffice, shop: Shop, clock: SetClock
) -> None:
    photo_id = operators.put_photo(office, shop.product, b"x", filename="a.jpg")
    before = clock().isoformat()
    operators.unlink_brand(office, shop.store, shop.brand)
    assert client.page()["total"] == 0
    assert client.page(since=before)["deleted_ids"] == [str(photo_id)]
    catalogue.link_brand(office, shop.store, shop.brand)
    page = client.page(since=before)
    assert [row["id"] for row in page["photos"]] == [str(photo_id)]
    assert page["deleted_ids"] == []


def test_hidden_products_and_brands_are_not_listed(client: Client, office: HeadOffice, shop: Shop) -> None:
    operators.put_photo(office, shop.product, b"x", filename="a.jpg")
    operators.set_product_active(office, shop.product, active=False)
    assert client.page()["total"] == 0
    operators.set_product_active(office, shop.product, active=True)
    operators.set_brand_active(office, shop.brand, active=False)
    assert client.page()["total"] == 0


def test_who_goes_on_from_the_sync_timestamp_of_v2_misses_no_change_that_was_not_seen_yet(
    client: Client, office: HeadOffice, shop: Shop
) -> None:
    """A change has its stamp before it can be seen: the listing in between must not step over it."""
    asked = {"company_id": str(shop.company), "store_id": str(shop.store)}
    operators.put_photo(office, shop.product, b"x", filename="a.jpg")
    with catalogue.changing(office, tables.product.c.id == shop.product) as (connection, stamp):
        between = client.post(PHOTOS, asked).json()["sync_timestamp"]
        connection.execute(
            tables.photo.update()
            .where(tables.photo.c.product_id == shop.product)
            .values(updated_at=stamp, sort_order=7)
        )
    following = client.post(PHOTOS, {**asked, "updated_since": between}).json()
    assert [one["sort_order"] for one in following["photos"]] == [7]


def test_a_form_that_cannot_be_read_is_refused_as_version_2_refuses(client: Client) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=x", "Authorization": f"Bearer {client.access}"}
    answer = requests.post(client.url + PHOTOS, data=b"--x\r\n[{\xc3\x8a: 1}]--x--\r\n", headers=kind, timeout=30)
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "body: Invalid multipart data.", "code": "INVALID_REQUEST"},
    )
