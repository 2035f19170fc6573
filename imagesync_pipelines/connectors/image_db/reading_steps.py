"""The steps before the plan: products of the ERP, pages and records of the image database."""

import io
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
from pydantic import BaseModel
from upath import UPath

from imagesync_pipelines import languages
from imagesync_pipelines.collector import collector_paused
from imagesync_pipelines.connectors.image_db import pages
from imagesync_pipelines.connectors.image_db.client import open_session
from imagesync_pipelines.connectors.image_db.columns import RawPage
from imagesync_pipelines.connectors.image_db.errors import BatchMissingError, PagesFailedError
from imagesync_pipelines.connectors.image_db.pages import CONNECTOR, PAGES_STEP, PagesLanded, Reading, Run
from imagesync_pipelines.connectors.image_db.parsing import parse
from imagesync_pipelines.connectors.image_db.record_store import (
    STEP,
    About,
    Batches,
    RejectLine,
    read_external_ids,
    write_chunks,
)
from imagesync_pipelines.connectors.image_db.settings import ErpOptions, PagesOptions, RecordsOptions
from imagesync_pipelines.connectors.image_db.taken_over import reading_key
from imagesync_pipelines.products import erp
from imagesync_pipelines.products import table as products
from imagesync_pipelines.storage import scans
from imagesync_pipelines.storage.files import remove_folder, write_whole
from imagesync_pipelines.storage.plans import BATCH
from imagesync_pipelines.storage.quarantine import QuarantineItem
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.blocks import block_pages, check_block_size, missing_blocks, page_blocks
from imagesync_pipelines.sync.model import DeletionLimits
from imagesync_pipelines.sync.planned import deletion_limits
from imagesync_pipelines.sync.steps import PartitionOutcomes, StepResult, Table, Texts
from imagesync_pipelines.upstream.details import details_told
from imagesync_pipelines.upstream.session import UpstreamSession

RECORD_STAGE = languages.told("record")
ERP_STEP = "erp_products"
KEPT_BATCHES = 3
# What a load that only looked keeps: rows and rows set aside as it read them, all products after it, ids by the ERP's.
_SEEN = ("erp_rows.parquet", "erp_set_aside.parquet", "products.parquet", "product_ids.parquet")
RESET_PAGES = "imagesync image-db reset-pages"


class ErpLoad(BaseModel):
    """What taking over the ERP's products leaves for the plan.

    warnings: sentences for the run's summary. looked_at: the run that only looked and keeps what it saw, '' when the
    products are written (or none would change). before: when the products last changed before it looked.
    allow_products_gone: as it was asked. absent: kind → columns that the ERP's table does not have.
    """

    warnings: tuple[str, ...] = ()
    looked_at: str = ""
    before: datetime | None = None
    allow_products_gone: bool = False
    absent: dict[str, tuple[str, ...]] = {}


@collector_paused()
def erp_products(context: Run, options: ErpOptions) -> StepResult:
    """The ERP's products, parents and variants, in our product table.

    Rows that cannot be used are set aside with their reason. A product that the ERP no longer has becomes inactive and
    is never deleted; when far more are missing than usual they stay, with their images, until a person allows it. A
    file with a fault of form (cut off, columns shifted, a quotation mark that swallows rows) is refused whole.
    A dry run judges and tells the same and writes no product; its plan is made from what it saw.

    Raises ErpError when the ERP cannot be read, is refused or gives nothing; then nothing is changed.
    """
    read = erp.read_erp(context.settings)
    load = ErpLoad(allow_products_gone=options.allow_products_gone, absent=dict(read.absent))
    if options.dry_run:
        written, seen = products.look_at_products(
            context.installation.engine, read.rows, read.set_aside, _leaving_limits(context, load), absent=load.absent
        )
        if written.changes_anything:
            frames = (read.rows, read.set_aside, seen.products, seen.ids)
            for name, frame in zip(_SEEN, frames, strict=True):
                body = frame.to_parquet(index=False, compression="zstd")
                write_whole(context.handovers.file(context.run_id, name), body)
            load = load.model_copy(update={"looked_at": context.run_id, "before": seen.before})
    else:
        written = _take_over(context, load, read.rows, read.set_aside)
    why = (written.because,) if written.because else ()
    told = (*read.warnings, *written.warnings)
    warnings = (*told, *why)
    # What is held is told by every run.
    context.keep(ERP_STEP, load.model_copy(update={"warnings": warnings if options.dry_run else told}))
    return StepResult(
        rows=written.total,
        numbers={
            "products/added": written.added,
            "products/updated": written.updated,
            "products/deactivated": written.deactivated,
            "products/held_back": len(written.held),
            "products/set_aside": len(read.set_aside),
        },
        shown={"warnings": Texts(warnings), "set_aside": Table(read.set_aside)},
        lines=[
            languages.told(
                f"{written.total} products: {written.added} added, {written.updated} updated, "
                f"{written.deactivated} left the ERP, {len(written.held)} are gone there and stay for now, "
                f"{len(read.set_aside)} set aside; only looked at, nothing was written."
                if options.dry_run
                else f"{written.total} products: {written.added} added, {written.updated} updated, "
                f"{written.deactivated} left the ERP, {len(written.held)} are gone there and stay for now, "
                f"{len(read.set_aside)} set aside."
            )
        ],
        warnings=warnings,
    )


def products_seen(context: Run, load: ErpLoad) -> pd.DataFrame:
    """All products as a load that only looked saw them. Raises BatchMissingError."""
    return _seen(context, load.looked_at)[2]


def take_over_seen(context: Run, run_id: str) -> int:
    """Write the products that a run only looked at, as it saw them; call it under the connector's lock.

    Returns how many changed. Products that changed since that run win: then nothing is written, and what its plan
    says of them is stale. Raises BatchMissingError when what it saw is no longer kept.
    """
    rows, set_aside, _, ids = _seen(context, run_id)
    load = context.handovers.find([run_id], ERP_STEP, ErpLoad)
    if load is None or load.before != products.products_at(context.installation.engine):
        return 0
    written = _take_over(context, load, rows, set_aside, ids)
    return written.added + written.updated + written.deactivated


def _seen(context: Run, run_id: str) -> list[pd.DataFrame]:
    try:
        bodies = [context.handovers.file(run_id, name).read_bytes() for name in _SEEN]
        return [pd.read_parquet(io.BytesIO(body)) for body in bodies]
    except (FileNotFoundError, pa.ArrowInvalid):
        raise BatchMissingError(
            f"the ERP's products as run {run_id} saw them are no longer kept, or are damaged; make the plan again"
        ) from None


def _leaving_limits(context: Run, load: ErpLoad) -> DeletionLimits:
    memory = held.memory_of(context, ERP_STEP)
    return deletion_limits(context.installation.settings, lifted=load.allow_products_gone, memory=memory)


def _take_over(
    context: Run, load: ErpLoad, rows: pd.DataFrame, set_aside: pd.DataFrame, ids: pd.DataFrame | None = None
) -> products.ProductsWritten:
    """Write the ERP's products, and note those that are held."""
    engine = context.installation.engine
    limits = _leaving_limits(context, load)
    written = products.write_products(engine, rows, set_aside, limits, ids, absent=load.absent)
    because = written.because or languages.told("kept by a person")
    stay = [held.HeldRow(one.key, one.sku, one.sku, held.PRODUCTS_GONE, because, "leave") for one in written.held]
    held.hold(engine, context.connector, context.account, ERP_STEP, stay)
    return written


def api_pages(context: Run, options: PagesOptions) -> StepResult:
    """The API's pages as received, compressed, in blocks of consecutive pages.

    All blocks together are a new scan, repeated when it does not prove to be complete. Some blocks alone are read again
    into the latest scan, which then proves nothing until the next one: removals wait, the rest goes on.

    Raises BadBlockError when the block size was changed, and the errors of reading.
    """
    settings, known, chosen = context.settings, context.known_blocks(), list(context.partitions)
    check_block_size(known, settings.image_db_pages_per_block, RESET_PAGES)
    everything = context.all_blocks or not chosen or chosen == sorted(known)
    with source_of(context) as session:
        if everything:
            landed = pages.read_all(context, session, options.page_size)
        else:
            landed = pages.read_spans(context, session, [block_pages(block) for block in chosen], options.page_size)
    context.keep(
        PAGES_STEP, PagesLanded(run_id=context.run_id, scan_id=landed.scan_id, calls=landed.calls, bytes=landed.bytes)
    )
    read = set(chosen)
    if everything:
        # Pages that came into being since the run was started have their blocks in this very run.
        last = max([*landed.pages, *landed.failed], default=1)
        there = page_blocks(last, settings.image_db_pages_per_block)
        grown = missing_blocks(known, there)
        if grown:
            context.add_blocks(grown)
        read |= set(there) & {*known, *grown}
    done, failed = pages.by_block(landed, {block: block_pages(block) for block in sorted(read)})
    return StepResult(
        lines=[landed.sentence()], warnings=landed.notes, partitions=PartitionOutcomes(landed=done, failed=failed)
    )


def source_of(context: Run) -> UpstreamSession:
    """A session on the image database. Raises SettingsError."""
    return open_session(context.settings, context.installation.settings, context.tell)


@collector_paused()
def records(context: Run, options: RecordsOptions, source: Callable[[Run], UpstreamSession] = source_of) -> StepResult:
    """Validated records, canonical and each once, with the proof that the scan was complete (or why not).

    A record that does not validate goes to quarantine with its reason; the others go on. The pages are those that this
    run's lineage read, else those of the newest scan of everything; for single products, of the newest that is proven,
    whatever its age. Pages are read only when the options ask for it, or when there is no such scan.

    Raises BatchMissingError when there are no stored pages to take, PagesFailedError when one that was to be read
    could not be (the others are kept), and the session's errors.
    """
    span, file = options.span(), Batches(context.handovers).records(context.run_id)
    landed: Reading | None = None
    stored = _stored(context, options) if span is None else None
    if span is not None or (options.skus and stored is None):
        with source(context) as session:
            if span is None:
                landed = pages.read_all(context, session, options.page_size)
            else:
                landed = pages.read_spans(context, session, [span], options.page_size)
        if landed.failed:
            page = min(landed.failed)
            raise PagesFailedError(
                f"{len(landed.failed)} of {len(landed.failed) + len(landed.pages)} pages could not be read, the first: "
                f"page {page}: {landed.failed[page]}. Nothing was changed; the pages that were read are kept."
            )
    scan = stored if landed is None else scans.get_scan(context.installation.engine, landed.scan_id)
    if scan is None:
        raise BatchMissingError("no pages are stored yet; materialise all partitions of image_db/api_pages")
    only = set(landed.pages) if landed is not None and span is not None else None
    if only is None and scan.part:
        only = {entry.page for entry in pages.stored_pages(context).entries(scan.id)}
    about = _write_batch(context, options, file, scan, only, landed)
    _quarantine_rejects(context, about.rejects, file, whole=only is None)
    used = {str(header.scope[BATCH]) for header in context.plans.all(CONNECTOR) if BATCH in header.scope}
    context.handovers.prune(KEPT_BATCHES, {*used, *context.lineage, *Batches(context.handovers).kept()})
    # Where releases before hand-overs kept their batches; their plans are made again.
    remove_folder(context.installation.storage / "records" / CONNECTOR)
    rejects = [(line.page, line.external_id or languages.told("not legible"), line.reason) for line in about.rejects]
    return StepResult(
        rows=about.records,
        size=file.stat().st_size,
        numbers={
            "records/valid": about.records,
            "records/rejected": len(rejects),
            "records/repeated": about.repeated,
            "records/conflicts": about.conflicts,
        },
        shown={
            "scan": about.scan_id,
            "scan_is_complete": about.complete,
            "scan_is_incomplete_because": about.reason or "-",
            "rejects": Table(pd.DataFrame(rejects, columns=["page", "image", "reason"])),
        },
        lines=[landed.sentence() if landed is not None else _read_before(scan, about)],
        warnings=about.warnings,
        partitions=_blocks_read(context, landed) if landed is not None else None,
    )


def _write_batch(
    context: Run,
    options: RecordsOptions,
    file: UPath,
    scan: scans.Scan,
    only: Collection[int] | None,
    landed: Reading | None,
) -> About:
    """Keep the records of a scan's pages as this run's batch. only: of these pages; landed: how they were just read."""
    settings = context.settings
    entries = [entry for entry in pages.stored_pages(context).entries(scan.id) if only is None or entry.page in only]
    raw_pages = _raw_pages(context, scan, only, len(entries) if only is None else len(only))
    read_as = reading_key(settings.image_db_detail_min_height, settings.image_api_url or "")
    with Batches(context.handovers).known(read_as) as known:
        size = sum(entry.bytes for entry in entries)
        chunks = parse(raw_pages, settings.image_db_detail_min_height, size, known.records)
        stored = write_chunks(file, chunks, known)
    ended = scan.ended_at or datetime.now(UTC)
    unproven = pages.why_incomplete(stored.facts, scan.started_at, ended, settings.image_db_walk_max_seconds)
    complete = scan.state == scans.PROVEN and not unproven and only is None
    reason = "" if complete else scan.reason or unproven or languages.told("only a part of the pages was taken")
    warnings = list(landed.notes) if landed is not None else []
    if not complete:
        warnings.append(languages.told(f"Nothing is removed this time: {reason}."))
    if options.skus and landed is None and _age(scan) > timedelta(seconds=settings.image_api_cache_timeout):
        told = languages.told(f"The products are as scan {scan.id} saw them {_ago(scan)}")
        warnings.append(languages.told(f"{told}; `imagesync sync image-db` reads the source anew."))
    if stored.rejects:
        warnings.append(
            languages.told(f"{len(stored.rejects)} records were set aside; see `imagesync quarantine list`.")
        )
    warnings += details_told(languages.told("The image database"), stored.left_out)
    spent: Reading | PagesLanded | None = landed or context.find(PAGES_STEP, PagesLanded)
    if isinstance(spent, PagesLanded) and (spent.run_id, spent.scan_id) != (context.run_id, scan.id):
        spent = None  # what another run read is not this one's
    about = About(
        run_id=context.run_id,
        made_at=datetime.now(UTC),
        scan_id=scan.id,
        scope="pages" if only is not None else "skus" if options.skus else "images" if options.external_ids else "all",
        complete=complete,
        reason=reason,
        skus=tuple(options.skus),
        external_ids=tuple(options.external_ids),
        warnings=tuple(warnings),
        api_calls=spent.calls if spent is not None else 0,
        bytes_downloaded=spent.bytes if spent is not None else 0,
        read_as=read_as,
        **{name: getattr(stored, name) for name in ("records", "repeated", "conflicts", "rejects", "sha256")},
    )
    context.keep(STEP, about)
    return about


def _blocks_read(context: Run, landed: Reading) -> PartitionOutcomes:
    keys = page_blocks(max(landed.pages, default=0), context.settings.image_db_pages_per_block)
    known = context.known_blocks()
    spans = {block: block_pages(block) for block in keys if block in known}
    return PartitionOutcomes(landed=pages.whole_blocks(landed, spans), of="api_pages")


def _stored(context: Run, options: RecordsOptions) -> scans.Scan | None:
    """The scan whose pages are taken as they are stored; None where there is none, or none that will do.

    A part of the source is nobody's but its own run's, unless nothing else is there.
    """
    engine, settings = context.installation.engine, context.settings
    if options.skus:
        stored = settings.image_api_cache_enabled
        return scans.latest_full_scan(engine, CONNECTOR, proven=True) if stored else None
    landed = context.find(PAGES_STEP, PagesLanded)
    if landed is not None:
        return scans.get_scan(engine, landed.scan_id)
    return scans.latest_full_scan(engine, CONNECTOR) or scans.latest_scan(engine, CONNECTOR)


def _read_before(scan: scans.Scan, about: About) -> str:
    """Which pages were taken without a call, for the log."""
    what = languages.told("all pages") if not scan.part else scan.part
    return languages.told(
        f"{about.records} records of scan {scan.id} ({what}, {scan.state}), which began {_ago(scan)}."
    )


def _age(scan: scans.Scan) -> timedelta:
    return datetime.now(UTC) - scan.started_at


def _ago(scan: scans.Scan) -> str:
    """How old a scan is, for people."""
    minutes = _age(scan).total_seconds() / 60
    return (
        languages.told(f"{minutes:.0f} minutes ago")
        if minutes < 120
        else languages.told(f"{minutes / 60:.0f} hours ago")
    )


def _raw_pages(context: Run, scan: scans.Scan, only: Collection[int] | None, total: int) -> Iterator[RawPage]:
    """The stored pages of a scan, a few in memory at a time.

    The pages of the scan itself count as fetched at one moment, because pages read side by side come in any order, and
    a record that two of them have must not change with that order; a page read again later counts as newer.
    """
    for done, (entry, body) in enumerate(pages.stored_pages(context).iterate(scan.id, only), 1):
        again = scan.ended_at is not None and entry.fetched_at > scan.ended_at
        moment = entry.fetched_at if again else scan.started_at
        yield RawPage(entry.page, moment, body)
        context.progress(languages.told("pages validated"), done, total)


def _quarantine_rejects(context: Run, rejects: Collection[RejectLine], file: UPath, *, whole: bool) -> None:
    """Put the rejects in quarantine and take out those that are in order now (or, on a whole scan, gone)."""
    table = context.quarantine
    bad = {one.external_id or languages.told(f"page {one.page}, reject {one.place}"): one for one in rejects}
    table.put([QuarantineItem(key, None, RECORD_STAGE, one.reason, one.raw) for key, one in bad.items()])
    before = [entry for entry in table.list() if entry.stage == RECORD_STAGE and entry.key not in bad]
    if before:
        valid = set(read_external_ids(file))
        table.drop([entry.id for entry in before if whole or entry.key in valid])
