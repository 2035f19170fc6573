"""The connectors of this installation: one line each.

A declaration is imported when it is asked for, so that the command line's help needs none.
"""

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from imagesync_pipelines.collector import collector_paused
from imagesync_pipelines.languages import N_, told

if TYPE_CHECKING:
    from imagesync_pipelines.sync.connector import Connector

CONNECTORS: dict[str, str] = {
    "image_db": N_("Image database → product_image."),
    "plytix": N_("Amazon's listings → assets, galleries and thumbnails in Plytix."),
    "moysklad": N_("The main account of МойСклад → the images in its child accounts."),
    "edge": N_("Head office → the photos in every edge store's database."),
    "folder": N_("A folder or a bucket of pictures named by SKU → product_image, beside the image database's."),
}
"""Name (its folder in connectors/) → what `imagesync sync` says of it, in the order in which they are shown."""


@cache
def connectors() -> "tuple[Connector, ...]":
    """All declarations, in the order in which they are shown."""
    with collector_paused():
        return tuple(import_module(f"imagesync_pipelines.connectors.{name}.connector").CONNECTOR for name in CONNECTORS)


def connector_named(name: str) -> "Connector":
    """The declaration of a connector. Raises LookupError naming those that there are."""
    found = next((one for one in connectors() if one.name == name), None)
    if found is None:
        raise LookupError(told(f"There is no connector {name!r}; there are: {', '.join(CONNECTORS)}."))
    return found
