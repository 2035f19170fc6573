"""Image content: kept once by what it is, held while it is used, forgotten when it is old, never believed blindly."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.storage.contents import ContentMissingError, Contents
from imagesync_pipelines.storage.facts import PictureFacts

HOUR = timedelta(hours=1)


@dataclass
class Clock:
    """The time of day, moved by the test."""

    now: datetime = field(default_factory=lambda: datetime(2026, 11, 20, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def contents(database: sa.Engine, tmp_path: Path, clock: Clock) -> Contents:
    return Contents(database, UPath(tmp_path), clock)


def put(contents: Contents, source: str, body: bytes, hold: timedelta = HOUR) -> None:
    contents.put(source, body, PictureFacts("JPEG", 2, 1, hashlib.sha256(body).hexdigest()), hold)


def test_what_was_put_is_found_and_read(contents: Contents) -> None:
    put(contents, "moysklad:main:a", b"picture")
    found = contents.find(["moysklad:main:a", "moysklad:main:b"])
    assert list(found) == ["moysklad:main:a"]
    assert contents.read(found["moysklad:main:a"]) == b"picture"


def test_the_same_bytes_of_two_sources_are_one_file(contents: Contents) -> None:
    put(contents, "a", b"picture")
    put(contents, "b", b"picture")
    assert contents.used() == (1, 7)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"pictors")], ids=["gone", "altered"])
def test_a_file_that_is_not_what_was_written_is_not_kept_any_more(
    contents: Contents, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    put(contents, "a", b"picture")
    content = contents.find(["a"])["a"]
    spoil(next(path for path in tmp_path.rglob("*") if path.is_file()))
    with pytest.raises(ContentMissingError):
        contents.read(content)
    assert contents.find(["a"]) == {}
    put(contents, "a", b"picture")
    assert contents.read(content) == b"picture"


def test_old_content_is_forgotten_and_what_a_run_holds_is_not(contents: Contents, clock: Clock) -> None:
    put(contents, "old", b"1")
    put(contents, "held", b"22", hold=100 * HOUR)
    put(contents, "used", b"333")
    clock.now += 25 * HOUR
    contents.hold(["used"], HOUR)
    told: list[tuple[int, int]] = []
    would = contents.forget_older(24, dry_run=True)
    assert (would.count, would.bytes, would.in_use) == (1, 1, 1)
    assert contents.used() == (3, 6)
    assert contents.forget_older(24, on_progress=lambda done, total: told.append((done, total))) == would
    assert told == [(1, 1)]
    assert set(contents.find(["old", "held", "used"])) == {"held", "used"}


def test_nothing_in_use_is_forgotten_even_with_zero_hours(contents: Contents, clock: Clock) -> None:
    put(contents, "a", b"picture", hold=2 * HOUR)
    clock.now += HOUR
    assert contents.forget_older(0).count == 0
    clock.now += 2 * HOUR
    assert contents.forget_older(0).count == 1
    assert contents.used() == (0, 0)


def test_bytes_stay_as_long_as_one_source_uses_them(contents: Contents, clock: Clock) -> None:
    put(contents, "a", b"picture")
    clock.now += 30 * HOUR
    put(contents, "b", b"picture")
    assert contents.forget_older(24).count == 0
    assert contents.read(contents.find(["a"])["a"]) == b"picture"


def test_who_fetches_second_sees_what_the_first_has_put(contents: Contents) -> None:
    with contents.fetching("a") as found:
        assert found is None
        put(contents, "a", b"picture")
    with contents.fetching("a") as found:
        assert found is not None
        assert found.size == 7


def test_a_use_is_noted_once_in_a_while_and_holds_the_picture_again(contents: Contents, clock: Clock) -> None:
    put(contents, "a", b"picture")
    clock.now += 30 * HOUR
    contents.renew("a", 48 * HOUR, 24 * HOUR)
    contents.renew("nobody", 48 * HOUR, 24 * HOUR)
    clock.now += 25 * HOUR
    assert contents.forget_older(24).in_use == 1
    clock.now += 24 * HOUR
    assert contents.forget_older(24).count == 1
