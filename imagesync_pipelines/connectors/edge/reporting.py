"""What came of a store's photos: counted while a plan is applied, and told to the head office (HO).

HO's records are a courtesy: that they cannot be sent never fails a synchronisation; the next run sends them
(docs/contracts/edge.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi, PhotoReport
from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.connectors.edge.reading import at_store
from imagesync_pipelines.connectors.edge.settings import EdgeSettings, EdgeStore
from imagesync_pipelines.errors import error_reason
from imagesync_pipelines.languages import told
from imagesync_pipelines.storage import outbox
from imagesync_pipelines.sync.apply import ends_run
from imagesync_pipelines.sync.connector import NoOptions
from imagesync_pipelines.sync.steps import RunContext, StepResult, Texts
from imagesync_pipelines.sync.tally import Applied
from imagesync_pipelines.upstream.errors import UpstreamError

# A report that HO refused in this many runs will never be taken.
GIVE_UP_AFTER = 20
# HO looked at what the batch says and refused it, perhaps because of one report in it.
_JUDGED = frozenset({400, 413, 422})


@dataclass
class PhotosApplied:
    """What came of a plan, filled as it is applied.

    applied: in rows, as the engine counts. downloads: photos that were asked for; verified: those proven by checksum
    and decode. bytes: received over the wire, repeats included. mismatched: photos whose bytes were not the listed
    ones in two runs. unsettled: photos that changed or went at the head office since they were listed; the next listing
    decides. gone: of these, what it answered 404 about. damaged: by their ids, what is wrong with pictures that the
    head office has so.
    """

    applied: Applied = field(default_factory=Applied)
    downloads: int = 0
    verified: int = 0
    bytes: int = 0
    mismatched: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    damaged: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Photos that were not proven, without the unsettled."""
        return self.downloads - self.verified - len(self.unsettled)


def queue(engine: sa.Engine, store_name: str, reports: Sequence[PhotoReport]) -> None:
    """Put reports into the outbox, all or none; of a photo the newest counts."""
    payloads = {
        photo_id: {"status": status, "synced_at": moment and moment.isoformat(), "error": error}
        for photo_id, status, moment, error in reports
    }
    outbox.queue_reports(engine, EDGE, store_name, payloads)


def status_report(context: RunContext[EdgeSettings], options: NoOptions) -> StepResult:
    """What became of each photo, told to the head office in batches; what cannot be sent is kept for the next run.

    A head office that does not take the report never fails a synchronisation.
    """
    with at_store(context) as run:
        return send_reports(run.engine, run.account, run.api, run.settings.report_batch)


def send_reports(engine: sa.Engine, store: EdgeStore, api: HeadOfficeApi, batch: int) -> StepResult:
    """Send what waits, `batch` reports a call; what cannot be sent stays.

    A batch that HO refuses, or over which a library stumbles, is sent report by report, so that a bad one holds nobody
    up; only what HO refused itself counts, and is given up in the end. Any other failure ends the sending. No
    UpstreamError is raised.
    """
    sent, failed = 0, ""

    def send(reports: Sequence[outbox.WaitingReport]) -> Exception | None:
        """Send some and take them out of the outbox; the error when they did not go."""
        nonlocal sent
        try:
            api.report(store.store_id, [_report(waiting) for waiting in reports])
        except UpstreamError as error:
            return error
        except Exception as error:
            if ends_run(error):
                raise
            return error
        outbox.take_out(engine, EDGE, store.name, reports)
        sent += len(reports)
        return None

    keys = outbox.waiting_keys(engine, EDGE, store.name)
    for first in range(0, len(keys), batch):
        reports = outbox.waiting_reports(engine, EDGE, store.name, keys[first : first + batch])
        failure = send(reports) if reports else None
        if failure is None:
            continue
        failed = str(failure) if isinstance(failure, UpstreamError) else error_reason(failure)
        if isinstance(failure, UpstreamError) and not _is_refusal(failure):
            break
        each = [(one, failure if len(reports) == 1 else send([one])) for one in reports]
        refused = [one.key for one, why in each if _is_refusal(why)]
        outbox.note_attempt(engine, EDGE, store.name, refused)
    dropped = outbox.drop_after(engine, EDGE, store.name, GIVE_UP_AFTER)
    waiting = outbox.count_waiting(engine, EDGE, store.name)
    warnings = [told(f"{waiting} reports are kept for the next run: {failed}")] if failed else []
    if dropped:
        warnings.append(told(f"{dropped} reports were given up; the head office refused them in many runs."))
    kept = told(f"; {waiting} are kept for the next run") if waiting else ""
    return StepResult(
        rows=sent,
        numbers={"report/sent": sent, "report/kept": waiting},
        shown={"warnings": Texts(warnings)},
        lines=[told(f"{store.name}: {sent} photos were reported to the head office{kept}.")],
        warnings=warnings,
    )


def _is_refusal(failure: Exception | None) -> bool:
    """Whether HO itself looked at what it was told and refused it; an error of ours says nothing of the report."""
    return isinstance(failure, UpstreamError) and failure.status in _JUDGED


def _report(waiting: outbox.WaitingReport) -> PhotoReport:
    said, moment = waiting.payload, waiting.payload["synced_at"]
    return PhotoReport(waiting.key, said["status"], moment and datetime.fromisoformat(moment), said["error"])
