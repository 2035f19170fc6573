"""A store's database for the tests of this room."""

from collections.abc import Iterator

import pytest

from imagesync_pipelines.edge.store import StoreDatabase, open_store
from imagesync_pipelines.edge.store_schema import create_or_check


@pytest.fixture
def store(database_url: str) -> Iterator[StoreDatabase]:
    """A store's database with an empty table of photos."""
    database = open_store(database_url)
    create_or_check(database)
    yield database
    database.engine.dispose()
