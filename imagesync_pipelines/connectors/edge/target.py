"""A plan of photos into a store's database: bytes, metadata and status of a photo in one transaction.

One thread writes while this one gathers what comes next, and another waits for its commit.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import NamedTuple

import pandas as pd
import psycopg
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge import history, store, store_care
from imagesync_pipelines.connectors.edge.client.api import PhotoReport
from imagesync_pipelines.connectors.edge.downloads import DownloadFault, Downloads, FetchedPhoto, fetch_ahead
from imagesync_pipelines.connectors.edge.errors import SourceGoneError, StoreFullError
from imagesync_pipelines.connectors.edge.model import Body, Photo
from imagesync_pipelines.connectors.edge.planning import PhotosByKey, is_second_mismatch, photos_of
from imagesync_pipelines.connectors.edge.primaries import FIRST, with_one_primary_each
from imagesync_pipelines.connectors.edge.reporting import PhotosApplied
from imagesync_pipelines.errors import error_reason
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.database import SERVER_GONE, storable
from imagesync_pipelines.storage.effects import NOBODY, Author
from imagesync_pipelines.sync.apply import apply_halving, group_works, same_for_all, side_by_side
from imagesync_pipelines.sync.model import EFFECTS, Change, GroupWork, Outcome, PlanRow, RowResult
from imagesync_pipelines.sync.tally import Applied, Tally
from imagesync_pipelines.sync.targets import Quarantine
from imagesync_pipelines.upstream.errors import UpstreamError

KEPT_FOR_NOW = N_("kept until the other photos of its product are there")
# So many photos in a row that the source did not give are no matter of single photos.
GIVE_UP_AFTER = 10
ROWS_PER_LOOK = 500
# Of the budget, what one transaction may hold: the rest is being fetched meanwhile.
BATCH_SHARE = 4
# One executes statements while another waits for its commit.
WRITERS = 2
MOVED = N_("the photo changed at the store since the plan was made; plan again")


class _Row(NamedTuple):
    """A row of the plan that is to be written.

    photo: None for a removal. error: what its row at the store said before. moves: from another product or another id.
    After its download, when it needed one: body: its proven picture; trouble: why it cannot be written; status: what
    its row gets; held: of the budget.
    """

    row: PlanRow
    photo: Photo | None
    needs_bytes: bool
    error: str
    moves: bool
    body: Body | None = None
    trouble: str = ""
    status: str = ""
    held: int = 0


@dataclass
class _Run:
    """One application of a plan.

    history: what it tells of itself. writing: held while statements are executed, not while their commit is waited for.
    unfinished: groups of which a photo could not be written in this run; none of their photos is removed, which only
    the writers know. unreachable: photos in a row that the source did not give.
    """

    database: store.StoreDatabase
    downloads: Downloads
    tally: Tally
    on_written: Callable[[Sequence[PhotoReport]], None]
    before_write: Callable[[], None]
    history: history.History
    done: PhotosApplied = field(default_factory=PhotosApplied)
    telling: threading.Lock = field(default_factory=threading.Lock)
    writing: threading.Lock = field(default_factory=threading.Lock)
    unfinished: set[str] = field(default_factory=set)
    unreachable: int = 0


class _Batch(NamedTuple):
    """Rows that are written in one transaction; after: the batches that must be over before."""

    rows: Sequence[_Row]
    after: Sequence[Future[None]]
    over: Future[None]


def apply_photos(
    plan: pd.DataFrame,
    payload: Iterable[pd.DataFrame],
    database: store.StoreDatabase,
    downloads: Downloads,
    quarantine: Quarantine,
    *,
    by: Author = NOBODY,
    undo_days: int = 30,
    most_database_bytes: int | None = None,
    before_fetch: Callable[[Collection[str]], None] = lambda checksums: None,
    before_write: Callable[[], None] = lambda: None,
    on_written: Callable[[Sequence[PhotoReport]], None] = lambda reports: None,
    on_progress: Callable[[int], None] = lambda done: None,
    broke: Callable[[Applied], None] = lambda so_far: None,
) -> PhotosApplied:
    """Apply the changing rows of a guarded plan (planning.plan_photos) with its payload (planning.payload_of).

    Call it under `store_lock`. Photos are fetched while others are written. A row that is as planned already counts as
    done, one that is neither as it was nor as planned is refused with its group. A photo that could not be fetched or
    proven keeps the picture that is there, and no photo of its product is removed in this run. by: in whose name the
    history tells of it; what is replaced or removed is kept for undo_days, while the database is not larger than
    most_database_bytes. before_fetch hears of the checksums that are about to be fetched,
    ROWS_PER_LOOK photos at a time. before_write is called before every
    commit, and what it raises ends the run. on_written is called after every commit with what is to be told to the head
    office, on_progress gets the number of rows done, broke what was done before an error that is raised.

    Raises SERVER_GONE and StoreFullError, SourceGoneError and errors.NOT_ABOUT_ONE_PHOTO; what the head
    office gave before the last two is written.
    """
    telling = history.History(by, 0)
    if plan["change"].isin(EFFECTS).any():
        most = downloads.settings.undo_bytes
        telling = history.begin(database, by, most_bytes=most, most_of_all=most_database_bytes, days=undo_days)
    run, done = _Run(database, downloads, Tally(quarantine), on_written, before_write, telling), 0
    rows = _rows_to_write(plan, photos_of(payload), run, before_fetch)
    with (
        run.tally.telling(plan, broke),
        closing(fetch_ahead(rows, lambda row: row.photo if row.needs_bytes else None, downloads)) as ahead,
        closing(side_by_side(_in_order(_batches(ahead, run)), lambda batch: _flush(run, batch), WRITERS)) as written,
    ):
        for batch, _ in written:
            done += len(batch.rows)
            on_progress(done)
    run.done.applied = run.tally.result(plan)
    return run.done


def _tell(run: _Run, results: Sequence[RowResult], reports: Sequence[PhotoReport]) -> None:
    """Count results, and tell what is to be told of them, from whichever thread."""
    with run.telling:
        run.tally.take(results)
        if reports:
            run.on_written(reports)


def _rows_to_write(
    plan: pd.DataFrame, photos: PhotosByKey, run: _Run, before_fetch: Callable[[Collection[str]], None]
) -> Iterator[_Row]:
    """The rows of the plan that are not done yet, group by group, removals last in their group."""
    works = group_works(plan)
    while some := list(islice(works, ROWS_PER_LOOK)):
        ids = [key for work in some for row in work.rows for key in {row.key, row.key_before} if key]
        there = store.read_current(run.database, ids)
        now = dict(zip(there["key"], there["fingerprint"], strict=True))
        errors = dict(zip(there["key"], there["error"], strict=True))
        products = dict(zip(there["key"], there["group"], strict=True))
        wanted = photos([row.key for work in some for row in work.rows if row.change is not Change.REMOVE])
        before_fetch({photo.checksum for photo, needs_bytes in wanted.values() if needs_bytes})
        for work in some:
            settled = _settled(work, now, run.database)
            told = {result.key for result in settled}
            written = (one for one in settled if one.outcome is Outcome.DONE and one.change is not Change.REMOVE)
            if settled:
                _tell(run, settled, [_report(result, datetime.now(UTC)) for result in written])
            for row in sorted(work.rows, key=lambda row: row.change is Change.REMOVE):
                if row.key not in told:
                    photo, needs_bytes = wanted.get(row.key, (None, False))
                    moves = (row.key_before or row.key) != row.key or products.get(row.key, row.group) != row.group
                    yield _Row(row, photo, needs_bytes, errors.get(row.key, ""), moves)


def _settled(work: GroupWork, now: Mapping[str, str], database: store.StoreDatabase) -> list[RowResult]:
    """The results of rows that are as planned already; of the whole group when a row is neither that nor as it was."""
    done = {row for row in work.rows if now.get(row.key) == row.fingerprint_after}
    kept = {row for row in work.rows if row.fingerprint_before in (None, now.get(row.key_before or row.key))}
    moved = set(work.rows) - done - kept
    # The plan was begun before, and that died when the new primary was written.
    if moved and not (any(row.position == FIRST for row in done) and store_care.gave_way(database, moved)):
        return same_for_all(work, Outcome.REFUSED, MOVED)
    return [_result(row, "") for row in work.rows if row in done]


def _batches(ahead: Iterator[tuple[_Row, FetchedPhoto | None] | None], run: _Run) -> Iterator[list[_Row]]:
    """What is written in one transaction each; an empty one is to wait for what is being written.

    Raises what `ahead` does, and SourceGoneError after too many photos that the source did not give, each after a batch
    of what came before.
    """
    settings = run.downloads.settings
    limit = max(1, settings.memory_budget // BATCH_SHARE)
    batch, held = list[_Row](), 0
    try:
        for ready in ahead:
            if ready is not None:
                row, fetched = ready
                batch.append(row if fetched is None else _counted(run, row, fetched))
                held += batch[-1].held
                if fetched is not None and run.unreachable >= GIVE_UP_AFTER:
                    raise SourceGoneError(
                        f"{GIVE_UP_AFTER} photos in a row could not be fetched, the last: {fetched.reason}"
                    )
            if ready is None or len(batch) >= settings.rows_per_commit or held >= limit:
                yield batch
                batch, held = [], 0
    except UpstreamError:
        yield batch
        raise
    yield batch


def _in_order(batches: Iterator[list[_Row]]) -> Iterator[_Batch]:
    """Batches that know what must be over before them; none for most: each has products of its own.

    One goes on with the product of the one before, whose removals rest on what came of its other rows; into or out of
    one a photo moves from another product, which may be in any other; an empty one is to wait.
    """
    before, last, moved = list[Future[None]](), "", False
    for rows in batches:
        # Nothing is written after one that failed, least of all a removal.
        before = [over for over in before if not over.done() or over.exception() is not None]
        moves = any(row.moves for row in rows)
        waits = not rows or rows[0].row.group == last or moves or moved
        batch = _Batch(rows, tuple(before) if waits else (), Future())
        before.append(batch.over)
        last, moved = (rows[-1].row.group, moves) if rows else (last, moved)
        yield batch
        del batch, rows  # or their bytes are kept until the next ones are there


def _counted(run: _Run, row: _Row, fetched: FetchedPhoto) -> _Row:
    """The row after its download, which is counted."""
    run.done.downloads += 1
    run.done.verified += fetched.fault is None
    run.done.bytes += fetched.received
    if fetched.damage:
        run.done.damaged[fetched.photo.photo_id] = fetched.damage
    run.unreachable = run.unreachable + 1 if fetched.fault is DownloadFault.UNREACHABLE else 0
    status = _status_after(run.done, fetched, row.error)
    return row._replace(body=fetched.body, trouble=fetched.reason, status=status, held=fetched.held)


def _status_after(done: PhotosApplied, fetched: FetchedPhoto, error_before: str) -> str:
    """The status of a photo after its download; what the next listing has to decide stays pending."""
    photo_id = fetched.photo.photo_id
    if fetched.fault is None:
        return "synced"
    if fetched.fault is DownloadFault.GONE:
        done.gone.add(photo_id)
    elif fetched.fault is not DownloadFault.MISMATCH:
        return "failed"
    elif is_second_mismatch(error_before, fetched.photo.checksum):
        done.mismatched.append(photo_id)
        return "failed"
    done.unsettled.append(photo_id)
    return "pending"


def _flush(run: _Run, batch: _Batch) -> None:
    """Write a batch once those before it are over; raises what they raised, and what _write_batch does."""
    try:
        for over in batch.after:
            over.result()
        if batch.rows:
            _write_batch(run, batch.rows)
    except BaseException as error:
        batch.over.set_exception(error)
        raise
    batch.over.set_result(None)


def _write_batch(run: _Run, batch: Sequence[_Row]) -> None:
    """Write rows, tell what came of them, and give their bytes back to the budget.

    The rows of a group stand side by side, removals last. Raises SERVER_GONE and StoreFullError, with nothing written.
    """
    moment = datetime.now(UTC)
    run.before_write()
    groups = [list(rows) for _, rows in groupby(batch, key=lambda one: one.row.group)]
    try:
        results = apply_halving(
            groups,
            lambda some: _write(run, [row for group in some for row in group], moment),
            lambda group, error: _not_written(run, group, error_reason(error)),
        )
    except SERVER_GONE as error:
        if _is_full(error):
            raise StoreFullError(
                f"the store's database has no room left ({error_reason(error)}); make room, run again (of it "
                f"{history.KEPT_PHOTOS} holds what was replaced or removed, as much as EDGE_UNDO_MB says)"
            ) from error
        raise
    run.downloads.budget.release(sum(row.held for row in batch))
    told = {one.row.key for one in batch if one.photo is not None and one.status != "pending"}
    reported = (result for result in results if result.key in told and result.reason != store.DOUBTED)
    _tell(run, results, [_report(result, moment) for result in reported])


def _report(result: RowResult, moment: datetime) -> PhotoReport:
    if result.outcome is Outcome.DONE:
        return PhotoReport(result.key, "synced", moment, "")
    return PhotoReport(result.key, "failed", None, result.reason)


def _is_full(error: BaseException) -> bool:
    return isinstance(getattr(error, "orig", error), psycopg.errors.DiskFull)


def _write(run: _Run, batch: Sequence[_Row], moment: datetime) -> list[RowResult]:
    """Write rows in one transaction; on a disk that is full once more, without keeping what leaves."""
    kept = not run.history.full
    try:
        return _write_rows(run, batch, moment)
    except SERVER_GONE as error:
        if not kept or not _is_full(error):
            raise
    run.history.full = True
    return _write_rows(run, batch, moment)


def _write_rows(run: _Run, batch: Sequence[_Row], moment: datetime) -> list[RowResult]:
    """Write rows in one transaction, as synced at `moment`; gives a result for each."""
    table = run.database.table
    can = [(one.row, one.photo, one.body) for one in batch if one.photo is not None and not one.trouble]
    written = with_one_primary_each(can)
    bare = [photo for _, photo, body in written if body is None]
    unwritten = [(one.photo, one.status, one.trouble) for one in batch if one.photo is not None and one.trouble]
    removed = [one.row for one in batch if one.row.change is Change.REMOVE]
    replaced = [row.key_before for row, _, body in written if row.key_before and body is not None]
    renamed = [(row.key_before, row.key) for row, *_ in written if row.key_before and row.key_before != row.key]
    with _transaction(run) as connection:
        before = [row.key_before for row in (*(row for row, *_ in written), *removed) if row.key_before]
        seen = run.history.seen(connection, table, before, [*replaced, *(row.key for row in removed)])
        lost = run.history.keep(connection, table, seen, replaced)
        store.rename(connection, table, renamed)
        ways = store.give_way(connection, table, [photo for _, photo, _ in written])
        store.write_with_bytes(connection, table, [(photo, body) for _, photo, body in written if body], moment)
        hashed = store.write_without_bytes(connection, table, bare, moment)
        doubted = {photo.photo_id for photo in bare} - hashed
        store.note_unwritten(connection, table, unwritten)
        unfinished = run.unfinished | {one.row.group for one in batch if one.trouble or one.row.key in doubted}
        gone = [row for row in removed if row.group not in unfinished]
        lost |= run.history.keep(connection, table, seen, [row.key for row in gone])
        store.remove(connection, table, [row.key for row in gone])
        done = [(row, photo) for row, photo, _ in written if row.key not in doubted]
        told: list[tuple[PlanRow, Photo | None]] = [*done, *((row, None) for row in gone)]
        others = set(ways) - {row.key for row, _ in told}
        run.history.note(connection, told, seen, lost, run.history.seen(connection, table, others, ()))
    # Only once it is written: a batch that is not accepted is tried again in halves.
    run.unfinished |= unfinished
    troubles = {
        **{one.row.key: one.trouble for one in batch},
        **dict.fromkeys(doubted, store.DOUBTED),
        **{row.key: KEPT_FOR_NOW for row in removed if row.group in unfinished},
    }
    return [_result(one.row, troubles[one.row.key]) for one in batch]


@contextmanager
def _transaction(run: _Run) -> Iterator[sa.Connection]:
    """A transaction of the store, committed at the end.

    Statements are executed by one at a time; a commit, half of the time on a disk that keeps its word, is waited for
    by its own thread alone. What was to be kept in one that is not committed takes no room.
    """
    took = 0
    try:
        with run.database.engine.connect() as connection, connection.begin() as transaction:
            with run.writing:
                room = run.history.room
                try:
                    yield connection
                finally:
                    took = room - run.history.room
            transaction.commit()
    except BaseException:
        with run.writing:
            run.history.room += took
        raise


def _not_written(run: _Run, piece: Sequence[_Row], reason: str) -> list[RowResult]:
    """The results of a group that cannot be written, as the database will not have it; its rows say why."""
    run.unfinished.add(piece[0].row.group)
    with _transaction(run) as connection:
        store.note_failed(connection, run.database.table, [one.row.key for one in piece if one.photo], storable(reason))
    return [_result(one.row, one.trouble or reason) for one in piece]


def _result(row: PlanRow, trouble: str) -> RowResult:
    """A row's result: done, unless there was trouble."""
    outcome = Outcome.FAILED if trouble else Outcome.DONE
    return RowResult(row.key, row.group, row.change, outcome, trouble or row.reason)
