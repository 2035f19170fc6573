"""Connectors for the tests of whole runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines_tests.connectors.plytix.accounts import Connector, open_connector


@pytest.fixture
def connector(database: sa.Engine, tmp_path: Path) -> Iterator[Connector]:
    """The demo's listings beside an account that has their products and no image, with limits that nobody meets."""
    with open_connector(database, tmp_path) as connector:
        yield connector
