"""The Dagster resources that every room's assets share: this installation, and who watches the progress.

What belongs here: handing assets what lies outside Dagster. What does not: a room's client (<room>/resources.py).
"""

import dagster as dg

from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.home import House, open_house


class HouseResource(dg.ConfigurableResource):
    """This installation: its settings, database and folders, read from the environment when a run starts."""

    def settings(self) -> Settings:
        """The shared settings; raises SettingsError naming the variable that is wrong."""
        return load_settings(Settings)

    def open(self) -> House:
        """The home with its database, migrated; joins or starts the embedded server when there is one."""
        return open_house(self.settings())
