"""Further databases on the server that holds ours: a store's own, the sandbox's."""

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from imagesync_pipelines.storage.database import CONNECT_SECONDS
from imagesync_pipelines.storage.errors import DatabaseUnreachableError, StorageError

_EXISTS = sa.text("SELECT 1 FROM pg_database WHERE datname = :name")


def create_database(ours: str, name: str) -> str:
    """The URL of the database `name` on the server of the database `ours`; it is made when it is not there.

    Raises DatabaseUnreachableError, and StorageError when our user may not make databases.
    """
    url = sa.make_url(ours)
    engine = sa.create_engine(
        url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool, connect_args={"connect_timeout": CONNECT_SECONDS}
    )
    try:
        with engine.connect() as connection:
            if connection.execute(_EXISTS, {"name": name}).first() is None:
                _create(connection, name)
    except OperationalError as error:
        raise DatabaseUnreachableError(f"The database does not answer: {' '.join(str(error.orig).split())}") from error
    except DBAPIError as error:
        raise StorageError(f"The database {name} could not be made: {' '.join(str(error.orig).split())}") from error
    return url.set(database=name).render_as_string(hide_password=False)


def _create(connection: sa.Connection, name: str) -> None:
    quoted = connection.dialect.identifier_preparer.quote(name)
    try:
        connection.execute(sa.text(f"CREATE DATABASE {quoted}"))
    except DBAPIError:
        # Another process may have made it at this moment.
        if connection.execute(_EXISTS, {"name": name}).first() is None:
            raise
