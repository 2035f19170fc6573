"""The download: the object's own bytes, headers, ranges, and what is said when there is nothing to send."""

import hashlib
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.objects import s3_client
from imagesync_pipelines.web.head_office import accounts, app
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tables import photo
from imagesync_pipelines.web.head_office.tokens import hash_password
from imagesync_pipelines_tests.object_stores import SERVERS
from imagesync_pipelines_tests.web.head_office import operators
from imagesync_pipelines_tests.web.head_office.serving import PASSWORD, PHOTOS, USERNAME, Client, Shop, served

BODY = bytes(range(256)) * 3000
CHECKSUM = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def photo_id(office: HeadOffice, shop: Shop) -> UUID:
    return operators.put_photo(office, shop.product, BODY, filename='5" «суп».jpg')


def test_a_download_gives_the_bytes_and_says_what_they_are(client: Client, photo_id: UUID) -> None:
    answer = client.download(photo_id)
    assert answer.status_code == 200
    assert answer.content == BODY
    headers = answer.headers
    assert headers["Content-Length"] == str(len(BODY))
    assert headers["Content-Type"] == "image/jpeg"
    assert (headers["X-Checksum"], headers["X-Version"], headers["ETag"]) == (CHECKSUM, "1", f'"{CHECKSUM}"')
    assert headers["Content-Disposition"].startswith("attachment; filename=\"5_ _____.jpg\"; filename*=UTF-8''5%22")
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_small_photo_gives_the_same_as_a_large_one(client: Client, office: HeadOffice, shop: Shop) -> None:
    photo_id = operators.put_photo(office, shop.product, b"small", filename="a.jpg")
    answer = client.download(photo_id)
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"small", "5")
    part = client.download(photo_id, {"Range": "bytes=1-2"})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"ma", "bytes 1-2/5")


def test_a_head_gives_the_same_headers_and_no_bytes(client: Client, photo_id: UUID) -> None:
    whole, head = client.download(photo_id), client.download(photo_id, method="HEAD")
    assert head.status_code == 200
    assert head.content == b""
    for name in ("Content-Length", "ETag", "X-Checksum", "Content-Type", "Content-Disposition"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize("tag", [f'"{CHECKSUM}"', f'W/"{CHECKSUM}"', f'"other", "{CHECKSUM}"', "*"])
def test_a_known_photo_is_not_sent_again(client: Client, photo_id: UUID, tag: str) -> None:
    answer = client.download(photo_id, {"If-None-Match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == f'"{CHECKSUM}"'


@pytest.mark.parametrize(
    ("asked", "part", "said"),
    [
        ("bytes=0-9", BODY[:10], f"bytes 0-9/{len(BODY)}"),
        ("bytes=700000-", BODY[700000:], f"bytes 700000-{len(BODY) - 1}/{len(BODY)}"),
        ("bytes=-5", BODY[-5:], f"bytes {len(BODY) - 5}-{len(BODY) - 1}/{len(BODY)}"),
        ("bytes=767990-999999", BODY[767990:], f"bytes 767990-{len(BODY) - 1}/{len(BODY)}"),
    ],
    ids=["first", "rest", "last", "beyond the end"],
)
def test_a_range_is_sent_alone(client: Client, photo_id: UUID, asked: str, part: bytes, said: str) -> None:
    answer = client.download(photo_id, {"Range": asked})
    assert answer.status_code == 206
    assert answer.content == part
    assert (answer.headers["Content-Range"], answer.headers["Content-Length"]) == (said, str(len(part)))


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=x-"])
def test_a_range_that_is_not_one_range_of_bytes_gets_the_whole(client: Client, photo_id: UUID, asked: str) -> None:
    answer = client.download(photo_id, {"Range": asked})
    assert (answer.status_code, answer.content) == (200, BODY)


def test_a_range_behind_the_end_is_refused_with_the_length(client: Client, photo_id: UUID) -> None:
    answer = client.download(photo_id, {"Range": f"bytes={len(BODY)}-"})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(BODY)}"


def test_a_range_of_another_photo_gets_the_whole(client: Client, photo_id: UUID) -> None:
    same = client.download(photo_id, {"Range": "bytes=5-", "If-Range": f'"{CHECKSUM}"'})
    other = client.download(photo_id, {"Range": "bytes=5-", "If-Range": '"other"'})
    assert (same.status_code, same.content) == (206, BODY[5:])
    assert (other.status_code, other.content) == (200, BODY)


def test_a_missing_object_is_named(client: Client, office: HeadOffice, photo_id: UUID) -> None:
    key = client.page()["photos"][0]["object_key"]
    office.s3.delete_object(Bucket=office.bucket, Key=key)
    answer = client.download(photo_id)
    assert answer.status_code == 404
    assert answer.json() == {
        "status": "error",
        "message": "Image data is missing in the object store",
        "detail": f"NoSuchKey: photo {photo_id}, object {key}",
    }


@pytest.mark.parametrize("store", SERVERS)
def test_a_bucket_that_is_gone_is_a_fault_of_the_service_and_no_photo_is_missing_by_it(
    client: Client, office: HeadOffice, photo_id: UUID, tmp_path: Path, store: str
) -> None:
    with SERVERS[store](tmp_path) as place:
        gone = replace(office, s3=s3_client(place), bucket="mistyped", place=replace(place, bucket="mistyped"))
        with served(gone) as service:
            there = Client(service.url, client.store, service.access)
            for method in ("GET", "HEAD"):
                answer = there.get(f"{PHOTOS}{photo_id}/download/", method=method, store_id=client.store)
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        with pytest.raises(StorageError, match="'mistyped': there is no such bucket") as told:
            app.serve(gone, port=0)
        assert "\n" not in str(told.value)


def test_a_row_without_an_object_has_no_image_data(client: Client, office: HeadOffice, photo_id: UUID) -> None:
    with office.engine.begin() as connection:
        connection.execute(photo.update().where(photo.c.id == photo_id).values(object_key="", checksum="", size=0))
    assert client.download(photo_id).json()["message"] == "No image data available"
    assert client.page()["photos"][0]["image_url"] is None


@pytest.mark.parametrize("which", ["unknown", "deleted", "hidden"])
def test_a_photo_that_the_store_does_not_see_is_not_found(
    client: Client, office: HeadOffice, shop: Shop, photo_id: UUID, which: str
) -> None:
    if which == "deleted":
        operators.delete_photo(office, photo_id)
    if which == "hidden":
        operators.set_product_active(office, shop.product, active=False)
    answer = client.download(uuid4() if which == "unknown" else photo_id)
    assert answer.status_code == 404
    assert answer.json() == {"status": "error", "message": "Photo not found"}


@pytest.mark.parametrize(
    ("which", "status", "message"),
    [
        ("unknown", 404, "Store not found"),
        ("closed", 404, "Store not found"),
        ("foreign", 403, "may not read"),
        ("revoked", 403, "may not read"),
    ],
)
def test_a_store_that_the_account_may_not_read_gives_no_bytes(
    client: Client, office: HeadOffice, shop: Shop, photo_id: UUID, which: str, status: int, message: str
) -> None:
    if which == "closed":
        operators.set_store_active(office, shop.store, active=False)
    if which == "revoked":
        accounts.revoke(office, USERNAME, shop.store)
    store = {"unknown": uuid4(), "foreign": shop.other_store}.get(which, shop.store)
    answer = client.get(f"{PHOTOS}{photo_id}/download/", store_id=store)
    assert answer.status_code == status
    assert message in answer.json()["message"]


def test_an_account_of_all_stores_gets_bytes_until_it_is_disabled(
    client: Client, office: HeadOffice, shop: Shop, photo_id: UUID
) -> None:
    accounts.add_account(office, "carrier", hash_password(PASSWORD), all_stores=True)
    client.log_in("carrier")
    address = f"{PHOTOS}{photo_id}/download/"
    assert client.get(address, store_id=shop.other_store).content == BODY
    accounts.set_active(office, "carrier", active=False)
    assert client.get(address, store_id=shop.other_store).status_code == 401


def test_the_length_is_the_objects_own_when_the_row_is_wrong(
    client: Client, office: HeadOffice, photo_id: UUID
) -> None:
    with office.engine.begin() as connection:
        connection.execute(
            photo.update().where(photo.c.id == photo_id).values(size=5, content_type="text/html\r\nX-Evil: 1")
        )
    answer = client.download(photo_id)
    assert answer.content == BODY
    assert answer.headers["Content-Type"] == "application/octet-stream"


def test_a_photo_id_that_is_none_is_bad_input(client: Client) -> None:
    answer = client.download("not-an-id")
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("photo_id:")


def test_downloads_in_a_row_leave_no_connection_taken(client: Client, office: HeadOffice, photo_id: UUID) -> None:
    for _ in range(30):
        client.download(photo_id)
    with office.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    assert office.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
