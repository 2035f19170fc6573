"""The photo server, over real HTTP: what is shown, cached, cut and refused."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any
from uuid import UUID

import anyio.to_thread
import pytest
import requests
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.connectors.edge.store import StoreDatabase, mark_pending, open_store, write_with_bytes
from imagesync_pipelines.connectors.edge.store_schema import create_or_check
from imagesync_pipelines.sandbox.server import bind, running
from imagesync_pipelines.storage.reader import Reader
from imagesync_pipelines.web.edge_photos import ASK_AGAIN, BY_ID, FOR_GOOD, OF_PRODUCT, PhotoServer, build_app
from imagesync_pipelines.web.pieces import LARGE
from imagesync_pipelines_tests import loops
from imagesync_pipelines_tests.connectors.edge.photos import START, photo, picture, run_sql, some_id

LARGE_BODY = bytes(range(256)) * (2 * LARGE // 256) + b"the end"


@pytest.fixture
def store(database_url: str) -> Iterator[StoreDatabase]:
    """A store with the photos of products 1 and 2."""
    database = open_store(database_url)
    create_or_check(database)
    put(database, photo(1, filename='a "b"\n日本.jpg'), photo(2))
    yield database
    database.engine.dispose()


def put(database: StoreDatabase, *photos: Photo, body: bytes | None = None) -> None:
    with database.engine.begin() as connection:
        pairs = [(one, body or picture(one.sort_order or int(one.product_sku))) for one in photos]
        write_with_bytes(connection, database.table, pairs, START)


@contextmanager
def serving(database: StoreDatabase, **options: Any) -> Iterator[str]:
    listener = bind()
    with running((build_app(database, **options), listener)):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def url(store: StoreDatabase) -> Iterator[str]:
    """The address of the photo server."""
    with serving(store) as address:
        yield address


def photo_url(url: str, number: int) -> str:
    return f"{url}/photos/{some_id('photo', number)}"


def test_a_photo_is_shown_with_all_its_headers(url: str) -> None:
    answer = requests.get(photo_url(url, 1), timeout=10)
    assert (answer.status_code, answer.content) == (200, picture(1))
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Content-Length"] == str(len(picture(1)))
    assert answer.headers["ETag"] == f'"{photo(1).checksum}"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith('inline; filename="a _b____.jpg"; filename*=UTF-8')


def test_head_has_the_headers_of_get_and_no_body(url: str) -> None:
    whole, head = requests.get(photo_url(url, 1), timeout=10), requests.head(photo_url(url, 1), timeout=10)
    assert head.content == b""
    assert {k: v for k, v in head.headers.items() if k != "date"} == {
        k: v for k, v in whole.headers.items() if k != "date"
    }


@pytest.mark.parametrize(
    ("version", "caching"),
    [
        pytest.param("", ASK_AGAIN, id="a URL without version is asked for again"),
        pytest.param("?v={right}", FOR_GOOD, id="a URL that names the content is kept for good"),
        pytest.param("?v=00000000", ASK_AGAIN, id="a URL that names other content is not kept"),
    ],
)
def test_caching_follows_the_version_in_the_url(url: str, version: str, caching: str) -> None:
    asked = photo_url(url, 1) + version.format(right=photo(1).checksum[:8])
    assert requests.get(asked, timeout=10).headers["Cache-Control"] == caching


@pytest.mark.parametrize("known", ['"{etag}"', 'W/"{etag}"', '"other", "{etag}"', "*"])
def test_what_the_client_has_is_not_sent_again(url: str, known: str) -> None:
    headers = {"If-None-Match": known.format(etag=photo(1).checksum)}
    answer = requests.get(photo_url(url, 1), headers=headers, timeout=10)
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == f'"{photo(1).checksum}"'


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [
        pytest.param("bytes=0-9", 206, 0, 9, id="the beginning"),
        pytest.param("bytes=10-", 206, 10, None, id="the rest"),
        pytest.param("bytes=-7", 206, -7, None, id="the end"),
        pytest.param("bytes=5-99999999", 206, 5, None, id="further than the end"),
        pytest.param("bytes=99999999-", 416, 0, 0, id="behind the end"),
        pytest.param("bytes=-0", 416, 0, 0, id="nothing of the end"),
        pytest.param("bytes=9-5", 200, 0, None, id="backwards"),
        pytest.param("bytes=0-1,3-4", 200, 0, None, id="two ranges"),
        pytest.param("bytes=-", 200, 0, None, id="no numbers"),
        pytest.param("pages=1-2", 200, 0, None, id="another unit"),
    ],
)
def test_ranges(url: str, asked: str, status: int, first: int, last: int | None) -> None:
    answer = requests.get(photo_url(url, 1), headers={"Range": asked}, timeout=10)
    assert answer.status_code == status
    body = picture(1)
    if status == 416:
        assert answer.headers["Content-Range"] == f"bytes */{len(body)}"
        return
    expected = body[first:] if last is None else body[first : last + 1]
    assert answer.content == expected
    if status == 206:
        start = first % len(body)
        assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(expected) - 1}/{len(body)}"


def test_a_range_of_an_older_picture_gives_the_whole_new_one(url: str) -> None:
    answer = requests.get(photo_url(url, 1), headers={"Range": "bytes=10-", "If-Range": '"older"'}, timeout=10)
    assert (answer.status_code, answer.content) == (200, picture(1))


def test_a_product_shows_the_new_primary_after_a_replacement_left_two(store: StoreDatabase, url: str) -> None:
    product = {"product_id": some_id("product", 1)}
    with store.engine.begin() as connection:
        # A table that others made, or an earlier release, has no such rule.
        connection.execute(sa.text(f"ALTER TABLE {store.table} DROP CONSTRAINT product_photo_one_primary"))
    put(store, photo(5, photo_id=some_id("photo", 5), **product))
    mark_pending(store, [photo(6, **product)])
    put(store, photo(7, is_primary=False, sort_order=-1, **product), body=picture(7))
    answer = requests.get(f"{url}/products/{some_id('product', 1)}/photo", timeout=10)
    assert answer.content == picture(5)
    listed = requests.get(f"{url}/products/{some_id('product', 1)}/photos", timeout=10).json()["photos"]
    assert [row["id"] for row in listed] == [some_id("photo", number) for number in (5, 1, 7, 6)]
    assert listed[-1]["url"] is None
    assert requests.get(url + listed[0]["url"], timeout=10).headers["Cache-Control"] == FOR_GOOD


@pytest.mark.parametrize(
    "path",
    [
        f"/photos/{some_id('photo', 99)}",
        "/photos/../../etc/passwd",
        "/photos/not-a-uuid",
        f"/products/{some_id('product', 99)}/photo",
    ],
)
def test_what_is_not_there_is_a_404_for_people(url: str, path: str) -> None:
    answer = requests.get(url + path, timeout=10)
    assert answer.status_code == 404
    if "etc" not in path:
        assert answer.text == "Image not found"


def test_a_failed_photo_keeps_showing_its_old_picture(store: StoreDatabase, url: str) -> None:
    run_sql(store, "UPDATE product_photo SET sync_status = 'failed', sync_error = 'broken'")
    assert requests.get(photo_url(url, 1), timeout=10).content == picture(1)


def test_without_a_picture_a_placeholder_is_shown_by_setting(store: StoreDatabase) -> None:
    mark_pending(store, [photo(3)])
    with serving(store, missing="placeholder") as url:
        for path in (photo_url(url, 3), photo_url(url, 99), f"{url}/products/{some_id('product', 99)}/photo"):
            answer = requests.get(path, timeout=10)
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
            assert answer.headers["Cache-Control"] == ASK_AGAIN


def test_without_a_picture_the_head_office_is_named_by_setting(store: StoreDatabase) -> None:
    mark_pending(store, [photo(3, object_key="products/a b/primary.jpg")])
    with serving(store, missing="redirect", base_url="http://ho.example/product-images/") as url:
        answer = requests.get(photo_url(url, 3), allow_redirects=False, timeout=10)
        assert answer.status_code == 307
        expected = f"http://ho.example/product-images/products/a%20b/primary.jpg?v={photo(3).checksum[:8]}"
        assert answer.headers["Location"] == expected
        assert requests.get(photo_url(url, 99), allow_redirects=False, timeout=10).status_code == 404


def test_to_redirect_without_a_url_is_refused_at_once(store: StoreDatabase) -> None:
    with pytest.raises(ValueError, match="URL of the head office's bucket"):
        build_app(store, missing="redirect")


def test_svg_is_never_shown_in_place(store: StoreDatabase, url: str) -> None:
    run_sql(store, "UPDATE product_photo SET content_type = 'image/svg+xml'")
    answer = requests.get(photo_url(url, 1), timeout=10)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_the_page_shows_photos_and_escapes_their_names(store: StoreDatabase, url: str) -> None:
    put(store, photo(9, filename='"><script>alert(1)</script>.jpg'))
    page = requests.get(url, timeout=10).text
    assert f"/photos/{some_id('photo', 9)}?v=" in page
    assert "<script>" not in page


@pytest.mark.parametrize("path", [f"/photos/{some_id('photo', 1)}", f"/products/{some_id('product', 1)}/photo"])
@pytest.mark.parametrize(
    ("method", "headers", "statements"),
    [
        ("GET", {}, 1),
        ("GET", {"If-None-Match": f'"{photo(1).checksum}"'}, 1),
        ("GET", {"If-None-Match": '"other"'}, 1),
        ("GET", {"If-None-Match": "*"}, 1),
        ("HEAD", {}, 1),
        ("GET", {"Range": "bytes=0-9"}, 2),
    ],
)
def test_an_answer_is_one_statement_and_no_thread(
    monkeypatch: pytest.MonkeyPatch, url: str, path: str, method: str, headers: dict[str, str], statements: int
) -> None:
    asked: list[object] = []
    rows = Reader.rows

    async def counted(reader: Reader, statement: str, *values: Any) -> Any:
        asked.append(statement)
        return await rows(reader, statement, *values)

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a thread was asked for")

    monkeypatch.setattr(Reader, "rows", counted)
    monkeypatch.setattr(anyio.to_thread, "run_sync", refused)
    monkeypatch.setattr(asyncio.BaseEventLoop, "run_in_executor", refused)
    for _ in range(3):
        assert requests.request(method, url + path, headers=headers, timeout=10).status_code in (200, 206, 304)
    assert len(asked) == 3 * statements


def test_nothing_of_a_picture_is_read_where_nothing_is_sent(store: StoreDatabase) -> None:
    put(store, photo(3), body=LARGE_BODY)
    ids = {"photo": UUID(some_id("photo", 3)), "product": UUID(some_id("product", 3))}

    async def blocks() -> list[int]:
        """Blocks of pictures that each of these reads: the whole, what is known of it, the same for who has it."""
        reader = Reader(store.engine.url, most=1)
        server = PhotoServer(reader, store.table, "404", "", b"")
        found = [await _picture_blocks(reader)]
        for most, known in ((len(LARGE_BODY), ""), (0, ""), (len(LARGE_BODY), photo(3).checksum)):
            for which, wanted in ((BY_ID, ids["photo"]), (OF_PRODUCT, ids["product"])):
                picture = await server.find(which, wanted, most=most, known=known)
                assert picture is not None
                assert (picture.length, picture.body is not None) == (len(LARGE_BODY), most > 0 and not known)
            found.append(await _picture_blocks(reader))
        await server.listed("")
        found.append(await _picture_blocks(reader))
        await reader.close()
        return [after - before for before, after in pairwise(found)]

    whole, *nothing = loops.run(blocks())
    assert whole > 2 * len(LARGE_BODY) // 8192
    assert nothing == [0, 0, 0]


async def _picture_blocks(reader: Reader) -> int:
    """How many blocks of pictures were read from the store's table so far."""
    await reader.rows("SELECT pg_stat_force_next_flush()")
    counted = "SELECT toast_blks_hit + toast_blks_read FROM pg_statio_user_tables WHERE relname = 'product_photo'"
    return int((await reader.rows(counted))[0][0])


def test_a_picture_larger_than_a_piece_arrives_whole(store: StoreDatabase, url: str) -> None:
    put(store, photo(3), body=LARGE_BODY)
    assert requests.get(photo_url(url, 3), timeout=20).content == LARGE_BODY
    part = requests.get(photo_url(url, 3), headers={"Range": "bytes=5-"}, timeout=20)
    assert (part.status_code, part.content) == (206, LARGE_BODY[5:])


def test_a_database_that_is_gone_is_a_503_that_says_nothing_of_it(store: StoreDatabase) -> None:
    away = StoreDatabase(sa.create_engine("postgresql+psycopg://nobody:secret@127.0.0.1:1/none"), store.table)
    with serving(away) as url:
        answer = requests.get(photo_url(url, 1), timeout=10)
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert "secret" not in answer.text
        assert requests.get(f"{url}/health", timeout=10).status_code == 503


def test_the_page_of_a_store_is_in_the_language_that_the_browser_asks_for(url: str) -> None:
    english, russian = (requests.get(url, headers={"Accept-Language": one}, timeout=10) for one in ("en", "ru"))
    assert ('<html lang="en">' in english.text, '<html lang="ru">' in russian.text) == (True, True)
    assert "Newest photos" in english.text
    assert "Newest photos" not in russian.text
    assert "Content-Language" not in requests.get(photo_url(url, 1), timeout=10).headers
