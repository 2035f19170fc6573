"""The Dagster resources: this installation, and the settings of each connector with typed fields that the UI shows.

A secret is shown by the name of its variable only, and read at run time.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field, SecretStr, create_model

from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.installation import Installation, open_installation
from imagesync_pipelines.sync.connector import Connector

# What a field of a Dagster resource may be; everything else is shown as text, or not at all.
_PLAIN = (str, int, float, bool)


class InstallationResource(dg.ConfigurableResource):
    """This installation, read from IMAGESYNC_* when a run needs it."""

    def settings(self) -> Settings:
        """The shared settings; raises SettingsError naming the variable that is wrong."""
        return load_settings(Settings)

    def open(self) -> AbstractContextManager[Installation]:
        """The installation, for the length of a `with` block."""
        return open_installation(self.settings())


class SettingsResource(dg.ConfigurableResource):
    """The settings of one connector, as the environment has them when a run starts."""


def settings_resource(connector: Connector) -> SettingsResource:
    """A resource with a field for every plain setting of the connector and the variable's name for every secret.

    The values are those of this process, for the UI; a step reads the settings anew. Raises
    SettingsError naming the variable that is wrong.
    """
    settings = load_settings(connector.settings)
    prefix = str(connector.settings.model_config.get("env_prefix") or "")
    fields: dict[str, Any] = {}
    for name, info in connector.settings.model_fields.items():
        value = getattr(settings, name)
        text = info.description or ""
        if isinstance(value, SecretStr) or "SecretStr" in str(info.annotation):
            fields[f"{name}_variable"] = (str, Field((prefix + name).upper(), description=f"variable of: {text}"))
        elif isinstance(value, _PLAIN):
            fields[name] = (type(value), Field(value, description=text))
        elif value is None or isinstance(value, Path):
            fields[name] = (str, Field("" if value is None else str(value), description=text))
    title = "".join(word.capitalize() for word in connector.name.split("_"))
    kind = create_model(f"{title}Settings", __base__=SettingsResource, __doc__=connector.settings.__doc__, **fields)
    return kind()
