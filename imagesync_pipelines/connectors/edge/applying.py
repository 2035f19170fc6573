"""A store's plan carried out, as a step, with its checks; and the scrub."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pandas as pd

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.edge import history, marking, store, store_care
from imagesync_pipelines.connectors.edge.client.api import PhotoReport
from imagesync_pipelines.connectors.edge.downloads import Downloads, OpenPhoto, from_bucket, from_head_office
from imagesync_pipelines.connectors.edge.listing import NOT_FOUND, ListingHandOver
from imagesync_pipelines.connectors.edge.model import BINARIES, LISTING, Body, Photo
from imagesync_pipelines.connectors.edge.planning import LISTED_VALUES
from imagesync_pipelines.connectors.edge.primaries import with_one_primary
from imagesync_pipelines.connectors.edge.reading import BinariesHandOver, StoreRun, at_store, plan_store
from imagesync_pipelines.connectors.edge.reporting import PhotosApplied, queue
from imagesync_pipelines.connectors.edge.settings import MEGABYTE, EdgeSettings
from imagesync_pipelines.connectors.edge.store_schema import PRODUCT_PHOTO_COLUMNS
from imagesync_pipelines.connectors.edge.target import apply_photos
from imagesync_pipelines.imaging.verdicts import Verdicts
from imagesync_pipelines.languages import N_
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage import mirror
from imagesync_pipelines.storage.decoded import forget_unused
from imagesync_pipelines.storage.objects import s3_place
from imagesync_pipelines.storage.plans import UNDOES, is_reversal
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.carry_out import (
    ApplyOptions,
    Broke,
    Known,
    Loaded,
    applied_summary,
    applied_warnings,
    carry_out,
    load_plan,
)
from imagesync_pipelines.sync.connector import NoOptions
from imagesync_pipelines.sync.model import Change
from imagesync_pipelines.sync.stale import SourceNow
from imagesync_pipelines.sync.steps import CheckResult, RunContext, StepResult, Summary, Table, Texts
from imagesync_pipelines.sync.tally import Applied

GIGABYTE = 1024**3
IN_TIME = "every_run_ends_in_time"


def photo_binaries(context: RunContext[EdgeSettings], options: ApplyOptions) -> StepResult:
    """The photos in a store's own database, bytes included: downloaded, proven, then written with their status.

    Each picture is hashed against the listed checksum and decoded to its last byte before it replaces anything; a bad
    download keeps the old picture and is tried again at the next run.
    """
    with at_store(context) as run:
        return apply_plan(run, options.plan_id)


def apply_plan(run: StoreRun, plan_id: int | None, *, by_person: bool = True) -> StepResult:
    """Apply a stored plan of the store, the one named or else that of this run's lineage, under the store's lock.

    by_person: whoever names it is a person, see load_plan.

    Photos that cannot be fetched or proven keep the picture that is there and are tried again at the next run. Raises
    AccountBusyError, IdentityRefusedError, PlanMissingError, NoPlanOfThisRunError, and what ends a whole run: the
    store's database or the head office is gone.
    """
    context = run.context
    listed = context.find(LISTING, ListingHandOver)
    if plan_id is None and listed is not None and listed.quiet:
        calls = listed.calls if listed.run_id == context.run_id else 0
        waiting = held.undecided(run.engine, context.connector, context.account)
        summary = Summary(
            "completed",
            context.started_at,
            datetime.now(UTC),
            warnings=(*listed.warnings, *held.sentences(waiting)),
            held_back=len(waiting),
            api_calls=calls,
        )
        return _told(run, PhotosApplied(), listed.mirror_at, summary, languages.told("nothing was to be done."))
    loaded, calls = load_plan(context, plan_id, by_person=by_person), run.api.calls
    with run.lock():
        told = run.identify(record=True)
        whole = listed is not None and listed.full and listed.complete and loaded.is_of_all
        if whole or not marking.restored(run.identity, run.engine, run.database):
            marking.move_on(run.identity, run.engine, run.database)
        is_undo = is_reversal(loaded.scope)
        payload = context.plans.payload_portions(loaded.header.id)
        broken_off = _report_what_a_crash_kept_back(run, loaded.header.id)
        done = PhotosApplied()

        def write(fresh: Loaded, broke: Broke) -> Applied:
            nonlocal done
            tells = history.taken_over(run.engine, context.account, run.database, context.check_locks)
            with tells if fresh.total or broken_off else nullcontext():
                done = _write(run, fresh, payload, broke)
            return done.applied

        # An undo rests on nothing that the head office lists.
        known: Known = (lambda _: ()) if is_undo else partial(known_now, run)
        applied = done.applied = carry_out(context, loaded, known, write, spent=lambda: run.api.calls - calls)
    mirror_at = loaded.scope["mirror_at"]
    settled = mirror_at is not None and loaded.is_of_all and not applied.refused and not done.gone
    # Photos that failed are told by their causes, of which the engine knows nothing.
    warnings = applied_warnings(context, loaded, replace(applied, failed=0), what="photos", found=told)
    troubles = (
        (done.failed, N_("{number:d} photos could not be fetched or proven; the next run tries them again.")),
        (len(done.mismatched), N_("{number:d} photos have other bytes than the head office lists, twice in a row.")),
        (len(done.unsettled), N_("{number:d} photos changed at the head office meanwhile; the next listing decides.")),
    )
    warnings += [what.format(number=number) for number, what in troubles if number]
    if done.damaged:
        first, damage = next(iter(done.damaged.items()))
        warnings.append(
            languages.told(
                f"{len(done.damaged)} photos are damaged at the head office and shown so; {first}: {damage}."
            )
        )
    summary = applied_summary(context, loaded, applied, warnings=tuple(warnings), calls=run.api.calls - calls)
    line = languages.told(
        f"plan {loaded.header.id}: {applied.added} added, {applied.updated} updated, {applied.removed} removed, "
        f"{applied.kept} kept, {applied.failed} failed, {applied.refused} refused; "
        f"{done.downloads} downloads, {done.bytes / MEGABYTE:,.1f} MB."
    )
    # Bytes of photos: what the listing took is told with the plan.
    summary = replace(summary, bytes_downloaded=0 if is_undo else done.bytes)
    return _told(run, done, datetime.fromisoformat(mirror_at) if settled else None, summary, line)


def known_now(run: StoreRun, loaded: Loaded) -> Iterator[SourceNow]:
    """What the head office lists for the store, where a listing changed our mirror since the plan was made.

    A photo that left the mirror was proven gone. Where several of a product are primary, one is, as in a plan.
    """
    mine = (run.context.connector, run.context.account)
    with run.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        moment = mirror.mirror_at(connection, *mine)
        if moment is None or loaded.scope["mirror_at"] == moment.isoformat():
            return
        listed, current = mirror.read_mirror(connection, *mine, LISTED_VALUES), store.read_current(run.database)
        there = set(current.loc[current["has_bytes"], "key"])
        listed, _ = with_one_primary(listed, partial(mirror.read_payloads, connection, *mine), there)
    yield SourceNow(
        listed[["key", "fingerprint"]], whole=None, by=languages.told(f"the listing of {moment:%Y-%m-%d %H:%M:%S} UTC")
    )


def scrub_store(context: RunContext[EdgeSettings], options: NoOptions) -> StepResult:
    """Hashes a store's photos inside its database, and fetches again those that differ.

    Raises HandOverMissingError when the store was never listed, and the errors of plan_store and apply_plan.
    """
    with at_store(context) as run:
        with run.lock():
            # What a run that was killed undid stays undone.
            history.take_over(run.engine, context.account, run.database)
            hashed, differing = store_care.scrub(
                run.database, on_progress=partial(context.progress, languages.told("photos hashed"))
            )
        said = languages.told(f"{context.account}: {hashed} photos were hashed")
        summary = Summary("completed", context.started_at, datetime.now(UTC), kept=hashed)
        if not differing:
            said += languages.told("; all are what their checksums say.")
        else:
            plan_id, _ = plan_store(run, context.look_at(LISTING, ListingHandOver), allow_mass_delete=False)
            repaired = apply_plan(run, plan_id, by_person=False).summary or summary
            said += languages.told(f", {len(differing)} differ; {repaired.images_updated} were fetched again.")
            warning = languages.told(
                f"{len(differing)} stored photos were not what their checksums say, and are fetched again."
            )
            summary = replace(repaired, warnings=(warning, *repaired.warnings))
    return StepResult(
        numbers={"photos/hashed": hashed, "photos/differing": len(differing)},
        shown={"differing": Texts(differing)},
        lines=[said],
        summary=summary,
    )


def check_binaries(context: RunContext[EdgeSettings]) -> Mapping[str, CheckResult]:
    """What is true of a run's photos.

    More failures than EDGE_MAX_FAILURE_SHARE are an error, fewer a warning, a few of few no alarm.
    """
    left, settings = context.look_at(BINARIES, BinariesHandOver), context.settings
    failed = left.failed / left.tried if left.tried else 0.0
    counts, said = left.tried >= settings.failure_floor, languages.told("no photo had to be fetched")
    if left.tried:
        said = languages.told(f"{left.failed} of {left.tried} photos failed: {failed:.1%}")
        if not counts:
            said = languages.told(f"{said}; fewer than {settings.failure_floor} are too few to judge")
    minutes, allowed = settings.max_run_minutes, settings.max_storage_share
    used = left.database_bytes / left.capacity_bytes if left.capacity_bytes else 0.0
    known = (
        languages.told(f"{used:.1%} of its capacity ({allowed:.0%} are allowed)")
        if left.capacity_bytes
        else languages.told("capacity unknown")
    )
    return {
        "few_photos_fail": CheckResult(
            passed=not (counts and failed > settings.warn_failure_share),
            description=said,
            shown={"tried": left.tried, "failed": left.failed, "share": failed},
            severe=counts and failed > settings.max_failure_share,
        ),
        IN_TIME: CheckResult(
            left.seconds <= minutes * 60,
            languages.told(f"{left.seconds / 60:.1f} minutes ({minutes:g} are allowed)"),
            {"seconds": left.seconds},
        ),
        "every_photo_matches_its_checksum": CheckResult(
            not left.mismatched,
            languages.told(f"{left.mismatched} photos whose bytes are not what the head office lists"),
            {"number": left.mismatched},
        ),
        "every_product_has_one_primary": CheckResult(
            not left.doubles,
            languages.told(
                f"{left.doubles} products with several primary photos; `imagesync edge migrate` repairs them"
            ),
            {"number": left.doubles},
        ),
        "no_database_is_nearly_full": CheckResult(
            used <= allowed, f"{left.database_bytes:,} bytes, {known}", {"bytes": left.database_bytes, "share": used}
        ),
    }


def _write(run: StoreRun, fresh: Loaded, payload: Iterator[pd.DataFrame], broke: Broke) -> PhotosApplied:
    total, capacity = fresh.total, run.account.capacity_gb
    verdicts, is_undo = Verdicts(run.engine), is_reversal(fresh.scope)

    def tell(written: Sequence[PhotoReport]) -> None:
        # The head office hears nothing of an undo: it may have others instead of these photos.
        if not is_undo:
            queue(run.engine, run.context.account, written)
        verdicts.save()

    def check(body: Body, photo: Photo) -> str:
        return verdicts.check(body, photo.checksum, photo.content_type)

    store.analyze_if_many(run.database, total)
    with _kept(run, fresh) if is_undo else _source(run) as open_photo:
        done = apply_photos(
            fresh.rows,
            payload,
            run.database,
            Downloads(open_photo, run.settings, check=check),
            run.context.quarantine,
            by=run.context.author(fresh.header.id, fresh.scope.get(UNDOES)),
            undo_days=run.context.installation.settings.undo_days,
            most_database_bytes=None if capacity is None else int(capacity * GIGABYTE * run.settings.max_storage_share),
            before_fetch=verdicts.look_up,
            before_write=run.context.check_locks,
            on_written=tell,
            on_progress=lambda number: run.context.progress(languages.told("photos written"), number, total),
            broke=broke,
        )
    if done.downloads:
        forget_unused(run.engine)
    if done.gone:
        with run.engine.begin() as connection:
            mirror.mark_gone(connection, run.context.connector, run.context.account, done.gone, NOT_FOUND)
    return done


def _report_what_a_crash_kept_back(run: StoreRun, plan_id: int) -> bool:
    """Queue reports of what the plan before this one wrote, when its run broke off: it may have died before it did.

    Whether it did. When each photo was written is not known any more, so these reports name no time.
    """
    earlier = run.broken_off(plan_id)
    if earlier is None or is_reversal(earlier.scope):
        return earlier is not None
    rows = run.context.plans.load(earlier.id)
    current = store.read_current(run.database, list(rows.loc[rows["change"].isin([Change.ADD, Change.UPDATE]), "key"]))
    synced = current.loc[current["status"] == "synced", "key"]
    queue(run.engine, run.context.account, [PhotoReport(key, "synced", None, "") for key in synced])
    return True


def _kept(run: StoreRun, loaded: Loaded) -> AbstractContextManager[OpenPhoto]:
    payload = run.context.plans.need_payload(loaded.header.id)
    return nullcontext(history.from_kept(run.database, dict(zip(payload["key"], payload["sha256"], strict=True))))


def _source(run: StoreRun) -> AbstractContextManager[OpenPhoto]:
    if run.settings.bytes_from == "ho":
        return nullcontext(from_head_office(run.api, run.account.store_id))
    place = s3_place(run.context.installation.settings)
    if place is None:
        raise SettingsError("EDGE_BYTES_FROM is s3, so IMAGESYNC_S3_ENDPOINT_URL and its keys are needed.")
    return closing(from_bucket(place, run.settings))


def _told(run: StoreRun, done: PhotosApplied, settled_at: datetime | None, summary: Summary, line: str) -> StepResult:
    """What the step tells, and what the checks and the next run look at, kept.

    settled_at: the state of the mirror that the store now has.
    """
    context, capacity = run.context, run.account.capacity_gb
    size, photos = store_care.storage_used(run.database)
    before = context.handovers.newest(BINARIES, BinariesHandOver)
    left = BinariesHandOver(
        settled_at=settled_at,
        tried=done.downloads,
        failed=done.failed,
        mismatched=len(done.mismatched),
        bytes_downloaded=done.bytes,
        seconds=(datetime.now(UTC) - context.started_at).total_seconds(),
        photos=photos,
        doubles=store_care.products_with_several_primaries(run.database),
        database_bytes=size,
        grown_bytes=None if before is None else size - before.database_bytes,
        capacity_bytes=None if capacity is None else int(capacity * GIGABYTE),
    )
    context.keep(BINARIES, left)
    numbers: dict[str, int | float] = {
        "photos/downloaded": left.tried,
        "photos/verified": done.verified,
        "photos/failed": left.failed,
        "photos/mismatched": left.mismatched,
        "photos/success_rate": 1.0 - left.failed / left.tried if left.tried else 1.0,
        "database/bytes": size,
    }
    if left.grown_bytes is not None:
        numbers["database/grown_bytes"] = left.grown_bytes
    if left.capacity_bytes:
        numbers["database/used_share"] = size / left.capacity_bytes
    return StepResult(
        rows=sum(photos.values()),
        size=size,
        numbers=numbers,
        shown={
            "statuses": Table(pd.DataFrame(sorted(photos.items()), columns=["status", "photos"])),
            "errors": Texts(done.applied.errors),
            "dagster/table_name": run.database.table,
            "account": run.identity.said(),
        },
        lines=[f"{context.account}: {line}"],
        warnings=summary.warnings,
        summary=summary,
        columns=PRODUCT_PHOTO_COLUMNS,
    )
