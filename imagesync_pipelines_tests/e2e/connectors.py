"""A whole small installation beside a running sandbox, and a synchronisation of it stage by stage without Dagster."""

import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.image_db import pages, plan_steps, reading_steps
from imagesync_pipelines.connectors.image_db.pages import Reading
from imagesync_pipelines.connectors.image_db.plan_steps import ProductImagesPlanned
from imagesync_pipelines.connectors.image_db.record_store import About
from imagesync_pipelines.connectors.image_db.settings import (
    ErpOptions,
    ImageDbSettings,
    ProductImageOptions,
    ProductImagePlanOptions,
    RecordsOptions,
)
from imagesync_pipelines.sandbox.image_db.server import Sandbox
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.database import open_database
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.installation import Installation, open_locations
from imagesync_pipelines.storage.plans import Lineage
from imagesync_pipelines.sync.connector import NoOptions
from imagesync_pipelines.sync.steps import Progress, StepResult, silent
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import BasicAuth, SessionPolicy, UpstreamSession
from imagesync_pipelines_tests.connectors.image_db.source import Done, done
from imagesync_pipelines_tests.reusing import TEMPLATE, execute, pool

# Everything of product_image that is to be the same in every installation: no ids of ours, no time of writing.
_TABLE = """
SELECT p.kind, p.erp_id, i.external_id, i.image_url, i.thumbnail_url, i.image_type, i.is_primary, i.is_front,
       i.priority, i.alt_text, i.metadata::text AS metadata, i.fingerprint, i.original_url, i.newest_export,
       i.matched_by, i.chosen_because, i.width, i.height, i.image_format
  FROM imagesync.product_image i JOIN imagesync.product p ON p.id = i.product_id
 ORDER BY p.kind, p.erp_id, i.external_id
"""

_WITHOUT_ONE_PRIMARY = """
SELECT count(*) FROM (
    SELECT product_id FROM imagesync.product_image GROUP BY product_id HAVING count(*) FILTER (WHERE is_primary) <> 1
) wrong
"""

_WRITES = """
SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables
 WHERE schemaname = 'imagesync' AND relname IN ('product', 'product_image')
"""

_OTHERS = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""

_IMAGE = """
SELECT i.*, p.sku, p.kind FROM imagesync.product_image i JOIN imagesync.product p ON p.id = i.product_id
 WHERE i.external_id = :external_id ORDER BY p.sku
"""


class PageFailedError(Exception):
    """A page failed for good: the run ends here, as the Dagster asset api_pages ends it."""


@dataclass(frozen=True)
class Synced:
    """One synchronisation: what each stage gave."""

    landed: Reading | None
    records: About
    plan: ProductImagesPlanned
    done: Done

    @property
    def written(self) -> tuple[int, int, int]:
        """Rows added, updated, removed."""
        return self.done.written


@dataclass
class Connector:
    """The image database connector on an installation of its own, reading one sandbox."""

    place: Installation
    settings: ImageDbSettings
    sandbox: Sandbox
    waits: list[float] = field(default_factory=list)
    progress: Progress = silent
    _runs: Iterator[int] = field(default_factory=lambda: count(1))

    def session(self) -> UpstreamSession:
        """A session as client.py makes it; what it would sleep is noted in `waits` instead."""
        settings = self.settings
        assert settings.image_api_url is not None
        assert settings.image_api_password is not None
        return UpstreamSession(
            SessionPolicy(
                base_url=settings.image_api_url,
                auth=BasicAuth(settings.image_api_username or "", settings.image_api_password),
                read_timeout=settings.image_api_timeout,
                connect_timeout=settings.image_api_timeout,
                total_deadline=4 * settings.image_api_timeout,
            ),
            timing=Timing(sleep=self.waits.append),
        )

    def context(self, run_id: str) -> pages.Run:
        """What a step of a run works with."""
        lineage = Lineage(run_id)
        return pages.Run("image_db", "", lineage, self.place, self.settings, progress=self.progress)

    def scan(self, page_size: int | None = None) -> Reading:
        """A scan over all pages; raises PageFailedError when one failed for good, with the pages read kept."""
        with self.session() as session:
            landed = pages.read_all(self.context(""), session, page_size)
        if landed.failed:
            raise PageFailedError(str(landed.failed))
        return landed

    def products(self, *, allow_mass_delete: bool = False) -> StepResult:
        """Take over the ERP's products."""
        return reading_steps.erp_products(self.context(""), ErpOptions(allow_products_gone=allow_mass_delete))

    def records(self, run_id: str, part: RecordsOptions) -> About:
        """Make the batch of records."""
        reading_steps.records(self.context(run_id), part, lambda _: self.session())
        return self.context(run_id).need("records", About)

    def plan(self, run_id: str, *, force: bool = False, allow_mass_delete: bool = False) -> ProductImagesPlanned:
        """Make the plan."""
        options = ProductImagePlanOptions(force=force, allow_mass_delete=allow_mass_delete)
        return plan_steps.make_plan(self.context(run_id), options)

    def apply(self, run_id: str) -> Done:
        """Apply the plan."""
        return done(plan_steps.product_images(self.context(run_id), ProductImageOptions()))

    def unmatched(self, run_id: str) -> None:
        """Write the tables of what did not match."""
        plan_steps.unmatched_articles(self.context(run_id), NoOptions())

    def new_run(self) -> str:
        """The id of a new run."""
        return f"run-{next(self._runs):03d}-{uuid.uuid4().hex[:6]}"

    def sync(
        self,
        *,
        limit: int | None = None,
        skip_pages: int = 0,
        page_size: int | None = None,
        skus: Sequence[str] = (),
        force: bool = False,
        allow_mass_delete: bool = False,
    ) -> Synced:
        """One run, all stages in the order in which the Dagster jobs have them."""
        run_id = self.new_run()
        self.products(allow_mass_delete=allow_mass_delete)
        part = RecordsOptions(limit=limit, skip_pages=skip_pages, page_size=page_size, skus=list(skus))
        landed = None if part.skus or part.span() is not None else self.scan(page_size)
        records = self.records(run_id, part)
        plan = self.plan(run_id, force=force, allow_mass_delete=allow_mass_delete)
        applied = self.apply(run_id)
        if landed is not None:
            self.unmatched(run_id)
        return Synced(landed, records, plan, applied)

    def sync_up_to_the_plan(self, run_id: str) -> ProductImagesPlanned:
        """A dry run: everything is read and planned, nothing is written to product_image."""
        self.products()
        self.scan()
        self.records(run_id, RecordsOptions())
        return self.plan(run_id)

    def table(self) -> pd.DataFrame:
        """product_image as every installation should have it, in a fixed order."""
        with self.place.engine.connect() as connection:
            return pd.DataFrame(connection.execute(sa.text(_TABLE)).mappings().all())

    def rows(self, external_id: int | str) -> list[sa.RowMapping]:
        """The rows of one image, with its products' SKUs."""
        with self.place.engine.connect() as connection:
            found = connection.execute(sa.text(_IMAGE), {"external_id": str(external_id)})
            return list(found.mappings())

    def scalar(self, query: str, **values: Any) -> Any:
        """One value of the database."""
        with self.place.engine.connect() as connection:
            return connection.scalar(sa.text(query), values)

    def execute(self, statement: str, **values: Any) -> None:
        """Somebody else's hand in our tables."""
        with self.place.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def writes(self) -> dict[str, int]:
        """Rows of `product` and `product_image` ever written, as PostgreSQL itself counts them."""
        self.place.engine.dispose()
        return writes(self.place.engine)

    def stamps(self) -> list[tuple[Any, ...]]:
        """Id, version (xmin) and time of writing of every row: the same before and after when none was written."""
        query = "SELECT id, xmin::text, last_synced FROM imagesync.product_image ORDER BY id"
        with self.place.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]

    def assert_one_primary_each(self) -> None:
        """Exactly one primary per product that has images."""
        assert self.scalar(_WITHOUT_ONE_PRIMARY) == 0


def writes(engine: sa.Engine) -> dict[str, int]:
    """Rows of `product` and `product_image` ever written; a connection reports its numbers when it ends."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for _ in range(200):
            if connection.scalar(sa.text(_OTHERS)) == 0:
                break
            time.sleep(0.05)
        return {name: int(number) for name, number in connection.execute(sa.text(_WRITES))}


def assert_same_tables(left: Connector, right: Connector) -> None:
    """Both installations show the same images."""
    pd.testing.assert_frame_equal(left.table(), right.table())


RoomMaker = Callable[..., Connector]


@dataclass
class Connectors:
    """Makes connectors, each with a database and a folder of its own, and clears them away."""

    server: EmbeddedServer
    folder: Path
    stack: ExitStack

    def make(self, sandbox: Sandbox, *, shared: dict[str, Any] | None = None, **settings: Any) -> Connector:
        """A fresh connector on this sandbox; `settings` are fields of ImageDbSettings, `shared` of Settings."""
        url = self.stack.enter_context(pool(self.server, TEMPLATE).one())
        return self._connector(sandbox, url, None, shared or {}, settings)

    def copy_of(self, connector: Connector) -> Connector:
        """A second connector in the very state of the first, files included."""
        connector.place.engine.dispose()
        name = f"connector_{uuid.uuid4().hex[:12]}"
        copied = f"TEMPLATE {connector.place.engine.url.database} STRATEGY FILE_COPY"
        execute(self.server, f"CREATE DATABASE {name} {copied}")
        self.stack.callback(execute, self.server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        given = connector.settings.model_dump(exclude_unset=True)
        shared = connector.place.settings.model_dump(
            exclude_unset=True, exclude={"home", "database_url", "dagster_url"}
        )
        url = self.server.url(name, "psycopg")
        return self._connector(connector.sandbox, url, connector.place.locations.home, shared, given)

    def _connector(
        self, sandbox: Sandbox, url: str, home: Path | None, shared: dict[str, Any], given: dict[str, Any]
    ) -> Connector:
        folder = self.folder / uuid.uuid4().hex
        if home is not None:
            shutil.copytree(home, folder)
        settings = Settings(home=folder, database_url=url, **{"lock_wait_seconds": 0, **shared})
        locations = open_locations(settings)
        engine = open_database(locations.database_url)
        self.stack.callback(engine.dispose)
        return Connector(
            Installation(settings, locations, engine), connector_settings(sandbox, folder / "erp", **given), sandbox
        )


def from_scratch(connectors: Connectors, sandbox: Sandbox, **settings: Any) -> Connector:
    """What an installation shows that sees the sandbox's catalogue for the first time."""
    connector = connectors.make(sandbox, **settings)
    connector.sync()
    return connector


def connector_settings(sandbox: Sandbox, erp_folder: Path, **given: Any) -> ImageDbSettings:
    """The connector's settings for a sandbox, whose ERP files are written on the way."""
    parents, variants = sandbox.write_erp_csv(erp_folder)
    values = {
        "image_api_url": sandbox.url,
        "image_api_username": sandbox.username,
        "image_api_password": sandbox.password,
        "image_api_timeout": 10,
        "erp_parents_file": parents,
        "erp_variants_file": variants,
    }
    return ImageDbSettings(**{**values, **given})


@contextmanager
def open_connectors(server: EmbeddedServer, folder: Path) -> Iterator[Connectors]:
    """Connectors for the length of a `with` block."""
    with ExitStack() as stack:
        yield Connectors(server, folder, stack)


@pytest.fixture
def connectors(server: EmbeddedServer, tmp_path: Path) -> Iterator[Connectors]:
    """Makes installations for this test."""
    with open_connectors(server, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def module_connectors(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connectors]:
    """Makes installations for the tests of one module."""
    with open_connectors(server, tmp_path_factory.mktemp("connectors")) as made:
        yield made
