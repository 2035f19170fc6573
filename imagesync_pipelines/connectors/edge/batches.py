"""One batch of photos into a store's database: one transaction, halved when the database does not accept it.

What belongs here: what is written together, which removals wait, what a refusal costs. What does not: the statements
(writing.py), fetching (downloads.py), which rows there are (applying.py).
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

import psycopg
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge import writing
from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.connectors.edge.store import StoreDatabase
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.sync.apply import error_reason
from imagesync_pipelines.sync.model import Change, Outcome, PlanRow, RowResult

# The server went away: not a bad row, so nothing is halved and the run ends; the next one goes on.
SERVER_GONE = (sa.exc.OperationalError, sa.exc.InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
KEPT_FOR_NOW = "kept until the other photos of its product are there"


class StoreFullError(StorageError):
    """The disk of a store's database is full; what was written stays."""


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


def write_batch(
    database: StoreDatabase, batch: Sequence[Ready], unfinished: set[str], moment: datetime
) -> list[RowResult]:
    """Write rows, those of a group side by side with removals last, as synced at `moment`; gives a result for each.

    unfinished: groups of which a photo could not be written in this run; those of this batch are added, and none of
    their photos is removed. Raises SERVER_GONE and StoreFullError, with nothing written.
    """
    pieces = [list(rows) for _, rows in groupby(batch, key=lambda ready: ready.row.group)]
    return _write_halving(database, pieces, unfinished, moment)


def _write_halving(
    database: StoreDatabase, pieces: Sequence[list[Ready]], unfinished: set[str], moment: datetime
) -> list[RowResult]:
    """Write in one transaction; what the database does not accept is halved down to one group, which fails alone."""
    try:
        return _write(database, [ready for piece in pieces for ready in piece], unfinished, moment)
    except SERVER_GONE as error:
        if isinstance(getattr(error, "orig", error), psycopg.errors.DiskFull):
            raise StoreFullError(
                f"the store's database has no room left ({error_reason(error)}); make room, run again"
            ) from error
        raise
    except (sa.exc.DBAPIError, psycopg.Error) as error:
        if len(pieces) == 1:
            return _refused_by_database(
                database, pieces[0], unfinished, error_reason(getattr(error, "orig", None) or error)
            )
    middle = len(pieces) // 2
    return [
        result
        for half in (pieces[:middle], pieces[middle:])
        for result in _write_halving(database, half, unfinished, moment)
    ]


def _write(
    database: StoreDatabase, batch: Sequence[Ready], unfinished_before: set[str], moment: datetime
) -> list[RowResult]:
    table = database.table
    written = [ready for ready in batch if ready.photo is not None and not ready.trouble]
    unfinished = unfinished_before | {ready.row.group for ready in batch if ready.trouble}
    with database.engine.begin() as connection:
        writing.rename(connection, table, [pair for ready in written if (pair := _new_id(ready.row))])
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


def _new_id(row: PlanRow) -> tuple[str, str] | None:
    return (row.key_before, row.key) if row.key_before and row.key_before != row.key else None


def result_of(row: PlanRow, trouble: str) -> RowResult:
    """A row's result: done, unless there was trouble."""
    outcome = Outcome.FAILED if trouble else Outcome.DONE
    return RowResult(row.key, row.group, row.change, outcome, trouble or row.reason)
