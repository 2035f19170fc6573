"""Head offices for these tests: shared by a module where its tests allow it, and one of each kind per test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox, head_office_sandbox
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.reusing import BLANK, pool
from imagesync_pipelines_tests.sandbox.head_office.callers import Caller

PHOTOS = 30
MANY = 80


@pytest.fixture(scope="module")
def read_original(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """An original that the tests of a module share; they leave its data as it is."""
    with (
        pool(server, BLANK).one() as url,
        head_office_sandbox(url, photos=PHOTOS, original=True, folder=tmp_path_factory.mktemp("s3")) as sandbox,
    ):
        yield Caller(sandbox)


@pytest.fixture(scope="module", params=[True, False], ids=["original", "service"])
def either(
    request: pytest.FixtureRequest, server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Caller]:
    """Both kinds, one after the other, shared by a module; every test changes products of its own."""
    with (
        pool(server, BLANK).one() as url,
        head_office_sandbox(url, photos=MANY, original=request.param, folder=tmp_path_factory.mktemp("s3")) as sandbox,
    ):
        yield Caller(sandbox)


@pytest.fixture
def original(database_url: str, tmp_path: Path) -> Iterator[HeadOfficeSandbox]:
    """An original of this test's own."""
    with head_office_sandbox(database_url, photos=PHOTOS, original=True, folder=tmp_path / "s3") as sandbox:
        yield sandbox


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[HeadOfficeSandbox]:
    """Head office's own service of this test's own."""
    with head_office_sandbox(database_url, photos=PHOTOS, folder=tmp_path / "s3") as sandbox:
        yield sandbox
