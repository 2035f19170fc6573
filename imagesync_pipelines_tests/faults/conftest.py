"""The fixtures of the fault tests: installations and a small sandbox."""

from collections.abc import Iterator

import pytest

from imagesync_pipelines.sandbox.image_db.server import Sandbox, image_db_sandbox
from imagesync_pipelines_tests.e2e.connectors import connectors, module_connectors

__all__ = ["connectors", "module_connectors", "sandbox"]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with 130 records, so 7 pages, the last of 10."""
    with image_db_sandbox(records=130) as running:
        yield running
