"""Photos are fetched ahead: proven, bounded in number, pace and bytes, tried again where that helps."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from imagesync_pipelines.connectors.edge.downloads import (
    Budget,
    DownloadFault,
    Downloads,
    FetchedPhoto,
    fetch_ahead,
    fetch_photo,
)
from imagesync_pipelines.connectors.edge.errors import ObjectMissingError, PhotoGoneError, StoreNotAllowedError
from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.upstream.errors import BadAnswerError, NotFoundError, TruncatedBodyError, UnavailableError
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines_tests.connectors.edge.photos import Body, Source, no_waiting, photo, picture, settings_of

GOOD = picture(1)
HALF = len(GOOD) // 2


def fetched(*answers: Exception | Body, listed: Photo | None = None, source: Source | None = None) -> FetchedPhoto:
    one = listed or photo(1)
    source = source or Source()
    source.bodies.setdefault(one.photo_id, GOOD)
    source.answers[one.photo_id] = list(answers)
    return fetch_photo(one, Downloads(source.open, settings_of(), timing=no_waiting()))


def test_a_good_photo_is_handed_on_with_its_bytes() -> None:
    found = fetched(Body([GOOD[:5], GOOD[5:]]))
    assert (found.body, found.fault, found.received, found.tries) == (GOOD, None, len(GOOD), 1)


@pytest.mark.parametrize(
    ("answers", "fault", "tries"),
    [
        pytest.param([PhotoGoneError("404")], DownloadFault.GONE, 1, id="gone is not asked for again"),
        pytest.param(
            [ObjectMissingError("NoSuchKey")], DownloadFault.NO_OBJECT, 1, id="a missing object is not asked for again"
        ),
        pytest.param(
            [UnavailableError("503")] * 9, DownloadFault.UNREACHABLE, 1, id="the API itself has tried to open it again"
        ),
        pytest.param(
            [NotFoundError("a proxy's 404")], DownloadFault.UNREACHABLE, 1, id="a 404 of somebody else is not gone"
        ),
        pytest.param([BadAnswerError("418")], DownloadFault.UNREACHABLE, 1, id="an answer nobody understands"),
        pytest.param(
            [Body([TruncatedBodyError("broke off")])] * 9, DownloadFault.UNREACHABLE, 3, id="broken off every time"
        ),
        pytest.param([Body([b"other"])] * 9, DownloadFault.MISMATCH, 2, id="the same other bytes twice"),
        pytest.param(
            [Body([b"a"]), Body([b"b"]), Body([b"c"])], DownloadFault.MISMATCH, 3, id="other bytes every time"
        ),
    ],
)
def test_what_cannot_be_fetched_has_its_fault(
    answers: list[Exception | Body], fault: DownloadFault, tries: int
) -> None:
    found = fetched(*answers)
    assert (found.body, found.fault, found.tries) == (None, fault, tries)
    assert found.reason


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(Body([GOOD[:HALF], TruncatedBodyError("broke off")]), id="broken off"),
        pytest.param(Body([GOOD[:HALF], UnavailableError("stopped")]), id="stopped"),
        pytest.param(Body([GOOD[:HALF] + b"!" + GOOD[HALF + 1 :]]), id="a flipped byte"),
    ],
)
def test_a_fault_on_the_way_is_healed_by_trying_again(first: Body) -> None:
    found = fetched(first)
    assert (found.body, found.fault, found.tries) == (GOOD, None, 2)
    assert found.received > len(GOOD)


def test_a_broken_download_goes_on_where_it_broke_when_the_source_can_do_that() -> None:
    source = Source()
    broken = Body([GOOD[:HALF], TruncatedBodyError("broke off")], etag='"e"')
    found = fetched(broken, Body([GOOD[HALF:]], start=HALF, etag='"e"'), source=source)
    assert (found.body, found.received) == (GOOD, len(GOOD))
    assert source.asked == [(0, ""), (HALF, '"e"')]


def test_a_source_that_starts_over_is_taken_from_the_start() -> None:
    broken = Body([GOOD[:HALF], TruncatedBodyError("broke off")], etag='"e"')
    assert fetched(broken, Body([GOOD], start=0)).body == GOOD


def test_a_body_counts_when_its_checksum_is_right_although_more_was_announced() -> None:
    found = fetched(Body([GOOD, TruncatedBodyError("10 bytes less than announced")]))
    assert (found.body, found.tries) == (GOOD, 1)


def test_a_body_that_never_ends_is_cut_at_the_limit() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1000)

    class Endless(Body):
        def chunks(self) -> Iterator[bytes]:
            return endless()

    one = photo(1)
    source = Source(answers={one.photo_id: [Endless([])]})
    found = fetch_photo(one, Downloads(source.open, settings_of(max_photo=50_000)))
    assert (found.fault, found.received) == (DownloadFault.TOO_LARGE, 51_000)


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        pytest.param(b"<html></html>", "image/jpeg", "HTML", id="HTML"),
        pytest.param(GOOD[:40], "image/jpeg", "cannot be decoded", id="a JPEG of which nothing is left"),
        pytest.param(picture(1, "PNG"), "image/jpeg", "labelled", id="a PNG that is called a JPEG"),
    ],
)
def test_bytes_with_the_right_checksum_are_still_decoded_whole(body: bytes, content_type: str, words: str) -> None:
    listed = photo(1, body, content_type=content_type)
    found = fetched(Body([body]), listed=listed)
    assert (found.body, found.fault) == (None, DownloadFault.BAD_IMAGE)
    assert words in found.reason


def test_a_damaged_photo_that_the_head_office_lists_so_is_what_it_has_and_its_damage_is_told() -> None:
    found = fetched(Body([GOOD[:-40]]), listed=photo(1, GOOD[:-40]))
    assert (found.body, found.fault) == (GOOD[:-40], None)
    assert "Premature end" in found.damage
    assert fetched(Body([GOOD]), listed=photo(1, GOOD)).damage == ""


def test_a_photo_larger_than_listed_is_taken_when_there_is_room_and_counted() -> None:
    listed = photo(1, size=10)
    found = fetched(listed=listed)
    assert (found.body, found.held) == (GOOD, len(GOOD))


def test_a_photo_larger_than_listed_is_refused_when_there_is_no_room() -> None:
    source = Source({photo(1).photo_id: GOOD})
    downloads = Downloads(source.open, settings_of(budget=100))
    assert downloads.budget.admit(10)
    found = fetch_photo(photo(1, size=10), downloads)
    assert (found.fault, found.held) == (DownloadFault.TOO_LARGE, 10)
    assert "10 bytes that are listed" in found.reason


def test_an_error_that_every_photo_would_meet_is_raised() -> None:
    with pytest.raises(StoreNotAllowedError):
        fetched(StoreNotAllowedError("403"))


def test_a_budget_admits_what_fits_and_one_that_is_larger_than_all_of_it_alone() -> None:
    budget = Budget(100)
    assert budget.admit(60)
    assert not budget.admit(60)
    assert budget.admit(40)
    budget.release(100)
    assert budget.admit(500)
    assert not budget.admit(1)
    budget.release(500)
    assert budget.admit(1)


class Watched:
    """A source that notes how many downloads run at once and how many bytes were handed out and not given back."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = 0

    @contextmanager
    def open(self, listed: Photo, start: int, etag: str) -> Iterator[Body]:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.002)
        yield Body([picture(int(listed.product_sku))])
        with self.lock:
            self.now -= 1


def run_through(downloads: Downloads, photos: list[Photo], hold: int) -> tuple[list[str], int]:
    """Take all photos, giving them back in portions of `hold`; returns their order and the most bytes held at once."""
    order: list[str] = []
    held: list[FetchedPhoto] = []
    most = 0
    with closing(fetch_ahead(iter(photos), lambda listed: listed, downloads)) as ahead:
        for ready in ahead:
            if ready is not None and ready[1] is not None:
                order.append(ready[0].photo_id)
                held.append(ready[1])
            most = max(most, sum(len(one.body or b"") for one in held))
            if ready is None or len(held) >= hold:
                downloads.budget.release(sum(one.held for one in held))
                held.clear()
    return order, most


@pytest.mark.parametrize("concurrency", [1, 3])
def test_photos_come_in_their_order_and_never_more_at_once_than_allowed(concurrency: int) -> None:
    photos, watched = [photo(number) for number in range(30)], Watched()
    downloads = Downloads(watched.open, settings_of(concurrency=concurrency))
    order, _ = run_through(downloads, photos, hold=7)
    assert order == [listed.photo_id for listed in photos]
    assert watched.most == concurrency


@pytest.mark.parametrize("budget", [1, 2_500, 10**6])
def test_bytes_in_flight_stay_within_the_budget(budget: int) -> None:
    photos = [photo(number) for number in range(30)]
    largest = max(listed.size for listed in photos)
    downloads = Downloads(Watched().open, settings_of(budget=budget))
    order, most = run_through(downloads, photos, hold=1000)
    assert len(order) == 30
    assert most <= max(budget, largest)


def test_the_pace_holds_over_all_threads() -> None:
    starts: list[float] = []
    now, lock = [0.0], threading.Lock()

    def sleep(seconds: float) -> None:
        with lock:
            starts.append(now[0] + seconds)

    timing = Timing(clock=lambda: now[0], sleep=sleep)
    downloads = Downloads(Watched().open, settings_of(concurrency=5, pace_seconds=0.1), timing=timing)
    run_through(downloads, [photo(number) for number in range(10)], hold=1)
    assert sorted(starts) == pytest.approx([0.1 * nth for nth in range(1, 10)])


def test_leaving_early_starts_no_further_download() -> None:
    source = Source({photo(number).photo_id: picture(number) for number in range(50)})
    downloads = Downloads(source.open, settings_of(concurrency=1, budget=3_000))
    with closing(fetch_ahead((photo(number) for number in range(50)), lambda listed: listed, downloads)) as ahead:
        next(ahead)
    assert len(source.opened) < 10


def test_sizes_are_set_in_megabytes() -> None:
    settings = EdgeSettings(memory_budget_mb=1, max_photo_mb=2)
    assert (settings.memory_budget, settings.max_photo) == (1024 * 1024, 2 * 1024 * 1024)
