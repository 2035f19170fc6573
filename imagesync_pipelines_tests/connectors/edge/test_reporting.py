"""Reports wait until HO took them; what HO refuses holds nobody up, and nothing is raised into a synchronisation."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi, PhotoReport
from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.connectors.edge.reporting import GIVE_UP_AFTER, queue, send_reports
from imagesync_pipelines.storage.outbox import note_attempt, waiting_keys, waiting_reports
from imagesync_pipelines.sync.steps import StepResult
from imagesync_pipelines_tests.connectors.edge.head_office import (
    NOON,
    STORE_ID,
    Call,
    FakeHeadOffice,
    Reply,
    api_for,
    head_office,
    json_reply,
    store_of,
    uid,
)

STORE = "jakarta-1"


@pytest.fixture
def office() -> Iterator[FakeHeadOffice]:
    with head_office() as running:
        yield running


@pytest.fixture
def api(office: FakeHeadOffice) -> Iterator[HeadOfficeApi]:
    with api_for(office, tries=2) as client:
        yield client


def _queue(database: sa.Engine, *numbers: int, status: str = "synced", error: str = "") -> None:
    queue(database, STORE, [PhotoReport(uid(number), status, NOON, error) for number in numbers])


def _sent(office: FakeHeadOffice) -> list[str]:
    return sorted(item["photo_id"] for report in office.reports for item in report["sync_batch"])


def _told(done: StepResult) -> tuple[float, float]:
    """How many reports were sent, how many are kept."""
    return done.numbers["report/sent"], done.numbers["report/kept"]


def _waiting(database: sa.Engine) -> dict[str, int]:
    """How often each report that waits was refused."""
    keys = waiting_keys(database, EDGE, STORE)
    return {report.key: report.attempts for report in waiting_reports(database, EDGE, STORE, keys)}


def _status(call: Call) -> bool:
    return call.path.endswith("/status/")


def test_reports_go_out_in_batches_once(database: sa.Engine, office: FakeHeadOffice, api: HeadOfficeApi) -> None:
    _queue(database, *range(1, 6))
    done = send_reports(database, store_of(office), api, 2)
    assert (_told(done), done.warnings) == ((5, 0), [])
    assert [len(report["sync_batch"]) for report in office.reports] == [2, 2, 1]
    assert _sent(office) == [uid(number) for number in range(1, 6)]
    assert office.reports[0]["store_id"] == STORE_ID
    assert _told(send_reports(database, store_of(office), api, 2))[0] == 0
    assert len(office.reports) == 3


def test_of_a_photo_the_newest_report_counts(database: sa.Engine, office: FakeHeadOffice, api: HeadOfficeApi) -> None:
    _queue(database, 1, status="failed", error="the MD5 differs")
    _queue(database, 1)
    send_reports(database, store_of(office), api, 10)
    assert office.reports[0]["sync_batch"] == [
        {"photo_id": uid(1), "status": "synced", "synced_at": "2026-02-03T12:00:00Z", "error": None}
    ]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(503, (b"",)),
        Reply(200, (b"<html>",)),
        json_reply(404, {"message": "Store not found"}),
        json_reply(403, {}),
        json_reply(200, {"status": "error", "message": "Internal error"}),
        json_reply(200, {}),
        json_reply(200, {"status": "success", "message": "Sync status updated for 0 photos"}),
    ],
    ids=["503", "HTML", "the store is gone", "403", "200 and an error", "200 and nothing", "none of them"],
)
def test_what_cannot_be_sent_waits_for_the_next_run(
    database: sa.Engine, office: FakeHeadOffice, api: HeadOfficeApi, reply: Reply
) -> None:
    _queue(database, 1, 2, 3)
    office.hook = lambda call: reply if _status(call) else None
    result = send_reports(database, store_of(office), api, 2)
    assert _told(result) == (0, 3)
    (warning,) = result.warnings
    assert warning.startswith("3 reports are kept for the next run: ")
    assert len(warning) > len("3 reports are kept for the next run: ")
    assert len(office.of("/status/")) <= 2
    office.hook = lambda call: None
    assert _told(send_reports(database, store_of(office), api, 2))[0] == 3


def test_sending_that_breaks_off_in_the_middle_repeats_only_the_rest(
    database: sa.Engine, office: FakeHeadOffice, api: HeadOfficeApi
) -> None:
    _queue(database, 1, 2, 3, 4)
    office.hook = lambda call: Reply(502, (b"",)) if _status(call) and office.reports else None
    assert _told(send_reports(database, store_of(office), api, 2))[0] == 2
    office.hook = lambda call: None
    assert _told(send_reports(database, store_of(office), api, 2))[0] == 2
    assert _sent(office) == [uid(number) for number in (1, 2, 3, 4)]


def _refuse(number: int, office: FakeHeadOffice) -> Any:
    def hook(call: Call) -> Reply | None:
        if _status(call) and any(item["photo_id"] == uid(number) for item in call.body["sync_batch"]):
            return json_reply(400, {"status": "error", "message": "status: not one of synced, failed"})
        return None

    return hook


def test_a_report_that_ho_refuses_holds_nobody_up(
    database: sa.Engine, office: FakeHeadOffice, api: HeadOfficeApi
) -> None:
    _queue(database, 1, 2, 3, 4, 5)
    office.hook = _refuse(2, office)
    result = send_reports(database, store_of(office), api, 3)
    assert _told(result) == (4, 1)
    (warning,) = result.warnings
    assert "not one of synced, failed" in warning
    assert _waiting(database) == {uid(2): 1}


def test_a_report_over_which_a_library_stumbles_holds_nobody_up(
    database: sa.Engine, office: FakeHeadOffice, api: HeadOfficeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = api.report

    def stumbling(store_id: str, batch: Sequence[PhotoReport]) -> None:
        if any(one.photo_id == uid(2) for one in batch):
            raise KeyError("gave up")
        real(store_id, batch)

    monkeypatch.setattr(api, "report", stumbling)
    _queue(database, 1, 2, 3, 4, 5)
    for sent in (4, 0):
        result = send_reports(database, store_of(office), api, 3)
        assert _told(result) == (sent, 1)
        assert "KeyError: 'gave up'" in result.warnings[0]
        assert _waiting(database) == {uid(2): 0}, "only what the head office refuses is ever given up"


def test_a_report_that_is_always_refused_is_dropped_in_the_end(
    database: sa.Engine, office: FakeHeadOffice, api: HeadOfficeApi
) -> None:
    _queue(database, 2)
    office.hook = _refuse(2, office)
    for _ in range(GIVE_UP_AFTER - 2):
        note_attempt(database, EDGE, STORE, [uid(2)])
    assert not any("given up" in warning for warning in send_reports(database, store_of(office), api, 3).warnings)
    last = send_reports(database, store_of(office), api, 3)
    assert _told(last) == (0, 0)
    refused, dropped = last.warnings
    assert "HTTP 400" in refused
    assert dropped == "1 reports were given up; the head office refused them in many runs."
