"""The stages before the plan, each a function without Dagster: products of the ERP, records of the image database.

What belongs here: joining the pure parts with storage, one function per Dagster asset. What does not: planning and
applying (plan_stages.py), reading pages (pages.py), what the UI shows (assets.py).
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd

from imagesync_pipelines.connectors.image_db.batch import About, Batches, BatchMissingError, RejectLine
from imagesync_pipelines.connectors.image_db.pages import CONNECTOR, Landed, Reader, read_all, read_spans
from imagesync_pipelines.connectors.image_db.parsing import RawPage, parse
from imagesync_pipelines.connectors.image_db.record_store import Stored, read_external_ids
from imagesync_pipelines.connectors.image_db.scan import prove
from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings
from imagesync_pipelines.products import erp
from imagesync_pipelines.products import table as products
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage import scans
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.storage.quarantine import QuarantineTable
from imagesync_pipelines.sync.memory import collector_paused
from imagesync_pipelines.sync.model import DeletionLimits, QuarantineItem
from imagesync_pipelines.sync.progress import Progress
from imagesync_pipelines.upstream.session import UpstreamSession

RECORD_STAGE = "record"
KEPT_BATCHES = 3
# Larger than any page number of the API; a span up to here ends where the source ends.
NO_END = 10**6

OpenSession = Callable[[], AbstractContextManager[UpstreamSession]]


class PagesFailedError(Exception):
    """Pages that a run asked for could not be read; the message names the first, with its reason."""


@dataclass(frozen=True)
class ProductsTaken:
    """What came of the ERP's products; set_aside: kind, erp_id, sku, reason."""

    written: products.ProductsWritten
    set_aside: pd.DataFrame
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """Which part of the source to take; all empty: every page of the latest scan."""

    limit: int | None = None
    skip_pages: int = 0
    page_size: int | None = None
    skus: tuple[str, ...] = ()
    external_ids: tuple[str, ...] = ()

    def span(self) -> range | None:
        """The pages asked for: skip 5 with limit 3 is pages 6 to 8; None when no part of the pages was asked for."""
        if self.limit is None and not self.skip_pages:
            return None
        first = self.skip_pages + 1
        return range(first, first + self.limit if self.limit is not None else NO_END)


@dataclass(frozen=True)
class RecordsMade:
    """A batch of records, and the reading that this stage itself did, if any."""

    about: About
    landed: Landed | None


def limits_of(settings: Settings, *, lifted: bool) -> DeletionLimits:
    """The deletion limits as the settings have them."""
    return DeletionLimits(
        settings.deletion_limit_share,
        settings.deletion_limit_count,
        settings.deletion_limit_bare,
        settings.deletion_limit_floor,
        lifted,
    )


@collector_paused()
def take_over_products(
    place: Installation, settings: ImageDbSettings, *, allow_mass_delete: bool = False
) -> ProductsTaken:
    """Read the ERP and bring the product table up to it; see products.write_products.

    Raises ErpError when the ERP cannot be read or gives nothing; then nothing is changed.
    """
    read = erp.read_erp(settings)
    written = products.write_products(
        place.engine, read.rows, read.set_aside, limits_of(place.settings, lifted=allow_mass_delete)
    )
    aside = f"{len(read.set_aside)} rows of the ERP cannot be used; what we have of them stays as it is."
    warnings = (*read.warnings, *written.warnings, *([aside] if len(read.set_aside) else []))
    return ProductsTaken(written, read.set_aside, warnings)


@collector_paused()
def make_records(
    place: Installation,
    settings: ImageDbSettings,
    part: Part,
    run_id: str,
    open_session: OpenSession,
    progress: Progress,
) -> RecordsMade:
    """Make the batch of records that a plan is made from; pages are read only when the part asks for it.

    Raises BatchMissingError when there are no stored pages to take, PagesFailedError when one that was to be read
    could not be (the others are kept), and the session's errors.
    """
    reader = Reader(place.engine, place.storage, settings, part.page_size or settings.image_api_page_size, progress)
    landed: Landed | None = None
    span = part.span()
    if span is not None:
        with open_session() as session:
            landed = read_spans(reader, session, [span])
    elif part.skus and not _stored_pages_are_fresh(reader):
        with open_session() as session:
            landed = read_all(reader, session)
    if landed is not None and landed.failed:
        page = min(landed.failed)
        raise PagesFailedError(
            f"{len(landed.failed)} of {len(landed.failed) + len(landed.pages)} pages could not be read, the first: "
            f"page {page}: {landed.failed[page]}. Nothing was changed; the pages that were read are kept."
        )
    scan = scans.get_scan(place.engine, landed.scan_id) if landed is not None else None
    scan = scan or scans.latest_scan(place.engine, CONNECTOR)
    if scan is None:
        raise BatchMissingError("no pages are stored yet; materialise all partitions of image_db/api_pages")
    only = set(landed.pages) if landed is not None and span is not None else None
    batches = Batches(place.storage)
    entries = reader.raw.entries(scan.id)
    total_bytes = sum(entry.bytes for entry in entries if only is None or entry.page in only)
    raw_pages = _raw_pages(reader, scan, only, len(entries) if only is None else len(only), progress)
    chunks = parse(raw_pages, settings.image_db_detail_min_height, total_bytes)
    stored = batches.write(run_id, chunks)
    proof = prove(stored.facts, scan.started_at, scan.ended_at or datetime.now(UTC), settings.image_db_walk_max_seconds)
    complete = scan.state == scans.PROVEN and proof.complete and only is None
    reason = "" if complete else scan.reason or proof.reason or "only a part of the pages was taken"
    about = About(
        run_id=run_id,
        made_at=datetime.now(UTC),
        scan_id=scan.id,
        scope="pages" if only is not None else "skus" if part.skus else "images" if part.external_ids else "all",
        complete=complete,
        reason=reason,
        skus=part.skus,
        external_ids=part.external_ids,
        records=stored.records,
        repeated=stored.repeated,
        conflicts=stored.conflicts,
        rejects=tuple(
            RejectLine(page=page, place=nth, external_id=reject.external_id, reason=reject.reason)
            for page, nth, reject in stored.rejects
        ),
        warnings=_warnings(stored, complete=complete, reason=reason, notes=landed.notes if landed else ()),
        api_calls=landed.calls if landed else scan.calls,
        bytes_downloaded=landed.bytes if landed else scan.bytes,
    )
    batches.describe(run_id, about)
    _quarantine_rejects(place, run_id, stored, whole=only is None)
    plans = Plans(place.engine, place.storage)
    batches.prune(KEPT_BATCHES, used=plans_batches(plans))
    return RecordsMade(about, landed)


def plans_batches(plans: Plans) -> Collection[str]:
    """The batches that stored plans still need."""
    return {str(header.scope["batch"]) for header in plans.all(CONNECTOR) if "batch" in header.scope}


def rejects_frame(about: About) -> pd.DataFrame:
    """The rejects of a batch: page, image, reason."""
    rows = [(line.page, line.external_id or "not legible", line.reason) for line in about.rejects]
    return pd.DataFrame(rows, columns=["page", "image", "reason"])


def _stored_pages_are_fresh(reader: Reader) -> bool:
    """Whether the stored pages of the latest scan hold the whole source and none is older than the cache may be."""
    settings = reader.settings
    scan = scans.latest_scan(reader.engine, CONNECTOR)
    if not settings.image_api_cache_enabled or scan is None or scan.ended_at is None:
        return False
    entries = reader.raw.entries(scan.id)
    oldest = datetime.now(UTC) - timedelta(seconds=settings.image_api_cache_timeout)
    return (
        bool(entries)
        and [entry.page for entry in entries] == list(range(1, len(entries) + 1))
        and sum(entry.records for entry in entries) >= max(entry.api_count or 0 for entry in entries)
        and all(entry.fetched_at >= oldest for entry in entries)
    )


def _raw_pages(
    reader: Reader, scan: scans.Scan, only: Collection[int] | None, total: int, progress: Progress
) -> Iterator[RawPage]:
    """The stored pages of a scan, a few in memory at a time.

    The pages of the scan itself count as fetched at one moment, because pages read side by side come in any order, and
    a record that two of them have must not change with that order; a page read again later counts as newer.
    """
    for done, stored in enumerate(reader.raw.iterate(scan.id, only), 1):
        again = scan.ended_at is not None and stored.entry.fetched_at > scan.ended_at
        moment = stored.entry.fetched_at if again else scan.started_at
        yield RawPage(stored.entry.page, moment, stored.body)
        progress("pages validated", done, total)


def _warnings(stored: Stored, *, complete: bool, reason: str, notes: tuple[str, ...]) -> tuple[str, ...]:
    found = list(notes)
    if not complete:
        found.append(f"Nothing is removed this time: {reason}.")
    if stored.rejects:
        found.append(f"{len(stored.rejects)} records were set aside; see `imagesync quarantine list`.")
    return tuple(found)


def _quarantine_rejects(place: Installation, run_id: str, stored: Stored, *, whole: bool) -> None:
    """Put the rejects in quarantine and take out those that are in order now (or, on a whole scan, gone)."""
    table = QuarantineTable(place.engine, CONNECTOR, run_id)
    items = [
        QuarantineItem(
            key=reject.external_id or f"page {page}, reject {nth}",
            group=None,
            stage=RECORD_STAGE,
            reason=reject.reason,
            payload=reject.raw,
        )
        for page, nth, reject in stored.rejects
    ]
    table.put(items)
    bad = {item.key for item in items}
    held = [entry for entry in table.list() if entry.stage == RECORD_STAGE and entry.key not in bad]
    if held:
        valid = set(read_external_ids(Batches(place.storage).records(run_id)))
        table.drop([entry.id for entry in held if whole or entry.key in valid])
