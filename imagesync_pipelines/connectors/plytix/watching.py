"""Which mapping files lie in the folder that is watched, and which of them are new or changed.

What belongs here: looking into a folder or an S3 prefix. What does not: reading a mapping file (mapping.py), when to
look and what to start then (automation/).
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
from upath import UPath

from imagesync_pipelines.settings import Settings, SettingsError
from imagesync_pipelines.storage.objects import s3_place

SUFFIX = ".json"
# Somebody may still be writing a file of a folder; one that is still growing is taken up at the next look.
SETTLED = timedelta(seconds=3)
# A look of a sensor may take 60 seconds.
_S3_PATIENCE = {"connect_timeout": 10, "read_timeout": 20, "retries": {"total_max_attempts": 2}}


class FoundFile(NamedTuple):
    """One mapping file: its path or URL, when it was written, and a mark that changes with its content."""

    path: str
    modified: datetime
    mark: str


def mapping_path(path: str, shared: Settings) -> UPath:
    """A path or URL of a mapping file, or of a folder of them, ready to be read.

    s3:// is read with IMAGESYNC_S3_* when an endpoint is set there, else as AWS's own variables say. Raises
    SettingsError for a scheme that nothing here can read.
    """
    options: dict[str, Any] = {}
    if path.startswith("s3://"):
        # A listing that is kept would hide new files from a process that stays up.
        options |= {"use_listings_cache": False, "config_kwargs": _S3_PATIENCE}
        place = s3_place(shared)
        if place is not None:
            options |= {
                "key": place.access_key,
                "secret": place.secret_key.get_secret_value(),
                "client_kwargs": {"endpoint_url": place.endpoint_url, "region_name": place.region},
            }
    try:
        found: UPath = UPath(path, **options)
        _ = found.fs
    except (ImportError, ValueError) as error:
        raise SettingsError(f"{path} is no folder, file or s3:// URL that can be read ({error}).") from None
    return found


def mapping_files(folder: str, shared: Settings) -> list[FoundFile]:
    """The mapping files of a folder or S3 prefix itself, oldest first. Raises SettingsError when it cannot be read."""
    place = mapping_path(folder, shared)
    found = []
    try:
        for path in place.iterdir():
            if path.suffix == SUFFIX and not path.name.startswith("."):
                found.append(_file(path))
    except (OSError, ValueError, BotoCoreError) as error:
        raise SettingsError(f"PLYTIX_MAPPING_FOLDER: {folder} cannot be read ({error}).") from None
    return sorted(found, key=lambda file: (file.modified, file.path))


def news(files: Collection[FoundFile], seen: Mapping[str, str], now: datetime) -> list[FoundFile]:
    """Those of the files, in their order, that are new or not as they were seen, and that nobody is still writing."""
    return [
        file for file in files if seen.get(file.path) != file.mark and not timedelta(0) <= now - file.modified < SETTLED
    ]


def _file(path: UPath) -> FoundFile:
    about: Mapping[str, Any] = path.fs.info(path.path)
    changed = about.get("LastModified") or about.get("mtime")
    moment = changed if isinstance(changed, datetime) else datetime.fromtimestamp(float(changed or 0), UTC)
    etag = str(about.get("ETag") or "").strip('"')
    return FoundFile(str(path), moment.astimezone(UTC), etag or f"{about.get('size')} {moment.timestamp()}")
