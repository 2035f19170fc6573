"""The connectors of this installation: one line each.

A declaration is imported when it is asked for, so that the command line's help needs none.
"""

from functools import cache
from importlib import import_module

from imagesync_pipelines.sync.connector import Connector

CONNECTORS: tuple[str, ...] = (
    "imagesync_pipelines.connectors.image_db.connector",
    "imagesync_pipelines.connectors.plytix.connector",
    "imagesync_pipelines.connectors.moysklad.connector",
    "imagesync_pipelines.connectors.edge.connector",
    "imagesync_pipelines.connectors.folder.connector",
)


@cache
def connectors() -> tuple[Connector, ...]:
    """All declarations, in the order in which they are shown."""
    return tuple(import_module(name).CONNECTOR for name in CONNECTORS)


def connector_named(name: str) -> Connector:
    """The declaration of a connector. Raises LookupError naming those that there are."""
    found = next((one for one in connectors() if one.name == name), None)
    if found is None:
        known = ", ".join(one.name for one in connectors())
        raise LookupError(f"There is no connector {name!r}; there are: {known}.")
    return found
