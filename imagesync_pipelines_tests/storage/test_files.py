"""Files below the storage root: whole or not at all, in a folder and in an object store, however they come."""

import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from upath import UPath

from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.files import check_root, write_stream


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


def test_a_file_is_its_owners_alone_whatever_the_mask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_stream(UPath(tmp_path / "a.csv"), parts())
    finally:
        os.umask(before)
    assert (tmp_path / "a.csv").stat().st_mode & 0o777 == 0o600


def test_a_file_is_on_the_disk_before_it_gets_its_name_and_its_name_is_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut leaves an empty file under a name that is believed."""
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noting(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        done.append("folder" if path.is_dir() else f"{path.stat().st_size} bytes")
        fsync(handle)

    def renaming(*paths: Any, **more: Any) -> None:
        done.append("name")
        rename(*paths, **more)

    monkeypatch.setattr(os, "fsync", noting)
    monkeypatch.setattr(os, "rename", renaming)
    write_stream(UPath(tmp_path / "a.csv"), parts())
    assert done == ["12 bytes", "name", "folder"]


class Narrow:
    """A store whose keys may list what is below `kept/` alone."""

    def call_s3(self, method: str, **asked: Any) -> None:
        if method == "head_bucket" or asked["Prefix"] != "kept/":
            raise PermissionError("Forbidden")


@pytest.mark.parametrize(("path", "is_open"), [("any/kept", True), ("any/else", False), ("any", False)])
def test_keys_that_may_see_our_part_of_a_bucket_alone_are_enough(path: str, is_open: bool) -> None:
    root: Any = SimpleNamespace(protocol="s3", path=path, fs=Narrow())
    with nullcontext() if is_open else pytest.raises(StorageError, match="it may not be used"):
        check_root(root)
