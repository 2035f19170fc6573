"""The API's pages, read and kept: a whole scan with its proof, or some pages read again into the latest scan."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.connectors.image_db import client
from imagesync_pipelines.connectors.image_db.reading import Pace, Reading, read_scan
from imagesync_pipelines.connectors.image_db.scan import PageFacts, ScanProof, facts_received, prove
from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings
from imagesync_pipelines.storage import scans
from imagesync_pipelines.storage.raw_pages import PageEntry, RawPages
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines.sync.steps import Progress
from imagesync_pipelines.upstream.session import UpstreamSession

CONNECTOR = "image_db"
KEPT_SCANS = 3


@dataclass(frozen=True)
class Landed:
    """What one reading brought: the scan it belongs to, its pages, those that failed with the reason, and the proof.

    `complete` says that the scan saw everything; `reason` why it did not. calls and bytes count this reading alone.
    """

    scan_id: int
    pages: Mapping[int, PageEntry]
    failed: Mapping[int, str]
    last_page: int | None
    complete: bool
    reason: str
    notes: tuple[str, ...]
    calls: int
    bytes: int

    def sentence(self) -> str:
        """The reading in one line for the log."""
        proof = "it is complete" if self.complete else f"it proves nothing: {self.reason}"
        records = sum(entry.records for entry in self.pages.values())
        return f"Scan {self.scan_id}: {len(self.pages)} pages with {records} records in {self.calls} calls; {proof}."


@dataclass(frozen=True)
class Reader:
    """What reading needs; `page_size` is what is asked for."""

    engine: sa.Engine
    storage: UPath
    settings: ImageDbSettings
    page_size: int
    progress: Progress

    @property
    def raw(self) -> RawPages:
        """Where the pages are kept."""
        return RawPages(self.engine, self.storage, CONNECTOR)


def read_all(reader: Reader, session: UpstreamSession) -> Landed:
    """Scan over all pages, and again (setting) while a scan does not prove to be complete.

    A scan that lacks images which we show is confirmed by another one (setting): a record that is deleted and one that
    is added between two pages can hide a third from a scan that looks complete, but hardly twice the same. Only what
    both lack may be removed. A page that fails for good ends it at once: the pages that were read stay, and the scan
    proves nothing. Raises the session's errors when the API cannot be reached or refuses us.
    """
    calls, received = session.calls, session.bytes
    shown = _shown_images(reader.engine) if reader.settings.image_db_confirm_removals else frozenset[str]()
    most = 1 + reader.settings.image_db_walk_repeats + bool(shown)
    lacking: frozenset[str] | None = None
    for number in range(1, most + 1):  # noqa: B007 - told below
        scan_id = _start(reader)
        entries: dict[int, PageEntry] = {}
        facts: dict[int, PageFacts] = {}
        with _voided_on_error(reader, scan_id):
            reading = _read(reader, session, scan_id, entries, facts, range(1, 2), to_the_end=True)
        proof = _proof(reader, scan_id, reading, facts)
        if proof.complete:
            before, lacking = lacking, shown.difference(*(fact.file_ids for fact in facts.values()))
            if lacking and (before is None or not lacking <= before):
                why = f"it lacks {len(lacking)} images that are shown, which no second scan has confirmed"
                proof = proof._replace(complete=False, reason=why)
        _finish(reader, scan_id, reading, proof, session.calls - calls, session.bytes - received)
        if proof.complete or reading.failed:
            break
    if proof.complete:
        reader.raw.prune(keep_scans=KEPT_SCANS)
    again = (f"all pages were read {number} times, because the catalogue had changed",) * (number > 1)
    return Landed(
        scan_id=scan_id,
        pages=entries,
        failed={page: str(error) for page, error in sorted(reading.failed.items())},
        last_page=reading.last_page,
        complete=proof.complete,
        reason=proof.reason,
        notes=(*reading.notes, *again),
        calls=session.calls - calls,
        bytes=session.bytes - received,
    )


def read_spans(reader: Reader, session: UpstreamSession, spans: Sequence[range]) -> Landed:
    """Read these spans of pages (again) into the latest scan, which from then on proves nothing.

    Where there is no scan yet, or the latest was read with another page size, a new one is begun.
    """
    calls, received = session.calls, session.bytes
    latest = scans.latest_scan(reader.engine, CONNECTOR)
    joins = latest is not None and latest.page_size == reader.page_size
    scan_id = latest.id if latest is not None and joins else _start(reader)
    told = ", ".join(f"{span.start}-{span.stop - 1}" for span in spans)
    reason = f"only pages {told} were read{' again' if joins else ''}"
    scans.void_scan(reader.engine, scan_id, reason)
    entries: dict[int, PageEntry] = {}
    readings = [_read(reader, session, scan_id, entries, {}, span) for span in spans]
    if not joins:
        count = readings[0].api_count
        proof = ScanProof(False, reason, len(entries), 0, 0, count, count)
        _finish(reader, scan_id, readings[0], proof, session.calls - calls, session.bytes - received)
    ends = [reading.last_page for reading in readings if reading.last_page is not None]
    return Landed(
        scan_id=scan_id,
        pages=entries,
        failed={page: str(error) for reading in readings for page, error in sorted(reading.failed.items())},
        last_page=max(ends, default=None),
        complete=False,
        reason=reason,
        notes=tuple(dict.fromkeys(note for reading in readings for note in reading.notes)),
        calls=session.calls - calls,
        bytes=session.bytes - received,
    )


def by_block(landed: Landed, blocks: Mapping[str, range]) -> tuple[dict[str, dict[str, int | str]], dict[str, str]]:
    """The outcome of every block: what was kept in it, or the reason of its first failed page.

    `blocks` gives the pages of each block. A block beyond the end of the source is done, with no pages.
    """
    done: dict[str, dict[str, int | str]] = {}
    failed: dict[str, str] = {}
    for block, numbers in blocks.items():
        broken = [page for page in numbers if page in landed.failed]
        unread = [page for page in numbers if page not in landed.pages and page <= max(landed.pages, default=0)]
        if broken:
            failed[block] = f"page {broken[0]}: {landed.failed[broken[0]]}"
        elif unread:
            failed[block] = f"page {unread[0]} was not read"
        else:
            kept = [landed.pages[page] for page in numbers if page in landed.pages]
            done[block] = {
                "pages": len(kept),
                "dagster/partition_row_count": sum(entry.records for entry in kept),
                "bytes": sum(entry.bytes for entry in kept),
                "scan": landed.scan_id,
            }
    return done, failed


def whole_blocks(landed: Landed, blocks: Mapping[str, range]) -> dict[str, dict[str, int | str]]:
    """The blocks that were read to their end, for a reading that was cut: the others are not marked as there."""
    end = landed.last_page or max(landed.pages, default=0)
    whole = {
        block: numbers
        for block, numbers in blocks.items()
        if all(page in landed.pages for page in numbers if page <= end) and (landed.last_page or numbers[-1] <= end)
    }
    return by_block(landed, {block: numbers for block, numbers in whole.items() if numbers[0] in landed.pages})[0]


def _shown_images(engine: sa.Engine) -> frozenset[str]:
    """The external ids of all images of this source that some product shows."""
    with engine.connect() as connection:
        mine = product_image.c.source == CONNECTOR
        return frozenset(connection.scalars(sa.select(product_image.c.external_id).where(mine).distinct()))


def _start(reader: Reader) -> int:
    size = reader.settings.image_db_pages_per_block
    return scans.start_scan(reader.engine, CONNECTOR, page_size=reader.page_size, block_size=size)


@contextmanager
def _voided_on_error(reader: Reader, scan_id: int) -> Iterator[None]:
    """A scan that ends with an error must not stay open: its pages would look like those of a running one."""
    try:
        yield
    except BaseException as error:
        scans.void_scan(reader.engine, scan_id, f"the scan was broken off: {error}")
        raise


def _read(
    reader: Reader,
    session: UpstreamSession,
    scan_id: int,
    entries: dict[int, PageEntry],
    facts: dict[int, PageFacts],
    span: range,
    *,
    to_the_end: bool = False,
) -> Reading:
    """Read a span, or everything from its start; `entries` and `facts` are filled page by page."""

    def fetch(page: int) -> client.PageAnswer:
        return client.fetch_page(session, page, reader.page_size)

    def keep(answer: client.PageAnswer) -> None:
        entry = reader.raw.put(scan_id, answer.page, answer.body, answer.length, answer.api_count)
        entries[answer.page] = entry
        facts[answer.page] = facts_received(answer, entry.fetched_at)
        first = entries.get(span.start)
        predicted = -(-answer.api_count // first.records) if first is not None and first.records else None
        reader.progress("pages read", len(entries), predicted if to_the_end else len(span))

    pace = Pace(reader.settings.image_api_concurrency, reader.settings.image_api_pause)
    last = None if to_the_end else span.stop - 1
    return read_scan(fetch, keep, pace, reader.page_size, span.start, last)


def _proof(reader: Reader, scan_id: int, reading: Reading, facts: Mapping[int, PageFacts]) -> ScanProof:
    started = scans.get_scan(reader.engine, scan_id).started_at
    ended = max((fact.fetched_at for fact in facts.values()), default=started)
    return prove(facts.values(), started, ended, reader.settings.image_db_walk_max_seconds)


def _finish(reader: Reader, scan_id: int, reading: Reading, proof: ScanProof, calls: int, received: int) -> None:
    scans.finish_scan(
        reader.engine,
        scan_id,
        state=scans.PROVEN if proof.complete else scans.UNPROVEN,
        reason=proof.reason,
        page_length=reading.page_length,
        first_count=proof.first_count,
        last_count=proof.last_count,
        pages=proof.pages,
        calls=calls,
        received=received,
    )
