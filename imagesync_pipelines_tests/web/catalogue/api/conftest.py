"""The API over the world of the catalogue, and a caller with a key for everything."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.web.catalogue.state import CatalogueSettings
from imagesync_pipelines_tests.web.catalogue.api.calling import Caller, a_key
from imagesync_pipelines_tests.web.catalogue.world import World, open_world, serving


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> World:
    """An empty catalogue whose keys may call as often as tests do."""
    made = open_world(database, tmp_path)
    return replace(made, opened=replace(made.opened, settings=CatalogueSettings(rate_limit=1_000_000)))


@pytest.fixture
def caller(world: World) -> Iterator[Caller]:
    """A system with a key for everything."""
    with serving(world.opened) as site:
        yield Caller(site.address, a_key(world.engine))
