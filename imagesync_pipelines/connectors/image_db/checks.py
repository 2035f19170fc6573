"""True sentences about what was read and what is shown."""

from collections.abc import Mapping
from functools import partial

import sqlalchemy as sa

from imagesync_pipelines.connectors.image_db.pages import Run
from imagesync_pipelines.connectors.image_db.record_store import Batches
from imagesync_pipelines.sync.connector import Check
from imagesync_pipelines.sync.steps import CheckResult

# Name → what it counts, what of it is wrong, and what it says.
_BLOCKING = {
    "every_product_has_one_primary": (
        "SELECT count(*) FROM (SELECT product_id FROM imagesync.product_image GROUP BY product_id "
        "HAVING count(*) FILTER (WHERE is_primary) <> 1) wrong",
        "products without exactly one primary image",
        "Each product with images shows exactly one of them first.",
    ),
    "every_image_has_a_usable_url": (
        "SELECT count(*) FROM imagesync.product_image WHERE source = 'image_db' AND image_url !~ '^https?://[^/]+/.+'",
        "product images without a usable URL",
        "Each product image names a picture that a browser can ask for.",
    ),
}


def every_page_was_read(context: Run) -> Mapping[str, CheckResult]:
    """Whether the scan saw every image."""
    about = Batches(context.handovers).of(context.lineage)
    passed, shown = about.complete or about.scope != "all", {"scan": about.scan_id, "records": about.records}
    return {"every_page_was_read": CheckResult(passed, about.reason or "every page was read", shown)}


def few_records_are_rejected(context: Run) -> Mapping[str, CheckResult]:
    """Whether the share of records that were set aside is allowed."""
    about = Batches(context.handovers).of(context.lineage)
    share = _share(len(about.rejects), about.records, context.settings.image_db_max_reject_share)
    return {"few_records_are_rejected": share}


def few_articles_are_unmatched(context: Run) -> Mapping[str, CheckResult]:
    """Whether the share of article links without a product is allowed."""
    header = context.plans.to_look_at(context.connector, context.lineage)
    scope = header.scope if header is not None else {}
    unmatched, matched = (int(scope.get(name, 0)) for name in ("unmatched", "matched"))
    return {"few_articles_are_unmatched": _share(unmatched, matched, context.settings.image_db_max_unmatched_share)}


def none_is_wrong(name: str, context: Run) -> Mapping[str, CheckResult]:
    """Whether the query of this check counts nothing."""
    query, what, _ = _BLOCKING[name]
    with context.installation.engine.connect() as connection:
        number = int(connection.scalar(sa.text(query)) or 0)
    return {name: CheckResult(number == 0, f"{number} {what}", {"number": number})}


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
    *(
        Check("product_images", {name: says}, partial(none_is_wrong, name), severe=True, blocking=True)
        for name, (_, _, says) in _BLOCKING.items()
    ),
)


def _share(bad: int, good: int, allowed: float) -> CheckResult:
    share = bad / (bad + good) if bad else 0.0
    text = f"{bad} of {bad + good}: {share:.1%} ({allowed:.1%} are allowed)"
    return CheckResult(share <= allowed, text, {"number": bad, "share": share})
