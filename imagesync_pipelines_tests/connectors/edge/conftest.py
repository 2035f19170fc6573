"""A store's database, and a connector beside a fake head office, for the tests of this connector."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.store import StoreDatabase, open_store
from imagesync_pipelines.connectors.edge.store_schema import create_or_check
from imagesync_pipelines_tests.connectors.edge.head_office import api_for, head_office
from imagesync_pipelines_tests.connectors.edge.listing_connectors import Connector


@pytest.fixture
def store(database_url: str) -> Iterator[StoreDatabase]:
    """A store's database with an empty table of photos."""
    database = open_store(database_url)
    create_or_check(database)
    yield database
    database.engine.dispose()


@pytest.fixture
def connector(database: sa.Engine) -> Iterator[Connector]:
    """An empty connector of ours beside a fake head office with 25 photos."""
    with head_office(photos=25) as office, api_for(office) as api:
        yield Connector(database, office, api)
