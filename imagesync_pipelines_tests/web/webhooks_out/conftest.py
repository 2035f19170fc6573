"""A catalogue whose changes are told."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines_tests.web.catalogue.world import World, open_world


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> World:
    """An empty catalogue."""
    return open_world(database, tmp_path)
