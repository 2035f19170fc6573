"""Writing and removing files below the storage root, which is a folder or an object store (universal-pathlib)."""

import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path

from upath import UPath

from imagesync_pipelines.storage.errors import StorageError

# What other files have; a temporary one is its owner's alone.
_READABLE = 0o644


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
    """Write a file so that a reader, and a crash, sees all of it or nothing of it.

    A folder needs a temporary name and a rename; object stores do this by themselves.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.protocol not in {"", "file", "local"}:
        path.write_bytes(body)
        return
    place = Path(path.path)
    fresh = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
    try:
        fresh.write_bytes(body)
        fresh.replace(place)
    finally:
        fresh.unlink(missing_ok=True)


def write_stream(path: UPath, parts: Iterable[bytes]) -> int:
    """The same for a body that comes in parts and need not fit into memory; gives its size in bytes.

    An object store gets it from a temporary file, so that a stream that breaks off replaces nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_local = path.protocol in {"", "file", "local"}
    place = Path(path.path) if is_local else None
    with tempfile.NamedTemporaryFile(
        dir=place.parent if place else None, prefix=f".{path.name}.", delete=False
    ) as fresh:
        try:
            size = sum(fresh.write(part) for part in parts)
            fresh.flush()
            if place is not None:
                Path(fresh.name).chmod(_READABLE)
                Path(fresh.name).replace(place)
            else:
                path.fs.put_file(fresh.name, path.path)
        finally:
            Path(fresh.name).unlink(missing_ok=True)
    return size


def remove_folder(folder: UPath) -> None:
    """Remove a folder with everything in it; one that is not there is fine."""
    if folder.exists():
        folder.fs.rm(folder.path, recursive=True)
