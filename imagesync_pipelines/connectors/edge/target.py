"""A plan of photos into a store's database: bytes, metadata and status of a photo in one transaction."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import NamedTuple

import pandas as pd
import psycopg
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge import writing
from imagesync_pipelines.connectors.edge.client.api import PhotoReport
from imagesync_pipelines.connectors.edge.downloads import DownloadFault, Downloads, FetchedPhoto, fetch_ahead
from imagesync_pipelines.connectors.edge.errors import SourceGoneError, StoreFullError
from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.connectors.edge.planning import PhotosByKey, is_second_mismatch, photos_of
from imagesync_pipelines.connectors.edge.store import StoreDatabase, read_current
from imagesync_pipelines.sync.apply import Applied, Tally, apply_halving, error_reason, group_works, same_for_all
from imagesync_pipelines.sync.model import Change, GroupWork, Outcome, PlanRow, RowResult
from imagesync_pipelines.sync.targets import Quarantine
from imagesync_pipelines.upstream.errors import UpstreamError

# The server went away: not a bad row, so nothing is halved and the run ends; the next one goes on.
SERVER_GONE = (sa.exc.OperationalError, sa.exc.InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
KEPT_FOR_NOW = "kept until the other photos of its product are there"
# So many photos in a row that the source did not give are no matter of single photos.
GIVE_UP_AFTER = 10
ROWS_PER_LOOK = 500
# Of the budget, what one transaction may hold: the rest is being fetched meanwhile.
BATCH_SHARE = 4
MOVED = "the photo changed at the store since the plan was made; plan again"

OnWritten = Callable[[Sequence[PhotoReport]], None]
"""Called after every commit with what is to be told to the head office about its photos."""


@dataclass(frozen=True)
class PhotosApplied:
    """What came of a plan.

    applied: in rows, as the engine counts. downloads: photos that were asked for; verified: those proven by checksum
    and decode; failed: those that were not, without the `unsettled`. bytes: received over the wire, repeats included.
    mismatched: photos whose bytes were not the listed ones in two runs. unsettled: photos that changed or went at the
    head office since they were listed; the next listing decides. gone: of these, what it answered 404 about.
    """

    applied: Applied
    downloads: int
    verified: int
    failed: int
    bytes: int
    mismatched: tuple[str, ...]
    unsettled: tuple[str, ...]
    gone: frozenset[str]


class Ready(NamedTuple):
    """A row as it is written.

    body: its picture, when it needed one. trouble: why it cannot be written, with the status that its row then gets.
    """

    row: PlanRow
    photo: Photo | None
    body: bytes | None
    reserved: int
    status: str
    trouble: str


class _Row(NamedTuple):
    """A row of the plan that is to be written; error is what its row at the store said before."""

    row: PlanRow
    photo: Photo | None
    needs_bytes: bool
    error: str


@dataclass
class _Run:
    """One application of a plan; used from one thread."""

    database: StoreDatabase
    downloads: Downloads
    tally: Tally
    on_written: OnWritten
    clock: Callable[[], datetime]
    batch: list[Ready] = field(default_factory=list)
    unfinished: set[str] = field(default_factory=set)
    numbers: Counter[str] = field(default_factory=Counter)
    unreachable: int = 0
    mismatched: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)


def apply_photos(
    plan: pd.DataFrame,
    payload: Iterable[pd.DataFrame],
    database: StoreDatabase,
    downloads: Downloads,
    quarantine: Quarantine,
    *,
    rows_per_commit: int = 100,
    on_written: OnWritten = lambda reports: None,
    on_progress: Callable[[int], None] = lambda done: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> PhotosApplied:
    """Apply the changing rows of a guarded plan (planning.plan_photos) with its payload (planning.payload_of).

    Call it under `store_lock`. Photos are fetched while others are written. A row that is as planned already counts as
    done, one that is neither as it was nor as planned is refused with its group. A photo that could not be fetched or
    proven keeps the picture that is there, and no photo of its product is removed in this run. on_progress gets the
    number of rows done so far.

    Raises SERVER_GONE and StoreFullError, SourceGoneError and downloads.NOT_ABOUT_ONE_PHOTO; what the head
    office gave before the last two is written.
    """
    run = _Run(database, downloads, Tally(quarantine), on_written, clock)
    limit, done = max(1, downloads.policy.budget // BATCH_SHARE), 0
    rows = _rows_to_write(plan, photos_of(payload), run)
    with closing(fetch_ahead(rows, lambda row: row.photo if row.needs_bytes else None, downloads)) as ahead:
        try:
            for ready in ahead:
                if ready is not None:
                    row, fetched = ready
                    _take(run, row, fetched)
                    done += 1
                if ready is None or len(run.batch) >= rows_per_commit or _reserved(run.batch) >= limit:
                    _flush(run)
                    on_progress(done)
        except UpstreamError:
            _flush(run)
            raise
    _flush(run)
    on_progress(done)
    failed = run.numbers["downloads"] - run.numbers["verified"] - len(run.unsettled)
    return PhotosApplied(
        run.tally.result(plan),
        run.numbers["downloads"],
        run.numbers["verified"],
        failed,
        run.numbers["bytes"],
        tuple(run.mismatched),
        tuple(run.unsettled),
        frozenset(run.gone),
    )


def _rows_to_write(plan: pd.DataFrame, photos: PhotosByKey, run: _Run) -> Iterator[_Row]:
    """The rows of the plan that are not done yet, group by group, removals last in their group."""
    works = group_works(plan)
    while some := list(islice(works, ROWS_PER_LOOK)):
        ids = [key for work in some for row in work.rows for key in {row.key, row.key_before} if key]
        there = read_current(run.database, ids)
        now = dict(zip(there["key"], there["fingerprint"], strict=True))
        errors = dict(zip(there["key"], there["error"], strict=True))
        wanted = photos([row.key for work in some for row in work.rows if row.change is not Change.REMOVE])
        for work in some:
            settled = _settled(work, now)
            run.tally.take(settled)
            told = {result.key for result in settled}
            run.on_written([_report(result, run.clock()) for result in settled if _is_synced(result)])
            for row in sorted(work.rows, key=lambda row: row.change is Change.REMOVE):
                if row.key not in told:
                    photo, needs_bytes = wanted.get(row.key, (None, False))
                    yield _Row(row, photo, needs_bytes, errors.get(row.key, ""))


def _settled(work: GroupWork, now: Mapping[str, str]) -> list[RowResult]:
    """The results of rows that are as planned already; of the whole group when a row is neither that nor as it was."""
    done = [row for row in work.rows if now.get(row.key) == row.fingerprint_after]
    moved = [
        row
        for row in work.rows
        if row.fingerprint_before is not None and now.get(row.key_before or row.key) != row.fingerprint_before
    ]
    if set(moved) - set(done):
        return same_for_all(work, Outcome.REFUSED, MOVED)
    return [result_of(row, "") for row in done]


def _take(run: _Run, row: _Row, fetched: FetchedPhoto | None) -> None:
    """Put a row into the batch, and count its download. Raises SourceGoneError after too many that gave nothing."""
    if fetched is None:
        run.batch.append(Ready(row.row, row.photo, None, 0, "", ""))
        return
    run.numbers["downloads"] += 1
    run.numbers["verified"] += fetched.fault is None
    run.numbers["bytes"] += fetched.received
    run.unreachable = run.unreachable + 1 if fetched.fault is DownloadFault.UNREACHABLE else 0
    status = _status_after(run, fetched, row.error)
    run.batch.append(Ready(row.row, row.photo, fetched.body, fetched.held, status, fetched.reason))
    if run.unreachable >= GIVE_UP_AFTER:
        raise SourceGoneError(f"{GIVE_UP_AFTER} photos in a row could not be fetched, the last: {fetched.reason}")


def _status_after(run: _Run, fetched: FetchedPhoto, error_before: str) -> str:
    """The status of a photo after its download; what the next listing has to decide stays pending."""
    photo_id = fetched.photo.photo_id
    if fetched.fault is None:
        return "synced"
    if fetched.fault is DownloadFault.GONE:
        run.gone.add(photo_id)
    elif fetched.fault is not DownloadFault.MISMATCH:
        return "failed"
    elif is_second_mismatch(error_before, fetched.photo.checksum):
        run.mismatched.append(photo_id)
        return "failed"
    run.unsettled.append(photo_id)
    return "pending"


def _flush(run: _Run) -> None:
    """Write the batch, tell what came of it, and give its bytes back to the budget."""
    batch, run.batch = run.batch, []
    if not batch:
        return
    moment = run.clock()
    results = write_batch(run.database, batch, run.unfinished, moment)
    run.tally.take(results)
    told = {ready.row.key for ready in batch if ready.photo is not None and ready.status != "pending"}
    run.on_written(
        [_report(result, moment) for result in results if result.key in told and result.reason != writing.DOUBTED]
    )
    run.downloads.budget.release(_reserved(batch))


def _reserved(batch: Sequence[Ready]) -> int:
    """What rows hold of the budget, in bytes."""
    return sum(ready.reserved for ready in batch)


def _is_synced(result: RowResult) -> bool:
    return result.outcome is Outcome.DONE and result.change is not Change.REMOVE


def _report(result: RowResult, moment: datetime) -> PhotoReport:
    if result.outcome is Outcome.DONE:
        return PhotoReport(result.key, "synced", moment, "")
    return PhotoReport(result.key, "failed", None, result.reason)


def write_batch(
    database: StoreDatabase, batch: Sequence[Ready], unfinished: set[str], moment: datetime
) -> list[RowResult]:
    """Write rows, those of a group side by side with removals last, as synced at `moment`; gives a result for each.

    unfinished: groups of which a photo could not be written in this run; those of this batch are added, and none of
    their photos is removed. Raises SERVER_GONE and StoreFullError, with nothing written.
    """
    groups = [list(rows) for _, rows in groupby(batch, key=lambda ready: ready.row.group)]
    try:
        return apply_halving(
            groups,
            lambda some: _write(database, [ready for group in some for ready in group], unfinished, moment),
            lambda group, error: _refused_by_database(
                database, group, unfinished, error_reason(getattr(error, "orig", None) or error)
            ),
            fatal=SERVER_GONE,
            bad=(sa.exc.DBAPIError, psycopg.Error),
        )
    except SERVER_GONE as error:
        if isinstance(getattr(error, "orig", error), psycopg.errors.DiskFull):
            raise StoreFullError(
                f"the store's database has no room left ({error_reason(error)}); make room, run again"
            ) from error
        raise


def _write(
    database: StoreDatabase, batch: Sequence[Ready], unfinished_before: set[str], moment: datetime
) -> list[RowResult]:
    table = database.table
    written = [ready for ready in batch if ready.photo is not None and not ready.trouble]
    unfinished = unfinished_before | {ready.row.group for ready in batch if ready.trouble}
    with database.engine.begin() as connection:
        rows = [ready.row for ready in written]
        writing.rename(
            connection, table, [(r.key_before, r.key) for r in rows if r.key_before and r.key_before != r.key]
        )
        writing.write_with_bytes(
            connection, table, [(ready.photo, ready.body) for ready in written if ready.photo and ready.body], moment
        )
        alone = [ready.photo for ready in written if ready.photo and ready.body is None]
        hashed = writing.write_without_bytes(connection, table, alone, moment)
        doubted = {photo.photo_id for photo in alone} - hashed
        unfinished |= {ready.row.group for ready in written if ready.row.key in doubted}
        writing.note_unwritten(
            connection,
            table,
            [(ready.photo, ready.status, ready.trouble) for ready in batch if ready.photo and ready.trouble],
        )
        removed = [ready.row for ready in batch if ready.row.change is Change.REMOVE]
        writing.remove(connection, table, [row.key for row in removed if row.group not in unfinished])
    unfinished_before |= unfinished
    kept = {row.key for row in removed if row.group in unfinished}
    troubles = {
        **{ready.row.key: ready.trouble for ready in batch},
        **dict.fromkeys(doubted, writing.DOUBTED),
        **dict.fromkeys(kept, KEPT_FOR_NOW),
    }
    return [result_of(ready.row, troubles[ready.row.key]) for ready in batch]


def _refused_by_database(
    database: StoreDatabase, piece: Sequence[Ready], unfinished: set[str], reason: str
) -> list[RowResult]:
    """The results of a group that the database does not accept; its rows say why where they can."""
    unfinished.add(piece[0].row.group)
    with database.engine.begin() as connection:
        writing.note_failed(connection, database.table, [ready.row.key for ready in piece if ready.photo], reason)
    return [result_of(ready.row, ready.trouble or reason) for ready in piece]


def result_of(row: PlanRow, trouble: str) -> RowResult:
    """A row's result: done, unless there was trouble."""
    outcome = Outcome.FAILED if trouble else Outcome.DONE
    return RowResult(row.key, row.group, row.change, outcome, trouble or row.reason)
