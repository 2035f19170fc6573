"""Reading pages: to the real end whatever page_size says, concurrently, politely, and on past a page that fails."""

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.connectors.image_db.errors import BadPageError, PastTheEndError
from imagesync_pipelines.connectors.image_db.pages import Keep, Pace, Reading, read_pages
from imagesync_pipelines.connectors.image_db.records import PageAnswer
from imagesync_pipelines.storage.scans import PageEntry
from imagesync_pipelines.upstream.errors import CredentialsError, DeadlineExceededError, UnavailableError, UpstreamError


@dataclass
class FakeApi:
    """`total` records, `length` per page whatever is asked; pages in `errors` fail for good."""

    total: int
    length: int = 20
    count: int | None = None
    errors: dict[int, Exception] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fetch(self, page: int) -> PageAnswer:
        with self.lock:
            self.asked.append(page)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            return self._answer(page)
        finally:
            with self.lock:
                self.running -= 1

    def _answer(self, page: int) -> PageAnswer:
        if page in self.errors:
            raise self.errors[page]
        last = max(1, -(-self.total // self.length))
        if page > last:
            raise PastTheEndError(f"no page {page}")
        length = self.total - (last - 1) * self.length if page == last else self.length
        count = self.total if self.count is None else self.count
        return PageAnswer(page, b"", count, None if page == last else page + 1, ("1",) * length)


def keeping(kept: list[int]) -> Keep:
    """Keeps nothing but the pages' numbers."""

    def keep(answer: PageAnswer) -> PageEntry:
        kept.append(answer.page)
        return PageEntry(1, answer.page, "", "", answer.length, 0, datetime.now(UTC), answer.api_count)

    return keep


def read(
    api: FakeApi,
    first: int = 1,
    last: int | None = None,
    page_size: int = 100,
    pace: Pace = Pace(),  # noqa: B008
) -> tuple[Reading, list[int]]:
    kept: list[int] = []
    reading = Reading(1, page_size)
    read_pages(reading, api.fetch, keeping(kept), pace, first, last)
    return reading, kept


def test_trap_1_all_125_pages_are_read_although_100_records_a_page_were_asked_for() -> None:
    reading, kept = read(FakeApi(2489))
    assert sorted(reading.pages) == list(range(1, 126)) == sorted(kept)
    assert (reading.last_page, reading.page_length, reading.api_count, reading.failed) == (125, 20, 2489, {})


def test_that_the_server_ignores_page_size_is_said_once() -> None:
    assert [note for note in read(FakeApi(100))[0].notes if "20 records per page" in note] == read(FakeApi(100))[
        0
    ].notes
    assert read(FakeApi(100), page_size=20)[0].notes == []
    assert read(FakeApi(7))[0].notes == []


def test_no_page_past_the_end_is_asked_for_when_the_count_is_right() -> None:
    api = FakeApi(2489)
    read(api)
    assert sorted(api.asked) == list(range(1, 126))


@pytest.mark.parametrize("count", [0, 1, 39, 41, 100], ids=lambda count: f"count says {count}")
def test_a_wrong_count_does_not_hide_the_real_end(count: int) -> None:
    reading, _ = read(FakeApi(60, count=count))
    assert (set(reading.pages), reading.last_page) == ({1, 2, 3}, 3)


def test_skip_5_with_limit_3_reads_pages_6_to_8() -> None:
    reading, kept = read(FakeApi(2489), first=6, last=8)
    assert sorted(kept) == [6, 7, 8]
    assert reading.last_page is None


def test_a_range_ends_at_the_end_of_the_data() -> None:
    reading, kept = read(FakeApi(2489), first=121, last=130)
    assert sorted(kept) == [121, 122, 123, 124, 125]
    assert (reading.last_page, reading.failed) == (125, {})


def test_a_range_past_the_end_reads_nothing_and_says_so() -> None:
    reading, kept = read(FakeApi(40), first=9, last=12)
    assert (kept, reading.pages) == ([], {})
    assert "no page 9" in reading.notes[0]


def test_a_page_that_fails_for_good_leaves_the_others_read_and_is_reported() -> None:
    api = FakeApi(
        2489, errors={7: UnavailableError("HTTP 502", host="images.example.com"), 90: BadPageError("cut short")}
    )
    reading, kept = read(api)
    assert sorted(kept) == [page for page in range(1, 126) if page not in (7, 90)]
    assert set(reading.failed) == {7, 90}
    assert "502" in str(reading.failed[7])
    assert reading.last_page == 125


def test_trap_3_a_failing_last_page_is_not_taken_for_the_end() -> None:
    reading, _ = read(FakeApi(100, errors={5: UnavailableError("HTTP 500")}))
    assert (reading.last_page, set(reading.failed)) == (None, {5})


def test_a_failing_first_page_does_not_stop_the_others() -> None:
    reading, kept = read(FakeApi(100, errors={1: UnavailableError("HTTP 500")}))
    assert sorted(kept) == [2, 3, 4, 5]
    assert set(reading.failed) == {1}


def test_an_api_that_is_down_is_one_clear_error() -> None:
    api = FakeApi(2489, errors={page: UnavailableError("no connection") for page in range(1, 126)})
    with pytest.raises(UnavailableError, match="no connection"):
        read(api)
    assert len(api.asked) == 2


@pytest.mark.parametrize(
    "error", [CredentialsError("HTTP 401"), DeadlineExceededError("too slow")], ids=["401", "deadline"]
)
@pytest.mark.parametrize("page", [1, 2, 60])
def test_trap_12_credentials_and_deadline_errors_stop_at_once(error: UpstreamError, page: int) -> None:
    api = FakeApi(2489, errors=dict.fromkeys(range(page, 126), error))
    with pytest.raises(type(error)):
        read(api)
    assert len(api.asked) <= page + 8


def test_pages_kept_before_a_fatal_error_stay_kept() -> None:
    kept: list[int] = []
    api = FakeApi(2489, errors={60: CredentialsError("HTTP 401")})
    with pytest.raises(CredentialsError):
        read_pages(Reading(1, 100), api.fetch, keeping(kept), Pace())
    assert set(range(1, 50)) <= set(kept)


def test_at_most_so_many_pages_are_in_flight_and_all_are_kept_by_the_calling_thread() -> None:
    api = FakeApi(400)
    threads = set()

    def keep(answer: PageAnswer) -> PageEntry:
        threads.add(threading.current_thread())
        return keeping([])(answer)

    read_pages(Reading(1, 100), api.fetch, keep, Pace(concurrency=3))
    assert api.most_running <= 3
    assert threads == {threading.current_thread()}


def test_there_is_a_pause_before_every_call() -> None:
    pauses: list[float] = []
    read(FakeApi(100), pace=Pace(2, 0.5, pauses.append))
    assert pauses == [0.5] * 5


@pytest.mark.parametrize(("following", "length"), [(1, 20), (4, 20), (2, 0)], ids=["back", "ahead", "empty"])
def test_a_next_link_that_leads_astray_is_a_failed_page(following: int, length: int) -> None:
    def fetch(page: int) -> PageAnswer:
        return (
            PageAnswer(page, b"", 40, following, ("1",) * length)
            if page == 1
            else PageAnswer(page, b"", 40, None, ("1",) * 20)
        )

    reading = Reading(1, 100)
    read_pages(reading, fetch, keeping([]), Pace())
    assert set(reading.failed) == {1}


def test_an_error_while_keeping_a_page_is_not_swallowed() -> None:
    def keep(answer: PageAnswer) -> PageEntry:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        read_pages(Reading(1, 100), FakeApi(100).fetch, keep, Pace())


@given(st.integers(0, 300), st.integers(1, 40), st.integers(0, 400), st.integers(1, 8))
def test_whatever_the_count_claims_every_page_is_read_once(total: int, length: int, count: int, workers: int) -> None:
    api = FakeApi(total, length, count)
    reading, kept = read(api, pace=Pace(workers))
    last = max(1, -(-total // length))
    assert sorted(kept) == list(range(1, last + 1))
    assert reading.last_page == last
