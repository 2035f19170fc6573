"""One store as a run works on it: its account, its own database, this installation.

What belongs here: opening the three together, and the store's embedded database where the accounts file names none.
What does not: what is done with them (stages.py), the client of the head office (api.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from imagesync_pipelines.accounts.file import EdgeStore
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.connectors.edge.store import StoreDatabase, open_store
from imagesync_pipelines.storage.create_database import create_database
from imagesync_pipelines.storage.errors import DatabaseUnreachableError, StorageError
from imagesync_pipelines.storage.installation import Installation

CONNECTOR = "edge"


@dataclass(frozen=True)
class Desk:
    """What the stages of one store work with."""

    place: Installation
    settings: EdgeSettings
    store: EdgeStore
    database: StoreDatabase

    @property
    def name(self) -> str:
        """The store's name in the accounts file, which is its Dagster partition too."""
        return self.store.name


@contextmanager
def open_desk(place: Installation, settings: EdgeSettings, store: EdgeStore) -> Iterator[Desk]:
    """Open a store's database for the length of a `with` block; one without a dsn gets a database beside ours.

    Raises StoreUnreachableError, and StorageError when the database cannot be made.
    """
    database = open_store(store_url(place, store))
    try:
        yield Desk(place, settings, store, database)
    finally:
        database.engine.dispose()


def store_url(place: Installation, store: EdgeStore) -> str:
    """The URL of a store's database: the dsn of the accounts file, else that of a database beside ours, made now."""
    if store.dsn is not None:
        return store.dsn.get_secret_value()
    try:
        return create_database(place.locations.database_url, store.database_name)
    except DatabaseUnreachableError:
        raise
    except StorageError as error:
        raise StorageError(f"{error} Or name a database with dsn in [edge.stores.{store.name}].") from error
