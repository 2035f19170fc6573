"""What a plan and its application have to tell: summaries, sentences for the log, small tables for the UI.

What belongs here: pure functions over what the stages return. What does not: the stages (stages.py, plan_stages.py) and
Dagster's metadata (assets.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd

from imagesync_pipelines.connectors.image_db.batch import Batches
from imagesync_pipelines.connectors.image_db.payload import open_payload
from imagesync_pipelines.connectors.image_db.plan_stages import PlanApplied, PlanMade, external_ids_of
from imagesync_pipelines.connectors.image_db.stages import ProductsTaken
from imagesync_pipelines.products.unmatched import Unmatched
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.sync.model import EFFECTS
from imagesync_pipelines.sync.report import Summary, changing_rows, summary_of
from imagesync_pipelines.upstream.fetch import FetchPolicy, fetch_image

THUMBNAIL_BYTES = 2 * 1024 * 1024
THUMBNAIL_SECONDS = 5.0

# Name → type and meaning, as the UI's page of the Dagster asset lists them.
PRODUCT_IMAGE_COLUMNS = {
    "product_id": ("bigint", "our product, parent or variant"),
    "external_id": ("varchar(255)", "the image's file_id at the source"),
    "image_url": ("varchar(500)", "the picture for a product page"),
    "thumbnail_url": ("varchar(500)", "the picture for a list"),
    "image_type": ("varchar(50)", "the source's own word, e.g. Produktfoto"),
    "is_primary": ("boolean", "shown first; exactly one per product with images"),
    "is_front": ("boolean", "a front view of this very product"),
    "priority": ("integer", "1 Produktfoto and front, 2 Produktfoto, 3 front, 4 the rest"),
    "alt_text": ("varchar(255)", "product name and image type"),
    "metadata": ("jsonb", "the canonical record without stock"),
    "last_synced": ("timestamptz", "when the row was last written"),
}


def plan_summary(made: PlanMade, started_at: datetime) -> Summary:
    """The summary of a run that ends with its plan: nothing was changed yet, so only what was found is counted."""
    counts = made.counts()
    return Summary(
        status="completed",
        started_at=started_at,
        completed_at=datetime.now(UTC),
        warnings=made.warnings,
        kept=counts["keep"],
        rejected=len(made.about.rejects),
        held_back=len(made.held),
        api_calls=made.about.api_calls,
        bytes_downloaded=made.about.bytes_downloaded,
    )


def products_line(taken: ProductsTaken) -> str:
    """The ERP's products in one line for the log."""
    written = taken.written
    return (
        f"{written.total} products: {written.added} added, {written.updated} updated, {written.deactivated} left the "
        f"ERP, {len(taken.set_aside)} set aside."
    )


def match_lines(made: PlanMade) -> Iterator[str]:
    """One line per match of an image with a product, and one per article link without; for debugging."""
    matched = made.planned.matched
    for key, rule in zip(matched["key"], matched["matched_by"], strict=True):
        yield f"{key}: matched by {rule}"
    unmatched = made.planned.unmatched
    for external_id, number, reason in zip(
        unmatched["external_id"], unmatched["number"], unmatched["reason"], strict=True
    ):
        yield f"image {external_id}: article {number} is not matched, {reason}"


def row_lines(rows: pd.DataFrame) -> Iterator[str]:
    """One line per row of a plan (the engine's PLAN columns); for debugging."""
    for key, change, reason in zip(rows["key"], rows["change"], rows["reason"], strict=True):
        yield f"{key}: {change}, {reason}" if reason else f"{key}: {change}"


def plan_lines(made: PlanMade) -> list[str]:
    """The plan in a few lines for the log: what was looked at, how it matched, what would change."""
    rules = ", ".join(
        f"{number} by {rule}" for rule, number in made.planned.matched["matched_by"].value_counts().items()
    )
    counts = ", ".join(f"{number} {name}" for name, number in made.counts().items())
    return [
        f"{made.about.records} images and {made.planned.wanted['group'].nunique()} products with images were checked: "
        f"{len(made.planned.matched)} matches ({rules or 'none'}), {len(made.planned.unmatched)} article links without "
        f"a product, {len(made.planned.unused)} images that no product shows.",
        f"Plan {made.plan_id}: {counts}; {len(made.held)} removals held back.",
    ]


def plan_cost(made: PlanMade) -> str:
    """What applying the plan costs, in a sentence."""
    rows = sum(made.counts()[str(change)] for change in EFFECTS)
    return f"{rows} rows of our own database; no call to the image database."


def changes(made: PlanMade) -> pd.DataFrame:
    """The rows that change, of every kind some first: change, product (SKU and name), image, reason."""
    changing = changing_rows(made.plan)
    told = changing.assign(image=external_ids_of(changing["key"]))
    return told.loc[:, ["change", "product", "image", "reason"]]


def matched_by(made: PlanMade) -> pd.DataFrame:
    """How many product images each matching rule found."""
    found = made.planned.matched["matched_by"].value_counts()
    return pd.DataFrame({"rule": found.index, "product images": found.to_numpy()})


def unmatched(found: Unmatched) -> pd.DataFrame:
    """The unmatched articles as a person reads them: number, variant, image, reason, nearest candidates."""
    frame = found.unmatched.loc[:, ["number", "variant", "external_id", "reason", "candidates"]]
    names = [", ".join(f"{near['sku']} {near['name']}" for near in candidates) for candidates in frame["candidates"]]
    return frame.assign(candidates=names).rename(columns={"external_id": "image"})


def pictures(place: Installation, made: PlanMade, limit: int) -> list[tuple[str, str]]:
    """Label and thumbnail URL of the first rows that are added or updated."""
    written = made.plan[made.plan["change"].isin(["add", "update"])].head(limit)
    chosen = made.planned.matched[made.planned.matched["key"].isin(set(written["key"]))]
    if chosen.empty:
        return []
    with open_payload(Batches(place.storage).records(made.batch), chosen) as payload:
        rows = payload(list(chosen["key"]))
    return [(values.alt_text or key, values.thumbnail_url or values.image_url) for key, values in rows.items()]


def picture_fetcher(settings: Settings) -> Callable[[str], bytes]:
    """A function that fetches one small picture under the rules for URLs that are data."""
    policy = FetchPolicy(
        allowed_hosts=frozenset(settings.allowed_image_hosts),
        max_bytes=THUMBNAIL_BYTES,
        total_deadline=THUMBNAIL_SECONDS,
    )
    return lambda url: fetch_image(url, policy).body


def applied_summary(done: PlanApplied, started_at: datetime) -> Summary:
    """The summary of a run that applied a plan, with the mission's names."""
    summary = summary_of(
        done.applied,
        started_at,
        warnings=done.warnings,
        held_back=int(done.header.scope.get("held_back", 0)),
        api_calls=done.about.api_calls,
        bytes_downloaded=done.about.bytes_downloaded,
    )
    return replace(summary, rejected=len(done.about.rejects) + done.applied.failed)


def applied_line(done: PlanApplied) -> str:
    """The application in one line for the log."""
    applied = done.applied
    return (
        f"Plan {done.header.id}: {applied.added} added, {applied.updated} updated, {applied.removed} removed, "
        f"{applied.kept} kept, {applied.failed} failed, {applied.refused} refused, in {len(applied.affected)} "
        f"products; {done.repaired} products got their primary back; {done.rows} product images now."
    )
