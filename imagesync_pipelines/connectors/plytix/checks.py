"""The asset checks of this connector: true sentences about an account's listings and their pictures.

What belongs here: the checks; all of them warn, for a poor picture is better than none. What does not: looking at
pictures (quality.py), the guard, which keeps bad news from doing harm before anything is written (sync/guard.py).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from imagesync_pipelines.connectors.plytix import stages
from imagesync_pipelines.connectors.plytix.assets import ACCOUNTS, IMAGES, PRODUCTS
from imagesync_pipelines.connectors.plytix.notes import ProductsNote
from imagesync_pipelines.connectors.plytix.quality import Finding, Quality
from imagesync_pipelines.connectors.plytix.resources import PlytixResource
from imagesync_pipelines.defs import metadata as shown
from imagesync_pipelines.defs.lineage import ancestors_of
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.sync.handovers import note_to_look_at

# Name → what it says; the names are the true sentences, the texts explain them in the UI.
PICTURE_CHECKS = {
    "every_image_is_large_enough": "The longest side has PLYTIX_MIN_LONGEST_SIDE pixels, so that Amazon can zoom.",
    "every_image_can_be_decoded": "The address gives a picture that can be read to its last byte.",
    "every_main_image_has_a_white_background": "The edge of MAIN is white, as Amazon's own rules want it (sampled).",
    "no_listing_shows_an_image_twice": "No two pictures of a listing look the same, whatever their ids and sizes.",
    "every_product_with_images_has_a_main_image": "A listing without MAIN leaves the thumbnail as it is.",
}


def build_checks() -> list[Any]:
    """All checks of this connector; each looks at one account, which is its partition."""
    specs = [
        dg.AssetCheckSpec(name, asset=IMAGES, description=text, partitions_def=ACCOUNTS)
        for name, text in PICTURE_CHECKS.items()
    ]

    @dg.multi_asset_check(name="plytix__image_checks", specs=specs, can_subset=True)
    def image_checks(
        context: dg.AssetCheckExecutionContext, installation: InstallationResource, plytix: PlytixResource
    ) -> Iterator[dg.AssetCheckResult]:
        """One look at a sample of the pictures (PLYTIX_QUALITY_SAMPLE) answers all of these checks."""
        with installation.open() as place:
            desk = plytix.desk(place, context.partition_key)
            quality = stages.look_at_images(desk, context.run.run_id, ancestors=ancestors_of(context))
        found = findings(quality)
        for key in sorted(context.selected_asset_check_keys):
            yield _result(key.name, found[key.name], quality.looked_at)

    @dg.asset_check(asset=PRODUCTS, name="every_listing_has_a_product", partitions_def=ACCOUNTS)
    def every_listing_has_a_product(
        context: dg.AssetCheckExecutionContext, installation: InstallationResource
    ) -> dg.AssetCheckResult:
        """Plytix has a product for every listing; images of a listing without one wait for it."""
        with installation.open() as place:
            read = note_to_look_at(
                place.storage, context.partition_key, context.run.run_id, ancestors_of(context), ProductsNote
            )
        return dg.AssetCheckResult(
            passed=not read.unknown and not read.stopped,
            severity=dg.AssetCheckSeverity.WARN,
            description=read.stopped or f"{len(read.unknown)} listings without a product in Plytix",
            metadata={"products": shown.markdown_list(read.unknown)},
        )

    return [image_checks, every_listing_has_a_product]


def findings(quality: Quality) -> dict[str, Sequence[Finding]]:
    """What was found, by the name of the check that it fails."""
    by_check = (quality.small, quality.undecodable, quality.not_white, quality.twins, quality.without_main)
    return dict(zip(PICTURE_CHECKS, by_check, strict=True))


def _result(name: str, found: Sequence[Finding], looked_at: int) -> dg.AssetCheckResult:
    table = pd.DataFrame(
        [(entry.sku, entry.key, entry.what) for entry in found], columns=["product", "picture", "what"]
    )
    return dg.AssetCheckResult(
        asset_key=IMAGES,
        check_name=name,
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(found)} found; {looked_at} pictures were looked at",
        metadata={"found": shown.markdown_table(table), "number": len(found), "looked_at": looked_at},
    )
