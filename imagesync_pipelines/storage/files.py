"""Writing and removing files below the storage root, which is a folder or an object store (universal-pathlib).

What belongs here: what both kinds of store need to be told about a whole file. What does not: what is in the files
(raw_pages.py, plans.py).
"""

import uuid
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


def remove_folder(folder: UPath) -> None:
    """Remove a folder with everything in it; one that is not there is fine."""
    if folder.exists():
        folder.fs.rm(folder.path, recursive=True)
