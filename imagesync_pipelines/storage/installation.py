"""This installation, opened: the shared settings, the installation, and an engine on the migrated database."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.database import open_database
from imagesync_pipelines.storage.home import Locations, open_locations

# The parameter of glibc's mallopt, and the size of a block that goes back to the system as soon as it is freed.
MMAP_THRESHOLD, LARGE_BYTES = -3, 512 * 1024


@dataclass(frozen=True)
class Installation:
    """What a stage works with; `storage` is the folder of raw pages, records and plans."""

    settings: Settings
    locations: Locations
    engine: sa.Engine

    @property
    def storage(self) -> UPath:
        """The folder of raw pages, records and plans."""
        return self.locations.storage_root


@contextmanager
def open_installation(settings: Settings | None = None) -> Iterator[Installation]:
    """Open this installation; starts or joins the embedded server when there is one, migrates the database.

    Raises SettingsError and StorageError, each with a line for people.
    """
    _give_back_what_is_freed()
    shared = settings or load_settings(Settings)
    locations = open_locations(shared)
    engine = open_database(locations.database_url)
    try:
        yield Installation(shared, locations, engine)
    finally:
        engine.dispose()


def _give_back_what_is_freed() -> None:
    """Let freed columns and pictures leave the process: a plan of 100,000 images needs 100 MB less at its peak."""
    # Arrow's own allocator keeps what was freed.
    pa.set_memory_pool(pa.system_memory_pool())
    # So does glibc once a large block was freed, unless it is told from which size on not to; other libraries do not.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGE_BYTES)
