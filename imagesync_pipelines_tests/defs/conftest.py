"""Dagster instances for these tests: one in memory, one on the real PostgreSQL of the installation."""

import os
from collections.abc import Iterator

import dagster as dg
import pytest

from imagesync_pipelines.storage.installation import Locations


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance in memory, empty."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def postgres_instance(locations: Locations, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance as in production: the shipped dagster.yaml on the installation's PostgreSQL, empty."""
    for name, value in locations.environment().items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(os.fspath(locations.dagster_home)) as opened:
        yield opened
