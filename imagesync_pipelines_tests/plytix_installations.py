"""Plytix for tests: Amazon's and Plytix's stand-ins, an installation of them, and a synchronisation."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.amazon.listings import MAIN, AmazonListing, demo_listings
from imagesync_pipelines.sandbox.amazon.mapping import Shape, mapping_file, write_mapping
from imagesync_pipelines.sandbox.amazon.server import AmazonSandbox, amazon_sandbox
from imagesync_pipelines.sandbox.plytix.model import NewProduct
from imagesync_pipelines.sandbox.plytix.server import PlytixSandbox, accounts_of, plytix_sandbox, secrets_of
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines_tests.places import databases, entered, environment_of, opened, rows_of
from imagesync_pipelines_tests.sandbox.amazon.oddities import odd_mapping

ALIAS = "sandbox"
# So wide that no test waits for a window; tests of the limits say their own.
WIDE = ((10_000, 10), (100_000, 3600))


@dataclass(frozen=True)
class PlytixWorld:
    """One installation with one Plytix account; `environment` is all that a process needs to use it."""

    amazon: AmazonSandbox
    plytix: PlytixSandbox
    mapping: Path
    environment: dict[str, str] = field(repr=False)

    def entered(self, **more: str) -> AbstractContextManager[None]:
        """This process uses the installation for the length of a `with` block; `more` are further variables."""
        return entered(self.environment, **more)

    def opened(self, **more: str) -> AbstractContextManager[tuple[Installation, dg.DagsterInstance]]:
        """The installation and its Dagster instance."""
        return opened(self.environment, **more)

    def sync(
        self, more: Mapping[str, str] | None = None, account: str | None = None, **options: Any
    ) -> runs.RunOutcome:
        """Synchronise as `imagesync sync plytix --execute` does; `more` are further variables."""
        with self.entered(**(more or {})):
            named = [] if account is None else [account]
            ((_, outcome),) = runs.sync("plytix", named, **{"mapping": str(self.mapping), **options})
            return outcome

    def write_mapping(self, listings: Sequence[AmazonListing], shape: Shape = "flat", **oddities: int) -> None:
        """Replace the mapping file."""
        write_mapping(odd_mapping(listings, shape, **oddities), self.mapping)

    def spoil(self, text: str) -> None:
        """Replace the mapping file by any text."""
        self.mapping.write_text(text, encoding="utf-8")

    def calls(self) -> int:
        """The calls to the PIM so far; token calls are counted elsewhere."""
        return self.plytix.ledger.count()

    def shown(self, sku: str) -> list[str]:
        """The file names of a product's gallery, in its order."""
        return list(self.plytix.filenames(sku))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows that a query on our database gives."""
        return rows_of(self.environment["IMAGESYNC_DATABASE_URL"], query)

    def assert_converged(self, listings: Sequence[AmazonListing]) -> None:
        """assert_shows, and each picture is in the library once, and nothing else is."""
        names = [asset.filename for asset in self.plytix.assets()]
        assert sorted(names) == sorted({file_name_of(i.picture.id) for listing in listings for i in listing.images})
        self.assert_shows(listings)

    def assert_shows(self, listings: Sequence[AmazonListing]) -> None:
        """Every product shows exactly its listing's pictures, in order, and MAIN as thumbnail."""
        names = {asset.id: asset.filename for asset in self.plytix.assets()}
        for listing in listings:
            wanted = [file_name_of(image.picture.id) for image in listing.images]
            assert self.shown(listing.suggested_sku) == wanted, listing.suggested_sku
            main = [file_name_of(image.picture.id) for image in listing.images if image.variant == MAIN]
            shown = self.plytix.thumbnail(listing.suggested_sku)
            assert ([names[shown]] if shown is not None else []) == main, listing.suggested_sku


def file_name_of(picture_id: str) -> str:
    """The name that a picture gets in Plytix, written down here once more: it must never change."""
    return f"amazon_{picture_id.replace('+', '_')}.jpg"


def products_of(listings: Sequence[AmazonListing]) -> list[NewProduct]:
    """The products that Plytix has for listings."""
    return [NewProduct(listing.suggested_sku, label=listing.title) for listing in listings]


@contextmanager
def plytix_world(
    server: EmbeddedServer,
    folder: Path,
    listings: Sequence[AmazonListing] | None = None,
    *,
    limits: Sequence[tuple[int, int]] = WIDE,
    shape: Shape = "flat",
    **switches: Any,
) -> Iterator[PlytixWorld]:
    """Amazon with these listings (or the demo's), a Plytix that has their products and no image, an installation."""
    folder.mkdir(parents=True, exist_ok=True)
    made = demo_listings() if listings is None else listings
    with (
        amazon_sandbox(made) as amazon,
        plytix_sandbox(products=products_of(made), limits=limits, fetch=amazon.fetch, **switches) as plytix,
        databases(server) as (ours, dagsters),
    ):
        mapping, accounts = folder / "mapping.json", folder / "accounts.toml"
        write_mapping(mapping_file(made, shape), mapping)
        accounts.write_text("\n".join(accounts_of(plytix.url, plytix.auth_url, ALIAS)) + "\n", encoding="utf-8")
        yield PlytixWorld(
            amazon,
            plytix,
            mapping,
            {
                **environment_of(folder, ours, dagsters),
                "IMAGESYNC_ACCOUNTS": str(accounts),
                "IMAGESYNC_LOCK_WAIT_SECONDS": "20",
                "IMAGESYNC_ALLOWED_IMAGE_HOSTS": "127.0.0.1",
                "PLYTIX_IMAGES_URL": amazon.images_url,
                "PLYTIX_SPAPI_URL": amazon.url,
                "PLYTIX_SPAPI_TOKEN_URL": amazon.token_url,
                "PLYTIX_SPAPI_CLIENT_ID": amazon.application.client_id,
                "PLYTIX_SPAPI_CLIENT_SECRET": amazon.application.client_secret,
                "PLYTIX_SPAPI_REFRESH_TOKEN": amazon.application.refresh_token,
                **secrets_of(plytix),
            },
        )
