"""True sentences about what was read and what is shown."""

import sqlalchemy as sa

from imagesync_pipelines.connectors.image_db.pages import Run
from imagesync_pipelines.connectors.image_db.record_store import Batches
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.sync.connector import Check
from imagesync_pipelines.sync.steps import CheckResult


def every_page_was_read(context: Run) -> CheckResult:
    """The scan proved that it saw every image; without that nothing is removed."""
    about = Batches(context.handovers).of(context.lineage)
    passed, shown = about.complete or about.scope != "all", {"scan": about.scan_id, "records": about.records}
    return CheckResult(passed, about.reason or told("every page was read"), shown)


def few_records_are_rejected(context: Run) -> CheckResult:
    """No more records are set aside than the setting IMAGE_DB_MAX_REJECT_SHARE allows."""
    about = Batches(context.handovers).of(context.lineage)
    return _share(len(about.rejects), about.records, context.settings.image_db_max_reject_share)


def few_articles_are_unmatched(context: Run) -> CheckResult:
    """No more article links are without a product than the setting IMAGE_DB_MAX_UNMATCHED_SHARE allows."""
    header = context.plans.to_look_at(context.connector, context.lineage)
    scope = header.scope if header is not None else {}
    unmatched, matched = (int(scope.get(name, 0)) for name in ("unmatched", "matched"))
    return _share(unmatched, matched, context.settings.image_db_max_unmatched_share)


def every_product_has_one_primary(context: Run) -> CheckResult:
    """Each product with images shows exactly one of them first."""
    wrong = """
SELECT count(*) FROM (SELECT product_id FROM imagesync.product_image GROUP BY product_id
                      HAVING count(*) FILTER (WHERE is_primary) <> 1) wrong
"""
    return _none(context, wrong, N_("{number:d} products without exactly one primary image"))


def every_image_has_a_usable_url(context: Run) -> CheckResult:
    """Each product image names a picture that a browser can ask for."""
    mine = "SELECT count(*) FROM imagesync.product_image WHERE source = 'image_db'"
    unusable = f"{mine} AND image_url !~ '^https?://[^/]+/.+'"
    return _none(context, unusable, N_("{number:d} product images without a usable URL"))


CHECKS = (
    Check.of("records", every_page_was_read),
    Check.of("records", few_records_are_rejected),
    Check.of("plan", few_articles_are_unmatched),
    Check.of("product_images", every_product_has_one_primary, blocking=True),
    Check.of("product_images", every_image_has_a_usable_url, blocking=True),
)


def _share(bad: int, good: int, allowed: float) -> CheckResult:
    share = bad / (bad + good) if bad else 0.0
    text = told(f"{bad} of {bad + good}: {share:.1%} ({allowed:.1%} are allowed)")
    return CheckResult(share <= allowed, text, {"number": bad, "share": share})


def _none(context: Run, query: str, what: str) -> CheckResult:
    """Whether a query counts nothing."""
    with context.installation.engine.connect() as connection:
        number = int(connection.scalar(sa.text(query)) or 0)
    return CheckResult(number == 0, what.format(number=number), {"number": number})
