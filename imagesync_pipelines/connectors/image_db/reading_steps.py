"""The steps before the plan: products of the ERP, pages and records of the image database."""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd

from imagesync_pipelines.connectors.image_db import pages
from imagesync_pipelines.connectors.image_db.batch import About, Batches, RejectLine
from imagesync_pipelines.connectors.image_db.client import open_session
from imagesync_pipelines.connectors.image_db.errors import BatchMissingError, PagesFailedError
from imagesync_pipelines.connectors.image_db.options import ErpOptions, PagesOptions, RecordsOptions
from imagesync_pipelines.connectors.image_db.pages import CONNECTOR, Landed, Reader, read_all, read_spans
from imagesync_pipelines.connectors.image_db.parsing import RawPage, parse
from imagesync_pipelines.connectors.image_db.record_store import Stored, read_external_ids
from imagesync_pipelines.connectors.image_db.scan import prove
from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings
from imagesync_pipelines.products import erp
from imagesync_pipelines.products import table as products
from imagesync_pipelines.storage import scans
from imagesync_pipelines.storage.files import remove_folder
from imagesync_pipelines.sync.apply import collector_paused
from imagesync_pipelines.sync.blocks import block_pages, check_block_size, missing_blocks, page_blocks
from imagesync_pipelines.sync.model import QuarantineItem
from imagesync_pipelines.sync.planned import BATCH, deletion_limits
from imagesync_pipelines.sync.steps import PartitionOutcomes, Progress, RunContext, StepResult, Table, Texts
from imagesync_pipelines.upstream.session import UpstreamSession

Run = RunContext[ImageDbSettings]
OpenSession = Callable[[], AbstractContextManager[UpstreamSession]]

RECORD_STAGE = "record"
KEPT_BATCHES = 3
RESET_PAGES = "imagesync image-db reset-pages"


@dataclass(frozen=True)
class ProductsTaken:
    """What came of the ERP's products; set_aside: kind, erp_id, sku, reason."""

    written: products.ProductsWritten
    set_aside: pd.DataFrame
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class RecordsMade:
    """A batch of records, and the reading that this step itself did, if any."""

    about: About
    landed: Landed | None


def erp_products(context: Run, options: ErpOptions) -> StepResult:
    """The step `erp_products`; see take_over_products."""
    done = take_over_products(context, options)
    written = done.written
    return StepResult(
        rows=written.total,
        numbers={
            "products/added": written.added,
            "products/updated": written.updated,
            "products/deactivated": written.deactivated,
            "products/set_aside": len(done.set_aside),
        },
        shown={"warnings": Texts(done.warnings), "set_aside": Table(done.set_aside)},
        lines=[
            f"{written.total} products: {written.added} added, {written.updated} updated, {written.deactivated} left "
            f"the ERP, {len(done.set_aside)} set aside."
        ],
        warnings=done.warnings,
    )


def api_pages(context: Run, options: PagesOptions) -> StepResult:
    """The step `api_pages`: a new scan when the run is about all blocks, else these blocks into the latest scan.

    Raises BadBlockError when the block size was changed, and the errors of reading.
    """
    held, settings = context.blocks, context.settings
    if held is None:
        raise ValueError("api_pages needs the blocks of pages that there are")
    known, chosen = held.known(), list(context.partitions)
    check_block_size(known, settings.image_db_pages_per_block, RESET_PAGES)
    everything = chosen == sorted(known)
    reader = reader_of(context, options.page_size)
    with open_session(settings, context.installation.settings, context.tell) as session:
        if everything:
            landed = read_all(reader, session)
        else:
            landed = read_spans(reader, session, [block_pages(block) for block in chosen])
    grown: list[str] = []
    if everything:
        # Pages that came into being while the scan was under way have their blocks in this very run.
        last = max([*landed.pages, *landed.failed], default=1)
        grown = missing_blocks(known, page_blocks(last, settings.image_db_pages_per_block))
        if grown:
            held.add(grown)
    done, failed = pages.by_block(landed, {block: block_pages(block) for block in [*chosen, *grown]})
    return StepResult(
        lines=[landed.sentence()], warnings=landed.notes, partitions=PartitionOutcomes(landed=done, failed=failed)
    )


def records(context: Run, options: RecordsOptions) -> StepResult:
    """The step `records`; see make_records."""
    shared = context.installation.settings
    made = make_records(context, options, lambda: open_session(context.settings, shared, context.tell))
    about, landed = made.about, made.landed
    outcomes = None
    if landed is not None:
        keys = page_blocks(max(landed.pages, default=0), context.settings.image_db_pages_per_block)
        known = set(context.blocks.known()) if context.blocks is not None else set()
        spans = {block: block_pages(block) for block in keys if block in known}
        outcomes = PartitionOutcomes(landed=pages.whole_blocks(landed, spans), of="api_pages")
    return StepResult(
        rows=about.records,
        size=Batches(context.handovers).records(context.run_id).stat().st_size,
        numbers={
            "records/valid": about.records,
            "records/rejected": len(about.rejects),
            "records/repeated": about.repeated,
            "records/conflicts": about.conflicts,
        },
        shown={
            "scan": about.scan_id,
            "scan_is_complete": about.complete,
            "scan_is_incomplete_because": about.reason or "-",
            "rejects": Table(rejects_frame(about)),
        },
        lines=[landed.sentence()] if landed is not None else [],
        warnings=about.warnings,
        partitions=outcomes,
    )


@collector_paused()
def take_over_products(context: Run, options: ErpOptions) -> ProductsTaken:
    """Read the ERP and bring the product table up to it; see products.write_products.

    Raises ErpError when the ERP cannot be read or gives nothing; then nothing is changed.
    """
    read = erp.read_erp(context.settings)
    limits = deletion_limits(context.installation.settings, lifted=options.allow_mass_delete)
    written = products.write_products(context.installation.engine, read.rows, read.set_aside, limits)
    aside = f"{len(read.set_aside)} rows of the ERP cannot be used; what we have of them stays as it is."
    warnings = (*read.warnings, *written.warnings, *([aside] if len(read.set_aside) else []))
    return ProductsTaken(written, read.set_aside, warnings)


def reader_of(context: Run, page_size: int | None) -> Reader:
    """What reading pages needs; page_size None: as the settings say."""
    size = page_size or context.settings.image_api_page_size
    installation = context.installation
    return Reader(installation.engine, installation.storage, context.settings, size, context.progress)


@collector_paused()
def make_records(context: Run, options: RecordsOptions, open_session: OpenSession) -> RecordsMade:
    """Make the batch of records that a plan is made from; pages are read only when the options ask for it.

    Raises BatchMissingError when there are no stored pages to take, PagesFailedError when one that was to be read
    could not be (the others are kept), and the session's errors.
    """
    settings, run_id = context.settings, context.run_id
    reader = reader_of(context, options.page_size)
    landed: Landed | None = None
    span = options.span()
    if span is not None:
        with open_session() as session:
            landed = read_spans(reader, session, [span])
    elif options.skus and not _stored_pages_are_fresh(reader):
        with open_session() as session:
            landed = read_all(reader, session)
    if landed is not None and landed.failed:
        page = min(landed.failed)
        raise PagesFailedError(
            f"{len(landed.failed)} of {len(landed.failed) + len(landed.pages)} pages could not be read, the first: "
            f"page {page}: {landed.failed[page]}. Nothing was changed; the pages that were read are kept."
        )
    scan = scans.get_scan(context.installation.engine, landed.scan_id) if landed is not None else None
    scan = scan or scans.latest_scan(context.installation.engine, CONNECTOR)
    if scan is None:
        raise BatchMissingError("no pages are stored yet; materialise all partitions of image_db/api_pages")
    only = set(landed.pages) if landed is not None and span is not None else None
    batches = Batches(context.handovers)
    entries = reader.raw.entries(scan.id)
    total_bytes = sum(entry.bytes for entry in entries if only is None or entry.page in only)
    raw_pages = _raw_pages(reader, scan, only, len(entries) if only is None else len(only), context.progress)
    chunks = parse(raw_pages, settings.image_db_detail_min_height, total_bytes)
    stored = batches.write(run_id, chunks)
    proof = prove(stored.facts, scan.started_at, scan.ended_at or datetime.now(UTC), settings.image_db_walk_max_seconds)
    complete = scan.state == scans.PROVEN and proof.complete and only is None
    reason = "" if complete else scan.reason or proof.reason or "only a part of the pages was taken"
    about = About(
        run_id=run_id,
        made_at=datetime.now(UTC),
        scan_id=scan.id,
        scope="pages" if only is not None else "skus" if options.skus else "images" if options.external_ids else "all",
        complete=complete,
        reason=reason,
        skus=tuple(options.skus),
        external_ids=tuple(options.external_ids),
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
    _quarantine_rejects(context, stored, whole=only is None)
    batches.prune(KEPT_BATCHES, used=batches_of_plans(context))
    # Where releases before hand-overs kept their batches; their plans are made again.
    remove_folder(context.installation.storage / "records" / CONNECTOR)
    return RecordsMade(about, landed)


def batches_of_plans(context: Run) -> Collection[str]:
    """The batches that stored plans still need."""
    return {str(header.scope[BATCH]) for header in context.plans.all(CONNECTOR) if BATCH in header.scope}


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
    for done, (entry, body) in enumerate(reader.raw.iterate(scan.id, only), 1):
        again = scan.ended_at is not None and entry.fetched_at > scan.ended_at
        moment = entry.fetched_at if again else scan.started_at
        yield RawPage(entry.page, moment, body)
        progress("pages validated", done, total)


def _warnings(stored: Stored, *, complete: bool, reason: str, notes: tuple[str, ...]) -> tuple[str, ...]:
    found = list(notes)
    if not complete:
        found.append(f"Nothing is removed this time: {reason}.")
    if stored.rejects:
        found.append(f"{len(stored.rejects)} records were set aside; see `imagesync quarantine list`.")
    return tuple(found)


def _quarantine_rejects(context: Run, stored: Stored, *, whole: bool) -> None:
    """Put the rejects in quarantine and take out those that are in order now (or, on a whole scan, gone)."""
    table = context.quarantine
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
        valid = set(read_external_ids(Batches(context.handovers).records(context.run_id)))
        table.drop([entry.id for entry in held if whole or entry.key in valid])
