"""Downloads without threads: one statement and one read each; and stores that are sent to the bucket for the bytes."""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import anyio.to_thread
import obstore
import pytest
import requests
import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.sandbox.server import bind
from imagesync_pipelines.storage.objects import S3Place
from imagesync_pipelines.storage.reader import Reader
from imagesync_pipelines.web.head_office import accounts, catalogue, tokens
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.office import HeadOffice, HeadOfficeSettings
from imagesync_pipelines.web.pieces import LARGE
from imagesync_pipelines_tests.web.head_office import operators
from imagesync_pipelines_tests.web.head_office.serving import PHOTOS, USERNAME, Client, Shop, served

BODY = bytes(range(256)) * 800
CHECKSUM = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def photo_id(office: HeadOffice, shop: Shop) -> UUID:
    return operators.put_photo(office, shop.product, BODY, filename="soup.jpg")


def test_a_download_is_one_statement_one_read_and_no_thread(
    monkeypatch: pytest.MonkeyPatch, client: Client, photo_id: UUID
) -> None:
    statements, reads = [], []
    rows, get = Reader.rows, obstore.get_async

    async def counted(reader: Reader, statement: str, *values: Any) -> Any:
        statements.append(statement)
        return await rows(reader, statement, *values)

    async def read(store: Any, key: str) -> Any:
        reads.append(key)
        return await get(store, key)

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a thread was asked for")

    monkeypatch.setattr(Reader, "rows", counted)
    monkeypatch.setattr(obstore, "get_async", read)
    monkeypatch.setattr(anyio.to_thread, "run_sync", refused)
    monkeypatch.setattr(asyncio.BaseEventLoop, "run_in_executor", refused)
    for _ in range(3):
        assert client.download(photo_id).content == BODY
    assert (len(statements), len(reads)) == (3, 3)


def test_a_photo_larger_than_a_piece_arrives_whole(client: Client, office: HeadOffice, shop: Shop) -> None:
    body = BODY * (3 * LARGE // len(BODY)) + b"the end"
    photo_id = operators.put_photo(office, shop.product, body, filename="a.jpg")
    answer = client.download(photo_id)
    assert (answer.content, answer.headers["Content-Length"]) == (body, str(len(body)))


@contextmanager
def breaking_store(size: int) -> Iterator[S3Place]:
    """An object store that ends every connection in the middle of its object."""
    listener = bind()

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                head = f'HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nETag: "a"\r\n'
                head += "Last-Modified: Mon, 02 Feb 2026 10:00:00 GMT\r\n\r\n"
                connection.sendall(head.encode() + bytes(size // 2))

    threading.Thread(target=answer, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    yield S3Place(url, "k" * 20, SecretStr("s" * 40), "us-east-1", "photos")
    listener.shutdown(2)
    listener.close()


def test_a_large_photo_that_breaks_off_is_never_whole(client: Client, office: HeadOffice, photo_id: UUID) -> None:
    with breaking_store(4 * LARGE) as place, served(replace(office, place=place)) as breaking:
        breaking.store = client.store
        with pytest.raises(requests.RequestException):
            breaking.download(photo_id)


def test_what_breaks_off_before_anything_was_sent_is_read_again(
    client: Client, office: HeadOffice, photo_id: UUID
) -> None:
    with breaking_store(1000) as place, served(replace(office, place=place)) as breaking:
        breaking.store = client.store
        assert breaking.download(photo_id).content == BODY


@pytest.fixture
def sent_on(client: Client, office: HeadOffice, shop: Shop) -> Client:
    """A client of a store that reads the bucket itself."""
    catalogue.set_from_bucket(office, shop.store, from_bucket=True)
    return client


def ask(client: Client, photo_id: object, headers: dict[str, str] | None = None, **options: Any) -> Any:
    """A download whose redirect is not followed."""
    own = {"Authorization": f"Bearer {client.access}", **(headers or {})}
    query = {"store_id": str(client.store), **options.pop("query", {})}
    method, path = options.get("method", "GET"), options.get("path", "download")
    address = f"{client.url}{PHOTOS}{photo_id}/{path}/"
    return requests.request(method, address, params=query, headers=own, allow_redirects=False, timeout=30)


def test_a_store_that_reads_the_bucket_is_sent_there(sent_on: Client, photo_id: UUID) -> None:
    answer = ask(sent_on, photo_id)
    assert (answer.status_code, answer.content) == (307, b"")
    headers = answer.headers
    assert (headers["X-Checksum"], headers["ETag"], headers["X-Version"]) == (CHECKSUM, f'"{CHECKSUM}"', "1")
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
    assert parse_qs(urlsplit(headers["Location"]).query)["X-Amz-Expires"] == ["60"]
    assert requests.get(headers["Location"], timeout=30).content == BODY
    assert sent_on.access not in headers["Location"]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"query": {"redirect": "false"}}, 200),
        ({"method": "HEAD"}, 200),
        ({"headers": {"Range": "bytes=0-9"}}, 206),
        ({"headers": {"If-None-Match": f'"{CHECKSUM}"'}}, 304),
    ],
    ids=["asked not to", "HEAD", "a part", "known"],
)
def test_everything_else_is_answered_here(
    sent_on: Client, photo_id: UUID, options: dict[str, Any], status: int
) -> None:
    answer = ask(sent_on, photo_id, **options)
    assert (answer.status_code, "Location" in answer.headers) == (status, False)


@pytest.mark.parametrize("why", ["no grant", "hidden", "no token", "ended token", "no object", "closed"])
def test_nobody_is_sent_to_what_they_may_not_see(
    sent_on: Client, office: HeadOffice, shop: Shop, photo_id: UUID, why: str
) -> None:
    headers = {}
    if why == "no grant":
        accounts.revoke(office, USERNAME, shop.store)
    if why == "hidden":
        operators.set_product_active(office, shop.product, active=False)
    if why == "no token":
        headers = {"Authorization": "Bearer x.y.z"}
    if why == "ended token":
        accounts.add_account(office, "ended", "no hash")
        accounts.grant(office, "ended", shop.store)
        accounts.set_active(office, "ended", active=False)
        headers = {"Authorization": "Bearer " + _token(office, "ended")}
    if why == "no object":
        photo_id = operators.put_photo(office, shop.product, b"x", filename="a.jpg")
        operators.delete_photo(office, photo_id)
    if why == "closed":
        operators.set_store_active(office, shop.store, active=False)
    answer = ask(sent_on, photo_id, headers)
    assert answer.status_code in (401, 403, 404)
    assert "Location" not in answer.headers


def _token(office: HeadOffice, username: str) -> str:
    """A token of before this account was changed."""
    with office.engine.connect() as connection:
        found = connection.execute(sa.select(t.account).where(t.account.c.username == username)).one()
    return tokens.issue(office, tokens.Owner(found.id, found.generation - 1)).access


def test_no_store_is_sent_to_the_bucket_unless_it_was_said(client: Client, office: HeadOffice, photo_id: UUID) -> None:
    assert ask(client, photo_id).status_code == 200
    assert client.store is not None
    catalogue.set_from_bucket(office, client.store, from_bucket=True)
    assert ask(client, photo_id).status_code == 307
    catalogue.set_from_bucket(office, client.store, from_bucket=False)
    assert ask(client, photo_id).status_code == 200


def test_the_bucket_may_have_another_address_outside(sent_on: Client, office: HeadOffice, photo_id: UUID) -> None:
    settings = HeadOfficeSettings(bucket_endpoint="https://photos.example.com", redirect_seconds=30)
    with served(replace(office, settings=settings)) as outside:
        outside.store = sent_on.store
        location = urlsplit(ask(outside, photo_id).headers["Location"])
    assert (location.scheme, location.netloc) == ("https", "photos.example.com")
    assert parse_qs(location.query)["X-Amz-Expires"] == ["30"]


def test_the_document_tells_of_it(service: Client) -> None:
    document = requests.get(f"{service.url}/openapi.json", timeout=30).json()
    told = document["paths"]["/api/v1/sync/product-photos/{photo_id}/download/"]["get"]
    assert "Location" in told["responses"]["307"]["headers"]
    assert "redirect" in {parameter["name"] for parameter in told["parameters"]}
