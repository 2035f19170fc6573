"""A catalogue whose changes are told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines_tests.web.catalogue.world import World, open_world
from imagesync_pipelines_tests.web.webhooks_out.receivers import Receiver, receiver


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> World:
    """An empty catalogue."""
    return open_world(database, tmp_path)


@pytest.fixture
def shop() -> Iterator[Receiver]:
    """A receiver that accepts everything."""
    with receiver() as found:
        yield found
