"""True sentences about what was read and what is shown."""

from collections.abc import Mapping

import sqlalchemy as sa

from imagesync_pipelines.connectors.image_db.batch import About, Batches
from imagesync_pipelines.connectors.image_db.reading_steps import Run
from imagesync_pipelines.sync.connector import Check
from imagesync_pipelines.sync.handovers import of_lineage, plan_to_look_at
from imagesync_pipelines.sync.steps import CheckResult

_WITHOUT_ONE_PRIMARY = """
SELECT count(*) FROM (
    SELECT product_id FROM imagesync.product_image GROUP BY product_id HAVING count(*) FILTER (WHERE is_primary) <> 1
) wrong
"""

_WITHOUT_URL = (
    "SELECT count(*) FROM imagesync.product_image WHERE source = 'image_db' AND image_url !~ '^https?://[^/]+/.+'"
)


def every_page_was_read(context: Run) -> Mapping[str, CheckResult]:
    """Whether the scan saw every image."""
    about = _about(context)
    found = CheckResult(
        about.complete or about.scope != "all",
        about.reason or "every page was read",
        {"scan": about.scan_id, "records": about.records},
    )
    return {"every_page_was_read": found}


def few_records_are_rejected(context: Run) -> Mapping[str, CheckResult]:
    """Whether the share of records that were set aside is allowed."""
    about = _about(context)
    rejects = len(about.rejects)
    return {
        "few_records_are_rejected": _share(rejects, rejects + about.records, context.settings.image_db_max_reject_share)
    }


def few_articles_are_unmatched(context: Run) -> Mapping[str, CheckResult]:
    """Whether the share of article links without a product is allowed."""
    header = plan_to_look_at(context.plans, context.connector, context.run_id, context.lineage.ancestors)
    unmatched = int(header.scope.get("unmatched", 0)) if header is not None else 0
    matched = int(header.scope.get("matched", 0)) if header is not None else 0
    allowed = context.settings.image_db_max_unmatched_share
    return {"few_articles_are_unmatched": _share(unmatched, unmatched + matched, allowed)}


def every_product_has_one_primary(context: Run) -> Mapping[str, CheckResult]:
    """Whether each product with images shows exactly one of them first."""
    found = _none_of(context, _WITHOUT_ONE_PRIMARY, "products without exactly one primary image")
    return {"every_product_has_one_primary": found}


def every_image_has_a_usable_url(context: Run) -> Mapping[str, CheckResult]:
    """Whether a browser can ask for each product image."""
    return {"every_image_has_a_usable_url": _none_of(context, _WITHOUT_URL, "product images without a usable URL")}


CHECKS = (
    Check(
        "records",
        {"every_page_was_read": "The scan proved that it saw every image; without that nothing is removed."},
        every_page_was_read,
    ),
    Check(
        "records",
        {
            "few_records_are_rejected": "No more records are set aside than the setting IMAGE_DB_MAX_REJECT_SHARE "
            "allows."
        },
        few_records_are_rejected,
    ),
    Check(
        "plan",
        {
            "few_articles_are_unmatched": "No more article links are without a product than the setting "
            "IMAGE_DB_MAX_UNMATCHED_SHARE allows."
        },
        few_articles_are_unmatched,
    ),
    Check(
        "product_images",
        {"every_product_has_one_primary": "Each product with images shows exactly one of them first."},
        every_product_has_one_primary,
        severe=True,
        blocking=True,
    ),
    Check(
        "product_images",
        {"every_image_has_a_usable_url": "Each product image names a picture that a browser can ask for."},
        every_image_has_a_usable_url,
        severe=True,
        blocking=True,
    ),
)


def _about(context: Run) -> About:
    """The batch of the run's lineage; a check that runs by itself looks at the newest of all pages."""
    batches = Batches(context.handovers)
    mine = of_lineage(context.run_id, context.lineage.ancestors, batches.names())
    return batches.about(mine or batches.newest_whole())


def _share(bad: int, all_of_them: int, allowed: float) -> CheckResult:
    share = bad / all_of_them if all_of_them else 0.0
    text = f"{bad} of {all_of_them}: {share:.1%} ({allowed:.1%} are allowed)"
    return CheckResult(share <= allowed, text, {"number": bad, "share": share})


def _none_of(context: Run, query: str, what: str) -> CheckResult:
    with context.installation.engine.connect() as connection:
        number = int(connection.scalar(sa.text(query)) or 0)
    return CheckResult(number == 0, f"{number} {what}", {"number": number})
