"""The edge's client at our own head office, which sends it to the bucket: both real, and the object store too."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from uuid import UUID

import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.errors import ObjectMissingError
from imagesync_pipelines.connectors.edge.settings import EdgeSettings, HeadOfficeAccount
from imagesync_pipelines.sandbox.head_office.watching import bucket_door
from imagesync_pipelines.sandbox.server import bind, running, url_of
from imagesync_pipelines.web.head_office import catalogue
from imagesync_pipelines.web.head_office.office import HeadOffice, HeadOfficeSettings
from imagesync_pipelines_tests.web.head_office import operators
from imagesync_pipelines_tests.web.head_office.serving import PASSWORD, USERNAME, Client, Shop, served

BODY = bytes(range(256)) * 800


class Door:
    """What stands between the stores and the object store; `status` is answered instead, `late` is a pause before."""

    def __init__(self, through: ASGIApp) -> None:
        self._through = through
        self.asked: list[Request] = []
        self.given: list[int] = []
        self.status, self.late = 0, 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        self.asked.append(Request(scope))
        time.sleep(self.late)

        async def noted(message: dict[str, object]) -> None:  # type: ignore[type-arg]
            if message["type"] == "http.response.start":
                self.given.append(int(str(message["status"])))
            await send(message)

        answer = Response(b"<Error/>", self.status) if self.status else self._through
        await answer(scope, receive, noted)  # type: ignore[arg-type]


@pytest.fixture
def photo_id(office: HeadOffice, shop: Shop) -> UUID:
    catalogue.set_from_bucket(office, shop.store, from_bucket=True)
    return operators.put_photo(office, shop.product, BODY, filename="soup.jpg")


@contextmanager
def sent_on(office: HeadOffice, seconds: int = 60) -> Iterator[tuple[Door, HeadOfficeApi]]:
    """The door that the head office sends its stores to, for so many seconds, and the client of one of them."""
    assert office.place is not None
    listener = bind()
    settings = HeadOfficeSettings.model_construct(redirect_seconds=seconds, bucket_endpoint=url_of(listener))
    with bucket_door(office.place) as through, served(replace(office, settings=settings)) as client:
        door = Door(through)
        account = HeadOfficeAccount.model_construct(url=client.url, username=USERNAME, password=SecretStr(PASSWORD))
        api = HeadOfficeApi(account, EdgeSettings(tries=1), bucket_hosts=["127.0.0.1"])
        with running((door, listener)), closing(api):
            yield door, api


def read(api: HeadOfficeApi, photo_id: UUID, client: Client) -> bytes:
    with api.open_photo(str(photo_id), str(client.store)) as body:
        return b"".join(body.chunks())


def test_the_bytes_come_from_the_bucket_and_our_token_stays_at_home(
    office: HeadOffice, client: Client, photo_id: UUID
) -> None:
    with sent_on(office) as (door, api):
        assert read(api, photo_id, client) == BODY
        (asked,) = door.asked
        assert (door.given, api.calls) == ([200], 2)  # logging in, and the download
        assert "authorization" not in asked.headers
        assert not any(word in f"{asked.url}{asked.headers}" for word in ("Bearer", "eyJ", PASSWORD))
        # A part is the head office's own affair.
        with api.open_photo(str(photo_id), str(client.store), start=5, etag='"x"') as body:
            assert b"".join(body.chunks()) in {BODY, BODY[5:]}
        assert len(door.asked) == 1


@pytest.mark.parametrize("status", [403, 404, 500])
def test_what_the_bucket_refuses_the_head_office_gives(
    office: HeadOffice, client: Client, photo_id: UUID, status: int
) -> None:
    with sent_on(office) as (door, api):
        door.status = status
        assert [read(api, photo_id, client) for _ in range(2)] == [BODY, BODY]
        # Another photo may be there: each is asked for, and then of the head office itself.
        assert (door.given, api.calls) == ([status] * 2, 1 + 2 * 2)


def test_an_address_that_is_over_is_not_the_end_of_the_photo(
    office: HeadOffice, client: Client, photo_id: UUID
) -> None:
    with sent_on(office, seconds=1) as (door, api):
        door.late = 2.1
        assert read(api, photo_id, client) == BODY
        assert api.calls == 3
        # rclone says 400 where Amazon says 403.
        assert door.given in ([400], [403])


def test_an_object_that_is_gone_is_told_by_the_head_office(office: HeadOffice, client: Client, photo_id: UUID) -> None:
    with sent_on(office) as (door, api):
        listed = client.page()["photos"][0]
        office.s3.delete_object(Bucket=office.bucket, Key=listed["object_key"])
        with pytest.raises(ObjectMissingError):
            read(api, photo_id, client)
        assert (door.given, api.calls) == ([404], 3)
