"""A site of each connector, for each test or for all tests of a module."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.conformance.subject import Subject
from imagesync_pipelines_tests.conformance.subjects import SUBJECTS


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest) -> Subject:
    """Each connector in turn."""
    return SUBJECTS[request.param]


@pytest.fixture
def site(subject: Subject, server: EmbeddedServer, tmp_path: Path) -> Iterator[Any]:
    """A site that was never synchronised."""
    with subject.made(server, tmp_path / "site") as made:
        yield made
