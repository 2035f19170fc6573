"""Exports over HTTP: what the list shows, as a file; few at once; a database that is away is no broken file."""

import csv
import io
from dataclasses import replace

import anyio
import pytest
import sqlalchemy as sa
from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message

from imagesync_pipelines.products.exports import Format, kind_of
from imagesync_pipelines.web.catalogue import exporting
from imagesync_pipelines.web.catalogue.access import KeyScope, add_key
from imagesync_pipelines.web.catalogue.exporting import MOST_AT_ONCE, RETRY, Exports
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


def test_few_exports_are_given_at_once_and_a_place_is_free_again(world: World) -> None:
    exports = Exports(world.opened)
    answers = [exports.answer(Format.CSV) for _ in range(MOST_AT_ONCE)]
    with pytest.raises(HTTPException, match="being read already") as refused:
        exports.answer(Format.CSV)
    assert (refused.value.status_code, refused.value.headers) == (503, RETRY)
    answers.clear()  # the readers went away
    assert exports.answer(Format.CSV).status_code == 200


def test_a_reader_that_goes_away_midway_leaves_its_place(world: World) -> None:
    exports, scope = Exports(world.opened), {"type": "http", "asgi": {"spec_version": "2.4"}}

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("the reader is gone")

    for _ in range(MOST_AT_ONCE + 1):
        with pytest.raises(ClientDisconnect):
            anyio.run(exports.answer(Format.NDJSON), scope, receive, send)
    assert "Current Checked out connections: 0" in world.engine.pool.status()


def test_a_reader_that_takes_nothing_any_more_leaves_its_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "READER_SECONDS", 0.05)
    exports, scope = Exports(world.opened), {"type": "http", "asgi": {"spec_version": "2.4"}}

    async def receive() -> Message:
        await anyio.sleep_forever()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await anyio.sleep_forever()

    for _ in range(MOST_AT_ONCE + 1):
        with pytest.raises(ClientDisconnect):
            anyio.run(exports.answer(Format.NDJSON), scope, receive, send)
    assert "Current Checked out connections: 0" in world.engine.pool.status()


def test_a_database_that_is_away_is_an_error_and_takes_no_place(world: World) -> None:
    away = sa.create_engine("postgresql+psycopg://127.0.0.1:1/none")
    with serving(replace(world.opened, engine=away)) as site:
        for _ in range(MOST_AT_ONCE + 1):
            assert site.get("/exports/parquet").status_code == 503
