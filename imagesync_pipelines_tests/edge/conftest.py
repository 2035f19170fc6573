"""A store's database, and a room beside a fake head office, for the tests of this room."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from imagesync_pipelines.edge.store import StoreDatabase, open_store
from imagesync_pipelines.edge.store_schema import create_or_check
from imagesync_pipelines_tests.edge.head_office import api_for, head_office
from imagesync_pipelines_tests.edge.listing_rooms import Room


@pytest.fixture
def store(database_url: str) -> Iterator[StoreDatabase]:
    """A store's database with an empty table of photos."""
    database = open_store(database_url)
    create_or_check(database)
    yield database
    database.engine.dispose()


@pytest.fixture
def room(database: sa.Engine) -> Iterator[Room]:
    """An empty room of ours beside a fake head office with 25 photos."""
    with head_office(photos=25) as office, api_for(office) as api:
        yield Room(database, office, api)
