"""One store as a run works on it: its account, its own database, this installation.

What belongs here: opening the three together, and the store's embedded database where the accounts file names none.
What does not: what is done with them (stages.py), the client of the head office (api.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from imagesync_pipelines.accounts import EdgeStore
from imagesync_pipelines.edge.settings import EdgeSettings
from imagesync_pipelines.edge.store import StoreDatabase, open_store
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.installation import Installation

ROOM = "edge"


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

    Raises StoreUnreachable, and StorageError when the database cannot be made.
    """
    dsn = store.dsn.get_secret_value() if store.dsn is not None else _database_beside_ours(place, store)
    database = open_store(dsn)
    try:
        yield Desk(place, settings, store, database)
    finally:
        database.engine.dispose()


def _database_beside_ours(place: Installation, store: EdgeStore) -> str:
    """The URL of the store's database on the server that holds ours; it is made when it is not there."""
    ours = sa.make_url(place.house.database_url)
    url = ours.set(database=store.database_name).render_as_string(hide_password=False)
    engine = sa.create_engine(ours, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    exists = sa.text("SELECT 1 FROM pg_database WHERE datname = :name")
    try:
        with engine.connect() as connection:
            if connection.execute(exists, {"name": store.database_name}).first() is None:
                _create(connection, store.database_name, exists)
    except OperationalError as error:
        raise StorageError(f"The database server does not answer: {' '.join(str(error.orig).split())}") from error
    except DBAPIError as error:
        raise StorageError(
            f"The database {store.database_name} of store {store.name} could not be made "
            f"({' '.join(str(error.orig).split())}); name one with dsn in [edge.stores.{store.name}]."
        ) from error
    return url


def _create(connection: sa.Connection, name: str, exists: sa.TextClause) -> None:
    quoted = connection.dialect.identifier_preparer.quote(name)
    try:
        connection.execute(sa.text(f"CREATE DATABASE {quoted}"))
    except DBAPIError:
        # Another process may have made it at this moment.
        if connection.execute(exists, {"name": name}).first() is None:
            raise
