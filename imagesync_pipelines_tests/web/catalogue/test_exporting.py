"""Exports over HTTP: what the list shows, as a file; few at once; a database that is away is no broken file."""

import csv
import errno
import gc
import io
import socket
from contextlib import ExitStack
from dataclasses import replace

import anyio
import pytest
import requests
import sqlalchemy as sa
from fastapi import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from imagesync_pipelines.products.exports import Format, kind_of
from imagesync_pipelines.storage.schema import product, product_image
from imagesync_pipelines.web.catalogue import exporting
from imagesync_pipelines.web.catalogue.access import KeyScope, add_key
from imagesync_pipelines.web.catalogue.exporting import OF_ONE_VISITOR, RETRY, Exports, Visitor
from imagesync_pipelines_tests.web.catalogue.world import Site, World, serving


@pytest.fixture
def world(world: World) -> World:
    """Two products with a picture each."""
    for sku, name in (("100", "Engel"), ("200", "Fuchs")):
        world.image(world.product(sku, name), sku, is_front=sku == "100")
    return world


@pytest.mark.parametrize(
    ("query", "skus"), [("", ["100", "200"]), ("?q=fuchs", ["200"]), ("?without_front=1", ["200"]), ("?q=nothing", [])]
)
def test_the_list_is_given_as_a_file_with_its_filters(site: Site, world: World, query: str, skus: list[str]) -> None:
    answer = site.get(f"/exports/csv{query}")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="product_images.csv"'
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert [row["sku"] for row in csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")))] == skus


def test_the_page_links_to_every_format_with_the_filters_that_are_set(site: Site, world: World) -> None:
    assert 'href="/exports/csv" download' in site.get("/").text
    for one in Format:
        assert f'href="/exports/{one}?q=fuchs" download' in site.get("/?q=fuchs", **{"HX-Request": "true"}).text
    assert site.get("/exports/xlsx").status_code == 400


def test_the_api_gives_everything_to_a_key_that_may_export(site: Site, world: World) -> None:
    key, _ = add_key(world.engine, "till", {KeyScope.EXPORT})
    for one in Format:
        answer = site.get(f"/api/v1/exports/{one}", Authorization=f"Bearer {key}")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == kind_of(one).media_type
        assert answer.content == site.get(f"/exports/{one}").content
    assert site.get("/api/v1/exports/xlsx", Authorization=f"Bearer {key}").status_code == 422


def a_request(method: str = "GET") -> Request:
    """A request with no headers."""
    return Request({"type": "http", "method": method, "headers": [], "asgi": {"spec_version": "2.4"}})


STRANGER, KEY = Visitor("203.0.113.9", has_key=False), Visitor("key 1", has_key=True)


async def nothing_more() -> Message:
    """A reader that stays."""
    await anyio.sleep_forever()
    return {"type": "http.disconnect"}


def read(answer: Response) -> bytes:
    """Read an answer to its end."""
    parts: list[bytes] = []

    async def send(message: Message) -> None:
        parts.append(message.get("body", b""))

    anyio.run(answer, a_request().scope, nothing_more, send)
    return b"".join(parts)


def test_one_visitor_has_few_places_all_strangers_more_and_a_key_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "OF_STRANGERS", OF_ONE_VISITOR + 1)
    exports = Exports(world.opened)
    answers = [exports.answer(a_request(), STRANGER, Format.CSV) for _ in range(OF_ONE_VISITOR)]
    with pytest.raises(HTTPException, match="You are reading 4 exports") as refused:
        exports.answer(a_request(), STRANGER, Format.CSV)
    assert (refused.value.status_code, refused.value.headers) == (429, RETRY)
    answers.append(exports.answer(a_request(), Visitor("198.51.100.1", has_key=False), Format.CSV))
    with pytest.raises(HTTPException, match="are being read already") as refused:
        exports.answer(a_request(), Visitor("198.51.100.2", has_key=False), Format.CSV)
    assert (refused.value.status_code, refused.value.headers) == (503, RETRY)
    assert exports.answer(a_request(), KEY, Format.CSV).status_code == 200
    assert "Current Checked out connections: 0" in world.engine.pool.status(), "readers hold no snapshot"
    assert len({read(answer) for answer in answers}) == 1
    assert exports.answer(a_request(), STRANGER, Format.CSV).status_code == 200, "their places are free again"


def test_an_export_of_everything_is_written_once_for_what_the_tables_say(world: World) -> None:
    statements: list[str] = []
    sa.event.listen(world.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    exports = Exports(world.opened)
    first = read(exports.answer(a_request(), STRANGER, Format.NDJSON))
    written = len(statements)
    assert read(exports.answer(a_request(), KEY, Format.NDJSON)) == first
    assert len(statements) == written + 1, "the tables are asked whether anything changed"
    world.image(world.product("300"), "3")
    assert len(read(exports.answer(a_request(), KEY, Format.NDJSON)).splitlines()) == len(first.splitlines()) + 1


def test_what_has_not_changed_is_not_sent_again_and_head_has_the_length(site: Site) -> None:
    got = site.get("/exports/csv")
    assert got.headers["Content-Length"] == str(len(got.content))
    assert site.get("/exports/csv", **{"If-None-Match": got.headers["ETag"]}).status_code == 304
    told = requests.head(f"{site.address}/exports/csv", timeout=20)
    assert (told.content, told.headers["Content-Length"]) == (b"", got.headers["Content-Length"])


def test_while_as_many_as_may_be_are_written_others_are_told_and_nobody_with_a_key(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "WRITTEN_AT_ONCE", 1)
    exports = Exports(world.opened)
    exports._writers[False].acquire()
    with pytest.raises(HTTPException, match="are being written already"):
        exports.answer(a_request(), STRANGER, Format.CSV)
    assert exports.answer(a_request(), KEY, Format.CSV).status_code == 200


def test_files_of_filters_fill_no_disk_and_a_full_one_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "MOST_FILTERED_BYTES", 1)
    exports, engels = Exports(world.opened), [product.c.sku == "100"]
    answers = [exports.answer(a_request(), STRANGER, Format.NDJSON, engels)]
    with pytest.raises(HTTPException, match="with filters are being read") as refused:
        exports.answer(a_request(), KEY, Format.NDJSON, engels)
    assert (refused.value.status_code, refused.value.headers) == (503, RETRY)
    assert exports.answer(a_request(), KEY, Format.NDJSON).status_code == 200
    read(answers.pop())
    gc.collect()
    assert read(exports.answer(a_request(), STRANGER, Format.NDJSON, engels))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exporting, "ExportFile", full)
    for _ in range(OF_ONE_VISITOR + 1):
        with pytest.raises(HTTPException, match="cannot be written at the moment"):
            exports.answer(a_request(), STRANGER, Format.CSV)


@pytest.mark.parametrize("how", ["goes away midway", "takes nothing any more", "takes a byte now and then"])
def test_a_reader_that_leaves_in_some_way_leaves_its_place(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    slow = how == "takes a byte now and then"
    for name, value in {"WRITE_SECONDS": 9 if slow else 0.05, "GRACE_SECONDS": 0.05 if slow else 9}.items():
        monkeypatch.setattr(exporting, name, value)
    monkeypatch.setattr(exporting, "CHUNK_BYTES", 1)
    exports, ended = Exports(world.opened), []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            if how == "goes away midway":
                raise OSError("the reader is gone")
            await anyio.sleep(0.02 if slow else 9)
            ended.append(not message["more_body"])

    for _ in range(OF_ONE_VISITOR + 1):
        anyio.run(exports.answer(a_request(), STRANGER, Format.NDJSON), a_request().scope, nothing_more, send)
    assert True not in ended


def test_readers_that_take_nothing_keep_nobody_from_an_export(world: World) -> None:
    columns = ", ".join(one.name for one in product_image.c if one.name not in {"id", "product_id"})
    products = sa.text(
        "INSERT INTO imagesync.product (kind, erp_id, sku, name) "
        "SELECT 'variant', 'v' || n, 's' || n, repeat('Engel ', 40) "
        "FROM generate_series(CAST(:first AS int), :last) n RETURNING id"
    )
    images = sa.text(
        f"INSERT INTO imagesync.product_image (product_id, {columns}) SELECT p.id, {columns} "
        "FROM unnest(:ids) AS p (id), (SELECT * FROM imagesync.product_image LIMIT 1) i"
    )
    with world.engine.begin() as connection:  # more than what sockets keep
        # Until PostgreSQL has looked at its tables it compares every row of a statement with every other one.
        for first, last in ((1, 100), (101, 5000)):
            ids = list(connection.scalars(products, {"first": first, "last": last}))
            connection.execute(images, {"ids": ids})
            connection.execute(sa.text("ANALYZE"))
    with serving(world.opened) as site, ExitStack() as silent:
        host, port = site.address.removeprefix("http://").split(":")
        # Two places are left: the one before is given back after its last byte.
        for _ in range(OF_ONE_VISITOR - 2):
            reader = silent.enter_context(socket.create_connection((host, int(port))))
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.sendall(f"GET /exports/csv HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        for one in Format:
            assert site.get(f"/exports/{one}").status_code == 200
        with world.engine.connect() as connection:
            snapshots = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL "
                "AND backend_type = 'client backend'"
            )
            assert connection.execute(sa.text(f"{snapshots} AND pid <> pg_backend_pid()")).scalar() == 0


def test_a_database_that_is_away_is_an_error_and_takes_no_place(world: World) -> None:
    away = sa.create_engine("postgresql+psycopg://127.0.0.1:1/none")
    with serving(replace(world.opened, engine=away)) as site:
        for _ in range(OF_ONE_VISITOR + 1):
            assert site.get("/exports/parquet").status_code == 503
