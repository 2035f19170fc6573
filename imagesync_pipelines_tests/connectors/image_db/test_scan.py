"""The proof of a scan: every way in which a scan can have missed something makes it no proof, with the reason."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.connectors.image_db.columns import PageFacts, facts_of
from imagesync_pipelines.connectors.image_db.pages import why_incomplete
from imagesync_pipelines.connectors.image_db.records import read_page
from imagesync_pipelines_tests.connectors.image_db.made_up import page, record

START = datetime(2026, 3, 1, 3, tzinfo=UTC)
END = START + timedelta(minutes=4)
Pages = list[PageFacts]


def scan_of_three() -> Pages:
    """45 images on pages of 20, 20 and 5."""
    ids = [str(number) for number in range(1, 46)]
    return [
        PageFacts(number, 45, tuple(ids[20 * (number - 1) : 20 * number]), 0, START, number == 3)
        for number in (1, 2, 3)
    ]


def judged(pages: Pages, ended_at: datetime = END) -> str:
    """Why the scan is not complete; '' when it is."""
    return why_incomplete(pages, START, ended_at, max_seconds=3600)


def test_a_scan_that_saw_everything_proves_to_be_complete() -> None:
    assert judged(scan_of_three()) == ""


def test_trap_1_a_short_page_in_the_middle_is_not_the_end() -> None:
    first, second, third = scan_of_three()
    pages = [
        first,
        second._replace(file_ids=second.file_ids[:9]),
        third._replace(file_ids=second.file_ids[9:] + third.file_ids),
    ]
    assert judged(pages) == ""


BROKEN: dict[str, tuple[Callable[[Pages], Pages], str]] = {
    "nothing was read": (lambda pages: [], "no page was read"),
    "trap 3: a page failed": (lambda pages: [pages[0], pages[2]], "page 2 could not be read"),
    "the scan began late": (lambda pages: pages[1:], "page 1 could not be read"),
    "the end is missing": (lambda pages: pages[:2], "page 2 says that there are more pages"),
    "two ends": (
        lambda pages: [pages[0], pages[1]._replace(is_last=True), pages[2]],
        "page 2 says that it is the last",
    ),
    "the count changed": (lambda pages: [*pages[:2], pages[2]._replace(api_count=46)], "between 45 and 46"),
    "a row moved: one repeated, one missing": (
        lambda pages: [pages[0], pages[1]._replace(file_ids=("1", *pages[1].file_ids[1:])), pages[2]],
        "44 different images were read, but the API counts 45",
    ),
    "one more than the count": (
        lambda pages: [*pages[:2], pages[2]._replace(file_ids=(*pages[2].file_ids, "99"))],
        "46 different images",
    ),
    "a record without file_id": (
        lambda pages: [pages[0]._replace(unidentified=1), *pages[1:]],
        "no legible file_id, on page 1",
    ),
    "a page from before the scan": (
        lambda pages: [pages[0]._replace(fetched_at=START - timedelta(seconds=1)), *pages[1:]],
        "not read during this scan",
    ),
}


@pytest.mark.parametrize(("change", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_what_may_have_missed_something_proves_nothing(change: Callable[[Pages], Pages], reason: str) -> None:
    assert reason in judged(change(scan_of_three()))


def test_a_scan_that_took_too_long_proves_nothing() -> None:
    assert "3601 s" in judged(scan_of_three(), START + timedelta(seconds=3601))
    assert judged(scan_of_three(), START + timedelta(seconds=3600)) == ""


def test_an_empty_catalogue_that_says_so_is_complete() -> None:
    assert judged([PageFacts(1, 0, (), 0, START, True)]) == ""


def test_many_missing_pages_are_counted_and_not_all_named() -> None:
    last = PageFacts(125, 45, (), 0, START, True)
    assert "and 114 more" in judged([last])


def test_facts_count_rejects_with_a_legible_file_id_among_the_images() -> None:
    content = read_page(page(record(1), record(2, type="x" * 51), record(None), following=None))
    assert facts_of(1, content, START) == PageFacts(1, 3, ("1", "2"), 1, START, True)


@given(st.permutations(scan_of_three()), st.integers(0, 44), st.integers(0, 44))
def test_one_image_lost_between_pages_is_always_noticed(pages: Pages, lost: int, shown_twice: int) -> None:
    ids = [str(number) for number in range(1, 46)]
    ids[lost] = ids[shown_twice]
    moved = [facts._replace(file_ids=tuple(ids[20 * (facts.page - 1) : 20 * facts.page])) for facts in pages]
    if lost == shown_twice:
        assert judged(moved) == ""
    else:
        assert judged(moved).startswith("44 different images were read, but the API counts 45")
