"""A world for every test of the catalogue, and the application over it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines_tests.web.catalogue.world import Site, World, open_world, serving


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> World:
    """An empty catalogue."""
    return open_world(database, tmp_path)


@pytest.fixture
def site(world: World) -> Iterator[Site]:
    """The application over the world."""
    with serving(world.opened) as site:
        yield site
