"""What comes of an account's plan: pictures into Plytix's library, galleries and thumbnails,
and the report of the run.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.galleries import picture_key
from imagesync_pipelines.connectors.plytix.ledger import Run, intents_of, ledger_of
from imagesync_pipelines.connectors.plytix.model import UploadsMade
from imagesync_pipelines.connectors.plytix.planning import Policy, Task, images_of, tasks_of, uploads_of
from imagesync_pipelines.connectors.plytix.reading import open_pim
from imagesync_pipelines.connectors.plytix.report import (
    Basis,
    Done,
    ReportedFault,
    bounded,
    errors_table,
    keep_report,
    make_report,
    report_numbers,
)
from imagesync_pipelines.connectors.plytix.target import GalleryTarget, Rereading, Tools, Written
from imagesync_pipelines.connectors.plytix.uploading import FATAL, Uploads, upload_all
from imagesync_pipelines.sync.applied import (
    ApplyOptions,
    Loaded,
    applied_summary,
    applied_warnings,
    carry_out_remotely,
    load_plan,
    payload_of,
    states_of,
)
from imagesync_pipelines.sync.apply import APPLY_STAGE, Applied
from imagesync_pipelines.sync.report import Summary
from imagesync_pipelines.sync.steps import Json, StepResult, Table, Texts


@dataclass(frozen=True)
class GalleriesWritten:
    """What came of applying an account's plan.

    summary: of the run; its calls are those to Plytix, of reading and uploading too when this very run did that.
    stopped: why the rest of the plan waits for the next run, '' when nothing does; goes_on_at: when the account's
    limits let the next call through, None when they did not stop it. token_calls: to the host that gives tokens, by
    this step.
    """

    plan_id: int
    applied: Applied
    written: Written
    uploads: UploadsMade
    report: dict[str, Any]
    summary: Summary
    token_calls: int
    stopped: str
    goes_on_at: datetime | None


def assets(context: Run, options: ApplyOptions) -> StepResult:
    """The step `assets`; see upload_assets."""
    with open_pim(context) as api:
        done = upload_assets(context, api, options)
    return StepResult(
        rows=done.uploaded + done.existed,
        numbers={
            "assets/uploaded": done.uploaded,
            "assets/existed": done.existed,
            "assets/failed": len(done.failed),
            "api/calls": done.calls,
        },
        shown={
            "failed": Texts([f"{key}: {why}" for key, why in sorted(done.failed.items())]),
            "stopped": done.stopped or "-",
        },
        lines=[uploads_line(context.account, done)],
    )


def upload_assets(context: Run, api: PlytixApi, options: ApplyOptions) -> UploadsMade:
    """Upload the pictures that a stored plan needs and Plytix does not have; each one once, whoever shows it.

    A picture that Plytix does not take stops no other one. Raises AccountBusyError, PlanMissingError,
    NoPlanOfThisRunError, CredentialsError, NotAllowedError.
    """
    loaded = load_plan(context, options.plan_id)
    urls = uploads_of(loaded.rows, tasks_of(payload_of(context, loaded)))
    calls = api.calls
    with context.lock():
        done = upload_all(
            urls,
            Uploads(api, ledger_of(context)),
            workers=context.settings.workers,
            anew=bool(loaded.scope["force"]) and loaded.header.applied_at is None,
            on_progress=lambda number: context.progress("images uploaded", number, None),
        )
    made = UploadsMade(
        run_id=context.run_id,
        plan_id=loaded.header.id,
        goes_on_at=api.free_at,
        calls=api.calls - calls,
        **asdict(done),
    )
    context.keep("assets", made)
    return made


def uploads_line(account: str, done: UploadsMade) -> str:
    """The uploads in one line for the log."""
    rest = f", {done.left} wait for the next run" if done.left else ""
    return (
        f"{account}: {done.uploaded} pictures uploaded, {done.existed} were in Plytix, {len(done.failed)} failed{rest}."
    )


def product_images(context: Run, options: ApplyOptions) -> StepResult:
    """The step `product_images`; see apply_plan."""
    with open_pim(context) as api:
        done = apply_plan(context, api, options)
    return StepResult(
        rows=done.applied.kept + done.applied.added + done.applied.updated,
        numbers=report_numbers(done.report),
        shown={
            "report": Json(bounded(done.report)),
            "errors": Table(errors_table(done.report)),
            "token_calls": done.token_calls,
            "stopped": done.stopped or "-",
        },
        lines=[applied_line(context.account, done)],
        warnings=done.summary.warnings,
        summary=done.summary,
        goes_on_at=done.goes_on_at,
    )


def apply_plan(context: Run, api: PlytixApi, options: ApplyOptions) -> GalleriesWritten:
    """Write galleries and thumbnails as a stored plan has them (the one named, else this run's lineage's), and report.

    When the account's calls are used up, the rest waits for the next run, which plans it again. Raises
    AccountBusyError, PlanMissingError, NoPlanOfThisRunError, CredentialsError, NotAllowedError.
    """
    loaded = load_plan(context, options.plan_id)
    payload = payload_of(context, loaded)
    tasks, scope = tasks_of(payload), loaded.scope
    uploads = _uploads_of(context, loaded)
    read_at = datetime.fromisoformat(scope["read_at"]) if loaded.own else None
    calls, token_calls = api.calls, api.token_calls
    with context.lock():
        ledger = ledger_of(context)
        late_uploads = Uploads(api, ledger)
        products = {sku: task.product for sku, task in tasks.items()}
        tools = Tools(
            api=api,
            ledger=ledger,
            uploads=late_uploads,
            rereading=Rereading(api, sorted(tasks), products, read_at, context.clock),
            links=ledger.known().links,
            failed_uploads=uploads.failed,
            written=Written(),
        )
        policy = Policy(scope["strategy"], scope["remove_missing"], force=scope["force"])
        target = GalleryTarget(tools, tasks, policy, stopped=uploads.stopped)
        applied = carry_out_remotely(
            context,
            loaded,
            target,
            intents_of(context),
            what="product images",
            states=states_of(loaded, payload),
            fatal=FATAL,
            states_read_at=read_at,
        )
    done = Done(
        uploaded=uploads.uploaded + late_uploads.uploaded,
        existed=uploads.existed + late_uploads.existed,
        links=tools.written.links,
        thumbnails=tools.written.thumbnails,
        errors=_faults(context, applied, tasks),
    )
    known = ledger.known().assets()
    report = make_report(Basis.from_json(scope["basis"]), done, tasks, known, ended_at=context.clock(), dry_run=False)
    keep_report(context.installation.storage, context.run_id, report)
    warnings = _warnings(context, loaded, applied, tools.written, target.stopped, uploads)
    return GalleriesWritten(
        plan_id=loaded.header.id,
        applied=applied,
        written=tools.written,
        uploads=uploads,
        report=report,
        summary=applied_summary(
            context, loaded, applied, warnings=tuple(warnings), calls=uploads.calls + api.calls - calls
        ),
        token_calls=api.token_calls - token_calls,
        stopped=target.stopped or (str(scope["stopped"]) if loaded.own else ""),
        goes_on_at=api.free_at or uploads.goes_on_at or (_moment(scope["goes_on_at"]) if loaded.own else None),
    )


def applied_line(account: str, done: GalleriesWritten) -> str:
    """The application in one line for the log."""
    report = done.report
    return (
        f"{account}: plan {done.plan_id}: {report['images_uploaded']} images uploaded, "
        f"{report['images_skipped']} reused, {report['links_created']} links created, "
        f"{len(done.written.thumbnails)} thumbnails set; {done.summary.api_calls} calls."
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _uploads_of(context: Run, loaded: Loaded) -> UploadsMade:
    """What became of this plan's uploads in this run's lineage; nothing when they were another plan's.

    The calls of an earlier run are not this one's, and what stopped it may be over.
    """
    made = context.find("assets", UploadsMade)
    if made is None or made.plan_id != loaded.header.id:
        return UploadsMade(run_id=context.run_id, plan_id=loaded.header.id)
    if made.run_id == context.run_id:
        return made
    return made.model_copy(update={"run_id": context.run_id, "calls": 0, "left": 0, "stopped": "", "goes_on_at": None})


def _faults(context: Run, applied: Applied, tasks: Mapping[str, Task]) -> tuple[ReportedFault, ...]:
    """What failed in this run, from the quarantine, and what nobody knows."""
    images = images_of(tasks)
    faults = []
    for entry in context.quarantine.list():
        if entry.run_id == context.run_id and entry.stage == APPLY_STAGE:
            sku = entry.group_key or ""
            image = images.get((sku, picture_key(entry.key)))
            faults.append(ReportedFault(image.url if image else "", entry.reason, sku))
    faults.sort(key=lambda fault: (fault.product_sku, fault.url))
    if applied.unknown:
        faults.append(ReportedFault("", f"the answer was lost for {applied.unknown} images; the next run looks", ""))
    return tuple(faults)


def _warnings(
    context: Run, loaded: Loaded, applied: Applied, written: Written, stopped: str, uploads: UploadsMade
) -> list[str]:
    found = []
    if uploads.failed:
        found.append(f"{len(uploads.failed)} images could not be uploaded; the next run tries them again.")
    if beside := sum(written.beside.values()):
        found.append(
            f"{beside} images have other content than before and were appended; the older ones are still in the "
            "galleries, take them out in Plytix. With PLYTIX_STRATEGY=patch the new ones take their places."
        )
    return applied_warnings(context, loaded, applied, what="product images", found=found, stopped=stopped)
