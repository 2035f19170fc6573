"""The report of a run into Plytix: a JSON file, and what the UI shows of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import orjson
import pandas as pd
from upath import UPath

from imagesync_pipelines.connectors.plytix.galleries import Known
from imagesync_pipelines.connectors.plytix.model import Listing, PlytixProduct, SetAside
from imagesync_pipelines.connectors.plytix.planning import UNKNOWN_PRODUCT, Task
from imagesync_pipelines.storage.files import write_whole

_REPORTS = "reports/plytix"
# An event is stored whole; the exact number of errors and the whole report are in the file of the run.
SHOWN_ERRORS = 20


@dataclass(frozen=True)
class ReportedFault:
    """One entry of `errors`; url is '' where no single image is meant."""

    url: str
    error: str
    product_sku: str


@dataclass(frozen=True)
class Basis:
    """What a plan already knows of the report; it is kept with the plan.

    known_images: distinct images whose asset was known. main_kept: products that the plan does not change and whose
    thumbnail is their MAIN image; parents_kept: the parents among them.
    """

    total_products: int
    products_with_images: int
    total_image_refs: int
    unique_images: int
    known_images: int
    main_kept: int
    parents_kept: int
    errors: tuple[ReportedFault, ...]
    source_file: str
    skip_existing: bool

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values; `from_json` is the way back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Basis":
        """The basis that `as_json` was made from."""
        return cls(**{**data, "errors": tuple(ReportedFault(**fault) for fault in data["errors"])})


@dataclass(frozen=True)
class Done:
    """What a run did, beside its plan. links, thumbnails: by SKU, how many links were made, the asset now shown."""

    uploaded: int = 0
    existed: int = 0
    links: Mapping[str, int] = field(default_factory=dict)
    thumbnails: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[ReportedFault, ...] = ()


def basis_of(
    listings: Sequence[Listing],
    products: Mapping[str, PlytixProduct],
    known: Known,
    changing: Iterable[str],
    set_aside: Iterable[SetAside],
    unknown: Iterable[str],
    *,
    source_file: str,
    skip_existing: bool,
    force: bool,
) -> Basis:
    """What is known of the report once the plan is made; `changing` are the SKUs that the plan changes.

    unknown: the SKUs that Plytix does not have.
    """
    assets = known.assets()
    keys = {image.key for listing in listings for image in listing.images}
    unchanged = [listing for listing in listings if listing.sku not in set(changing)]
    kept = [
        listing
        for listing in unchanged
        if listing.sku in products and shows_main(listing, products[listing.sku].thumbnail, assets)
    ]
    faults = [ReportedFault(entry.url, entry.reason, entry.where) for entry in set_aside]
    faults += [ReportedFault("", UNKNOWN_PRODUCT, sku) for sku in unknown]
    return Basis(
        total_products=len(listings),
        products_with_images=sum(bool(listing.images) for listing in listings),
        total_image_refs=sum(listing.slots for listing in listings),
        unique_images=len(keys),
        known_images=0 if force else len(keys & assets.keys()),
        main_kept=len(kept),
        parents_kept=sum(listing.is_parent for listing in kept),
        errors=tuple(faults),
        source_file=source_file,
        skip_existing=skip_existing,
    )


def shows_main(listing: Listing | Task, thumbnail: str | None, assets: Mapping[str, str]) -> bool:
    """Whether a thumbnail is the MAIN image of a listing; assets: by the key of the picture."""
    main = listing.main
    return main is not None and thumbnail is not None and assets.get(main.key) == thumbnail


def make_report(
    basis: Basis, done: Done, tasks: Mapping[str, Task], assets: Mapping[str, str], *, ended_at: datetime, dry_run: bool
) -> dict[str, Any]:
    """The report with its fields.

    links_created: links that were made in this run, those of parents among them; images_skipped: distinct images whose
    asset was known already; main_image_links: products whose thumbnail is the MAIN image after the run.
    """
    shown = {
        sku: shows_main(task, done.thumbnails.get(sku, task.product.thumbnail), assets) for sku, task in tasks.items()
    }
    parents = {sku for sku, task in tasks.items() if task.is_parent}
    return {
        "total_products": basis.total_products,
        "products_with_images": basis.products_with_images,
        "total_image_refs": basis.total_image_refs,
        "unique_images": basis.unique_images,
        "images_uploaded": done.uploaded,
        # An asset that we knew may be gone from Plytix: then its picture was uploaded again, and not skipped.
        "images_skipped": min(basis.known_images + done.existed, basis.unique_images - done.uploaded),
        "links_created": sum(done.links.values()),
        "errors": [asdict(fault) for fault in (*basis.errors, *done.errors)],
        "main_image_links": basis.main_kept + sum(shown.values()),
        "parent_links_created": sum(number for sku, number in done.links.items() if sku in parents),
        "parent_main_image_links": basis.parents_kept + sum(shown[sku] for sku in parents),
        "metadata": {
            "source_file": basis.source_file,
            "sync_date": ended_at.isoformat(),
            "dry_run": dry_run,
            "skip_existing": basis.skip_existing,
        },
    }


def keep_report(root: UPath, run_id: str, report: Mapping[str, Any]) -> None:
    """Keep the report of a run."""
    write_whole(root / _REPORTS / f"{run_id}.json", orjson.dumps(report, option=orjson.OPT_INDENT_2))


def read_report(root: UPath, run_id: str) -> dict[str, Any]:
    """The report of a run; empty when it broke before it had one."""
    try:
        found = orjson.loads((root / _REPORTS / f"{run_id}.json").read_bytes())
    except FileNotFoundError:
        return {}
    return dict(found)


def report_numbers(report: Mapping[str, Any]) -> dict[str, int]:
    """The numbers of a report that the UI plots."""
    return {f"report/{name}": value for name, value in report.items() if isinstance(value, int)}


def bounded(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report with its first errors, and how many there are beside them."""
    errors = report["errors"]
    return {**report, "errors": errors[:SHOWN_ERRORS], "errors_in_all": len(errors)}


def errors_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """The errors of a report as a table."""
    faults: Iterable[Mapping[str, str]] = report["errors"]
    rows = [(fault["product_sku"], fault["error"], fault["url"]) for fault in faults]
    return pd.DataFrame(rows, columns=["product", "error", "url"])
