"""A made-up image database on real HTTP with an installation beside it, for the tests of the stages."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import sqlalchemy as sa

from imagesync_pipelines.connectors.image_db import pages, plan_steps, reading_steps
from imagesync_pipelines.connectors.image_db.record_store import About
from imagesync_pipelines.connectors.image_db.settings import (
    ImageDbSettings,
    ProductImageOptions,
    ProductImagePlanOptions,
    RecordsOptions,
)
from imagesync_pipelines.products import erp
from imagesync_pipelines.products import table as products
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import Installation, open_locations
from imagesync_pipelines.storage.plans import Lineage
from imagesync_pipelines.sync.connector import NoOptions
from imagesync_pipelines.sync.model import DeletionLimits
from imagesync_pipelines.sync.steps import Progress, StepResult, Summary, Texts, silent
from imagesync_pipelines.upstream.session import UpstreamSession
from imagesync_pipelines_tests.connectors.image_db.made_up import link, page, record
from imagesync_pipelines_tests.upstream.servers import Request, Served, http, serve, session_for

PER_PAGE = 4
_RUNS = count(1)
_FREE = DeletionLimits(1, 10**6, 10**6, 10**6, lifted=True)


def image(number: int, *skus: str, front: bool = True, **changed: Any) -> dict[str, Any]:
    """A record of the image `number` on the products with these SKUs."""
    return record(number, links=[link(sku, front=front) for sku in skus], **changed)


@dataclass(frozen=True)
class Done:
    """What the step product_images told: the run's summary, rows of product_image, sentences about rows not written."""

    summary: Summary
    rows: int | None
    errors: Collection[object]

    @property
    def written(self) -> tuple[int, int, int]:
        """Rows added, updated, removed."""
        return self.summary.images_added, self.summary.images_updated, self.summary.images_deleted


def done(result: StepResult) -> Done:
    """What the step product_images told."""
    errors = result.shown["errors"]
    assert result.summary is not None
    assert isinstance(errors, Texts)
    return Done(result.summary, result.rows, errors.items)


@dataclass
class Source:
    """The image database: its records in page order; `broken` are bodies sent instead of a page."""

    records: list[Any] = field(default_factory=list)
    broken: dict[int, bytes] = field(default_factory=dict)

    def answer(self, request: Request, number: int) -> list[bytes]:
        """One page, or the API's words for the end."""
        asked = int(parse_qs(urlsplit(request.target).query)["page"][0])
        last = max(1, -(-len(self.records) // PER_PAGE))
        if asked > last:
            return [http(404, b'{"detail":"Invalid page."}')]
        shown = self.records[(asked - 1) * PER_PAGE : asked * PER_PAGE]
        following = f"http://elsewhere/api/?page={asked + 1}" if asked < last else None
        return [http(200, self.broken.get(asked, page(*shown, count=len(self.records), following=following)))]


@dataclass
class Connector:
    """An installation whose products are the variants `skus`, reading one source."""

    place: Installation
    settings: ImageDbSettings
    source: Source
    server: Served
    run_id: str = ""

    def context(self, progress: Progress = silent) -> pages.Run:
        """What a step of this run works with."""
        return pages.Run("image_db", "", Lineage(self.run_id), self.place, self.settings, progress=progress)

    def session(self) -> UpstreamSession:
        """A session on the source."""
        return session_for(self.server.url)

    def products(self, *skus: str) -> None:
        """Let the ERP have exactly these variants."""
        rows = pd.DataFrame([{"id": sku, "sku": sku, "name": f"Figur {sku}"} for sku in skus])
        read = erp.judge(pd.DataFrame(columns=["id", "sku"]), rows)
        products.write_products(self.place.engine, read.rows, read.set_aside, _FREE)

    def scan(self) -> pages.Reading:
        """Read all pages."""
        with self.session() as session:
            return pages.read_all(self.context(), session, PER_PAGE)

    def records(self, part: RecordsOptions | None = None) -> About:
        """Begin a run with its records."""
        self.run_id = f"run-{next(_RUNS)}"
        part = part or RecordsOptions(page_size=PER_PAGE)
        reading_steps.records(self.context(), part, lambda _: self.session())
        return self.context().need("records", About)

    def plan(self, **options: Any) -> plan_steps.ProductImagesPlanned:
        """This run's plan."""
        return plan_steps.make_plan(self.context(), ProductImagePlanOptions(**options))

    def apply(self, **options: Any) -> Done:
        """Apply this run's plan, or the one named."""
        return done(plan_steps.product_images(self.context(), ProductImageOptions(**options)))

    def unmatched(self) -> StepResult:
        """Write the tables of what did not match."""
        return plan_steps.unmatched_articles(self.context(), NoOptions())

    def sync(self, part: RecordsOptions | None = None, **options: Any) -> tuple[int, int, int]:
        """A whole run; a part reads its own pages. Gives rows added, updated, removed."""
        if part is None:
            self.scan()
        self.records(part)
        self.plan(**options)
        return self.apply().written

    def shown(self) -> dict[str, list[str]]:
        """External ids by SKU, the primary first, then in order of priority and id."""
        query = sa.text(
            "SELECT p.sku, i.external_id FROM imagesync.product_image i JOIN imagesync.product p ON p.id = i.product_id"
            " ORDER BY p.sku, NOT i.is_primary, i.priority, i.external_id::bigint"
        )
        found: dict[str, list[str]] = {}
        with self.place.engine.connect() as connection:
            for sku, external_id in connection.execute(query):
                found.setdefault(sku, []).append(external_id)
        return found

    def product_id(self, sku: str) -> int:
        """Our id of a product."""
        frame = products.read_products(self.place.engine)
        return int(frame.loc[frame["sku"] == sku, "id"].iloc[0])


@contextmanager
def running(
    database: sa.Engine, home: Path, records: Sequence[Any] = (), skus: Sequence[str] = (), **shared: Any
) -> Iterator[Connector]:
    """A connector on a database; `shared` overrides the shared settings."""
    url = database.url.render_as_string(hide_password=False)
    settings = Settings(home=home, database_url=url, **{"lock_wait_seconds": 0, **shared})
    source = Source(list(records))
    with serve(source.answer) as server:
        place = Installation(settings, open_locations(settings), database)
        connector = Connector(place, ImageDbSettings(image_api_url=server.url), source, server)
        if skus:
            connector.products(*skus)
        yield connector
