"""Telling the head office (HO) what became of a store's photos (docs/contracts/edge.md).

HO's records are a courtesy: that they cannot be sent never fails a synchronisation; the next run sends them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.accounts import EdgeStore
from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi, PhotoReport
from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.connectors.edge.reading import at_store
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.storage import outbox
from imagesync_pipelines.sync.connector import NoOptions
from imagesync_pipelines.sync.steps import RunContext, StepResult, Texts
from imagesync_pipelines.upstream.errors import UpstreamError

# A report that HO refused in this many runs will never be taken.
GIVE_UP_AFTER = 20
# HO looked at what the batch says and refused it, perhaps because of one report in it.
_JUDGED = frozenset({400, 413, 422})


@dataclass(frozen=True)
class Reported:
    """What came of sending: reports `sent`, still `waiting` for the next run, `dropped` after many refusals.

    error: why sending stopped or the last refusal, for people; '' when all went well.
    """

    sent: int
    waiting: int
    dropped: int
    error: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person has to know."""
        kept = f"{self.waiting} reports are kept for the next run: {self.error}" if self.error else ""
        lost = f"{self.dropped} reports were given up; the head office refused them in many runs."
        return tuple(filter(None, (kept, lost if self.dropped else "")))


def queue(engine: sa.Engine, store_name: str, reports: Sequence[PhotoReport]) -> None:
    """Put reports into the outbox, all or none; of a photo the newest counts."""
    payloads = {
        photo_id: {"status": status, "synced_at": moment and moment.isoformat(), "error": error}
        for photo_id, status, moment, error in reports
    }
    outbox.queue_reports(engine, EDGE, store_name, payloads)


def status_report(context: RunContext[EdgeSettings], options: NoOptions) -> StepResult:
    """The step: tell the head office what became of each photo; what it does not take is kept."""
    with at_store(context) as run:
        done = send_reports(run.engine, run.account, run.api, run.settings.report_batch)
    kept = f"; {done.waiting} are kept for the next run" if done.waiting else ""
    return StepResult(
        rows=done.sent,
        numbers={"report/sent": done.sent, "report/kept": done.waiting},
        shown={"warnings": Texts(done.warnings)},
        lines=[f"{context.account}: {done.sent} photos were reported to the head office{kept}."],
        warnings=done.warnings,
    )


def send_reports(engine: sa.Engine, store: EdgeStore, api: HeadOfficeApi, batch: int) -> Reported:
    """Send what waits, `batch` reports a call; what cannot be sent stays.

    A batch that HO refuses is sent report by report, so that a bad one holds nobody up. Any other failure ends the
    sending. No UpstreamError is raised.
    """
    sent, failed, tried = 0, "", set[str]()

    def send(reports: Sequence[outbox.WaitingReport]) -> UpstreamError | None:
        """Send some and take them out of the outbox; the error when they did not go."""
        nonlocal sent
        try:
            api.report(store.store_id, [_report(waiting) for waiting in reports])
        except UpstreamError as error:
            return error
        outbox.take_out(engine, EDGE, store.name, reports)
        sent += len(reports)
        return None

    while reports := outbox.waiting_reports(engine, EDGE, store.name, batch, without=tried):
        tried.update(report.key for report in reports)
        failure = send(reports)
        if failure is None:
            continue
        failed = str(failure)
        if failure.status not in _JUDGED:
            break
        refused = reports if len(reports) == 1 else [report for report in reports if send([report]) is not None]
        outbox.note_attempt(engine, EDGE, store.name, [report.key for report in refused])
    dropped = outbox.drop_after(engine, EDGE, store.name, GIVE_UP_AFTER)
    return Reported(sent, outbox.count_waiting(engine, EDGE, store.name), dropped, failed)


def _report(waiting: outbox.WaitingReport) -> PhotoReport:
    moment = waiting.payload["synced_at"]
    synced_at = datetime.fromisoformat(moment) if moment else None
    return PhotoReport(waiting.key, waiting.payload["status"], synced_at, waiting.payload["error"])
