"""One head office for the whole session, behind real HTTP; every test works in a company of its own."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.objects import embedded_s3, s3_client
from imagesync_pipelines.web.head_office.accounts import grant
from imagesync_pipelines.web.head_office.office import HeadOffice, HeadOfficeSettings
from imagesync_pipelines.web.head_office.tables import create_tables
from imagesync_pipelines_tests.web.head_office.serving import USERNAME, Client, Shop, add_caller, open_shop, served


@dataclass
class SetClock:
    """A clock that moves one millisecond at every look, and further when a test says so."""

    now: datetime = datetime(2026, 2, 3, 10, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The next moment."""
        self.now += timedelta(milliseconds=1)
        return self.now


@pytest.fixture(scope="session")
def clock() -> SetClock:
    """The head office's clock."""
    return SetClock()


@pytest.fixture(scope="session")
def office(server: EmbeddedServer, clock: SetClock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeadOffice]:
    """A head office with an account and nothing else."""
    name = f"head_office_{uuid.uuid4().hex[:12]}"
    admin = sa.create_engine(server.url("postgres", "psycopg"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine = sa.create_engine(server.url(name, "psycopg"), pool_size=20)
    create_tables(engine)
    with embedded_s3(tmp_path_factory.mktemp("objects")) as place:
        client = s3_client(place)
        office = HeadOffice(engine, client, place.bucket, HeadOfficeSettings(), SecretStr("s" * 32), clock, place=place)
        add_caller(office)
        yield office
        client.close()
    engine.dispose()


@pytest.fixture(scope="session")
def service(office: HeadOffice) -> Iterator[Client]:
    """The service on loopback, and the session's tokens."""
    with served(office) as client:
        yield client


@pytest.fixture
def shop(office: HeadOffice) -> Shop:
    """A company with two stores, a brand and a product."""
    return open_shop(office)


@pytest.fixture
def client(service: Client, office: HeadOffice, shop: Shop) -> Client:
    """A logged-in client that may read the first store of the test's company."""
    grant(office, USERNAME, shop.store)
    return Client(service.url, shop.store, service.access)
