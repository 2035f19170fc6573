"""What people see of galleries: the report of a run, which is a JSON file, and the pictures and places on pages."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.connectors.plytix import planning
from imagesync_pipelines.connectors.plytix.gallery import Known, picture_key
from imagesync_pipelines.connectors.plytix.model import ImagesChosen, ListingImage, ProductsRead
from imagesync_pipelines.connectors.plytix.rules import MAIN, address_of
from imagesync_pipelines.languages import told
from imagesync_pipelines.products.showing import pixels
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.files import write_whole
from imagesync_pipelines.storage.plans import PAYLOAD, PlanHeader, Plans
from imagesync_pipelines.storage.quarantine import QuarantineEntry
from imagesync_pipelines.storage.schema_accounts import plytix_asset, plytix_link
from imagesync_pipelines.sync.connector import ImagePlace, KnownPicture, PastPicture, RowPictures
from imagesync_pipelines.sync.steps import Json

_REPORTS = "reports/plytix"
# The numbers of a report that the plan knew already.
_OF_BASIS = ("total_products", "products_with_images", "total_image_refs", "unique_images")
# An event is stored whole; the exact number of errors and the whole report are in the file of the run.
SHOWN_ERRORS = 20


def fault(product_sku: str, error: str, url: str = "") -> dict[str, str]:
    """One entry of `errors`; url is '' where no single image is meant."""
    return {"url": url, "error": error, "product_sku": product_sku}


def basis_of(
    chosen: ImagesChosen, read: ProductsRead, known: Known, changing: Collection[str], policy: planning.Policy
) -> dict[str, Any]:
    """What is known of the report once the plan is made, as it is kept with the plan: JSON.

    changing (looked up by SKU): those that the plan changes. known_images: distinct images whose asset was known.
    main_kept: products that the plan does not change and whose thumbnail is their MAIN image; parents_kept: the parents
    among them.
    """
    assets, listings = known.assets(), chosen.listings
    keys = {image.key for listing in listings for image in listing.images}
    left_alone = {product.sku: product for product in read.products if product.sku not in changing}
    kept = [
        listing
        for listing in listings
        if listing.sku in left_alone and _shows_main(listing.images, left_alone[listing.sku].thumbnail, assets)
    ]
    return {
        "total_products": len(listings),
        "products_with_images": sum(bool(listing.images) for listing in listings),
        "total_image_refs": sum(listing.slots for listing in listings),
        "unique_images": len(keys),
        "known_images": 0 if policy.force else len(keys & assets.keys()),
        "main_kept": len(kept),
        "parents_kept": sum(listing.is_parent for listing in kept),
        "errors": [
            *(fault(entry.where, entry.reason, entry.url) for entry in chosen.set_aside),
            *(fault(sku, planning.UNKNOWN_PRODUCT) for sku in read.unknown),
        ],
        "source_file": chosen.source,
        "skip_existing": policy.skip_existing,
    }


def make_report(
    basis: Mapping[str, Any],
    tasks: Mapping[str, planning.Task],
    assets: Mapping[str, str],
    *,
    ended_at: datetime,
    dry_run: bool,
    uploaded: int = 0,
    existed: int = 0,
    links: Mapping[str, int] | None = None,
    thumbnails: Mapping[str, str] | None = None,
    to_show_main: Collection[str] = (),
    faults: Iterable[dict[str, str]] = (),
) -> dict[str, Any]:
    """The report with its fields, of a plan (`basis_of`) and what a run did beside it; of a dry run, what it would do.

    links, thumbnails: by SKU, how many links were made, the asset now shown. links_created: links that were made in
    this run, those of parents among them; images_skipped: distinct images whose asset was known already;
    main_image_links: products whose thumbnail is the MAIN image after the run; thumbnails_set: those that the run set.
    to_show_main: of a dry run, the products whose thumbnail the plan sets.
    """
    links, thumbnails = links or {}, thumbnails or {}
    shown = {
        sku: sku in to_show_main or _shows_main(task.images, thumbnails.get(sku, task.product.thumbnail), assets)
        for sku, task in tasks.items()
    }
    parents = {sku for sku, task in tasks.items() if task.is_parent}
    return {
        **{name: basis[name] for name in _OF_BASIS},
        "images_uploaded": uploaded,
        # An asset that we knew may be gone from Plytix: then its picture was uploaded again, and not skipped.
        "images_skipped": min(basis["known_images"] + existed, basis["unique_images"] - uploaded),
        "links_created": sum(links.values()),
        "errors": [*basis["errors"], *faults],
        "thumbnails_set": len(thumbnails) + len(to_show_main),
        "main_image_links": basis["main_kept"] + sum(shown.values()),
        "parent_links_created": sum(number for sku, number in links.items() if sku in parents),
        "parent_main_image_links": basis["parents_kept"] + sum(shown[sku] for sku in parents),
        "metadata": {
            "source_file": basis["source_file"],
            "sync_date": ended_at.isoformat(),
            "dry_run": dry_run,
            "skip_existing": basis["skip_existing"],
        },
    }


def keep_report(root: UPath, run_id: str, report: Mapping[str, Any]) -> None:
    """Keep the report of a run."""
    write_whole(root / _REPORTS / f"{run_id}.json", orjson.dumps(report, option=orjson.OPT_INDENT_2))


def read_report(root: UPath, run_id: str) -> dict[str, Any]:
    """The report of a run; empty when it broke before it had one. Raises StorageError when the file is damaged."""
    path = f"{_REPORTS}/{run_id}.json"
    try:
        return dict(orjson.loads((root / path).read_bytes()))
    except FileNotFoundError:
        return {}
    except (TypeError, ValueError):
        raise StorageError(f"The run's report {path} is damaged; its figures are in the run's summary.") from None


def bounded(report: Mapping[str, Any]) -> Json:
    """The report with its first errors, and how many there are in all."""
    errors = report["errors"]
    return Json({**report, "errors": errors[:SHOWN_ERRORS], "errors_in_all": len(errors)})


def _shows_main(images: Iterable[ListingImage], thumbnail: str | None, assets: Mapping[str, str]) -> bool:
    main = (assets.get(image.key) for image in images if image.variant == MAIN)
    return thumbnail is not None and thumbnail in main


def pictures_of(
    engine: sa.Engine, storage: UPath, header: PlanHeader, rows: Sequence[Mapping[str, Any]]
) -> list[RowPictures]:
    """The pictures that a gallery gets and loses, of each row of a plan; one's key tells where its original is."""
    payload = Plans(engine, storage).need_payload(header.id) if PAYLOAD in header.files else None
    groups = {str(row["group"]) for row in rows}
    images = {} if payload is None else planning.images_of(planning.tasks_of(payload[payload["group"].isin(groups)]))
    shown = []
    for row in rows:
        sku, picture = str(row["group"]), picture_key(str(row["key"]))
        is_written = row["change"] in planning.WRITTEN
        image = images.get((sku, picture)) if is_written else None
        size = pixels(image.width, image.height) if image else ""
        old = str(row["key_before"]) if isinstance(row["key_before"], str) else str(row["key"])
        before = "" if row["change"] == "add" else address_of(picture_key(old))
        # What an undo brings back is in no listing.
        after = (image.url if image else address_of(picture)) if is_written else ""
        shown.append(RowPictures(picture, before, after, size))
    return shown


def past_of(engine: sa.Engine, storage: UPath, account: str, pictures: Sequence[PastPicture]) -> list[str]:
    """Pictures that galleries showed, or got: where their originals are."""
    return [address_of(picture_key(one.key)) for one in pictures]


def again(entries: Sequence[QuarantineEntry]) -> dict[str, Any]:
    """The products of quarantined items; the whole account where an item is of none."""
    skus = sorted({entry.group or "" for entry in entries})
    return {"skus": skus} if all(skus) else {}


def known_pictures(
    connection: sa.Connection, shared: Settings, account: str, pictures: Sequence[Mapping[str, Any]]
) -> list[KnownPicture]:
    """Pictures in galleries, by their assets: where Plytix shows them, and their content where we have looked at it."""
    row, assets = plytix_asset.c, {str(one["asset"]) for one in pictures if one.get("asset")}
    query = sa.select(row.asset_id, row.content_sha256, row.url)
    mine = (row.account == account) & among(row.asset_id, assets)
    known = {
        one.asset_id: KnownPicture(one.content_sha256 or "", one.url) for one in connection.execute(query.where(mine))
    }
    return [known.get(str(one.get("asset")), KnownPicture()) for one in pictures]


def places_of(connection: sa.Connection, sku: str) -> Iterator[ImagePlace]:
    """The accounts in whose galleries a product has images, in order."""
    link = plytix_link.c
    query = (
        sa.select(link.account, sa.func.count(), sa.func.max(link.linked_at))
        .where(link.product_sku == sku, link.linked_at.is_not(None))
        .group_by(link.account)
        .order_by(link.account)
    )
    for account, images, since in connection.execute(query):
        yield ImagePlace(account, images, since, told("in the product's gallery"))
