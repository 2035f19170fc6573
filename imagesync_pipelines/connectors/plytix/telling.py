"""What the stages of an account have to tell: summaries, sentences for the log, small tables and numbers for the UI.

What belongs here: pure functions over what the stages return. What does not: the stages (stages.py, plan_stages.py),
the report (report.py) and Dagster's metadata (assets.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from imagesync_pipelines.connectors.plytix.apply_stages import PlanApplied
from imagesync_pipelines.connectors.plytix.galleries import picture_key
from imagesync_pipelines.connectors.plytix.model import SetAside
from imagesync_pipelines.connectors.plytix.notes import ImagesNote, ProductsNote, SourceNote, UploadsNote
from imagesync_pipelines.connectors.plytix.pictures import SMALL_SIDE, picture_url
from imagesync_pipelines.connectors.plytix.plan_stages import PlanMade
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.sync.model import EFFECTS, Change
from imagesync_pipelines.sync.report import Summary, changing_rows, summary_of

# An event is stored whole; the exact number of errors and the whole report are in the file of the run.
SHOWN_ERRORS = 20


def listing_line(account: str, read: SourceNote) -> str:
    """The reading in one line for the log."""
    return f"{account}: {len(read.items)} products in {read.source} (shape: {read.shape})."


def set_aside(entries: Sequence[SetAside]) -> pd.DataFrame:
    """What cannot be used, with the reason."""
    return pd.DataFrame(list(entries), columns=["where", "reason", "url"])


def images_line(account: str, chosen: ImagesNote) -> str:
    """The choice of pictures in one line for the log."""
    numbers = images_numbers(chosen)
    return (
        f"{account}: {numbers['images/refs']} images of {numbers['images/unique']} pictures on "
        f"{numbers['products/with_images']} of {len(chosen.listings)} listings."
    )


def images_numbers(chosen: ImagesNote) -> dict[str, int]:
    """The numbers of a choice that the UI plots."""
    return {
        "images/refs": sum(listing.slots for listing in chosen.listings),
        "images/unique": len({image.key for listing in chosen.listings for image in listing.images}),
        "products/with_images": sum(bool(listing.images) for listing in chosen.listings),
        "products/without_main": sum(bool(listing.images) and listing.main is None for listing in chosen.listings),
        "products/parents": sum(listing.is_parent for listing in chosen.listings),
    }


def listings_table(chosen: ImagesNote) -> pd.DataFrame:
    """The listings: product, how many images, their variants in order."""
    rows = [
        (listing.sku, len(listing.images), " ".join(image.variant or "?" for image in listing.images))
        for listing in chosen.listings
    ]
    return pd.DataFrame(rows, columns=["product", "images", "variants"])


def products_line(account: str, read: ProductsNote) -> str:
    """The reading of Plytix in one line for the log."""
    if read.stopped:
        return f"{account}: no product was read from Plytix: {read.stopped}"
    again = f"; {read.recognised} assets were recognised by their names" if read.recognised else ""
    return f"{account}: {len(read.products)} products read from Plytix, {len(read.unknown)} it does not have{again}."


def plan_summary(made: PlanMade, started_at: datetime) -> Summary:
    """The summary of a run that ends with its plan: nothing was changed yet, so only what was found is counted."""
    counts = made.planned.counts()
    return Summary(
        status="completed",
        started_at=started_at,
        completed_at=datetime.now(UTC),
        warnings=made.warnings,
        kept=counts[Change.KEEP],
        rejected=counts[Change.REJECT],
        held_back=len(made.planned.held),
        api_calls=made.calls,
    )


def plan_line(account: str, made: PlanMade) -> str:
    """The plan in one line for the log."""
    counts = ", ".join(f"{number} {change}" for change, number in made.planned.counts().items())
    return f"{account}: plan {made.plan_id}: {counts}; {len(made.planned.held)} removals held back; {plan_cost(made)}"


def plan_cost(made: PlanMade) -> str:
    """What applying the plan costs, in a sentence."""
    cost = made.planned.cost
    pace = f", at least {cost.minutes:g} minutes at the account's pace" if cost.minutes else ""
    return f"{cost.calls} calls to Plytix, {len(made.planned.uploads)} uploads among them{pace}."


def calls_left(made: PlanMade) -> pd.DataFrame:
    """How many calls our share of the account's limits has left, by window."""
    return pd.DataFrame(sorted(made.left.items()), columns=["seconds of the window", "calls left"])


def changes(made: PlanMade) -> pd.DataFrame:
    """The rows that change, of every kind some first: change, product, variant, picture, what it becomes, reason."""
    changing = changing_rows(made.plan)
    told = changing.assign(
        product=changing["group"],
        picture=changing["key"].map(picture_key),
        becomes=changing["fingerprint_after"].fillna("-"),
    )
    return told.loc[:, ["change", "product", "variant", "picture", "becomes", "reason"]]


def pictures(made: PlanMade, settings: PlytixSettings, number: int) -> list[tuple[str, str]]:
    """The first pictures that change, each once: label and the URL of a small copy."""
    found: dict[str, str] = {}
    changing = made.plan[made.plan["change"].isin(EFFECTS)]
    for key, variant in zip(changing["key"], changing["variant"], strict=True):
        found.setdefault(picture_key(key), variant)
        if len(found) == number:
            break
    return [
        (f"{variant or '?'} {key}", picture_url(key, settings, longest_side=SMALL_SIDE))
        for key, variant in found.items()
    ]


def uploads_line(account: str, done: UploadsNote) -> str:
    """The uploads in one line for the log."""
    rest = f", {done.left} wait for the next run" if done.left else ""
    return (
        f"{account}: {done.uploaded} pictures uploaded, {done.existed} were in Plytix, {len(done.failed)} failed{rest}."
    )


def uploads_numbers(done: UploadsNote) -> dict[str, int]:
    """The numbers of the uploads that the UI plots."""
    return {
        "assets/uploaded": done.uploaded,
        "assets/existed": done.existed,
        "assets/failed": len(done.failed),
        "api/calls": done.calls,
    }


def applied_summary(done: PlanApplied, started_at: datetime) -> Summary:
    """The summary of a run that applied a plan, with the names that all connectors have;

    images are those on products.
    """
    return summary_of(done.applied, started_at, warnings=done.warnings, held_back=done.held_back, api_calls=done.calls)


def applied_line(account: str, done: PlanApplied) -> str:
    """The application in one line for the log."""
    report = done.report
    return (
        f"{account}: plan {done.plan_id}: {report['images_uploaded']} images uploaded, "
        f"{report['images_skipped']} reused, {report['links_created']} links created, "
        f"{len(done.written.thumbnails)} thumbnails set; {done.calls} calls."
    )


def report_numbers(report: Mapping[str, Any]) -> dict[str, int]:
    """The numbers of a report that the UI plots."""
    return {f"report/{name}": value for name, value in report.items() if isinstance(value, int)}


def bounded(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report with its first errors, and how many there are beside them."""
    errors = report["errors"]
    return {**report, "errors": errors[:SHOWN_ERRORS], "errors_in_all": len(errors)}


def errors(report: Mapping[str, Any]) -> pd.DataFrame:
    """The errors of a report as a table."""
    faults: Iterable[Mapping[str, str]] = report["errors"]
    rows = [(fault["product_sku"], fault["error"], fault["url"]) for fault in faults]
    return pd.DataFrame(rows, columns=["product", "error", "url"])
