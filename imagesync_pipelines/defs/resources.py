"""The Dagster resource that every connector's assets share: this installation.

What belongs here: handing assets the settings, the database and the folders. What does not: a connector's own client
(<connector>/resources.py).
"""

from contextlib import AbstractContextManager

import dagster as dg

from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.installation import Installation, open_installation


class InstallationResource(dg.ConfigurableResource):
    """This installation, read from IMAGESYNC_* when a run needs it."""

    def settings(self) -> Settings:
        """The shared settings; raises SettingsError naming the variable that is wrong."""
        return load_settings(Settings)

    def open(self) -> AbstractContextManager[Installation]:
        """The installation, for the length of a `with` block."""
        return open_installation(self.settings())
