"""Files below the storage root: whole or not at all, in a folder and in an object store, however they come."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from upath import UPath

from imagesync_pipelines.storage.files import write_stream


@pytest.fixture(params=["folder", "object store"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UPath]:
    """A storage root of each kind; what is in memory counts as an object store: it has no files to rename."""
    place = UPath(tmp_path / "storage") if request.param == "folder" else UPath("memory://test-files")
    yield place
    if place.exists():
        place.fs.rm(place.path, recursive=True)


def parts(broken: bool = False) -> Iterator[bytes]:
    yield b"first "
    if broken:
        raise RuntimeError("the source broke off")
    yield b"second"


def test_a_stream_is_one_file_and_its_size_is_told(root: UPath) -> None:
    for _ in range(2):
        assert write_stream(root / "exports" / "a.csv", parts()) == 12
        assert (root / "exports" / "a.csv").read_bytes() == b"first second"


def test_a_stream_that_breaks_off_leaves_what_was_there_and_nothing_else(root: UPath) -> None:
    write_stream(root / "exports" / "a.csv", parts())
    with pytest.raises(RuntimeError, match="broke off"):
        write_stream(root / "exports" / "a.csv", parts(broken=True))
    assert [path.name for path in (root / "exports").iterdir()] == ["a.csv"]
    assert (root / "exports" / "a.csv").read_bytes() == b"first second"


def test_everybody_may_read_the_file(tmp_path: Path) -> None:
    write_stream(UPath(tmp_path / "a.csv"), parts())
    assert (tmp_path / "a.csv").stat().st_mode & 0o777 == 0o644
