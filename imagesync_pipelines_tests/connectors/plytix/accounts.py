"""A whole connector for tests: an installation, stand-ins of Plytix and Amazon on one clock, runs of all steps."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr
from upath import UPath

from imagesync_pipelines.connectors.plytix import apply_steps, plan_steps, reading
from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.ledger import Ledger, Run, ledger_of
from imagesync_pipelines.connectors.plytix.report import read_report
from imagesync_pipelines.connectors.plytix.rules import file_name
from imagesync_pipelines.connectors.plytix.settings import (
    GalleryCleanupOptions,
    GalleryPlanOptions,
    ListingsOptions,
    PlytixAccount,
    PlytixSettings,
)
from imagesync_pipelines.sandbox.amazon.listings import AmazonListing
from imagesync_pipelines.sandbox.amazon.mapping import write_mapping
from imagesync_pipelines.sandbox.amazon.server import AmazonSandbox, amazon_sandbox
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.plytix.model import NewProduct
from imagesync_pipelines.sandbox.plytix.server import PlytixSandbox, plytix_sandbox
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import Installation, Locations
from imagesync_pipelines.storage.plans import Lineage
from imagesync_pipelines.sync.carry_out import ApplyOptions
from imagesync_pipelines.sync.connector import NoOptions
from imagesync_pipelines.sync.steps import RunContext, StepResult, Summary
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines_tests.sandbox.amazon.oddities import odd_mapping

ACCOUNT = "main"
WIDE = ((100_000, 10), (1_000_000, 3600))


@dataclass(frozen=True)
class Told:
    """What the last step of a run told, by the names under which tests ask for it.

    report: as it is stored; empty for a run that goes on after this step.
    """

    step: StepResult
    report: Mapping[str, Any]

    @property
    def summary(self) -> Summary:
        """The summary of the run so far."""
        assert self.step.summary is not None
        return self.step.summary

    @property
    def stopped(self) -> str:
        """Why something was left for the next run, '' when nothing was."""
        said = str(self.step.shown["stopped"])
        return "" if said == "-" else said

    @property
    def plan_id(self) -> int:
        """The number of the plan that was stored."""
        return int(str(self.step.shown["plan_id"]))

    def counted(self, change: str) -> int:
        """How many rows of the plan have this change."""
        return int(self.step.numbers[f"plan/{change}"])


@dataclass(frozen=True)
class Connector:
    """One account of a sandbox, and what a run needs to work on it."""

    plytix: PlytixSandbox
    amazon: AmazonSandbox
    installation: Installation
    settings: PlytixSettings
    mapping: Path
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def at(self, run_id: str, *ancestors: str) -> Run:
        """What the steps of a run work with; ancestors: the runs that it re-executes."""
        return RunContext(
            "plytix",
            ACCOUNT,
            Lineage(run_id, ancestors),
            self.installation,
            self.settings,
            clock=self.plytix.clock.now,
            groups_by_sku=lambda connection, account, skus: [(sku, sku) for sku in skus],
        )

    @property
    def ledger(self) -> Ledger:
        """Our ledger of the account."""
        return ledger_of(self.at("anybody"))

    def quarantined(self) -> list[str]:
        """What could not be synchronised in the account."""
        return [entry.key for entry in self.at("anybody").quarantine.list()]

    def api(self) -> AbstractContextManager[PlytixApi]:
        """A client of the account, on the sandbox's clock: waiting moves it."""
        clock = self.plytix.clock
        timing = Timing(
            clock=lambda: clock.now().timestamp(),
            sleep=clock.move,
            random=lambda: 0.5,
            wall=lambda: clock.now().timestamp(),
        )
        account = PlytixAccount.model_construct(
            alias=ACCOUNT,
            api_key=SecretStr(self.plytix.api_key),
            api_password=SecretStr(self.plytix.api_password),
            url=self.plytix.url,
            auth_url=self.plytix.auth_url,
        )
        return closing(PlytixApi(account, self.settings, self.installation.engine, timing=timing))

    def with_settings(self, **settings: Any) -> "Connector":
        """The same account and sandbox, with other settings of the connector."""
        return replace(self, settings=self.settings.model_copy(update=settings))

    def write(self, listings: Sequence[AmazonListing] | None = None, **oddities: Any) -> None:
        """Make the mapping file anew, from these listings or those that Amazon has now."""
        write_mapping(odd_mapping(self.amazon.listings if listings is None else listings, **oddities), self.mapping)

    def told(self, run_id: str, step: StepResult) -> Told:
        """What a run told with its last step."""
        return Told(step, read_report(self.installation.storage, run_id))

    def plan(self, api: PlytixApi, run_id: str, **options: Any) -> Told:
        """Everything up to the plan."""
        self.read(api, run_id)
        return self.told(run_id, plan_steps.plan(self.at(run_id), GalleryPlanOptions(**options), api))

    def read(self, api: PlytixApi, run_id: str) -> StepResult:
        """Everything before the plan; what the reading of Plytix told."""
        self.choose(run_id)
        return reading.products(self.at(run_id), NoOptions(), api)

    def choose(self, run_id: str, **options: Any) -> StepResult:
        """The listings and the pictures of them that are to be shown."""
        reading.listings(self.at(run_id), ListingsOptions(mapping=str(self.mapping), **options))
        return reading.images(self.at(run_id), NoOptions())

    def upload(self, api: PlytixApi, run_id: str, *ancestors: str, plan_id: int | None = None) -> StepResult:
        """The pictures of a plan into the library."""
        return apply_steps.assets(self.at(run_id, *ancestors), ApplyOptions(plan_id=plan_id), api)

    def write_galleries(self, api: PlytixApi, run_id: str, *ancestors: str, plan_id: int | None = None) -> Told:
        """The galleries and thumbnails of a plan."""
        options = ApplyOptions(plan_id=plan_id)
        return self.told(run_id, apply_steps.product_images(self.at(run_id, *ancestors), options, api))

    def apply(self, api: PlytixApi, run_id: str, plan_id: int | None = None) -> Told:
        """Uploads and galleries."""
        self.upload(api, run_id, plan_id=plan_id)
        return self.write_galleries(api, run_id, plan_id=plan_id)

    def sync(self, **options: Any) -> Told:
        """One whole run."""
        run_id = self.run_id()
        with self.api() as api:
            self.plan(api, run_id, **options)
            return self.apply(api, run_id)

    def look_for_gone(self, api: PlytixApi, run_id: str, **options: Any) -> Told:
        """The plan of a cleanup against the mapping file."""
        chosen = GalleryCleanupOptions(missing_from=str(self.mapping), **options)
        return self.told(run_id, plan_steps.clean_up(self.at(run_id), chosen, api))

    def clean_up(self, **options: Any) -> tuple[Told, Told]:
        """The plan of a cleanup against the mapping file, and its application in a later run."""
        with self.api() as api:
            made = self.look_for_gone(api, self.run_id(), **options)
            return made, self.apply(api, self.run_id(), made.plan_id)

    def run_id(self) -> str:
        """The name of the next run."""
        return f"run-{next(self.numbers)}"

    def calls(self) -> int:
        """Calls that the PIM has seen."""
        return self.plytix.ledger.count()

    def shown(self) -> Mapping[str, tuple[tuple[str, ...], str | None]]:
        """What every product shows: its gallery as file names, and its thumbnail."""
        return {
            product.sku: (self.plytix.filenames(product.sku), self.plytix.thumbnail(product.sku))
            for product in self.plytix.products()
        }


@contextmanager
def open_connector(
    engine: sa.Engine,
    folder: Path,
    *,
    listings: Sequence[AmazonListing] | None = None,
    limits: Sequence[tuple[int, int]] = WIDE,
    more_products: Sequence[NewProduct] = (),
    missing: Sequence[str] = (),
    clock: SandboxClock | None = None,
    **settings: Any,
) -> Iterator[Connector]:
    """A connector on fresh sandboxes:

    Plytix has the products of the listings (the demo's), but not the `missing` ones.
    """
    clock = clock or SandboxClock()
    with amazon_sandbox(listings, clock=clock) as amazon:
        skus = [listing.suggested_sku for listing in amazon.listings if listing.suggested_sku not in missing]
        products = [*(NewProduct(sku) for sku in skus), *more_products]
        with plytix_sandbox(products=products, limits=limits, clock=clock, fetch=amazon.fetch) as plytix:
            # Steps look at the folders alone; the engine is the test's own.
            locations = Locations(folder, folder, UPath(folder), "", "", {})
            installation = Installation(Settings(lock_wait_seconds=0), locations, engine)
            connector = Connector(plytix, amazon, installation, PlytixSettings(**settings), folder / "mapping.json")
            connector.write()
            yield connector


def wanted(connector: Connector) -> dict[str, tuple[str, ...]]:
    """The file names that every product is to show, in order, by Amazon's own listings and not by our reading."""
    return {
        listing.suggested_sku: tuple(file_name(f"{image.picture.id}.jpg") for image in listing.images)
        for listing in connector.amazon.listings
    }


def assert_converged(connector: Connector, *, without: Sequence[str] = ()) -> None:
    """Every listing is shown in its order with MAIN as thumbnail, no asset and no link is there twice.

    without: file names of pictures that cannot be there.
    """
    shown = connector.shown()
    names = [asset.filename for asset in connector.plytix.assets()]
    assert len(names) == len(set(names)), "an asset is there twice"
    contents = [asset.sha256 for asset in connector.plytix.assets()]
    assert len(contents) == len(set(contents)), "a picture is there twice"
    by_id = {asset.id: asset.filename for asset in connector.plytix.assets()}
    for sku, expected in wanted(connector).items():
        gallery, thumbnail = shown[sku]
        possible = tuple(name for name in expected if name not in without)
        assert tuple(name for name in gallery if name in set(possible)) == possible, sku
        assert len(gallery) == len(set(gallery)), sku
        if expected and expected[0] not in without:
            assert by_id.get(thumbnail or "") == expected[0], sku
