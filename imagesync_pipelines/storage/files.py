"""Writing and removing files below the storage root, which is a folder or an object store (universal-pathlib)."""

import os
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from upath import UPath

from imagesync_pipelines.errors import error_reason
from imagesync_pipelines.languages import told
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.errors import StorageError, StorageRootError

_S3 = frozenset({"s3", "s3a"})
_LOCAL = frozenset({"", "file", "local"})


def open_root(url: str, settings: Settings) -> UPath:
    """A folder, or what is below a URL such as s3://bucket/prefix or file:///data; s3:// with IMAGESYNC_S3_*.

    Raises StorageError when the scheme is unknown or the package that speaks it is not installed, and SettingsError.
    """
    options: dict[str, Any] = {}
    if url.partition("://")[0] in _S3:
        # It loads boto3, which takes long, and most have a folder.
        from imagesync_pipelines.storage.objects import file_options

        options = file_options(settings)
    try:
        root: UPath = UPath(url, **options)
        _ = root.fs
    except (ImportError, ValueError) as error:
        raise StorageError(f"{url} cannot be used: {error}") from error
    return root


def check_root(root: UPath) -> None:
    """Raise StorageRootError, in a line, unless the bucket of a root in an object store is there and may be used.

    A folder is made when something is written; a bucket never is.
    """
    if root.protocol not in _S3:
        return
    bucket, _, prefix = root.path.strip("/").partition("/")
    try:
        try:
            root.fs.call_s3("head_bucket", Bucket=bucket)
        except PermissionError:
            # Keys that may see what is below our prefix alone may not ask for the bucket.
            if not prefix:
                raise
            root.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{prefix}/", MaxKeys=1)
    except FileNotFoundError:
        why = told("there is no such bucket; correct its name, or make it by hand")
    except PermissionError as error:
        why = told(f"it may not be used ({error}); check IMAGESYNC_S3_ACCESS_KEY and IMAGESYNC_S3_SECRET_KEY")
    except Exception as error:  # noqa: BLE001 - of three libraries, whose errors have no base in common
        why = told(f"it cannot be used now: {error_reason(error)}")
    else:
        return
    raise StorageRootError(f"The bucket {bucket!r} of {root}: {why}")


def write_whole(path: UPath, body: bytes) -> None:
    """Write a file so that a reader, and a crash, sees all of it or nothing of it."""
    write_stream(path, [body])


def write_stream(path: UPath, parts: Iterable[bytes]) -> int:
    """The same for a body that comes in parts and need not fit into memory; gives its size in bytes.

    A folder needs a temporary name, and a rename when all of it is on the disk: after a power cut a file that was
    renamed first may be there and empty. An object store gets it from a temporary file, which is its owner's
    alone, so that a stream that breaks off replaces nothing.
    """
    make_folder(path.parent)
    is_local = path.protocol in _LOCAL
    folder = Path(path.path).parent if is_local else Path(tempfile.gettempdir())
    fresh = folder / f".{path.name}.{uuid.uuid4().hex[:8]}"
    try:
        fresh.touch(mode=0o600, exist_ok=False)
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
    if is_local := path.protocol in _LOCAL:
        sync(Path(written.path))
    written.rename(path)
    if is_local:
        sync(Path(path.path).parent)


def make_folder(folder: UPath) -> None:
    """Make a folder; an object store has none, and its libraries would make a bucket."""
    if folder.protocol not in _S3:
        folder.mkdir(parents=True, exist_ok=True)


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
