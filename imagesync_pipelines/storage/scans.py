"""Scans: one reading of a source from its first page to its last, with its count and its proof.

A scan is open until it is finished; then it is proven or unproven, and a proof can only be lost. All times are the
database's, so that hosts with different clocks agree.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from imagesync_pipelines.storage.database import read_rows
from imagesync_pipelines.storage.errors import ScanMissingError
from imagesync_pipelines.storage.schema import raw_page, scan

OPEN = "open"
PROVEN = "proven"
UNPROVEN = "unproven"


@dataclass(frozen=True)
class Scan:
    """One scan: `page_size` was asked, `page_length` seen; `block_size`: pages per partition."""

    id: int
    connector: str
    started_at: datetime
    ended_at: datetime | None
    page_size: int
    page_length: int | None
    block_size: int
    first_count: int | None
    last_count: int | None
    pages: int | None
    calls: int
    bytes: int
    state: str
    reason: str


def start_scan(engine: sa.Engine, connector: str, *, page_size: int, block_size: int) -> int:
    """Begin a scan and return its id."""
    insert = scan.insert().values(connector=connector, page_size=page_size, block_size=block_size).returning(scan.c.id)
    with engine.begin() as connection:
        return int(connection.execute(insert).scalar_one())


def finish_scan(
    engine: sa.Engine,
    scan_id: int,
    *,
    state: str,
    reason: str = "",
    page_length: int | None,
    first_count: int | None,
    last_count: int | None,
    pages: int | None,
    calls: int = 0,
    received: int = 0,
) -> Scan:
    """End a scan as PROVEN or UNPROVEN and return it as it is now; it ended when its last page came.

    A scan that was voided while it was open stays unproven, with the reason it was voided for. Raises ScanMissingError.
    """
    if state not in {PROVEN, UNPROVEN}:
        raise ValueError(f"a finished scan is {PROVEN} or {UNPROVEN}, not {state!r}")
    last_page = sa.select(sa.func.max(raw_page.c.fetched_at)).where(raw_page.c.scan_id == scan_id).scalar_subquery()
    counts = {"page_length": page_length, "first_count": first_count, "last_count": last_count, "pages": pages}
    ended = {"ended_at": sa.func.coalesce(last_page, sa.func.now()), "calls": calls, "bytes": received}
    return _update(engine, scan_id, state, reason, **counts, **ended)


def void_scan(engine: sa.Engine, scan_id: int, reason: str) -> Scan:
    """Take a scan's proof away, open or finished: some of its pages were read at another time. Raises ScanMissingError.

    The first reason stays.
    """
    return _update(engine, scan_id, UNPROVEN, reason)


def get_scan(engine: sa.Engine, scan_id: int) -> Scan:
    """The scan with this id. Raises ScanMissingError."""
    return _one(read_rows(engine, sa.select(scan).where(scan.c.id == scan_id), Scan), scan_id)


def latest_scan(engine: sa.Engine, connector: str) -> Scan | None:
    """The newest scan of a connector that came to its end, proven or not; None when there is none.

    One that is under way in another run, or was broken off, holds a part of the source only.
    """
    ended = sa.select(scan).where(scan.c.connector == connector, scan.c.ended_at.is_not(None))
    return next(iter(read_rows(engine, ended.order_by(scan.c.id.desc()).limit(1), Scan)), None)


def _update(engine: sa.Engine, scan_id: int, state: str, reason: str, **values: object) -> Scan:
    """A scan that was voided stays so, with its first reason."""
    voided = scan.c.state == UNPROVEN
    values["state"] = sa.case((voided, scan.c.state), else_=state)
    values["reason"] = sa.case((voided & (scan.c.reason != ""), scan.c.reason), else_=reason)
    with engine.begin() as connection:
        update = scan.update().where(scan.c.id == scan_id).values(**values).returning(scan)
        return _one([Scan(**row._mapping) for row in connection.execute(update)], scan_id)


def _one(found: list[Scan], scan_id: int) -> Scan:
    if not found:
        raise ScanMissingError(f"There is no scan {scan_id}; it was pruned, or the pages were reset. Start a new scan.")
    return found[0]
