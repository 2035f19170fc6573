"""Proves what the sandbox adds around head office: faults, pages, reports, the ledger, the clock, a start over."""

import hashlib
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from imagesync_pipelines.sandbox import faults
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import WireFault
from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox, demo_changes, head_office_sandbox
from imagesync_pipelines.sandbox.head_office.watching import DOWNLOAD, LISTING, REFRESH, STATUS, TOKEN
from imagesync_pipelines_tests.sandbox import mishaps
from imagesync_pipelines_tests.sandbox.head_office.callers import Caller, listed, log_in, post

pytestmark = pytest.mark.slow

Ask = Callable[[Caller, str], requests.Response]


def a_photo(caller: Caller) -> dict[str, Any]:
    return min(caller.everything().values(), key=lambda one: str(one["id"]))


@pytest.fixture
def calm(either: Caller) -> Caller:
    """A head office without faults and with an empty ledger."""
    either.sandbox.faults.clear()
    either.sandbox.ledger.clear()
    return either


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        pytest.param(faults.server_error(500), 500, id="500"),
        pytest.param(faults.server_error(502), 502, id="502"),
        pytest.param(faults.server_error(503), 503, id="503"),
        pytest.param(faults.rate_limited("1"), 429, id="429"),
        pytest.param(mishaps.token_expired(), 401, id="expired token"),
        pytest.param(mishaps.forbidden(), 403, id="403 of a proxy"),
        pytest.param(mishaps.no_such_key(), 500, id="missing object"),
        pytest.param(mishaps.object_store_down(), 500, id="object store down"),
    ],
)
def test_an_answer_may_be_another_once(calm: Caller, fault: WireFault, status: int) -> None:
    photo = a_photo(calm)["id"]
    calm.sandbox.faults.add(fault.at(DOWNLOAD, photo))
    assert [calm.download(photo).status_code for _ in range(2)] == [status, 200]


@pytest.mark.parametrize(
    ("fault", "arrives"),
    [
        pytest.param(mishaps.html_photo(), True, id="html"),
        pytest.param(mishaps.bomb_photo(), True, id="bomb"),
        pytest.param(faults.altered().at(DOWNLOAD), True, id="altered"),
        pytest.param(faults.wrong_length(-100).at(DOWNLOAD), True, id="too short a length"),
        pytest.param(faults.wrong_length(100).at(DOWNLOAD), False, id="too long a length"),
        pytest.param(faults.truncated().at(DOWNLOAD), False, id="truncated"),
        pytest.param(faults.reset().at(DOWNLOAD), False, id="reset"),
    ],
)
def test_the_bytes_of_a_photo_may_go_wrong_on_the_way(calm: Caller, fault: WireFault, arrives: bool) -> None:
    photo = a_photo(calm)
    calm.sandbox.faults.add(fault)
    if arrives:
        content = calm.download(photo["id"]).content
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() != photo["checksum"]
    else:
        with pytest.raises(requests.exceptions.RequestException):
            calm.download(photo["id"])
    # What was sent too much would meet the next answer on the same connection.
    calm.session.close()
    content = calm.download(photo["id"]).content
    assert hashlib.md5(content, usedforsecurity=False).hexdigest() == photo["checksum"]


def test_a_slow_body_arrives_whole(calm: Caller) -> None:
    photo = a_photo(calm)
    calm.sandbox.faults.add(faults.drip(0.3).at(DOWNLOAD))
    started = time.perf_counter()
    assert len(calm.download(photo["id"]).content) == photo["size"]
    assert time.perf_counter() - started >= 0.3


def test_a_burst_ends(calm: Caller) -> None:
    calm.sandbox.faults.add(*(faults.server_error(status) for status in (500, 502, 503, 500)))
    assert [calm.ask().status_code for _ in range(5)] == [500, 502, 503, 500, 200]


def test_a_fault_meets_the_page_that_is_named(calm: Caller) -> None:
    calm.sandbox.faults.add(faults.server_error(503).at(LISTING, "20"))
    assert [calm.ask(f"limit=10&offset={offset}").status_code for offset in (0, 10, 20, 30)] == [200, 200, 503, 200]


def test_the_ledger_names_the_endpoints(calm: Caller) -> None:
    photo = a_photo(calm)["id"]
    refresh = log_in(calm.sandbox)["refresh"]
    post(calm.sandbox, "/api/v1/token/refresh/", json={"refresh": refresh})
    calm.download(photo)
    calm.report(json={"store_id": str(calm.store), "sync_batch": []})
    assert calm.sandbox.ledger.as_json() == {
        name: {"200": 1} for name in sorted((LISTING, TOKEN, REFRESH, DOWNLOAD, STATUS))
    }
    assert calm.sandbox.ledger.calls(DOWNLOAD)[0].part == photo


def test_reports_are_kept_as_they_were_sent_with_repetitions_and_unknown_photos(calm: Caller) -> None:
    before = len(calm.sandbox.reports())
    row = {"photo_id": "00000000-0000-4000-8000-000000000000", "status": "failed", "synced_at": None, "error": "é"}
    for _ in range(2):
        assert calm.report(json={"store_id": str(calm.store), "sync_batch": [row]}).status_code == 200
    kept = calm.sandbox.reports()[before:]
    assert [(one.photo_id, one.status, one.error, one.store_id) for one in kept] == 2 * [
        (row["photo_id"], "failed", "é", str(calm.store))
    ]
    assert kept[1].batch == kept[0].batch + 1


def test_a_report_that_was_refused_is_not_kept_and_one_whose_answer_was_lost_is(calm: Caller) -> None:
    before = len(calm.sandbox.reports())
    body = {"store_id": str(calm.store), "sync_batch": [{"photo_id": str(calm.store), "status": "synced"}]}
    calm.sandbox.faults.add(faults.server_error(503).at(STATUS))
    assert calm.report(json=body).status_code == 503
    assert calm.report(json={"sync_batch": body["sync_batch"]}).status_code == 400
    assert len(calm.sandbox.reports()) == before
    calm.sandbox.faults.add(faults.truncated().at(STATUS))
    with pytest.raises(requests.exceptions.RequestException):
        calm.report(json=body)
    assert len(calm.sandbox.reports()) == before + 1


def test_something_happens_between_two_pages(calm: Caller) -> None:
    total = calm.page("limit=10")["total"]
    calm.sandbox.between_pages(2, lambda: calm.sandbox.mutate("delete_row"))
    totals = [calm.page(f"limit=10&offset={offset}")["total"] for offset in (0, 10, 20)]
    assert totals == [total, total, total - 1]


def test_a_page_that_was_not_made_does_not_count(calm: Caller) -> None:
    total = calm.page("limit=10")["total"]
    calm.sandbox.between_pages(1, lambda: calm.sandbox.mutate("delete_row"))
    calm.sandbox.faults.add(faults.server_error().at(LISTING))
    calm.ask("limit=10")
    assert calm.ask(f"store_id={calm.sandbox.closed_store}").status_code == 404
    assert calm.page("limit=10")["total"] == total
    assert calm.page("limit=10")["total"] == total - 1


def test_a_token_may_expire_between_two_pages(calm: Caller) -> None:
    caller = Caller(calm.sandbox)
    caller.sandbox.between_pages(1, lambda: caller.sandbox.clock.move(3601))
    assert [caller.ask("limit=10").status_code for _ in range(2)] == [200, 401]
    calm.session.headers["Authorization"] = f"Bearer {log_in(calm.sandbox)['access']}"
    assert calm.ask().status_code == 200


def test_head_offices_clock_may_be_skewed_both_ways(calm: Caller) -> None:
    clock = calm.sandbox.clock
    for seconds in (7200, -14_400, 7200):
        clock.move(seconds)
        before = clock.now()
        change = calm.sandbox.mutate("edit")
        (row,) = [row for row in listed(calm.sandbox, calm.store) if row.id == change.photo_id]
        assert before <= row.updated_at <= before + timedelta(seconds=10)
    calm.session.headers["Authorization"] = f"Bearer {log_in(calm.sandbox)['access']}"


def test_a_day_changes_something_of_every_kind(calm: Caller) -> None:
    before = calm.everything()
    told = demo_changes(calm.sandbox)
    after = calm.everything()
    assert {line.split(":")[0] for line in told} == {"replace", "add", "delete_row", "edit", "deactivate_product"}
    assert len(after.keys() - before.keys()) >= 3
    assert len(before.keys() - after.keys()) >= 3
    edited = [key for key in before.keys() & after.keys() if before[key]["sort_order"] != after[key]["sort_order"]]
    assert len(edited) == sum(line.startswith("edit") for line in told)


def test_an_action_that_fails_is_told_at_the_end(database_url: str, tmp_path: Path) -> None:
    def fail() -> None:
        raise LookupError("the test's own mistake")

    def walk() -> None:
        with head_office_sandbox(database_url, photos=3, folder=tmp_path) as sandbox:
            sandbox.between_pages(1, fail)
            assert Caller(sandbox).ask().status_code == 200

    with pytest.raises(LookupError, match="own mistake"):
        walk()


def test_a_second_start_finds_what_the_first_left(database_url: str, tmp_path: Path) -> None:
    clock = SandboxClock()
    with head_office_sandbox(database_url, photos=5, folder=tmp_path, clock=clock) as sandbox:
        first = [sandbox.mutate("replace"), sandbox.mutate("add")]
        left = listed(sandbox, sandbox.stores[0])
        stores = sandbox.stores
    with head_office_sandbox(database_url, photos=5, folder=tmp_path, clock=clock, original=True) as sandbox:
        assert sandbox.stores == stores
        assert listed(sandbox, stores[0]) == left
        second = [sandbox.mutate("replace", product_id=first[0].product_id), sandbox.mutate("add")]
        assert not {change.photo_id for change in first} & {change.photo_id for change in second}
        caller = Caller(sandbox)
        photos = caller.everything().values()
        assert photos
        for photo in photos:
            assert hashlib.md5(caller.download(photo["id"]).content).hexdigest() == photo["checksum"]


def test_the_service_refuses_a_store_that_is_not_granted(service: HeadOfficeSandbox) -> None:
    assert Caller(service).ask(f"store_id={service.foreign_store}").status_code == 403
