"""Pages kept as walks: proof, repetition, pages read again, and what each block of pages came to."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.image_db import pages
from imagesync_pipelines.storage import walks
from imagesync_pipelines.sync.progress import silent
from imagesync_pipelines.upstream.errors import CredentialsError
from imagesync_pipelines_tests.image_db.source import PER_PAGE, Room, Source, image, running
from imagesync_pipelines_tests.upstream.servers import http, serve, session_for

SKU = "100001"


@pytest.fixture
def room(database: sa.Engine, tmp_path: Path) -> Iterator[Room]:
    with running(database, tmp_path / "home", [image(number, SKU) for number in range(1, 11)], [SKU]) as room:
        yield room


def reader(room: Room, page_size: int = PER_PAGE) -> pages.Reader:
    return pages.Reader(room.place.engine, room.place.storage, room.settings, page_size, silent)


def read_spans(room: Room, *spans: range, page_size: int = PER_PAGE) -> pages.Landed:
    with room.session() as session:
        return pages.read_spans(reader(room, page_size), session, spans)


def test_a_walk_that_proves_itself_is_kept_with_its_count(room: Room) -> None:
    landed = room.walk()
    walk = walks.latest_walk(room.place.engine, pages.ROOM)
    assert walk is not None
    assert (landed.complete, sorted(landed.pages), landed.calls) == (True, [1, 2, 3], 3)
    assert (walk.id, walk.state, walk.first_count, walk.last_count, walk.pages, walk.calls) == (
        landed.walk_id,
        walks.PROVEN,
        10,
        10,
        3,
        3,
    )
    assert landed.sentence().endswith("3 pages with 10 records in 3 calls; it is complete.")


def test_a_walk_in_which_the_catalogue_changed_is_repeated(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, added = Source.answer, iter([True])

    def growing(source: Source, request: Any, number: int) -> list[bytes]:
        if number == 3 and next(added, False):
            source.records.append(image(11, SKU))
        return plain(source, request, number)

    monkeypatch.setattr(Source, "answer", growing)
    with (
        serve(lambda request, number: room.source.answer(request, number)) as server,
        session_for(server.url) as session,
    ):
        landed = pages.read_all(reader(room), session)
    assert landed.complete
    assert "all pages were read 2 times" in landed.notes[-1]
    assert sum(entry.records for entry in landed.pages.values()) == 11


def test_a_walk_that_is_broken_off_is_void_and_says_why(room: Room) -> None:
    with serve(lambda request, number: [http(401)]) as server, session_for(server.url) as session:
        with pytest.raises(CredentialsError):
            pages.read_all(reader(room), session)
        assert session.calls == 1
    with room.place.engine.connect() as connection:
        walk_id = connection.scalar(sa.text("SELECT max(id) FROM imagesync.walk"))
    walk = walks.get_walk(room.place.engine, walk_id)
    assert (walk.state, "broken off" in walk.reason) == (walks.UNPROVEN, True)
    assert walks.latest_walk(room.place.engine, pages.ROOM) is None


def test_a_page_read_again_joins_the_latest_walk_and_voids_its_proof(room: Room) -> None:
    first = room.walk()
    room.source.records[5] = image(60, SKU)
    landed = read_spans(room, range(2, 3))
    assert (landed.walk_id, sorted(landed.pages), landed.complete) == (first.walk_id, [2], False)
    assert walks.get_walk(room.place.engine, first.walk_id).state == walks.UNPROVEN
    stored = {page.entry.page: page.body for page in reader(room).raw.iterate(first.walk_id)}
    assert sorted(stored) == [1, 2, 3]
    assert b'"file_id": 60' in stored[2]


def test_pages_of_another_size_begin_a_walk_of_their_own(room: Room) -> None:
    first = room.walk()
    landed = read_spans(room, range(1, 2), page_size=50)
    assert landed.walk_id != first.walk_id
    assert walks.get_walk(room.place.engine, first.walk_id).state == walks.PROVEN
    assert walks.get_walk(room.place.engine, landed.walk_id).reason == "only pages 1-1 were read"


def test_old_walks_go_when_a_new_one_is_proven(room: Room) -> None:
    kept = [room.walk().walk_id for _ in range(pages.KEPT_WALKS + 2)][-pages.KEPT_WALKS :]
    with room.place.engine.connect() as connection:
        assert sorted(connection.scalars(sa.text("SELECT DISTINCT walk_id FROM imagesync.raw_page"))) == kept


def test_every_block_tells_what_was_kept_or_why_not(room: Room) -> None:
    room.source.broken[3] = b"[]"
    landed = room.walk()
    blocks = {"1-2": range(1, 3), "3-4": range(3, 5)}
    done, failed = pages.by_block(landed, blocks)
    assert {name: (block["pages"], block["dagster/partition_row_count"]) for name, block in done.items()} == {
        "1-2": (2, 8)
    }
    assert failed["3-4"].startswith("page 3: ")
    room.source.broken.clear()
    done, failed = pages.by_block(room.walk(), {**blocks, "5-6": range(5, 7)})
    assert ({name: block["pages"] for name, block in done.items()}, failed) == ({"1-2": 2, "3-4": 1, "5-6": 0}, {})


@pytest.mark.parametrize(
    ("span", "whole"),
    [(range(1, 2), set()), (range(1, 3), {"1-2"}), (range(1, 4), {"1-2", "3-4"}), (range(2, 4), {"3-4"})],
    ids=["half of a block", "a whole block", "to the end", "from the middle"],
)
def test_only_blocks_read_to_their_end_are_marked(room: Room, span: range, whole: set[str]) -> None:
    blocks = {"1-2": range(1, 3), "3-4": range(3, 5), "5-6": range(5, 7)}
    assert set(pages.whole_blocks(read_spans(room, span), blocks)) == whole
