"""Writing and removing files below the storage root, which is a folder or an object store (universal-pathlib)."""

import os
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path

from upath import UPath

from imagesync_pipelines.storage.errors import StorageError


def open_root(url: str) -> UPath:
    """The storage root of a URL such as s3://bucket/prefix or file:///data.

    Raises StorageError when the scheme is unknown or the package that speaks it is not installed.
    """
    try:
        root = UPath(url)
        _ = root.fs
    except (ImportError, ValueError) as error:
        raise StorageError(f"IMAGESYNC_STORAGE_URL cannot be used: {error}") from error
    return root


def write_whole(path: UPath, body: bytes) -> None:
    """Write a file so that a reader, and a crash, sees all of it or nothing of it."""
    write_stream(path, [body])


def write_stream(path: UPath, parts: Iterable[bytes]) -> int:
    """The same for a body that comes in parts and need not fit into memory; gives its size in bytes.

    A folder needs a temporary name, and a rename when all of it is on the disk: after a power cut a file that was
    renamed first may be there and empty. An object store gets it from a temporary file, which is its owner's
    alone, so that a stream that breaks off replaces nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_local = path.protocol in {"", "file", "local"}
    folder = Path(path.path).parent if is_local else Path(tempfile.gettempdir())
    fresh = folder / f".{path.name}.{uuid.uuid4().hex[:8]}"
    try:
        fresh.touch(mode=0o666 if is_local else 0o600, exist_ok=False)
        with fresh.open("wb") as file:
            size = sum(file.write(part) for part in parts)
        if is_local:
            put_in_place(UPath(fresh), path)
        else:
            path.fs.put_file(str(fresh), path.path)
    finally:
        fresh.unlink(missing_ok=True)
    return size


def put_in_place(written: UPath, path: UPath) -> None:
    """Give a file that was written beside its place its name, once all of it is on the disk, and the name too."""
    if is_local := path.protocol in {"", "file", "local"}:
        sync(Path(written.path))
    written.rename(path)
    if is_local:
        sync(Path(path.path).parent)


def sync(path: Path) -> None:
    """Let what is in a file, or the names in a folder, be on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_folder(folder: UPath) -> None:
    """Remove a folder with everything in it; one that is not there is fine."""
    if folder.exists():
        folder.fs.rm(folder.path, recursive=True)
