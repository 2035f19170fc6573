"""What comes of an account's plan: pictures into Plytix's library, galleries and thumbnails,
and the report of the run.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from operator import itemgetter

import pandas as pd

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.errors import HourSpentError
from imagesync_pipelines.connectors.plytix.gallery import picture_key, row_key
from imagesync_pipelines.connectors.plytix.ledger import Run, identity_of, ledger_of
from imagesync_pipelines.connectors.plytix.model import ImagesChosen, Listing, ProductsRead, UploadsMade
from imagesync_pipelines.connectors.plytix.planning import (
    Policy,
    Task,
    fingerprint_of,
    images_of,
    policy_of,
    tasks_of,
    uploads_of,
)
from imagesync_pipelines.connectors.plytix.reading import settle_open
from imagesync_pipelines.connectors.plytix.report import bounded, fault, keep_report, make_report
from imagesync_pipelines.connectors.plytix.target import FATAL, GalleryTarget
from imagesync_pipelines.connectors.plytix.undoing import apply_undo
from imagesync_pipelines.connectors.plytix.uploads import Uploads
from imagesync_pipelines.errors import error_reason
from imagesync_pipelines.storage.plans import CLEAN_UP, ONLY_NAMED, is_reversal
from imagesync_pipelines.sync import carry_out
from imagesync_pipelines.sync.apply import ends_run
from imagesync_pipelines.sync.identity import Told
from imagesync_pipelines.sync.stale import SourceNow
from imagesync_pipelines.sync.steps import StepResult, Table, Texts
from imagesync_pipelines.sync.tally import APPLY_STAGE, Applied


def assets(context: Run, options: carry_out.ApplyOptions, api: PlytixApi) -> StepResult:
    """The pictures of the plan in Plytix's library: uploaded by URL, each one once, whoever shows it.

    A picture that Plytix does not take stops no other; one that is there already is used as it is.

    Raises AccountBusyError, IdentityRefusedError, PlanMissingError, NoPlanOfThisRunError, CredentialsError,
    NotAllowedError.
    """
    loaded = carry_out.load_plan(context, options.plan_id)
    if is_reversal(loaded.scope):
        return StepResult(lines=[languages.told(f"{context.account}: what takes back or away uploads nothing.")])
    # A picture that only stale products show is not uploaded.
    fresh, _ = carry_out.fresh_part(context, loaded, partial(known_now, context))
    urls = uploads_of(fresh.rows, tasks_of(context.plans.need_payload(loaded.header.id)))
    anew = bool(loaded.scope["force"]) and loaded.header.applied_at is None
    calls, reasons, ended = api.calls, dict[str, str](), list[Exception]()
    with context.lock():
        uploads = Uploads(api, ledger_of(context))

        def upload(key: str) -> str | None:
            """Why a picture was not taken, '' when it is there, None when it is left."""
            if ended:
                return None
            try:
                uploads.upload(key, urls[key], uploads.asset_of(key) if anew else None)
            except HourSpentError as error:
                ended.append(error)
                return None
            except Exception as error:
                if ends_run(error, FATAL):
                    ended.append(error)
                    raise
                return error_reason(error)
            return ""

        wanted = [key for key in urls if anew or uploads.asset_of(key) is None]
        if wanted:
            identity_of(context, api.account).record(_told(context, api, loaded))
        with ThreadPoolExecutor(context.settings.workers, thread_name_prefix="upload") as pool:
            for key, reason in zip(wanted, pool.map(upload, wanted), strict=True):
                if reason is not None:
                    reasons[key] = reason
                    context.progress(languages.told("images uploaded"), len(reasons), None)
    done = UploadsMade(
        run_id=context.run_id,
        plan_id=loaded.header.id,
        uploaded=len(uploads.uploaded),
        existed=len(uploads.existed),
        failed={key: reason for key, reason in reasons.items() if reason},
        left=len(wanted) - len(reasons),
        stopped=str(ended[0]) if ended else "",
        goes_on_at=api.limiter.free_at,
        calls=api.calls - calls,
    )
    context.keep("assets", done)
    rest = languages.told(f", {done.left} wait for the next run") if done.left else ""
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
        lines=[
            languages.told(
                f"{context.account}: {done.uploaded} pictures uploaded, {done.existed} were in Plytix, "
                f"{len(done.failed)} failed{rest}."
            )
        ],
    )


def product_images(context: Run, options: carry_out.ApplyOptions, api: PlytixApi) -> StepResult:
    """Galleries and thumbnails of the products in Plytix, as the plan has them, and the report of the run.

    One product is written by one worker; when the account's calls are used up, the rest waits for the next run, which
    plans it again. The summary's calls are those to Plytix, of reading and uploading too when this very run did that.

    Raises AccountBusyError, IdentityRefusedError, PlanMissingError, NoPlanOfThisRunError, CredentialsError,
    NotAllowedError.
    """
    loaded = carry_out.load_plan(context, options.plan_id)
    if is_reversal(loaded.scope):
        return apply_undo(context, loaded, api)
    payload = context.plans.need_payload(loaded.header.id)
    tasks, scope = tasks_of(payload), loaded.scope
    made = _uploads_of(context, loaded)
    read_at = datetime.fromisoformat(scope["read_at"]) if loaded.own else None
    policy = Policy(scope["strategy"], scope["remove_missing"], force=scope["force"])
    calls, token_calls, ledger = api.calls, api.token_calls, ledger_of(context)
    identity = identity_of(context, api.account)
    with context.lock():
        if loaded.resumed:
            settle_open(context, api, ledger)
        target = GalleryTarget(api, ledger, tasks, policy, made, read_at, context.clock)
        applied = carry_out.carry_out_remotely(
            context,
            loaded,
            partial(known_now, context),
            target,
            ledger,
            payload=payload,
            what=languages.told("product images"),
            states_read_at=read_at,
            fatal=FATAL,
            identify=lambda: identity.record(_told(context, api, loaded)),
            spent=lambda: made.calls + api.calls - calls,
        )
    report = make_report(
        scope["basis"],
        tasks,
        ledger.known().assets(),
        ended_at=context.clock(),
        dry_run=False,
        uploaded=made.uploaded + len(target.uploads.uploaded),
        existed=made.existed + len(target.uploads.existed),
        links=target.links,
        thumbnails=target.thumbnails,
        faults=_faults(context, applied, tasks),
    )
    keep_report(context.installation.storage, context.run_id, report)
    errors = pd.DataFrame(report["errors"], columns=["product_sku", "error", "url"])
    found = list(_warnings(target, made))
    warnings = carry_out.applied_warnings(
        context, loaded, applied, what=languages.told("product images"), found=found, stopped=target.stopped
    )
    calls = made.calls + api.calls - calls
    summary = carry_out.applied_summary(context, loaded, applied, warnings=tuple(warnings), calls=calls)
    earlier = scope if loaded.own else {"stopped": "", "goes_on_at": None}
    goes_on_at = datetime.fromisoformat(earlier["goes_on_at"]) if earlier["goes_on_at"] else None
    return StepResult(
        rows=applied.kept + applied.added + applied.updated,
        numbers={f"report/{name}": value for name, value in report.items() if isinstance(value, int)},
        shown={
            "report": bounded(report),
            "errors": Table(errors.rename(columns={"product_sku": "product"})),
            "token_calls": api.token_calls - token_calls,
            "account": identity.said(),
            "stopped": target.stopped or earlier["stopped"] or "-",
        },
        lines=[
            languages.told(
                f"{context.account}: plan {loaded.header.id}: {report['images_uploaded']} images uploaded, "
                f"{report['images_skipped']} reused, {report['links_created']} links created, "
                f"{len(target.thumbnails)} thumbnails set; {summary.api_calls} calls."
            )
        ],
        warnings=summary.warnings,
        summary=summary,
        goes_on_at=api.limiter.free_at or made.goes_on_at or goes_on_at,
    )


def _told(context: Run, api: PlytixApi, loaded: carry_out.Loaded) -> Told:
    """Whose account it is, by what was read anyway; by a product of the plan where nothing was."""
    read, told = context.find("products", ProductsRead), api.told()
    said = {place for place, _ in told}
    told = [*told, *(one for one in (read.told if read is not None else ()) if one[0] not in said)]
    if not told and loaded.total:
        api.search_products([str(loaded.rows["group"].iloc[0])])
        told = api.told()
    return told


def known_now(context: Run, loaded: carry_out.Loaded) -> Iterator[SourceNow]:
    """What listings that were read since a plan was made say of its products, the newest of each; and the settings."""
    settings, clean_up = context.settings, loaded.scope.get(ONLY_NAMED) == CLEAN_UP
    yield SourceNow(policy={} if clean_up else policy_of(settings))
    newest: dict[str, Listing] = {}
    whole = set[str]()
    for chosen in context.handovers.all("images", ImagesChosen, after=loaded.header.created_at):
        incomplete = {entry.where for entry in chosen.set_aside}
        listings = {listing.sku: listing for listing in chosen.listings if listing.sku not in newest}
        newest |= listings
        whole |= {sku for sku, listing in listings.items() if listing.images} - incomplete
    rows = [
        (row_key(sku, image.key), fingerprint_of(listing, image))
        for sku, listing in newest.items()
        for image in listing.images
    ]
    wanted = pd.DataFrame(rows, columns=["key", "fingerprint"], dtype="str")
    yield SourceNow(wanted, whole=frozenset(whole), by=languages.told("listings that were read since"))


def _uploads_of(context: Run, loaded: carry_out.Loaded) -> UploadsMade:
    """What became of this plan's uploads in this run's lineage; nothing when they were another plan's.

    The calls of an earlier run are not this one's, and what stopped it may be over.
    """
    made = context.find("assets", UploadsMade)
    if made is None or made.plan_id != loaded.header.id:
        return UploadsMade(run_id=context.run_id, plan_id=loaded.header.id)
    if made.run_id == context.run_id:
        return made
    return made.model_copy(update={"run_id": context.run_id, "calls": 0, "left": 0, "stopped": "", "goes_on_at": None})


def _faults(context: Run, applied: Applied, tasks: Mapping[str, Task]) -> list[dict[str, str]]:
    """What failed in this run, from the quarantine, and what nobody knows."""
    images = images_of(tasks)
    faults = []
    for entry in context.quarantine.list():
        if entry.run_id == context.run_id and entry.stage == APPLY_STAGE:
            sku = entry.group or ""
            image = images.get((sku, picture_key(entry.key)))
            faults.append(fault(sku, entry.reason, image.url if image else ""))
    faults.sort(key=itemgetter("product_sku", "url"))
    if applied.unknown:
        faults.append(
            fault("", languages.told(f"the answer was lost for {applied.unknown} images; the next run looks"))
        )
    return faults


def _warnings(target: GalleryTarget, made: UploadsMade) -> Iterator[str]:
    if made.failed:
        yield languages.told(f"{len(made.failed)} images could not be uploaded; the next run tries them again.")
    if target.beside:
        yield (
            languages.told(
                f"{len(target.beside)} images have other content than before and were appended; the older "
                "ones are still in the galleries, take them out in Plytix. With PLYTIX_STRATEGY=patch "
                "the new ones take their places."
            )
        )
