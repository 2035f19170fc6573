"""A head office for the tests: a fresh database, one object store per session with a bucket per test, a set clock."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.storage.embedded_s3 import embedded_s3
from imagesync_pipelines.storage.objects import S3Place, ensure_bucket, s3_client
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.settings import HeadOfficeSettings
from imagesync_pipelines.web.head_office.tables import create_tables
from imagesync_pipelines_tests.web.head_office.serving import Client, Shop, open_shop, served


@dataclass
class SetClock:
    """A clock that moves one second at every look, and further when a test says so."""

    now: datetime = datetime(2026, 2, 3, 10, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The next second."""
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Place]:
    """The embedded object store of this session."""
    folder: Path = tmp_path_factory.mktemp("objects")
    with embedded_s3(folder) as place:
        yield place


@pytest.fixture
def clock() -> SetClock:
    """The head office's clock."""
    return SetClock()


@pytest.fixture
def office(database_url: str, object_store: S3Place, clock: SetClock) -> Iterator[HeadOffice]:
    """An empty head office."""
    engine = sa.create_engine(database_url)
    create_tables(engine)
    client = s3_client(object_store)
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    ensure_bucket(client, bucket)
    yield HeadOffice(engine, client, bucket, HeadOfficeSettings(), SecretStr("s" * 32), clock)
    client.close()
    engine.dispose()


@pytest.fixture
def shop(office: HeadOffice) -> Shop:
    """A company with a store, a brand and a product."""
    return open_shop(office)


@pytest.fixture
def client(office: HeadOffice, shop: Shop) -> Iterator[Client]:
    """A logged-in client of the office over real HTTP."""
    with served(office, shop.store) as client:
        yield client
