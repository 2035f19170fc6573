"""Status reports and the health of stores that is made from them."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
import sqlalchemy as sa

from imagesync_pipelines.web.head_office import catalogue
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tables import photo, sync_report
from imagesync_pipelines.web.service import LARGEST_BODY
from imagesync_pipelines_tests.web.head_office.conftest import SetClock
from imagesync_pipelines_tests.web.head_office.serving import PHOTOS, Client, Shop

STATUS = PHOTOS + "status/"


def report(photo_id: object, status: str = "synced", **more: object) -> dict[str, object]:
    return {"photo_id": str(photo_id), "status": status, "synced_at": "2026-02-03T10:00:00Z", "error": None, **more}


def send(client: Client, *reports: object) -> Any:
    return client.post(STATUS, {"store_id": str(client.store), "sync_batch": list(reports)})


def kept(office: HeadOffice, client: Client) -> dict[UUID, sa.Row]:
    with office.engine.connect() as connection:
        rows = connection.execute(sa.select(sync_report).where(sync_report.c.store_id == client.store))
        return {row.photo_id: row for row in rows}


def health_of(client: Client) -> dict[str, Any]:
    stores = client.get("/api/v1/sync/health/").json()["data"]["stores"]
    return next(one for one in stores if one["store_id"] == str(client.store))


def test_reports_are_kept_and_the_last_one_counts(client: Client, office: HeadOffice) -> None:
    one, unknown = uuid4(), uuid4()
    answer = send(client, report(one, "failed", error="disk full"), report(unknown), report(one))
    assert answer.json() == {"status": "success", "message": "Sync status updated for 3 photos"}
    assert {photo_id: row.status for photo_id, row in kept(office, client).items()} == {
        one: "synced",
        unknown: "synced",
    }


def test_a_batch_that_is_sent_again_changes_nothing(client: Client, office: HeadOffice) -> None:
    one = uuid4()
    for _ in range(2):
        assert send(client, report(one, "failed", synced_at=None, error="short body")).status_code == 200
    (row,) = kept(office, client).values()
    assert (row.status, row.synced_at, row.error) == ("failed", None, "short body")


@pytest.mark.parametrize("body", [{"sync_batch": []}, {}], ids=["empty", "absent"])
def test_a_batch_without_photos_is_fine(client: Client, body: dict[str, object]) -> None:
    answer = client.post(STATUS, {"store_id": str(client.store), **body})
    assert (answer.status_code, answer.json()["message"]) == (200, "Sync status updated for 0 photos")


def test_an_error_text_that_the_database_cannot_hold_is_kept_without_it(client: Client, office: HeadOffice) -> None:
    one = uuid4()
    assert send(client, report(one, "failed", error="bad\x00byte\ud800" + "x" * 5000)).status_code == 200
    error = kept(office, client)[one].error
    assert error.startswith("badbyte?xx")
    assert len(error) == 2000


def test_a_naive_stamp_of_an_edge_is_utc(client: Client, office: HeadOffice) -> None:
    one = uuid4()
    send(client, report(one, synced_at="2026-02-03T10:00:00"))
    assert kept(office, client)[one].synced_at.isoformat() == "2026-02-03T10:00:00+00:00"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"sync_batch": []}, "store_id is required"),
        ({"store_id": str(uuid4()), "sync_batch": None}, "sync_batch:"),
        ([], "body:"),
    ],
    ids=["no store", "null", "a list"],
)
def test_bad_reports_are_refused(client: Client, body: object, message: str) -> None:
    answer = client.post(STATUS, body)
    assert answer.status_code == 400
    assert message in answer.json()["message"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (report("photo-uuid-1"), "photo_id:"),
        (report(uuid4(), "done"), "status:"),
        (report(uuid4(), synced_at="noon"), "not a time like"),
        (report(uuid4(), synced_at="9999-12-31T23:59:59-14:00"), "not a time like"),
        ("photo", "body:"),
        ({}, "photo_id is required"),
    ],
    ids=["no uuid, the original's own example", "status", "time", "time out of range", "a text", "nothing"],
)
def test_one_bad_report_loses_no_other(client: Client, office: HeadOffice, bad: object, reason: str) -> None:
    one, other = uuid4(), uuid4()
    answer = send(client, report(one), bad, report(other))
    assert (answer.status_code, answer.json()["message"]) == (200, "Sync status updated for 3 photos")
    (ignored,) = answer.json()["ignored"]
    assert ignored["nth"] == 1
    assert reason in ignored["reason"]
    assert kept(office, client).keys() == {one, other}


def test_a_body_that_is_no_json_is_refused(client: Client) -> None:
    headers = {"Authorization": f"Bearer {client.access}", "Content-Type": "application/json"}
    answer = requests.post(client.url + STATUS, data=b"{", headers=headers, timeout=30)
    assert (answer.status_code, answer.json()["message"]) == (400, "the body is not JSON")


def test_too_many_reports_at_once_are_refused_with_the_limit(client: Client, office: HeadOffice) -> None:
    many = [report(UUID(int=nth)) for nth in range(office.settings.max_reports + 1)]
    answer = send(client, *many)
    assert answer.status_code == 400
    assert "10000 at most" in answer.json()["message"]


def test_a_body_over_the_limit_is_refused_before_it_is_read(client: Client) -> None:
    answer = requests.post(client.url + STATUS, data=b" " * (LARGEST_BODY + 1), timeout=30)
    assert answer.status_code == 413


def test_a_body_of_unknown_length_over_the_limit_is_refused(client: Client) -> None:
    chunks = (b" " * 1024 * 1024 for _ in range(20))
    answer = requests.post(client.url + STATUS, data=chunks, timeout=30)
    assert (answer.status_code, answer.json()["status"]) == (413, "error")


def test_a_store_that_is_not_granted_may_not_report(client: Client, shop: Shop) -> None:
    answer = client.post(STATUS, {"store_id": str(shop.other_store), "sync_batch": [report(uuid4())]})
    assert answer.status_code == 403


def test_health_counts_what_the_store_sees(client: Client, office: HeadOffice, shop: Shop, clock: SetClock) -> None:
    products = catalogue.add_products(office, shop.brand, {f"H{nth}": "x" for nth in range(4)})
    ids = catalogue.put_photos(office, [catalogue.NewPhoto(one, b"x", "a.jpg") for one in products.values()])
    with office.engine.begin() as connection:
        connection.execute(photo.update().where(photo.c.id == ids[3]).values(checksum="", size=0, object_key=""))
    before = health_of(client)
    assert (before["photos"], before["without_image"], before["waiting"], before["last_report_at"]) == (3, 1, 3, None)
    clock.now += timedelta(minutes=10)
    send(client, report(ids[0]), report(ids[1], "failed", error="checksum"), report(uuid4(), "failed"))
    after = health_of(client)
    assert (after["synced"], after["failed"], after["waiting"]) == (1, 1, 2)
    assert after["lag_seconds"] == pytest.approx(600, abs=5)
    assert [(one["photo_id"], one["error"]) for one in after["failures"]] == [(str(ids[1]), "checksum")]
    assert after["last_report_at"] is not None
    send(client, *(report(one) for one in ids[:3]))
    assert health_of(client)["lag_seconds"] == 0


def test_health_shows_only_stores_that_the_account_may_read(client: Client, shop: Shop) -> None:
    stores = client.get("/api/v1/sync/health/").json()["data"]["stores"]
    assert str(shop.other_store) not in {one["store_id"] for one in stores}


def test_an_unknown_path_and_a_wrong_method_are_answered_in_json(client: Client) -> None:
    missing = client.get("/api/v1/sync/product-photos")
    assert (missing.status_code, missing.json()["status"]) == (404, "error")
    assert "ends with a slash" in missing.json()["message"]
    wrong = client.get(STATUS)
    assert (wrong.status_code, wrong.json()["message"]) == (405, 'Method "GET" not allowed.')
