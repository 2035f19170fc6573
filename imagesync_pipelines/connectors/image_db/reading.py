"""Reading pages: which, in what order, how many at once, and where they end."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice

from imagesync_pipelines.connectors.image_db.client import PageAnswer
from imagesync_pipelines.connectors.image_db.errors import BadPageError, PastTheEndError
from imagesync_pipelines.upstream.errors import CredentialsError, DeadlineExceededError, UpstreamError

Fetch = Callable[[int], PageAnswer]
Keep = Callable[[PageAnswer], None]


@dataclass(frozen=True)
class Pace:
    """At most `concurrency` pages at once; at least `pause` seconds between the starts of two calls."""

    concurrency: int = 4
    pause: float = 0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)


@dataclass(frozen=True)
class Reading:
    """What came of reading a range of pages.

    `read` are the pages that were fetched and kept; `failed` the pages that failed for good, with the reason;
    `last_page` the page without a next one, None when the end was not reached; `page_length` the records of a full
    page; `api_count` what the first page announced; `notes` sentences for the run's summary.
    """

    read: tuple[int, ...]
    failed: dict[int, str]
    last_page: int | None
    page_length: int | None
    api_count: int | None
    notes: tuple[str, ...]


@dataclass
class _Progress:
    """What is known so far; one thread alone, the caller's, changes it."""

    read: set[int] = field(default_factory=set)
    failed: dict[int, UpstreamError] = field(default_factory=dict)
    beyond: set[int] = field(default_factory=set)
    last_page: int | None = None
    page_length: int | None = None
    api_count: int | None = None


def read_scan(fetch: Fetch, keep: Keep, pace: Pace, page_size: int, first: int = 1, last: int | None = None) -> Reading:
    """Read the pages `first` to `last` (None: to the end) and keep each as soon as it came.

    The first page tells the real page length and the count; the pages these predict are read concurrently, then `next`
    is followed to the real end. `fetch` is called from several threads, `keep` from the caller's only; no more than
    `concurrency` pages are in memory. A page that fails for good does not stop the others. Raises CredentialsError and
    DeadlineExceededError at once, the first page's error when the page after it fails too, and whatever `keep` raises.
    """
    progress = _Progress()
    with ThreadPoolExecutor(pace.concurrency, thread_name_prefix="page") as pool:

        def run(pages: Iterable[int]) -> None:
            for future, page in _bounded(pool, fetch, pages, pace):
                _settle(progress, future, page, keep)

        for page in (first, first + 1):
            if last is None or page <= last:
                run([page])
            if progress.read or progress.beyond:
                break
        if not progress.read and progress.failed:
            raise progress.failed[first]
        start = max(progress.read, default=first) + 1
        run(range(start, min(_predicted(progress), last or _predicted(progress)) + 1))
        while (after := _following(progress, first)) is not None and (last is None or after <= last):
            run([after])
    return Reading(
        read=tuple(sorted(progress.read)),
        failed={page: str(error) for page, error in sorted(progress.failed.items())},
        last_page=progress.last_page,
        page_length=progress.page_length,
        api_count=progress.api_count,
        notes=tuple(_notes(progress, page_size, first)),
    )


def _bounded(
    pool: ThreadPoolExecutor, fetch: Fetch, pages: Iterable[int], pace: Pace
) -> Iterator[tuple[Future[PageAnswer], int]]:
    """Fetch pages with bounded concurrency and give each as it comes; what was not started when we stop never is."""
    waiting = iter(pages)
    running: dict[Future[PageAnswer], int] = {}
    try:
        while True:
            for page in islice(waiting, pace.concurrency - len(running)):
                if pace.pause:
                    pace.sleep(pace.pause)
                running[pool.submit(fetch, page)] = page
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future, running.pop(future)
    finally:
        for future in running:
            future.cancel()


def _settle(progress: _Progress, future: Future[PageAnswer], page: int, keep: Keep) -> None:
    """Keep one page, or note why there is none."""
    try:
        answer = _in_sequence(future.result())
    except (CredentialsError, DeadlineExceededError):
        raise  # the next hundred pages would fail in the same way
    except PastTheEndError:
        progress.beyond.add(page)
        return
    except UpstreamError as error:
        progress.failed[page] = error
        return
    keep(answer)
    progress.read.add(page)
    if progress.api_count is None:
        progress.api_count = answer.api_count
    if answer.next_page is None:
        progress.last_page = max(page, progress.last_page or 0)
    elif progress.page_length is None:
        progress.page_length = answer.length


def _in_sequence(answer: PageAnswer) -> PageAnswer:
    """The page itself; a page that would lead us in circles, or on for ever, is an error."""
    if answer.next_page is not None and (answer.next_page != answer.page + 1 or not answer.length):
        raise BadPageError(f"page {answer.page} has {answer.length} records and names page {answer.next_page} as next")
    return answer


def _predicted(progress: _Progress) -> int:
    """The last page that the count and the real page length predict."""
    if not progress.page_length or progress.api_count is None:
        return max(progress.read, default=0)
    return -(-progress.api_count // progress.page_length)


def _following(progress: _Progress, first: int) -> int | None:
    """The page to follow after all that was asked for, or None at the end or where the trail is lost."""
    newest = max(progress.read, default=first - 1)
    asked = max(progress.read | progress.beyond | progress.failed.keys(), default=first - 1)
    if not progress.read or progress.last_page == newest or asked > newest:
        return None
    return newest + 1


def _notes(progress: _Progress, page_size: int, first: int) -> Iterator[str]:
    if progress.page_length is not None and progress.page_length != page_size:
        yield (
            f"the image database gives {progress.page_length} records per page whatever is asked "
            f"({page_size} were asked); all pages are read"
        )
    if progress.beyond and not progress.read:
        yield f"the image database has no page {first}; nothing was read"
