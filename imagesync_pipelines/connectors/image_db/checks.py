"""The asset checks of this connector: true sentences about what was read and what is shown.

What belongs here: the checks, blocking and reporting. What does not: the guard, which keeps bad news from doing harm
before anything is written (sync/guard.py).
"""

from typing import Any

import dagster as dg
import sqlalchemy as sa

from imagesync_pipelines.connectors.image_db.assets import CONNECTOR
from imagesync_pipelines.connectors.image_db.batch import About, Batches
from imagesync_pipelines.connectors.image_db.resources import ImageDbResource
from imagesync_pipelines.defs.lineage import ancestors_of
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.sync.handovers import plan_to_look_at
from imagesync_pipelines.sync.lineage import of_lineage

_RECORDS = dg.AssetKey([CONNECTOR, "records"])
_PLAN = dg.AssetKey([CONNECTOR, "plan"])
_PRODUCT_IMAGES = dg.AssetKey([CONNECTOR, "product_images"])

_WITHOUT_ONE_PRIMARY = """
SELECT count(*) FROM (
    SELECT product_id FROM imagesync.product_image GROUP BY product_id HAVING count(*) FILTER (WHERE is_primary) <> 1
) wrong
"""

_WITHOUT_URL = (
    "SELECT count(*) FROM imagesync.product_image WHERE source = 'image_db' AND image_url !~ '^https?://[^/]+/.+'"
)


def build_checks() -> list[Any]:
    """All checks of this connector."""

    @dg.asset_check(asset=_RECORDS, name="every_page_was_read")
    def every_page_was_read(
        context: dg.AssetCheckExecutionContext, installation: InstallationResource
    ) -> dg.AssetCheckResult:
        """The scan proved that it saw every image; without that nothing is removed."""
        with installation.open() as place:
            about = _about(place, context)
        return dg.AssetCheckResult(
            passed=about.complete or about.scope != "all",
            severity=dg.AssetCheckSeverity.WARN,
            description=about.reason or "every page was read",
            metadata={"scan": about.scan_id, "records": about.records},
        )

    @dg.asset_check(asset=_RECORDS, name="few_records_are_rejected")
    def few_records_are_rejected(
        context: dg.AssetCheckExecutionContext, installation: InstallationResource, image_db: ImageDbResource
    ) -> dg.AssetCheckResult:
        """No more records are set aside than the setting IMAGE_DB_MAX_REJECT_SHARE allows."""
        with installation.open() as place:
            about = _about(place, context)
        return _share(
            len(about.rejects), len(about.rejects) + about.records, image_db.settings().image_db_max_reject_share
        )

    @dg.asset_check(asset=_PLAN, name="few_articles_are_unmatched")
    def few_articles_are_unmatched(
        context: dg.AssetCheckExecutionContext, installation: InstallationResource, image_db: ImageDbResource
    ) -> dg.AssetCheckResult:
        """No more article links are without a product than the setting IMAGE_DB_MAX_UNMATCHED_SHARE allows."""
        with installation.open() as place:
            plans = Plans(place.engine, place.storage)
            header = plan_to_look_at(plans, CONNECTOR, context.run.run_id, ancestors_of(context))
        unmatched = int(header.scope.get("unmatched", 0)) if header is not None else 0
        matched = int(header.scope.get("matched", 0)) if header is not None else 0
        return _share(unmatched, unmatched + matched, image_db.settings().image_db_max_unmatched_share)

    @dg.asset_check(asset=_PRODUCT_IMAGES, name="every_product_has_one_primary", blocking=True)
    def every_product_has_one_primary(installation: InstallationResource) -> dg.AssetCheckResult:
        """Each product with images shows exactly one of them first."""
        return _none_of(installation, _WITHOUT_ONE_PRIMARY, "products without exactly one primary image")

    @dg.asset_check(asset=_PRODUCT_IMAGES, name="every_image_has_a_usable_url", blocking=True)
    def every_image_has_a_usable_url(installation: InstallationResource) -> dg.AssetCheckResult:
        """Each product image names a picture that a browser can ask for."""
        return _none_of(installation, _WITHOUT_URL, "product images without a usable URL")

    return [
        every_page_was_read,
        few_records_are_rejected,
        few_articles_are_unmatched,
        every_product_has_one_primary,
        every_image_has_a_usable_url,
    ]


def _about(place: Installation, context: dg.AssetCheckExecutionContext) -> About:
    """The batch of the run's lineage; a check that runs by itself looks at the newest of all pages."""
    batches = Batches(place.storage)
    mine = of_lineage(context.run.run_id, ancestors_of(context), batches.names())
    return batches.about(mine or batches.newest_whole())


def _share(bad: int, all_of_them: int, allowed: float) -> dg.AssetCheckResult:
    share = bad / all_of_them if all_of_them else 0.0
    return dg.AssetCheckResult(
        passed=share <= allowed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{bad} of {all_of_them}: {share:.1%} ({allowed:.1%} are allowed)",
        metadata={"number": bad, "share": share},
    )


def _none_of(installation: InstallationResource, query: str, what: str) -> dg.AssetCheckResult:
    with installation.open() as place, place.engine.connect() as connection:
        number = int(connection.scalar(sa.text(query)) or 0)
    return dg.AssetCheckResult(
        passed=number == 0,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{number} {what}",
        metadata={"number": number},
    )
