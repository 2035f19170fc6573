"""What comes of an account's plan, each a function without Dagster: uploads, galleries and thumbnails.

What belongs here: joining uploads, the engine and storage, one function per Dagster asset. What does not: making the
plan (plan_stages.py), effects (uploading.py, writing.py), what the UI shows (assets.py, telling.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from imagesync_pipelines.connectors.plytix.api.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.applying import GalleryTarget
from imagesync_pipelines.connectors.plytix.desk import Desk
from imagesync_pipelines.connectors.plytix.galleries import picture_key
from imagesync_pipelines.connectors.plytix.ledger import CONNECTOR
from imagesync_pipelines.connectors.plytix.notes import UploadsNote, keep_report
from imagesync_pipelines.connectors.plytix.planning import (
    Policy,
    Task,
    tasks_of,
    uploads_of,
)
from imagesync_pipelines.connectors.plytix.report import Basis, Done, Fault, make_report
from imagesync_pipelines.connectors.plytix.rereading import Rereading
from imagesync_pipelines.connectors.plytix.uploading import FATAL, Uploads, upload_all
from imagesync_pipelines.connectors.plytix.writing import Tools, Written
from imagesync_pipelines.storage.notes import keep_note
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.sync.apply import APPLY_STAGE, Applied, apply_remote
from imagesync_pipelines.sync.handovers import note_of, plan_to_apply
from imagesync_pipelines.sync.model import EFFECTS
from imagesync_pipelines.sync.progress import Progress


@dataclass(frozen=True)
class PlanApplied:
    """What came of applying an account's plan.

    stopped: why the rest of it waits for the next run, '' when nothing does; goes_on_at: when the account's limits let
    the next call through, None when they did not stop it. calls: to Plytix in this run, those of
    reading and uploading included; token_calls: to the host that gives tokens, by this stage.
    """

    plan_id: int
    applied: Applied
    written: Written
    uploads: UploadsNote
    report: dict[str, Any]
    calls: int
    token_calls: int
    held_back: int
    stopped: str
    goes_on_at: datetime | None
    warnings: tuple[str, ...]


def upload_assets(
    desk: Desk,
    api: PlytixApi,
    run_id: str,
    *,
    ancestors: Sequence[str] = (),
    plan_id: int | None = None,
    progress: Progress,
) -> UploadsNote:
    """Upload the pictures that a stored plan needs and Plytix does not have; each one once, whoever shows it.

    A picture that Plytix does not take stops no other one. Raises AccountBusyError, PlanMissingError,
    NoPlanOfThisRunError, CredentialsError, NotAllowedError.
    """
    plans = Plans(desk.place.engine, desk.place.storage)
    header = plan_to_apply(plans, CONNECTOR, run_id, ancestors, plan_id, {"account": desk.account})
    rows, tasks = _loaded(plans, header)
    urls = uploads_of(rows, tasks)
    calls = api.calls
    with desk.locked():
        done = upload_all(
            urls,
            Uploads(api, desk.ledger),
            workers=desk.settings.workers,
            anew=bool(header.scope["force"]) and header.applied_at is None,
            on_progress=lambda number: progress("images uploaded", number, None),
        )
    note = UploadsNote(
        run_id=run_id,
        plan_id=header.id,
        uploaded=done.uploaded,
        existed=done.existed,
        failed=dict(done.failed),
        left=done.left,
        stopped=done.stopped,
        goes_on_at=api.free_at,
        calls=api.calls - calls,
    )
    keep_note(desk.place.storage, desk.account, note)
    return note


def apply_plan(
    desk: Desk,
    api: PlytixApi,
    run_id: str,
    *,
    ancestors: Sequence[str] = (),
    plan_id: int | None = None,
    progress: Progress,
) -> PlanApplied:
    """Write galleries and thumbnails as a stored plan has them (the one named, else this run's lineage's), and report.

    When the account's calls are used up, the rest waits for the next run, which plans it again. Raises
    AccountBusyError, PlanMissingError, NoPlanOfThisRunError, CredentialsError, NotAllowedError.
    """
    plans = Plans(desk.place.engine, desk.place.storage)
    header = plan_to_apply(plans, CONNECTOR, run_id, ancestors, plan_id, {"account": desk.account})
    rows, tasks = _loaded(plans, header)
    uploads = _uploads_note(desk, header, run_id, ancestors)
    scope, own = header.scope, header.run_id == run_id
    policy = Policy(scope["strategy"], scope["remove_missing"], force=scope["force"])
    read_at = datetime.fromisoformat(scope["read_at"]) if own else None
    calls, token_calls = api.calls, api.token_calls
    total = int(rows["change"].isin(EFFECTS).sum())
    with desk.locked():
        assets = Uploads(api, desk.ledger)
        order = sorted(tasks)
        products = {sku: task.product for sku, task in tasks.items()}
        tools = Tools(
            api=api,
            ledger=desk.ledger,
            uploads=assets,
            rereading=Rereading(api, order, products, read_at, desk.clock),
            links=desk.ledger.known().links,
            failed_uploads=uploads.failed,
            written=Written(),
        )
        target = GalleryTarget(tools, tasks, policy, stopped=uploads.stopped)
        plans.mark_begun(header.id, run_id)
        applied = apply_remote(
            rows.drop(columns=["variant", "image_url"]),
            target,
            desk.intents(run_id),
            desk.quarantine(run_id),
            workers=desk.settings.workers,
            states=_states(plans, header),
            states_read_at=read_at,
            fatal=FATAL,
            clock=desk.clock,
            on_progress=lambda number: progress("product images written", number, total),
        )
    plans.mark_applied(header.id, run_id)
    done = Done(
        uploaded=uploads.uploaded + assets.uploaded,
        existed=uploads.existed + assets.existed,
        links=tools.written.links,
        thumbnails=tools.written.thumbnails,
        errors=_faults(desk, run_id, applied, tasks),
    )
    known = desk.ledger.known().assets()
    report = make_report(Basis.from_json(scope["basis"]), done, tasks, known, ended_at=desk.clock(), dry_run=False)
    keep_report(desk.place.storage, run_id, report)
    read_calls = int(scope["calls"]) if own else 0
    read_stopped = _moment(scope["goes_on_at"]) if own else None
    return PlanApplied(
        plan_id=header.id,
        applied=applied,
        written=tools.written,
        uploads=uploads,
        report=report,
        calls=read_calls + uploads.calls + api.calls - calls,
        token_calls=api.token_calls - token_calls,
        held_back=int(scope["held_back"]),
        stopped=target.stopped or (str(scope["stopped"]) if own else ""),
        goes_on_at=api.free_at or uploads.goes_on_at or read_stopped,
        warnings=(*scope["warnings"], *_warnings(applied, tools.written, target.stopped, uploads, header, run_id)),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _loaded(plans: Plans, header: PlanHeader) -> tuple[pd.DataFrame, dict[str, Task]]:
    return plans.load(header.id), tasks_of(plans.need_payload(header.id))


def _states(plans: Plans, header: PlanHeader) -> dict[str, str]:
    payload = plans.need_payload(header.id)
    return dict(zip(payload["group"], payload["state_before"], strict=True))


def _uploads_note(desk: Desk, header: PlanHeader, run_id: str, ancestors: Sequence[str]) -> UploadsNote:
    """What became of this plan's uploads in this run's lineage; nothing when they were another plan's.

    The calls of an earlier run are not this one's, and what stopped it may be over.
    """
    note = note_of(desk.place.storage, desk.account, run_id, ancestors, UploadsNote)
    if note is None or note.plan_id != header.id:
        return UploadsNote(run_id=run_id, plan_id=header.id)
    if note.run_id == run_id:
        return note
    return note.model_copy(update={"run_id": run_id, "calls": 0, "left": 0, "stopped": "", "goes_on_at": None})


def _faults(desk: Desk, run_id: str, applied: Applied, tasks: dict[str, Task]) -> tuple[Fault, ...]:
    """What failed in this run, from the quarantine, and what nobody knows."""
    urls = {(sku, image.key): image.url for sku, task in tasks.items() for image in task.images}
    faults = [
        Fault(urls.get((entry.group_key or "", picture_key(entry.key)), ""), entry.reason, entry.group_key or "")
        for entry in desk.quarantine(run_id).list()
        if entry.run_id == run_id and entry.stage == APPLY_STAGE
    ]
    faults.sort(key=lambda fault: (fault.product_sku, fault.url))
    if applied.unknown:
        faults.append(Fault("", f"the answer was lost for {applied.unknown} images; the next run looks", ""))
    return tuple(faults)


def _warnings(
    applied: Applied, written: Written, stopped: str, uploads: UploadsNote, header: PlanHeader, run_id: str
) -> list[str]:
    found = []
    if header.applied_at is not None and header.applied_run != run_id:
        found.append(f"Plan {header.id} had been applied before, by run {header.applied_run}.")
    if uploads.failed:
        found.append(f"{len(uploads.failed)} images could not be uploaded; the next run tries them again.")
    if beside := sum(written.beside.values()):
        found.append(
            f"{beside} images have other content than before and were appended; the older ones are still in the "
            "galleries, take them out in Plytix. With PLYTIX_STRATEGY=patch the new ones take their places."
        )
    if stopped:
        found.append(f"Stopped with {applied.refused} images left; the next run goes on: {stopped}")
    elif applied.refused:
        found.append(
            f"{applied.refused} images of {len(applied.refused_in)} products were refused, because they changed in "
            "Plytix since the plan was made; plan again."
        )
    if applied.failed:
        found.append(f"{applied.failed} product images failed; the next run tries them again.")
    if applied.unknown:
        found.append(f"The answer was lost for {applied.unknown} product images; the next run looks and goes on.")
    return found
