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


@dataclass
class Reading:
    """What came of reading pages from `first` on; one thread alone, the caller's, changes it.

    `read` are the pages that were fetched and kept; `failed` the pages that failed for good, with the error; `beyond`
    those that the API says it has not; `last_page` the page without a next one, None when the end was not reached;
    `page_length` the records of a full page; `api_count` what the first page announced. page_size: what was asked for.
    """

    first: int
    page_size: int
    read: set[int] = field(default_factory=set)
    failed: dict[int, UpstreamError] = field(default_factory=dict)
    beyond: set[int] = field(default_factory=set)
    last_page: int | None = None
    page_length: int | None = None
    api_count: int | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the run's summary."""
        if self.page_length is not None and self.page_length != self.page_size:
            return (
                f"the image database gives {self.page_length} records per page whatever is asked "
                f"({self.page_size} were asked); all pages are read",
            )
        if self.beyond and not self.read:
            return (f"the image database has no page {self.first}; nothing was read",)
        return ()

    def settle(self, future: Future[PageAnswer], page: int, keep: Keep) -> None:
        """Keep one page, or note why there is none."""
        try:
            answer = _in_sequence(future.result())
        except (CredentialsError, DeadlineExceededError):
            raise  # the next hundred pages would fail in the same way
        except PastTheEndError:
            self.beyond.add(page)
            return
        except UpstreamError as error:
            self.failed[page] = error
            return
        keep(answer)
        self.read.add(page)
        if self.api_count is None:
            self.api_count = answer.api_count
        if answer.next_page is None:
            self.last_page = max(page, self.last_page or 0)
        elif self.page_length is None:
            self.page_length = answer.length

    def predicted(self) -> int:
        """The last page that the count and the real page length predict."""
        if not self.page_length or self.api_count is None:
            return max(self.read, default=0)
        return -(-self.api_count // self.page_length)

    def following(self) -> int | None:
        """The page to follow after all that was asked for, or None at the end or where the trail is lost."""
        newest = max(self.read, default=0)
        asked = max(self.read | self.beyond | self.failed.keys(), default=0)
        if not self.read or self.last_page == newest or asked > newest:
            return None
        return newest + 1


def read_scan(fetch: Fetch, keep: Keep, pace: Pace, page_size: int, first: int = 1, last: int | None = None) -> Reading:
    """Read the pages `first` to `last` (None: to the end) and keep each as soon as it came.

    The first page tells the real page length and the count; the pages these predict are read concurrently, then `next`
    is followed to the real end. `fetch` is called from several threads, `keep` from the caller's only; no more than
    `concurrency` pages are in memory. A page that fails for good does not stop the others. Raises CredentialsError and
    DeadlineExceededError at once, the first page's error when the page after it fails too, and whatever `keep` raises.
    """
    reading = Reading(first, page_size)
    with ThreadPoolExecutor(pace.concurrency, thread_name_prefix="page") as pool:

        def run(pages: Iterable[int]) -> None:
            for future, page in _bounded(pool, fetch, pages, pace):
                reading.settle(future, page, keep)

        for page in (first, first + 1):
            if last is None or page <= last:
                run([page])
            if reading.read or reading.beyond:
                break
        if not reading.read and reading.failed:
            raise reading.failed[first]
        start = max(reading.read, default=first) + 1
        run(range(start, min(reading.predicted(), last or reading.predicted()) + 1))
        while (after := reading.following()) is not None and (last is None or after <= last):
            run([after])
    return reading


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


def _in_sequence(answer: PageAnswer) -> PageAnswer:
    """The page itself; a page that would lead us in circles, or on for ever, is an error."""
    if answer.next_page is not None and (answer.next_page != answer.page + 1 or not answer.length):
        raise BadPageError(f"page {answer.page} has {answer.length} records and names page {answer.next_page} as next")
    return answer
