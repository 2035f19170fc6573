"""What the image database does wrong on the wire: each fault, and afterwards the state of a run without it."""

from collections.abc import Callable
from typing import Any

import pytest

from imagesync_pipelines.image_db.erp import ErpError
from imagesync_pipelines.sandbox.faults import (
    Fault,
    altered,
    answer,
    drip,
    html_page,
    rate_limited,
    redirect,
    reset,
    retry_after_date,
    server_error,
    timeout,
    truncated,
    wrong_length,
    xml_page,
)
from imagesync_pipelines.sandbox.image_db.app import ENDPOINT
from imagesync_pipelines.sandbox.image_db.server import Sandbox
from imagesync_pipelines.storage.raw_pages import RawPages
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines_tests.e2e.rooms import PageFailedError, Room, Rooms, assert_same_tables, from_scratch

PAGES = 7


@pytest.fixture
def room(rooms: Rooms, sandbox: Sandbox) -> Room:
    """A room after its first synchronisation, with a catalogue that has changed since."""
    made = from_scratch(rooms, sandbox, image_api_timeout=1)
    shown = made.table()["external_id"].unique()
    sandbox.mutate("delete", file_id=int(shown[0]))
    sandbox.mutate("re_export", file_id=int(shown[1]))
    sandbox.mutate("insert")
    return made


@pytest.mark.parametrize(
    "fault",
    [
        server_error(500).burst(2),
        server_error(503).burst(3),
        rate_limited(None).burst(2),
        rate_limited("2").burst(3),
        answer(503, "", Retry_After="1").burst(2),
        truncated().burst(2),
        wrong_length(50).burst(1),
        reset().burst(2),
        timeout().burst(1),
        altered().burst(1),
        answer(200, '{"count": 130, "next": nu', "application/json").burst(2),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.times}",
)
def test_a_burst_of_faults_is_waited_out_and_the_walk_is_complete(
    rooms: Rooms, room: Room, sandbox: Sandbox, fault: Fault
) -> None:
    sandbox.ledger.clear()
    sandbox.faults.add(fault.at(ENDPOINT, "1"), fault.at(ENDPOINT, "5"))
    result = room.sync()
    assert result.landed is not None
    assert result.landed.complete, result.landed.reason
    assert fault.times is not None
    walks = 2  # images went since the last run, and a second walk confirms that
    assert result.landed.calls == walks * PAGES + 2 * fault.times == sandbox.ledger.count(ENDPOINT)
    assert len(room.waits) == 2 * fault.times
    assert_same_tables(room, from_scratch(rooms, sandbox))


def test_the_server_is_given_the_time_that_it_asks_for(room: Room, sandbox: Sandbox) -> None:
    sandbox.faults.add(rate_limited("3").at(ENDPOINT, "2"), rate_limited(retry_after_date(2)).at(ENDPOINT, "6"))
    room.sync()
    assert any(wait >= 3 for wait in room.waits)
    assert len(room.waits) == 2


FOR_GOOD: dict[str, Callable[[], Fault]] = {
    "500": lambda: server_error(500),
    "429": lambda: rate_limited(None),
    "HTML": html_page,
    "XML": xml_page,
    "cut in the body": truncated,
    "JSON cut short": lambda: answer(200, '{"count": 130, "next": null, "results": [{"or', "application/json"),
    "JSON of another kind": lambda: answer(200, '["page"]', "application/json"),
    "404 of a proxy": lambda: html_page(404),
    "redirect to another host": lambda: redirect("http://127.0.0.1:9/api/all-files-and-articles/"),
    "reset": reset,
    "timeout": timeout,
    "drip": lambda: drip(30),
}


@pytest.mark.parametrize("name", FOR_GOOD)
def test_a_page_that_fails_for_good_fails_the_run_removes_nothing_and_keeps_the_pages_read(
    rooms: Rooms, room: Room, sandbox: Sandbox, name: str
) -> None:
    if name in ("timeout", "drip"):
        room.settings = room.settings.model_copy(update={"image_api_timeout": 0.3})
    before = room.stamps()
    sandbox.faults.add(FOR_GOOD[name]().at(ENDPOINT, "4").for_good())
    with pytest.raises((PageFailedError, UpstreamError)) as failed:
        room.sync()
    assert "page=" not in str(failed.value)
    assert room.stamps() == before
    latest = room.scalar("SELECT max(id) FROM imagesync.walk")
    assert room.scalar("SELECT state FROM imagesync.walk WHERE id = :id", id=latest) == "unproven"
    kept = RawPages(room.place.engine, room.place.storage, "image_db").entries(latest)
    assert len(kept) >= 2
    assert 4 not in [entry.page for entry in kept]
    sandbox.faults.clear()
    room.settings = room.settings.model_copy(update={"image_api_timeout": 5})
    assert room.sync().written[2] >= 1
    assert_same_tables(room, from_scratch(rooms, sandbox))


@pytest.mark.parametrize("name", ["500", "429", "HTML", "XML", "reset", "JSON cut short", "404 of a proxy"])
def test_an_api_that_is_down_is_a_clear_message_and_the_catalogue_keeps_its_images(
    rooms: Rooms, room: Room, sandbox: Sandbox, name: str
) -> None:
    before = room.stamps()
    sandbox.faults.add(FOR_GOOD[name]().at(ENDPOINT).for_good())
    with pytest.raises(UpstreamError) as failed:
        room.sync()
    text = str(failed.value)
    assert "localhost" in text
    assert "\n" not in text
    assert len(text) < 400
    assert sandbox.password not in text
    assert room.stamps() == before
    sandbox.faults.clear()
    room.sync()
    assert_same_tables(room, from_scratch(rooms, sandbox))


def test_a_host_that_nobody_answers_on_is_a_clear_message(room: Room) -> None:
    before = room.stamps()
    good = room.settings
    room.settings = good.model_copy(update={"image_api_url": "http://127.0.0.1:9/api/"})
    with pytest.raises(UpstreamError, match=r"127\.0\.0\.1:9"):
        room.sync()
    assert room.stamps() == before
    room.settings = good
    assert room.sync().landed is not None


@pytest.mark.parametrize("part", ["pages", "products"])
def test_a_page_that_fails_in_a_partial_run_fails_that_run_too(
    rooms: Rooms, room: Room, sandbox: Sandbox, part: str
) -> None:
    before = room.stamps()
    sku = room.scalar("SELECT p.sku FROM imagesync.product_image i JOIN imagesync.product p ON p.id = i.product_id")
    room.settings = room.settings.model_copy(update={"image_api_cache_enabled": False})
    sandbox.faults.add(server_error(500).at(ENDPOINT, "3").for_good())
    options: dict[str, Any] = {"limit": 3, "skip_pages": 1} if part == "pages" else {"skus": [sku]}
    with pytest.raises(Exception, match="page 3"):
        room.sync(**options)
    assert room.stamps() == before
    sandbox.faults.clear()
    room.sync()
    assert_same_tables(room, from_scratch(rooms, sandbox))


@pytest.mark.parametrize("damage", ["missing", "empty", "header only", "half"])
def test_an_erp_that_gives_nothing_or_half_takes_no_image_away(
    rooms: Rooms, room: Room, sandbox: Sandbox, damage: str
) -> None:
    before = room.stamps()
    path = room.settings.erp_variants_file
    parents = room.settings.erp_parents_file
    assert path is not None
    assert parents is not None
    whole = {file: file.read_text() for file in (path, parents)}
    for file, text in whole.items():
        lines = text.splitlines(keepends=True)
        if damage == "missing":
            file.unlink()
        else:
            keep = {"empty": 0, "header only": 1, "half": len(lines) // 2}[damage]
            file.write_text("".join(lines[:keep]))
    if damage == "half":
        result = room.sync()
        assert any("no longer has" in warning for warning in room.products().warnings)
        assert result.written[2] <= 5
    else:
        with pytest.raises(ErpError):
            room.sync()
        assert room.stamps() == before
    for file, text in whole.items():
        file.write_text(text)
    room.sync()
    assert_same_tables(room, from_scratch(rooms, sandbox))


def test_a_stored_page_that_was_damaged_on_disk_is_named_and_read_again_by_the_next_walk(
    rooms: Rooms, room: Room, sandbox: Sandbox
) -> None:
    sku = room.scalar("SELECT p.sku FROM imagesync.product_image i JOIN imagesync.product p ON p.id = i.product_id")
    entry = room.reader().raw.entries(1)[2]
    (room.place.storage / entry.path).write_bytes(b"not what was written")
    before = room.stamps()
    with pytest.raises(Exception, match=r"page 3 of walk 1 is damaged"):
        room.sync(skus=[sku])
    assert room.stamps() == before
    room.sync()
    assert_same_tables(room, from_scratch(rooms, sandbox))
