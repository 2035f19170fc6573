"""A small catalogue for the tests: products and images by hand, and the application over real HTTP."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
import sqlalchemy as sa
from pydantic import SecretStr
from upath import UPath

from imagesync_pipelines.products.settings import ShowingSettings
from imagesync_pipelines.sandbox.server import bind, running
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.schema import product, product_image
from imagesync_pipelines.storage.schema_catalogue import shown_image
from imagesync_pipelines.sync.job_runs import PastRun
from imagesync_pipelines.web.catalogue.app import build_app
from imagesync_pipelines.web.catalogue.state import CatalogueSettings, Opened, ReadRuns

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Run(PastRun):
    """A past run, most of it given."""

    run_id: str = "11111111-2222-3333-4444-555555555555"
    job: str = "image_db__sync"
    connector: str | None = "image_db"
    partition: str = ""
    status: str = "completed"
    started: datetime | None = NOW - timedelta(hours=1)
    completed: datetime | None = NOW - timedelta(minutes=58)
    added: int | None = 12
    updated: int | None = 3
    deleted: int | None = 0
    products_affected: int | None = 9
    error: str = ""
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """The database, and what the application is opened with."""

    engine: sa.Engine
    opened: Opened

    def product(self, sku: str, name: str = "Engel", *, parent: int | None = None, **more: Any) -> int:
        """Add a product, a variant unless `kind` says otherwise; its id."""
        values = {"kind": "variant", "erp_id": f"{more.get('kind', '')}{sku}", "sku": sku, "name": name, **more}
        with self.engine.begin() as connection:
            statement = product.insert().values(parent_id=parent, **values).returning(product.c.id)
            return int(connection.execute(statement).scalar_one())

    def image(self, product_id: int, external_id: str = "1", **more: Any) -> int:
        """Add an image to a product; its id."""
        values = {
            "image_url": f"https://media.example.com/{external_id}.jpg",
            "image_type": "Produktfoto",
            "is_primary": True,
            "is_front": True,
            "priority": 1,
            "alt_text": "Engel - Produktfoto",
            "metadata": {"original_file": {"uploaded_from": "Desktop app"}},
            "matched_by": "variant sku",
            "chosen_because": "large enough",
            "width": 1920,
            "height": 1280,
            "image_format": "jpeg",
            "last_synced": NOW,
            "fingerprint": f"f{external_id}",
            **more,
        }
        with self.engine.begin() as connection:
            statement = product_image.insert().values(product_id=product_id, external_id=external_id, **values)
            made = int(connection.execute(statement.returning(product_image.c.id)).scalar_one())
            # Who shows it is known since the same moment.
            since = shown_image.update().where(shown_image.c.changed_at == sa.func.now())
            connection.execute(since.values(changed_at=values["last_synced"]))
            return made


def open_world(engine: sa.Engine, home: Path, read_runs: ReadRuns | None = None) -> World:
    """A world on an empty database; its clock stands at NOW."""

    def no_runs(limit: int, connector: str | None) -> Sequence[PastRun]:
        return []

    opened = Opened(
        engine=engine,
        storage=UPath(home),
        shared=Settings(allowed_image_hosts=("127.0.0.1",)),
        showing=ShowingSettings(),
        settings=CatalogueSettings(page_size=3),
        session_secret=SecretStr("s" * 32),
        clock=lambda: NOW,
        read_runs=read_runs or no_runs,
    )
    return World(engine, opened)


class Site:
    """The application, asked over HTTP as a browser does."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, **headers: str) -> requests.Response:
        """The answer to GET, redirects not followed."""
        return requests.get(self.address + path, headers=headers, timeout=20, allow_redirects=False)


@contextmanager
def serving(opened: Opened) -> Iterator[Site]:
    """The application on a free port of loopback."""
    listener = bind()
    with running((build_app(opened), listener)):
        yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}")
