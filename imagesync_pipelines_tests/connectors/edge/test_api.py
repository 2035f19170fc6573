"""The client of the head office does what the contract says, and means by an answer what the contract means."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from imagesync_pipelines.connectors.edge.client.api import PhotoReport
from imagesync_pipelines.connectors.edge.errors import (
    BadListingError,
    ObjectMissingError,
    PhotoGoneError,
    StoreNotAllowedError,
    StoreUnknownError,
)
from imagesync_pipelines.upstream.errors import (
    BadAnswerError,
    BodyTooLargeError,
    CredentialsError,
    DeadlineExceededError,
    NotFoundError,
    NotJsonError,
    RedirectRefusedError,
    TruncatedBodyError,
    UnavailableError,
    UpstreamError,
)
from imagesync_pipelines_tests.connectors.edge.head_office import (
    HTML_404,
    NO_OBJECT,
    NOON,
    PHOTO_GONE,
    STORE_GONE,
    STORE_ID,
    Call,
    FakeHeadOffice,
    Reply,
    api_for,
    head_office,
    json_reply,
    row,
    uid,
)
from imagesync_pipelines_tests.upstream.servers import FakeTime

NO_KEY = json_reply(404, {"status": "error", "message": "No image data available"})


def _read(api: Any, photo_id: str, **more: Any) -> bytes:
    with api.open_photo(photo_id, STORE_ID, **more) as body:
        return b"".join(body.chunks())


def test_a_page_is_read_as_it_is_listed() -> None:
    with head_office(photos=3) as office, api_for(office) as api:
        page = api.list_page(STORE_ID, since=None, limit=2, offset=0)
        last = api.list_page(STORE_ID, since=None, limit=2, offset=2)
    assert [photo.photo_id for photo in page.photos] == [uid(1), uid(2)]
    assert (page.total, page.next_offset, page.deleted_ids) == (3, 2, frozenset())
    assert page.ho_time == office.date
    assert (len(last.photos), last.next_offset) == (1, None)
    assert "since" not in office.listings[0].query


def test_since_goes_out_percent_encoded_and_in_utc() -> None:
    moment = datetime.fromisoformat("2026-02-03T19:00:00.250000+07:00")
    with head_office(photos=1) as office, api_for(office) as api:
        api.list_page(STORE_ID, since=moment, limit=5, offset=0)
    assert office.listings[0].query["since"] == "2026-02-03T12:00:00.250000Z"


def test_what_ho_says_beside_the_photos_is_heard() -> None:
    with head_office(photos=1) as office, api_for(office) as api:
        office.deleted = [uid(7).upper(), "no id", 8, uid(9)]  # type: ignore[list-item]
        office.server_time = "2026-02-03T19:30:00+07:00"
        page = api.list_page(STORE_ID, since=NOON, limit=5, offset=0)
    assert page.deleted_ids == {uid(7), uid(9)}
    assert page.ho_time == datetime(2026, 2, 3, 12, 30, tzinfo=UTC)


def test_a_row_that_cannot_be_used_costs_no_other_row() -> None:
    with head_office(photos=1) as office, api_for(office) as api:
        office.photos += [row(2, size="large"), row(3, id="x"), row(4)]
        page = api.list_page(STORE_ID, since=None, limit=5, offset=0)
    assert [photo.photo_id for photo in page.photos] == [uid(1), uid(4)]
    assert page.rejects[0] == (uid(2), "size: not a whole number")
    assert page.rejects[1].photo_id is None


def _envelope(**data: Any) -> Reply:
    whole = {"photos": [row(1)], "total": 5, "has_more": True, "next_offset": 1} | data
    return json_reply(200, {"status": "success", "data": whole})


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (STORE_GONE, StoreUnknownError, "does not know the store, or it is inactive"),
        (json_reply(404, {"detail": "Not found."}), NotFoundError, "is its url right"),
        (HTML_404, NotFoundError, "is its url right"),
        (json_reply(403, {"detail": "no"}), StoreNotAllowedError, "403: this account may not read"),
        (json_reply(400, {"status": "error", "message": "limit is no number"}), BadAnswerError, "limit is no number"),
        (Reply(200, (b"<html>login</html>",)), NotJsonError, "HTML"),
        (json_reply(200, ["photos"]), BadListingError, "no listing"),
        (json_reply(200, {"photos": [], "total": 0}), BadListingError, "no listing"),
        (_envelope(photos={}), BadListingError, "no usable photos"),
        (_envelope(total=True), BadListingError, "no usable total"),
        (_envelope(next_offset=0), BadListingError, "would never end"),
        (_envelope(next_offset=None), BadListingError, "would never end"),
        (_envelope(photos=[], next_offset=100), BadListingError, "would never end"),
    ],
    ids=[
        "the store is unknown", "another 404 with JSON", "another 404 with HTML", "403", "400 with HO's words",
        "a login page", "a list", "an envelope of the other dialect", "photos that are none", "a total that is none",
        "limit 0 loops", "more, but not where", "more, but nothing here",
    ],
)  # fmt: skip
def test_an_answer_that_is_no_page_is_named(reply: Reply, error: type[UpstreamError], said: str) -> None:
    with head_office() as office, api_for(office) as api:
        office.hook = lambda call: reply if call.path.endswith("photos/") else None
        with pytest.raises(error, match=said) as caught:
            api.list_page(STORE_ID, since=None, limit=1, offset=0)
    assert type(caught.value) is error
    assert len(office.listings) == 1


def test_a_photo_is_streamed_with_what_ho_claims_of_it() -> None:
    with head_office(photos=1) as office, api_for(office) as api:
        office.bodies[uid(1)] = b"x" * 1_000_000
        with api.open_photo(uid(1), STORE_ID) as body:
            assert (body.length, body.start) == (1_000_000, 0)
            pieces = list(body.chunks())
    assert b"".join(pieces) == office.bodies[uid(1)]
    assert len(pieces) > 1
    assert api.bytes > 1_000_000
    download = office.of("/download/")[0]
    assert download.query == {"store_id": STORE_ID}
    assert download.headers["accept"] == "*/*"
    assert download.headers["accept-encoding"] == "identity"


def test_a_download_goes_on_where_it_broke_off() -> None:
    with head_office(photos=1) as office, api_for(office) as api:
        with api.open_photo(uid(1), STORE_ID, start=3, etag=f'"{office.photos[0]["checksum"]}"') as body:
            assert (body.start, b"".join(body.chunks())) == (3, b"to 1")
        with api.open_photo(uid(1), STORE_ID, start=3, etag='"of another photo"') as body:
            assert (body.start, b"".join(body.chunks())) == (0, b"photo 1")
        office.ranges = False
        with api.open_photo(uid(1), STORE_ID, start=3, etag=f'"{office.photos[0]["checksum"]}"') as body:
            assert (body.start, b"".join(body.chunks())) == (0, b"photo 1")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (PHOTO_GONE, PhotoGoneError),
        (STORE_GONE, StoreUnknownError),
        (NO_OBJECT, ObjectMissingError),
        (Reply(500, (b"<html>ClientError at / ... code: NoSuchKey</html>",)), ObjectMissingError),
        (NO_KEY, ObjectMissingError),
        (
            json_reply(404, {"status": "error", "message": "Object products/1/primary.jpg is missing"}),
            ObjectMissingError,
        ),
        (HTML_404, NotFoundError),
        (json_reply(404, {"detail": "Not found."}), NotFoundError),
        (json_reply(403, {"detail": "no"}), StoreNotAllowedError),
        (Reply(302, (b"",), {"Location": "http://elsewhere.example/"}), RedirectRefusedError),
        (Reply(200, (b"zip",), {"Content-Encoding": "gzip"}), BadAnswerError),
        (Reply(206, (b"part",)), BadAnswerError),
    ],
    ids=[
        "the photo is gone",
        "the store is gone",
        "NoSuchKey in a JSON 500",
        "NoSuchKey in an HTML 500",
        "a row without object key",
        "our own HO's word for a missing object",
        "HTML 404",
        "DRF's 404",
        "403",
        "a redirect",
        "compressed",
        "a part of something",
    ],
)
def test_a_refused_download_is_named_and_not_tried_again(reply: Reply, error: type[UpstreamError]) -> None:
    with head_office(photos=1) as office, api_for(office) as api:
        office.hook = lambda call: reply if "/download/" in call.path else None
        with pytest.raises(error) as caught:
            _read(api, uid(1))
    assert type(caught.value) is error
    assert len(office.of("/download/")) == 1


# The tag of the bytes that every photo of this head office has in its bucket.
PHOTO_1 = f'"{hashlib.md5(b"photo 1", usedforsecurity=False).hexdigest()}"'


@contextmanager
def sending_on(office: FakeHeadOffice, location: str) -> Iterator[None]:
    """The office sends every download to its bucket, unless it is asked not to."""
    sent_on = Reply(307, (), {"Location": location, "ETag": PHOTO_1})
    office.hook = lambda call: sent_on if "/download/" in call.path and "redirect" not in call.query else None
    yield


def test_a_photo_that_the_head_office_sends_us_for_comes_from_its_bucket_without_our_token() -> None:
    with head_office(photos=2) as office, head_office() as bucket:
        bucket.hook = lambda call: Reply(200, (b"photo 1",))
        location = f"{bucket.url}/photos/1.jpg?X-Amz-Signature=abc"
        with sending_on(office, location), api_for(office, bucket_hosts=["127.0.0.1"]) as api:
            with api.open_photo(uid(1), STORE_ID) as body:
                assert (body.start, body.etag, b"".join(body.chunks())) == (0, PHOTO_1, b"photo 1")
            # A part is asked of the head office itself, and so is whether a photo is there.
            assert api.bytes >= 7
    (asked,) = bucket.calls
    assert asked.query == {"X-Amz-Signature": "abc"}
    assert "authorization" not in asked.headers
    assert not any("Bearer" in value for value in asked.headers.values())
    assert len(office.of("/download/")) == 1


@pytest.mark.parametrize(
    ("reply", "location", "hosts", "asked"),
    [
        pytest.param(
            Reply(403, (b"<Error/>",)), "{bucket}/1.jpg", ["127.0.0.1"], 4, id="the bucket refuses: each photo"
        ),
        pytest.param(Reply(404, (b"<Error/>",)), "{bucket}/1.jpg", ["127.0.0.1"], 4, id="no object: each photo"),
        pytest.param(Reply(200, (b"<html>",)), "{bucket}/1.jpg", ["127.0.0.1"], 4, id="other bytes: each photo"),
        pytest.param(Reply(200, ()), "http://127.0.0.1:1/1.jpg", ["127.0.0.1"], 3, id="nobody there: asked once"),
        pytest.param(Reply(200, ()), "{bucket}/1.jpg", [], 3, id="a private address that is not allowed"),
        pytest.param(Reply(200, ()), "file:///etc/passwd", [], 3, id="no address of the web"),
    ],
)
def test_what_the_bucket_does_not_give_the_head_office_gives(
    reply: Reply, location: str, hosts: list[str], asked: int
) -> None:
    with head_office(photos=2) as office, head_office() as bucket:
        bucket.hook = lambda call: reply
        where = location.format(bucket=bucket.url)
        with sending_on(office, where), api_for(office, bucket_hosts=hosts) as api:
            assert [_read(api, uid(number)) for number in (1, 2)] == [b"photo 1", b"photo 2"]
        assert len(office.of("/download/")) == asked
        assert len(bucket.calls) == (2 if asked == 4 else 0)


@pytest.mark.parametrize("tag", [{"ETag": PHOTO_1}, {"ETag": '"claimed"'}, {}])
def test_who_redirects_whatever_is_asked_or_without_saying_what_is_there_is_no_head_office(tag: dict[str, str]) -> None:
    with head_office(photos=1) as office, api_for(office) as api:
        office.hook = lambda call: (
            Reply(307, (), {"Location": "file:///elsewhere", **tag}) if "/download/" in call.path else None
        )
        with pytest.raises(RedirectRefusedError):
            _read(api, uid(1))


@pytest.mark.parametrize("status", [403, 404, 500])
@pytest.mark.parametrize("code", ["NoSuchBucket", "AccessDenied", "SignatureDoesNotMatch", "RequestTimeTooSkewed"])
def test_a_fault_of_the_head_offices_object_store_says_nothing_of_the_photo(status: int, code: str) -> None:
    said = {"status": "error", "message": f"S3 operation failed; code: {code}, message: the photo is missing"}
    with head_office(photos=1) as office, api_for(office, FakeTime()) as api:
        office.hook = lambda call: json_reply(status, said) if "/download/" in call.path else None
        with pytest.raises(UnavailableError, match=code):
            _read(api, uid(1))
        with pytest.raises(UnavailableError, match=code):
            api.photo_exists(uid(1), STORE_ID)


def test_what_is_transient_is_tried_again_with_growing_waits() -> None:
    replies = [Reply(503, (b"",)), Reply(429, (b"",), {"Retry-After": "7"}), Reply(502, (b"<html>",))]
    fake = FakeTime()
    with head_office(photos=1) as office, api_for(office, fake) as api:
        office.hook = lambda call: replies.pop(0) if replies and "/download/" in call.path else None
        assert _read(api, uid(1)) == b"photo 1"
    assert fake.sleeps == [0.5, 7.0, 2.0]
    assert api.calls == 5


def test_a_server_that_is_gone_is_unavailable() -> None:
    with head_office(photos=1) as office, api_for(office, tries=2) as api:
        assert _read(api, uid(1)) == b"photo 1"
    with pytest.raises(UnavailableError) as caught:
        _read(api, uid(1))
    assert caught.value.attempts == 2


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (Reply(200, (b"short",), {"Content-Length": "50"}), TruncatedBodyError, "broke off after 5 bytes"),
        (Reply(200, (b"slow", 3.0, b"er")), UnavailableError, "stopped coming after 4 bytes"),
        (Reply(200, (b"x" * 2_000_000,)), BodyTooLargeError, "2000000 bytes are announced, 1048576 are allowed"),
    ],
    ids=["shorter than announced", "stopped coming", "larger than allowed"],
)
def test_a_bad_body_is_named(reply: Reply, error: type[UpstreamError], said: str) -> None:
    with head_office(photos=1) as office, api_for(office, max_photo_mb=1, timeout=1) as api:
        office.hook = lambda call: reply if "/download/" in call.path else None
        with pytest.raises(error, match=said):
            _read(api, uid(1))
        office.hook = lambda call: None
        assert _read(api, uid(1)) == b"photo 1"


def test_a_body_without_a_length_is_capped() -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    endless = Reply(200, (chunk * 40, b"0\r\n\r\n"), {"Transfer-Encoding": "chunked", "Content-Length": ""})
    with head_office(photos=1) as office, api_for(office, max_photo_mb=1) as api:
        office.hook = lambda call: endless if "/download/" in call.path else None
        with pytest.raises(BodyTooLargeError, match="larger than 1048576"):
            _read(api, uid(1))


def test_a_body_that_drips_is_cut_at_the_deadline() -> None:
    fake = FakeTime()

    def late(call: Call) -> Reply | None:
        if "/download/" not in call.path:
            return None
        fake.now += 61
        return Reply(200, (b"a",))

    with head_office(photos=1) as office, api_for(office, fake, call_deadline=60) as api:
        office.hook = late
        with pytest.raises(DeadlineExceededError, match="not complete in time"):
            _read(api, uid(1))


def test_connections_are_used_again() -> None:
    with head_office(photos=1) as office, api_for(office) as api:
        ports = set()
        for _ in range(5):
            with api.open_photo(uid(1), STORE_ID) as body:
                connection = body._response.connection
                assert connection is not None
                ports.add(connection.sock.getsockname()[1])  # type: ignore[attr-defined]
                list(body.chunks())
    assert len(ports) == 1


@pytest.mark.parametrize(
    ("reply", "there"),
    [(None, True), (PHOTO_GONE, False), (NO_OBJECT, True), (NO_KEY, True)],
    ids=["it is", "it is gone", "its object is missing", "it never had one"],
)
def test_whether_a_photo_exists_is_asked_without_its_bytes(reply: Reply | None, there: bool) -> None:
    with head_office(photos=1) as office, api_for(office) as api:
        office.hook = lambda call: reply if "/download/" in call.path else None
        assert api.photo_exists(uid(1), STORE_ID) is there
    assert office.of("/download/")[0].headers["range"] == "bytes=0-0"


@pytest.mark.parametrize("reply", [STORE_GONE, HTML_404, Reply(403, (b"",))], ids=["store", "HTML 404", "403"])
def test_nothing_but_hos_own_word_means_that_a_photo_is_gone(reply: Reply) -> None:
    with head_office(photos=1) as office, api_for(office) as api:
        office.hook = lambda call: reply if "/download/" in call.path else None
        with pytest.raises(UpstreamError):
            api.photo_exists(uid(1), STORE_ID)


def test_a_report_is_sent_as_the_contract_has_it() -> None:
    done = PhotoReport(uid(1), "synced", NOON, "")
    bad = PhotoReport(uid(2), "failed", None, "the MD5 is not the listed one")
    with head_office() as office, api_for(office) as api:
        api.report(STORE_ID, [done, bad])
    assert office.reports == [
        {
            "store_id": STORE_ID,
            "sync_batch": [
                {"photo_id": uid(1), "status": "synced", "synced_at": "2026-02-03T12:00:00Z", "error": None},
                {"photo_id": uid(2), "status": "failed", "synced_at": None, "error": bad.error},
            ],
        }
    ]


def test_no_error_shows_the_password_or_a_token() -> None:
    def echo(call: Call) -> Reply:
        return json_reply(400, {"said": call.headers.get("authorization", ""), "body": call.body})

    with head_office() as office, api_for(office, password="right") as api:
        office.hook = lambda call: echo(call) if "/token/" not in call.path else None
        with pytest.raises(BadAnswerError) as caught:
            api.list_page(STORE_ID, since=None, limit=1, offset=0)
    assert "***" in str(caught.value)
    with head_office() as office, api_for(office, password="hidden") as api:
        office.hook = echo
        with pytest.raises(CredentialsError) as refused:
            api.check_login()
    assert "hidden" not in str(refused.value)


def test_the_whole_body_can_be_hashed_as_it_comes() -> None:
    with head_office(photos=1) as office, api_for(office) as api:
        assert hashlib.md5(_read(api, uid(1))).hexdigest() == office.photos[0]["checksum"]
