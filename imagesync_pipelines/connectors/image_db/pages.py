"""The API's pages, read and kept: a whole scan with its proof, or some pages read again into the latest scan.

The proof is what removals need (docs/contracts/image_db.md): the API has no order and ignores page_size, so while
somebody uploads, rows repeat and go missing between pages. A scan proves to be complete only when nothing can have
moved: every page says the same count, and there are exactly that many different file_ids.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.image_db import client
from imagesync_pipelines.connectors.image_db.columns import PageFacts, facts_of
from imagesync_pipelines.connectors.image_db.errors import BadPageError, PastTheEndError
from imagesync_pipelines.connectors.image_db.records import PageAnswer
from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings
from imagesync_pipelines.storage import scans
from imagesync_pipelines.storage.scans import PageEntry, RawPages
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines.sync.apply import side_by_side
from imagesync_pipelines.sync.guard import why_unproven
from imagesync_pipelines.sync.steps import RunContext
from imagesync_pipelines.upstream.errors import CredentialsError, DeadlineExceededError, UpstreamError
from imagesync_pipelines.upstream.session import UpstreamSession

CONNECTOR = "image_db"
PAGES_STEP = "api_pages"
KEPT_SCANS = 3
_SHOWN = 10

Run = RunContext[ImageDbSettings]
Fetch = Callable[[int], PageAnswer]
Keep = Callable[[PageAnswer], PageEntry]


class PagesLanded(BaseModel):
    """What the step api_pages leaves: the scan into which it read, and what that took."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    scan_id: int
    calls: int
    bytes: int


@dataclass(frozen=True)
class Pace:
    """At most `concurrency` pages at once; at least `pause` seconds between the starts of two calls."""

    concurrency: int = 4
    pause: float = 0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)


@dataclass
class Reading:
    """What came of reading pages into a scan; one thread alone, the caller's, changes it.

    `pages` were fetched and kept, `facts` are theirs for the proof; `failed` failed for good, with the error; `beyond`
    the API says it has not; `last_page` has no next one, None when the end was not reached; `page_length` is the
    records of a full page, page_size what was asked for; `api_count` is what the first page announced. `reason` says
    why the scan does not prove to have seen everything, '' when it does; `notes` are sentences for the run's summary.
    calls and bytes count this reading alone.
    """

    scan_id: int
    page_size: int
    pages: dict[int, PageEntry] = field(default_factory=dict)
    facts: list[PageFacts] = field(default_factory=list)
    failed: dict[int, UpstreamError] = field(default_factory=dict)
    beyond: set[int] = field(default_factory=set)
    last_page: int | None = None
    page_length: int | None = None
    api_count: int | None = None
    reason: str = ""
    notes: list[str] = field(default_factory=list)
    calls: int = 0
    bytes: int = 0

    @property
    def complete(self) -> bool:
        """Whether the scan saw everything."""
        return not self.reason

    def sentence(self) -> str:
        """The reading in one line for the log."""
        proof = (
            languages.told("it is complete") if self.complete else languages.told(f"it proves nothing: {self.reason}")
        )
        records = sum(entry.records for entry in self.pages.values())
        return languages.told(
            f"Scan {self.scan_id}: {len(self.pages)} pages with {records} records in {self.calls} calls; {proof}."
        )

    def settle(self, page: int, answer: PageAnswer | PastTheEndError | UpstreamError, keep: Keep) -> None:
        """Keep one page, or note why there is none."""
        if isinstance(answer, CredentialsError | DeadlineExceededError):
            raise answer  # the next hundred pages would fail in the same way
        if isinstance(answer, PastTheEndError):
            self.beyond.add(page)
            return
        if isinstance(answer, UpstreamError):
            self.failed[page] = answer
            return
        if self.api_count is None:
            self.api_count = answer.api_count
        if answer.next_page is None:
            self.last_page = max(page, self.last_page or 0)
        elif self.page_length is None:
            self.page_length = answer.length
        self.pages[page] = entry = keep(answer)
        self.facts.append(facts_of(page, answer, entry.fetched_at))

    def newest(self, first: int) -> int | None:
        """The last page that was read, from `first` on."""
        return max((page for page in self.pages if page >= first), default=None)

    def predicted(self) -> int:
        """The last page that the count and the real page length predict."""
        if not self.page_length or self.api_count is None:
            return max(self.pages, default=0)
        return -(-self.api_count // self.page_length)

    def following(self, first: int) -> int | None:
        """The page to follow after all that was asked for, or None at the end or where the trail is lost."""
        newest, asked = self.newest(first), {*self.pages, *self.failed, *self.beyond}
        if newest is None or self.last_page == newest or max(asked) > newest:
            return None
        return newest + 1


def read_pages(reading: Reading, fetch: Fetch, keep: Keep, pace: Pace, first: int = 1, last: int | None = None) -> None:
    """Read the pages `first` to `last` (None: to the end), after those read before; keep each as soon as it came.

    The first page tells the real page length and the count; the pages these predict are read concurrently, then `next`
    is followed to the real end. `fetch` is called from several threads, `keep` from the caller's only; no more than
    `concurrency` pages are in memory. A page that fails for good does not stop the others. Raises CredentialsError and
    DeadlineExceededError at once, the first page's error when the page after it fails too, and whatever `keep` raises.
    """

    def paced(pages: Iterable[int]) -> Iterator[int]:
        for page in pages:
            if pace.pause:
                pace.sleep(pace.pause)
            yield page

    def fetched(page: int) -> PageAnswer | PastTheEndError | UpstreamError:
        try:
            return _in_sequence(fetch(page))
        except (PastTheEndError, UpstreamError) as error:
            return error

    def run(pages: Iterable[int]) -> None:
        for page, answer in side_by_side(paced(pages), fetched, pace.concurrency):
            reading.settle(page, answer, keep)

    for page in (first, first + 1):
        if last is None or page <= last:
            run([page])
        if (newest := reading.newest(first)) is not None or reading.beyond:
            break
    if newest is None and first in reading.failed:
        raise reading.failed[first]
    predicted = reading.predicted()
    run(range((newest or first) + 1, min(predicted, last or predicted) + 1))
    while (after := reading.following(first)) is not None and (last is None or after <= last):
        run([after])
    note = ""
    if newest is None:
        note = languages.told(f"the image database has no page {first}; nothing was read")
    elif reading.page_length not in (None, reading.page_size):
        note = languages.told(
            f"the image database gives {reading.page_length} records per page whatever is asked "
            f"({reading.page_size} were asked); all pages are read"
        )
    if note and note not in reading.notes:
        reading.notes.append(note)


def _in_sequence(answer: PageAnswer) -> PageAnswer:
    """The page itself; a page that would lead us in circles, or on for ever, is an error."""
    if answer.next_page is not None and (answer.next_page != answer.page + 1 or not answer.length):
        raise BadPageError(f"page {answer.page} has {answer.length} records and names page {answer.next_page} as next")
    return answer


def stored_pages(context: Run) -> RawPages:
    """Where the pages are kept."""
    return RawPages(context.installation.engine, context.installation.storage, CONNECTOR)


def read_all(context: Run, session: UpstreamSession, page_size: int | None = None) -> Reading:
    """Scan over all pages, and again (setting) while a scan does not prove to be complete.

    A record without a legible id is no reason to scan again: it is set aside, and removals wait. A scan that lacks
    images which we show is confirmed by another one (setting): a record that is deleted and one that is added between
    two pages can hide a third from a scan that looks complete, but hardly twice the same. Only what both lack may be
    removed. A page that fails for good ends it at once: the pages that were read stay, and the scan proves nothing.
    An answer without any image proves nothing where some are shown.
    Raises the session's errors when the API cannot be reached or refuses us.
    """
    calls, received = session.calls, session.bytes
    engine, settings = context.installation.engine, context.settings
    stored_pages(context).prune(keep_scans=KEPT_SCANS)
    shown = _shown_images(engine)
    confirms = settings.image_db_confirm_removals and bool(shown)
    lacking: frozenset[str] | None = None
    for number in range(1, 2 + settings.image_db_walk_repeats + confirms):  # noqa: B007 - told below
        reading = _begin(context, page_size)
        try:
            with scans.under_way(engine, reading.scan_id):
                _read(context, session, reading, 1)
        except BaseException as error:
            # Left open, its pages would look like those of a scan that is under way.
            scans.void_scan(engine, reading.scan_id, languages.told(f"the scan was broken off: {error}"))
            raise
        started = scans.get_scan(engine, reading.scan_id).started_at
        ended = max((fact.fetched_at for fact in reading.facts), default=started)
        reading.reason = why_incomplete(reading.facts, started, ended, settings.image_db_walk_max_seconds)
        if reading.complete and shown and not any(fact.file_ids for fact in reading.facts):
            # A user that lost the right to see images looks the same.
            reading.reason = languages.told(
                f"it lists no image at all, but {len(shown)} are shown; nothing is concluded from that"
            )
        if reading.complete:
            before, lacking = lacking, shown.difference(*(fact.file_ids for fact in reading.facts))
            if confirms and lacking and (before is None or not lacking <= before):
                reading.reason = languages.told(
                    f"it lacks {len(lacking)} images that are shown, which no second scan has confirmed"
                )
        reading.calls, reading.bytes = session.calls - calls, session.bytes - received
        _finish(engine, reading)
        # Another scan would find the same record that nobody can read.
        if reading.complete or reading.failed or illegible_in(reading.facts) == reading.reason:
            break
    stored_pages(context).prune(keep_scans=KEPT_SCANS)
    if number > 1:
        reading.notes.append(languages.told(f"all pages were read {number} times, because the catalogue had changed"))
    return reading


def read_spans(context: Run, session: UpstreamSession, spans: Sequence[range], page_size: int | None = None) -> Reading:
    """Read these spans of pages (again) into the latest scan, which from then on proves nothing.

    Where there is no scan yet, or the latest was read with another page size, one of these pages alone is begun.
    """
    calls, received = session.calls, session.bytes
    engine = context.installation.engine
    size = page_size or context.settings.image_api_page_size
    latest = scans.latest_scan(engine, CONNECTOR)
    joins = latest is not None and latest.page_size == size
    told = "pages " + ", ".join(f"{span.start}-{span.stop - 1}" for span in spans)
    reading = Reading(latest.id, size) if latest is not None and joins else _begin(context, size, told)
    reading.reason = languages.told(f"only {told} were read again" if joins else f"only {told} were read")
    scans.void_scan(engine, reading.scan_id, reading.reason)
    with scans.under_way(engine, reading.scan_id):
        for span in sorted(spans, key=lambda span: span.start):
            _read(context, session, reading, span.start, span.stop - 1)
    reading.calls, reading.bytes = session.calls - calls, session.bytes - received
    if not joins:
        _finish(engine, reading)
    return reading


def by_block(reading: Reading, blocks: Mapping[str, range]) -> tuple[dict[str, dict[str, int | str]], dict[str, str]]:
    """The outcome of every block: what was kept in it, or the reason of its first failed page.

    `blocks` gives the pages of each block. A block beyond the end of the source is done, with no pages.
    """
    done: dict[str, dict[str, int | str]] = {}
    failed: dict[str, str] = {}
    end = max(reading.pages, default=0)
    for block, numbers in blocks.items():
        broken = next((page for page in numbers if page in reading.failed), None)
        unread = next((page for page in numbers if page not in reading.pages and page <= end), None)
        if broken is not None:
            failed[block] = languages.told(f"page {broken}: {reading.failed[broken]}")
        elif unread is not None:
            failed[block] = languages.told(f"page {unread} was not read")
        else:
            kept = [reading.pages[page] for page in numbers if page in reading.pages]
            done[block] = {
                "pages": len(kept),
                "dagster/partition_row_count": sum(entry.records for entry in kept),
                "bytes": sum(entry.bytes for entry in kept),
                "scan": reading.scan_id,
                "content": hashlib.sha256("".join(entry.sha256 for entry in kept).encode()).hexdigest(),
            }
    return done, failed


def whole_blocks(reading: Reading, blocks: Mapping[str, range]) -> dict[str, dict[str, int | str]]:
    """The blocks that were read to their end, for a reading that was cut: the others are not marked as there."""
    end = reading.last_page or max(reading.pages, default=0)
    return {
        block: stats
        for block, stats in by_block(reading, blocks)[0].items()
        if blocks[block][0] in reading.pages and (reading.last_page or blocks[block][-1] <= end)
    }


def _shown_images(engine: sa.Engine) -> frozenset[str]:
    with engine.connect() as connection:
        mine = product_image.c.source == CONNECTOR
        return frozenset(connection.scalars(sa.select(product_image.c.external_id).where(mine).distinct()))


def _begin(context: Run, page_size: int | None, part: str = "") -> Reading:
    size, block = page_size or context.settings.image_api_page_size, context.settings.image_db_pages_per_block
    engine = context.installation.engine
    return Reading(scans.start_scan(engine, CONNECTOR, page_size=size, block_size=block, part=part), size)


def _read(context: Run, session: UpstreamSession, reading: Reading, first: int, last: int | None = None) -> None:
    stored = stored_pages(context)

    def keep(answer: PageAnswer) -> PageEntry:
        done = len(reading.pages) + 1
        total = max(done, reading.predicted()) if last is None else last + 1 - first
        context.progress(languages.told("pages read"), done, total)
        return stored.put(reading.scan_id, answer.page, answer.body, answer.length, answer.api_count)

    pace = Pace(context.settings.image_api_concurrency, context.settings.image_api_pause)
    read_pages(reading, lambda page: client.fetch_page(session, page, reading.page_size), keep, pace, first, last)


def _finish(engine: sa.Engine, reading: Reading) -> None:
    counts = [entry.api_count for _, entry in sorted(reading.pages.items())] or [None]
    scans.finish_scan(
        engine,
        reading.scan_id,
        reading.reason,
        page_length=reading.page_length,
        first_count=counts[0],
        last_count=counts[-1],
        pages=len(reading.pages),
        calls=reading.calls,
        bytes=reading.bytes,
    )


def why_incomplete(pages: Iterable[PageFacts], started_at: datetime, ended_at: datetime, max_seconds: float) -> str:
    """Judge a scan from the facts of its pages, each page once, in any order: '' when it is complete, else why not.

    Complete means: every page from 1 to the last is there, only the last has no next page, all say the same count,
    the different file_ids are as many, every record has a legible one, every page was fetched within the scan, and
    the scan took at most `max_seconds`.
    """
    ordered = sorted(pages)
    distinct = {one for facts in ordered for one in facts.file_ids}
    counts = [facts.api_count for facts in ordered]
    return (
        _gaps([facts.page for facts in ordered], [facts.page for facts in ordered if facts.is_last])
        or why_unproven(counts, len(distinct), rows="images", source="the API", illegible=illegible_in(ordered))
        or _times([facts.fetched_at for facts in ordered], started_at, ended_at, max_seconds)
    )


def illegible_in(pages: Iterable[PageFacts]) -> str:
    """What is told of records that may be any image, each page once; '' when there are none."""
    bad = {facts.page: facts.unidentified for facts in sorted(pages) if facts.unidentified}
    return languages.told(f"{sum(bad.values())} records have no legible file_id, on {_pages(list(bad))}") if bad else ""


def _gaps(numbers: list[int], ends: list[int]) -> str:
    if not numbers:
        return languages.told("no page was read")
    missing = sorted(set(range(1, numbers[-1] + 1)) - set(numbers))
    if missing:
        return languages.told(f"{_pages(missing)} could not be read or were not asked for")
    if not ends:
        return languages.told(f"page {numbers[-1]} says that there are more pages, but they were not read")
    if ends != [numbers[-1]]:
        return languages.told(f"page {ends[0]} says that it is the last, but page {numbers[-1]} was read too")
    return ""


def _times(fetched: list[datetime], started_at: datetime, ended_at: datetime, max_seconds: float) -> str:
    seconds = (ended_at - started_at).total_seconds()
    if seconds > max_seconds:
        return languages.told(
            f"the scan took {seconds:.0f} s, more than the {max_seconds:.0f} s after which it proves nothing"
        )
    if min(fetched) < started_at or max(fetched) > ended_at:
        return languages.told("some pages were not read during this scan")
    return ""


def _pages(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_SHOWN])
    if len(numbers) > _SHOWN:
        return languages.told(f"pages {shown} and {len(numbers) - _SHOWN} more")
    return languages.told(f"pages {shown}" if len(numbers) > 1 else f"page {shown}")
