"""A plan of photos into a store's database: bytes, metadata and status of a photo in one transaction.

What belongs here: batches of proven photos, what a failed download means for its row and for removals beside it. What
does not: fetching (downloads.py), which rows change (planning.py), the statements (writing.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
import sqlalchemy as sa

from imagesync_pipelines.edge.api import PhotoReport
from imagesync_pipelines.sync.applying import Applied

# The server went away or is full: not a bad row, so the run ends and the next one goes on.
SERVER_GONE = (sa.exc.OperationalError, sa.exc.InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)


@dataclass(frozen=True)
class PhotosApplied:
    """What came of a plan.

    applied: in rows, as the engine counts. downloads: photos that were fetched; verified: those that were proven by
    checksum and decode; failed: those that were not, without the `unsettled`. bytes: received over the wire.
    mismatched: photos whose bytes were not the listed ones twice in a row. unsettled: photos that changed or went at
    the head office since they were listed; the next listing decides. gone: of these, what it answered 404 about.
    """

    applied: Applied
    downloads: int
    verified: int
    failed: int
    bytes: int
    calls: int
    mismatched: tuple[str, ...]
    unsettled: tuple[str, ...]
    gone: frozenset[str]
    seconds: float


OnWritten = Callable[[Sequence[PhotoReport]], None]
"""Called after every commit with what is to be told to the head office about its photos."""
