"""Proves the original's download and status routes: headers from the table, odd file names, errors, forgetting."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from imagesync_pipelines.sandbox.head_office.original import MissingObject
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines_tests.sandbox.head_office.callers import Caller

pytestmark = pytest.mark.slow

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def photo(read_original: Caller) -> Iterator[dict[str, Any]]:
    """One listed photo, whose row is put back at the end."""
    listed = min(read_original.everything().values(), key=lambda one: str(one["id"]))
    yield listed
    write(read_original, listed, **{name: listed[name] for name in ("filename", "version", "content_type")})


def write(caller: Caller, photo: dict[str, Any], **values: Any) -> None:
    with caller.sandbox.engine.begin() as connection:
        connection.execute(t.photo.update().where(t.photo.c.id == photo["id"]).values(**values))


def test_what_the_headers_say_comes_from_the_table(read_original: Caller, photo: dict[str, Any]) -> None:
    write(read_original, photo, version=3, content_type="image/webp")
    answer = read_original.download(photo["id"])
    assert answer.status_code == 200
    assert answer.headers["content-length"] == str(photo["size"])
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["content-disposition"] == f'attachment; filename="{photo["filename"]}"'
    assert answer.headers["x-checksum"] == photo["checksum"]
    assert answer.headers["x-version"] == "3"
    assert "etag" not in answer.headers
    assert len(answer.content) == photo["size"]


def test_ranges_and_conditions_are_ignored(read_original: Caller, photo: dict[str, Any]) -> None:
    headers = {"Range": "bytes=10-19", "If-None-Match": f'"{photo["checksum"]}"'}
    answer = read_original.download(photo["id"], headers=headers)
    assert (answer.status_code, len(answer.content)) == (200, photo["size"])


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        pytest.param("café.jpg", 'attachment; filename="café.jpg"', id="Latin-1 goes out raw"),
        pytest.param('a"b.jpg', 'attachment; filename="a"b.jpg"', id="a quote is not escaped"),
        pytest.param("宮保.jpg", "=?utf-8?b?YXR0YWNobWVudDsgZmlsZW5hbWU9IuWuruS/nS5qcGci?=", id="others are encoded"),
    ],
)
def test_odd_file_names(read_original: Caller, photo: dict[str, Any], filename: str, expected: str) -> None:
    write(read_original, photo, filename=filename)
    assert read_original.download(photo["id"]).headers["content-disposition"] == expected


def test_a_line_break_in_a_file_name_is_a_crash(read_original: Caller, photo: dict[str, Any]) -> None:
    write(read_original, photo, filename="a\nb.jpg")
    answer = read_original.download(photo["id"])
    assert (answer.status_code, answer.headers["content-type"]) == (500, "text/html; charset=utf-8")


def test_the_store_has_to_be_named_and_is_not_looked_up(read_original: Caller, photo: dict[str, Any]) -> None:
    answer = read_original.download(photo["id"], query="")
    assert (answer.status_code, answer.json()) == (400, {"status": "error", "message": "store_id is required"})
    assert read_original.download(photo["id"], query="store_id=whatever").status_code == 200


def test_photos_of_no_store_are_given_too(read_original: Caller) -> None:
    assert read_original.sandbox.beginning.hidden
    for product in read_original.sandbox.beginning.hidden:
        assert read_original.download(product.photo_id).status_code == 200


def test_an_unknown_photo_is_a_404_in_v1s_shape(read_original: Caller) -> None:
    answer = read_original.download(UNKNOWN)
    assert (answer.status_code, answer.json()) == (404, {"status": "error", "message": "Photo not found"})


@pytest.mark.parametrize("shape", get_args(MissingObject))
def test_a_missing_object_is_a_500_in_either_shape(read_original: Caller, shape: MissingObject) -> None:
    sandbox = read_original.sandbox
    change = sandbox.mutate("second_primary")
    sandbox.mutate("delete_object", photo_id=change.photo_id)
    sandbox.switches.missing_object = shape
    try:
        answer = read_original.download(change.photo_id or "")
    finally:
        sandbox.switches.missing_object = "json"
        sandbox.mutate("delete_row", photo_id=change.photo_id)
    assert answer.status_code == 500
    if shape == "json":
        assert answer.json()["detail"].startswith("Failed to download image: S3 operation failed; code: NoSuchKey,")
    else:
        assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("body", "number"),
    [
        pytest.param({"sync_batch": [{"photo_id": "x", "status": "dancing"}] * 3}, 3, id="nothing is checked"),
        pytest.param({"sync_batch": []}, 0, id="an empty batch"),
        pytest.param({}, 0, id="no batch"),
        pytest.param({"sync_batch": [{}, 1]}, 2, id="no reports"),
    ],
)
def test_any_report_is_a_success(read_original: Caller, body: dict[str, Any], number: int) -> None:
    answer = read_original.report(json={"store_id": str(read_original.store), **body})
    expected = {"status": "success", "message": f"Sync status updated for {number} photos"}
    assert (answer.status_code, answer.json()) == (200, expected)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        pytest.param({"json": {"sync_batch": []}}, 400, id="no store"),
        pytest.param({"json": {"store_id": "x", "sync_batch": None}}, 500, id="batch is null"),
        pytest.param({"json": [1]}, 500, id="a list"),
        pytest.param({"data": "{", "headers": {"Content-Type": "application/json"}}, 400, id="broken JSON"),
        pytest.param({"data": "x", "headers": {"Content-Type": "text/plain"}}, 415, id="plain text"),
    ],
)
def test_a_report_that_the_original_cannot_read(read_original: Caller, options: dict[str, Any], status: int) -> None:
    assert read_original.report(**options).status_code == status


def test_a_form_without_a_batch_is_a_success_and_reports_nothing(read_original: Caller) -> None:
    before = read_original.sandbox.reports()
    assert read_original.report(data={"store_id": str(read_original.store)}).status_code == 200
    assert read_original.sandbox.reports() == before
