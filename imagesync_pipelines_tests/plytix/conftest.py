"""Rooms for the tests of whole runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines_tests.plytix.accounts import Room, open_room


@pytest.fixture
def room(database: sa.Engine, tmp_path: Path) -> Iterator[Room]:
    """The demo's listings beside an account that has their products and no image, with limits that nobody meets."""
    with open_room(database, tmp_path) as room:
        yield room
