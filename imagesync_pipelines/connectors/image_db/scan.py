"""Whether a scan saw everything: the proof that removals need (docs/contracts/image_db.md).

The API has no order and ignores page_size, so while somebody uploads, rows repeat and go missing between pages. A scan
proves to be complete only when nothing can have moved: every page says the same count, and there are exactly that many
different file_ids.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from imagesync_pipelines.connectors.image_db.client import PageAnswer
from imagesync_pipelines.connectors.image_db.records import PageContent
from imagesync_pipelines.sync.guard import why_unproven

_SHOWN = 10


class PageFacts(NamedTuple):
    """What a stored page tells about its scan.

    `api_count` is the count it announced; `file_ids` those that were legible, rejects included; `unidentified` the
    number of records without one; `is_last` whether it had no next page.
    """

    page: int
    api_count: int
    file_ids: tuple[str, ...]
    unidentified: int
    fetched_at: datetime
    is_last: bool


def facts_of(page: int, read: PageAnswer | PageContent, fetched_at: datetime) -> PageFacts:
    """The facts of one page, as it came from the API or as records.read_page gives it: both tell the same."""
    ids = read.file_ids
    legible = tuple(one for one in ids if one is not None)
    return PageFacts(page, read.api_count, legible, len(ids) - len(legible), fetched_at, read.next_page is None)


def why_incomplete(pages: Iterable[PageFacts], started_at: datetime, ended_at: datetime, max_seconds: float) -> str:
    """Judge a scan from the facts of its pages, each page once, in any order: '' when it is complete, else why not.

    Complete means: every page from 1 to the last is there, only the last has no next page, all say the same count,
    the different file_ids are as many, every record has a legible one, every page was fetched within the scan, and
    the scan took at most `max_seconds`.
    """
    ordered = sorted(pages)
    distinct = {one for facts in ordered for one in facts.file_ids}
    bad, illegible = {facts.page: facts.unidentified for facts in ordered if facts.unidentified}, ""
    if bad:
        illegible = f"{sum(bad.values())} records have no legible file_id, on {_pages(list(bad))}"
    counts = [facts.api_count for facts in ordered]
    return (
        _gaps([facts.page for facts in ordered], [facts.page for facts in ordered if facts.is_last])
        or why_unproven(counts, len(distinct), rows="images", source="the API", illegible=illegible)
        or _times([facts.fetched_at for facts in ordered], started_at, ended_at, max_seconds)
    )


def _gaps(numbers: list[int], ends: list[int]) -> str:
    if not numbers:
        return "no page was read"
    missing = sorted(set(range(1, numbers[-1] + 1)) - set(numbers))
    if missing:
        return f"{_pages(missing)} could not be read or were not asked for"
    if not ends:
        return f"page {numbers[-1]} says that there are more pages, but they were not read"
    if ends != [numbers[-1]]:
        return f"page {ends[0]} says that it is the last, but page {numbers[-1]} was read too"
    return ""


def _times(fetched: list[datetime], started_at: datetime, ended_at: datetime, max_seconds: float) -> str:
    seconds = (ended_at - started_at).total_seconds()
    if seconds > max_seconds:
        return f"the scan took {seconds:.0f} s, more than the {max_seconds:.0f} s after which it proves nothing"
    if min(fetched) < started_at or max(fetched) > ended_at:
        return "some pages were not read during this scan"
    return ""


def _pages(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_SHOWN])
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return f"page{'s' if len(numbers) > 1 else ''} {shown}{more}"
