"""This installation, opened: the shared settings, the house, and an engine on the migrated database.

What belongs here: opening and closing the three together. What does not: each of them (settings.py, home.py,
database.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.database import open_database
from imagesync_pipelines.storage.home import House, open_house


@dataclass(frozen=True)
class Installation:
    """What a stage works with; `storage` is the folder of raw pages, records and plans."""

    settings: Settings
    house: House
    engine: sa.Engine

    @property
    def storage(self) -> UPath:
        """The folder of raw pages, records and plans."""
        return self.house.storage_root


@contextmanager
def open_installation(settings: Settings | None = None) -> Iterator[Installation]:
    """Open this installation; starts or joins the embedded server when there is one, migrates the database.

    Raises SettingsError and StorageError, each with a line for people.
    """
    # Arrow's own allocator keeps what was freed: 70 MB more at the peak of a plan of 100,000 images.
    pa.set_memory_pool(pa.system_memory_pool())
    shared = settings or load_settings(Settings)
    house = open_house(shared)
    engine = open_database(house.database_url)
    try:
        yield Installation(shared, house, engine)
    finally:
        engine.dispose()
