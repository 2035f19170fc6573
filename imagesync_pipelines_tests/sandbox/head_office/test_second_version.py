"""V2, of the original and of our service: what the client in the field asks and gets (docs/contracts/edge.md)."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import requests

from imagesync_pipelines_tests.sandbox.head_office.callers import ROOT, SECONDS, Caller
from imagesync_pipelines_tests.sandbox.head_office.field_client import FieldClient

V2 = {
    "photos", "deleted_ids", "sync_timestamp", "total", "has_more", "next_offset", "filter", "store",
}  # fmt: skip


@pytest.fixture
def field_client(either: Caller) -> FieldClient:
    """The client of the first store."""
    store = either.sandbox.beginning.stores[0]
    return FieldClient(either.sandbox, store.company, store.id)


def is_original(client: FieldClient) -> bool:
    return bool(client.sandbox.bench.silent)


def test_the_client_in_the_field_gets_every_photo(either: Caller, field_client: FieldClient) -> None:
    # One page: the original has no order among photos of one moment.
    field_client.sync()
    listed = {key for key, photo in either.everything().items() if photo["checksum"]}
    assert (set(field_client.photos), field_client.failed) == (listed, [])


def test_pages_of_our_service_lose_nothing(field_client: FieldClient) -> None:
    if is_original(field_client):
        pytest.skip("the original may lose photos between pages")
    small = FieldClient(field_client.sandbox, field_client.company, field_client.store, limit=7)
    small.sync()
    field_client.sync()
    assert small.photos == field_client.photos


def test_the_answer_has_no_envelope_and_names_the_store(either: Caller, field_client: FieldClient) -> None:
    answer = field_client.ask(limit=3).json()
    assert {*answer} == V2
    assert (len(answer["photos"]), answer["has_more"], answer["next_offset"]) == (3, True, 3)
    assert answer["filter"] == {"company_id": str(field_client.company), "store_id": str(field_client.store)}
    assert answer["store"]["id"] == str(field_client.store)
    assert {*answer["photos"][0]} == {*either.page("limit=1")["photos"][0]}


def test_updated_since_is_inclusive_and_naive_times_are_jakartas(either: Caller, field_client: FieldClient) -> None:
    newest = field_client.ask().json()["photos"][-1]["updated_at"]
    assert field_client.ask(updated_since=newest).json()["total"] >= 1
    later = either.sandbox.clock.now() + timedelta(hours=1)
    assert field_client.ask(updated_since=later.isoformat().replace("+00:00", "Z")).json()["total"] == 0
    naive = datetime.fromisoformat(newest).astimezone(ZoneInfo("Asia/Jakarta")).replace(tzinfo=None)
    assert field_client.ask(updated_since=naive.isoformat()).json()["total"] >= 1


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"company_id": None}, 400, "MISSING_COMPANY_ID"),
        ({"store_id": ""}, 400, "MISSING_STORE_ID"),
        ({"company_id": str(uuid4())}, 404, "STORE_NOT_FOUND"),
        ({"store_id": str(uuid4())}, 404, "STORE_NOT_FOUND"),
        ({"updated_since": "yesterday"}, 400, "INVALID_DATE_FORMAT"),
    ],
    ids=["no company", "no store", "another company", "unknown store", "no time"],
)
def test_errors_have_the_shape_of_v2(
    field_client: FieldClient, changed: dict[str, Any], status: int, code: str
) -> None:
    answer = field_client.ask(**changed)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert {*answer.json()} == {"error", "code"}


@pytest.mark.parametrize(
    ("changed", "status"),
    [({"store_id": "x"}, 404), ({"limit": "ten"}, 400), ({"offset": -1}, 400)],
    ids=["no uuid", "limit", "offset"],
)
def test_what_the_original_crashes_on_is_told_by_ours(
    field_client: FieldClient, changed: dict[str, Any], status: int
) -> None:
    answer = field_client.ask(**changed)
    assert answer.status_code == (500 if is_original(field_client) else status)
    assert {"error", "code"} <= {*answer.json()}


def test_an_image_url_of_ours_is_for_one_photo_of_one_account(field_client: FieldClient) -> None:
    if is_original(field_client):
        pytest.skip("the original's bucket is public")
    first, second = field_client.ask(limit=2).json()["photos"]
    token = first["image_url"].partition("?token=")[2]
    other = second["image_url"].partition("?")[0]
    assert requests.get(f"{other}?token={token}", timeout=SECONDS).status_code == 401
    download = f"{field_client.sandbox.url}{ROOT}{first['id']}/download/?store_id={field_client.store}"
    headers = {"Authorization": f"Bearer {token}"}
    assert requests.get(download, headers=headers, timeout=SECONDS).status_code == 401


def test_a_host_that_is_none_breaks_nothing(either: Caller, field_client: FieldClient) -> None:
    """Our service tells its address by what it was called."""
    body = {"company_id": str(field_client.company), "store_id": str(field_client.store)}
    answer = either.session.post(either.sandbox.url + ROOT, json=body, headers={"Host": "[::1"}, timeout=SECONDS)
    assert answer.status_code < 500
