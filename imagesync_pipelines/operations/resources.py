"""The Dagster resource that every room's assets share: this installation.

What belongs here: handing assets the settings, the database and the folders. What does not: a room's own client
(<room>/resources.py).
"""

from contextlib import AbstractContextManager

import dagster as dg

from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.installation import Installation, open_installation


class HouseResource(dg.ConfigurableResource):
    """This installation, read from IMAGESYNC_* when a run needs it."""

    def settings(self) -> Settings:
        """The shared settings; raises SettingsError naming the variable that is wrong."""
        return load_settings(Settings)

    def open(self) -> AbstractContextManager[Installation]:
        """The installation, for the length of a `with` block."""
        return open_installation(self.settings())
