"""A page is given back exactly as received, or not at all with a name for what is wrong."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upath import UPath

from imagesync_pipelines.storage.errors import PageDamaged, PageMissing, WalkMissing
from imagesync_pipelines.storage.raw_pages import RawPages
from imagesync_pipelines.storage.walks import PROVEN, UNPROVEN, finish_walk, get_walk, start_walk

NO_COUNTS = {"page_length": None, "first_count": None, "last_count": None, "pages": None}


@pytest.fixture(params=["folder", "memory"])
def pages(request: pytest.FixtureRequest, database: sa.Engine, tmp_path: Path) -> RawPages:
    """The pages of a room, in a folder and in another kind of store."""
    root = UPath(tmp_path / "storage") if request.param == "folder" else UPath(f"memory://{tmp_path.name}")
    return RawPages(database, root, "image_db")


def _walk(pages: RawPages, room: str = "image_db") -> int:
    return start_walk(pages.engine, room, page_size=100, block_size=10)


def _files(pages: RawPages) -> list[str]:
    return sorted(path.name for path in pages.root.glob("**/*") if path.is_file())


def test_pages_come_back_as_received_in_page_order(pages: RawPages) -> None:
    walk = _walk(pages)
    bodies = {page: f'{{"page": {page}}}'.encode() * 100 for page in (12, 3, 1, 2)}
    for page, body in bodies.items():
        pages.put(walk, page, body, records=20, api_count=2489)
    assert [(stored.entry.page, stored.body) for stored in pages.iterate(walk)] == sorted(bodies.items())
    entries = pages.entries(walk)
    assert {(entry.records, entry.api_count, entry.bytes) for entry in entries} == {(20, 2489, 1100), (20, 2489, 1200)}
    assert pages.get(12) == bodies[12]


def test_some_pages_of_a_walk_can_be_read_alone(pages: RawPages) -> None:
    walk = _walk(pages)
    for page in range(1, 6):
        pages.put(walk, page, str(page).encode(), records=1)
    assert [stored.body for stored in pages.iterate(walk, only={4, 2, 9})] == [b"2", b"4"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.binary(max_size=300))
def test_any_bytes_survive(pages: RawPages, body: bytes) -> None:
    walk = _walk(pages)
    pages.put(walk, 1, body, records=0)
    assert pages.get(1, walk) == body


def test_a_page_of_a_walk_can_be_written_again_and_leaves_one_file(pages: RawPages) -> None:
    walk = _walk(pages)
    for body in (b"first", b"second", b"second"):
        pages.put(walk, 1, body, records=1)
    assert pages.get(1) == b"second"
    assert len(_files(pages)) == 1


def test_the_page_fetched_last_is_given_when_no_walk_is_named(pages: RawPages) -> None:
    first, second = _walk(pages), _walk(pages)
    pages.put(second, 1, b"of the second walk", records=1)
    pages.put(first, 1, b"read again later", records=1)
    assert pages.get(1) == b"read again later"
    assert pages.get(1, second) == b"of the second walk"


@pytest.mark.parametrize(
    "damage",
    [b"", b"not compressed at all", None],
    ids=["emptied", "overwritten", "cut short"],
)
def test_a_damaged_page_is_an_error_that_names_page_and_walk(pages: RawPages, damage: bytes | None) -> None:
    walk = _walk(pages)
    entry = pages.put(walk, 7, b"what was received" * 50, records=1)
    file = pages.root / entry.path
    file.write_bytes(damage if damage is not None else file.read_bytes()[:-3])
    with pytest.raises(PageDamaged, match=f"page 7 of walk {walk} is damaged"):
        list(pages.iterate(walk))


def test_another_pages_bytes_are_damage_too(pages: RawPages) -> None:
    walk = _walk(pages)
    one, other = pages.put(walk, 1, b"aaa", records=1), pages.put(walk, 2, b"bbb", records=1)
    (pages.root / one.path).write_bytes((pages.root / other.path).read_bytes())
    with pytest.raises(PageDamaged, match="page 1 of walk"):
        pages.get(1)


def test_what_is_not_there_is_said_so(pages: RawPages) -> None:
    walk = _walk(pages)
    with pytest.raises(PageMissing, match="page 4 is not stored"):
        pages.get(4)
    entry = pages.put(walk, 4, b"x", records=1)
    (pages.root / entry.path).unlink()
    with pytest.raises(PageMissing, match=f"page 4 of walk {walk}: its file .* is gone"):
        pages.get(4)
    with pytest.raises(WalkMissing, match="walk 999"):
        pages.put(999, 1, b"x", records=1)


def test_pruning_keeps_the_newest_walks_and_the_newest_proof(pages: RawPages) -> None:
    walks = [_walk(pages) for _ in range(6)]
    elsewhere = _walk(pages, room="another")
    for walk in walks:
        pages.put(walk, 1, f"page of {walk}".encode(), records=1)
    for walk in walks[:3]:
        finish_walk(pages.engine, walk, state=PROVEN if walk != walks[2] else UNPROVEN, **NO_COUNTS)
    assert pages.prune(keep_walks=2) == 3
    kept = [walks[1], walks[4], walks[5]]
    assert [bool(pages.entries(walk)) for walk in walks] == [walk in kept for walk in walks]
    assert len(_files(pages)) == 3
    assert pages.get(1, walks[1]) == f"page of {walks[1]}".encode()
    assert get_walk(pages.engine, elsewhere).room == "another"


def test_pruning_everything_leaves_no_page_and_no_walk(pages: RawPages) -> None:
    walk = _walk(pages)
    pages.put(walk, 1, b"x", records=1)
    finish_walk(pages.engine, walk, state=PROVEN, **NO_COUNTS)
    assert pages.prune(keep_walks=0) == 1
    assert _files(pages) == []
    with pytest.raises(WalkMissing):
        get_walk(pages.engine, walk)


def test_pruning_clears_what_a_killed_prune_left(pages: RawPages) -> None:
    walk = _walk(pages)
    entry = pages.put(walk, 1, b"x", records=1)
    left = pages.root / "raw_pages" / "image_db" / "999999" / "000001-left.zst"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"left over")
    pages.prune(keep_walks=1)
    assert _files(pages) == [Path(entry.path).name]
