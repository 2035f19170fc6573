"""Scans: one reading of a source from its first page to its last, with its count, its proof and its pages.

A scan is open until it is finished; then it is proven or unproven, and a proof can only be lost. All times are the
database's, so that hosts with different clocks agree.

A page is kept exactly as received, compressed, so that it can be read again without asking the source: its row in
`raw_page` and one file below <root>/raw_pages/<connector>/<scan>/. The row is written after the file is whole and names
it by its content, so a row never points at half a page.
"""

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
import zstandard
from sqlalchemy.exc import DBAPIError, IntegrityError
from upath import UPath

from imagesync_pipelines.languages import told
from imagesync_pipelines.storage.database import fields_of, read_rows
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.files import remove_folder, write_whole
from imagesync_pipelines.storage.schema import raw_page, scan

PROVEN = "proven"
UNPROVEN = "unproven"
# Of each connector or store; whose pages are kept has far fewer of them.
KEPT_SCANS = 100


# The first half of the locks of `under_way`: no other lock of two numbers in this database has it.
_SCANS = 0x7363616E
_READ = """
SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND classid = :scans AND objsubid = 2
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_UNDER_WAY = sa.text(f"({_READ})").bindparams(scans=_SCANS)


@dataclass(frozen=True)
class Scan:
    """One scan: `page_size` was asked, `page_length` seen; `block_size`: pages per partition.

    part: which part of the source alone it was begun for, such as "pages 11-20"; '' where it is about everything.
    """

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
    part: str


@contextmanager
def under_way(engine: sa.Engine, scan_id: int) -> Iterator[None]:
    """Whoever reads pages into a scan says so for the length of a `with` block: no pruning takes it meanwhile.

    It is a lock in the database, so it ends with the process, however that ends.
    """
    names = {"scans": _SCANS, "scan": scan_id}
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("SELECT pg_advisory_lock(:scans, CAST(:scan AS integer))"), names)
        try:
            yield
        finally:
            with suppress(DBAPIError):  # with its connection the lock is gone as well
                connection.execute(sa.text("SELECT pg_advisory_unlock(:scans, CAST(:scan AS integer))"), names)


def being_read(connection: sa.Connection) -> set[int]:
    """The scans that somebody reads pages into at this moment."""
    return set(connection.scalars(sa.text(_READ), {"scans": _SCANS}))


def start_scan(engine: sa.Engine, connector: str, *, page_size: int, block_size: int, part: str = "") -> int:
    """Begin a scan and return its id; part: of what alone, '' where it is to read everything."""
    values = {"page_size": page_size, "block_size": block_size, "part": part}
    insert = scan.insert().values(connector=connector, **values).returning(scan.c.id)
    with engine.begin() as connection:
        return int(connection.execute(insert).scalar_one())


def finish_scan(engine: sa.Engine, scan_id: int, reason: str, **seen: int | None) -> Scan:
    """End a scan and return it as it is now; `reason`: why it is not proven, '' when it is. Raises StorageError.

    seen: page_length, first_count, last_count, pages, calls and bytes, as a Scan has them. It ended when its last page
    came. One that was voided while it was open stays unproven, with the reason it was voided for. Old ones are
    forgotten, as prune_scans does.
    """
    last_page = sa.select(sa.func.max(raw_page.c.fetched_at)).where(raw_page.c.scan_id == scan_id).scalar_subquery()
    ended_at = sa.func.coalesce(last_page, sa.func.now())
    ended = _update(engine, scan_id, UNPROVEN if reason else PROVEN, reason, ended_at=ended_at, **seen)
    prune_scans(engine, ended.connector, KEPT_SCANS)
    return ended


def prune_scans(engine: sa.Engine, connector: str, keep: int) -> int:
    """Forget old scans of a connector; returns how many went.

    The newest `keep` stay, the newest proven one (with 0 neither), and what is being read at this moment.
    """
    mine = scan.c.connector == connector
    newest = sa.select(scan.c.id).where(mine).order_by(scan.c.id.desc())
    proven = newest.where(scan.c.state == PROVEN).limit(min(keep, 1))
    # One statement: a scan that begins meanwhile is not seen by it, so it stays.
    old = [mine, *(scan.c.id.not_in(kept) for kept in (newest.limit(keep), proven, _UNDER_WAY))]
    with engine.begin() as connection:
        return connection.execute(scan.delete().where(*old)).rowcount


def forget_scan(connection: sa.Connection, scan_id: int) -> bool:
    """Forget one scan with the rows of its pages, unless somebody reads pages into it; says whether it went."""
    gone = scan.delete().where(scan.c.id == scan_id, scan.c.id.not_in(_UNDER_WAY))
    return connection.execute(gone).rowcount > 0


def void_scan(engine: sa.Engine, scan_id: int, reason: str) -> Scan:
    """Take a scan's proof away, open or finished: some of its pages were read at another time. Raises StorageError.

    The first reason stays.
    """
    return _update(engine, scan_id, UNPROVEN, reason)


def get_scan(engine: sa.Engine, scan_id: int) -> Scan:
    """The scan with this id. Raises StorageError."""
    return _one(read_rows(engine, sa.select(scan).where(scan.c.id == scan_id), Scan), scan_id)


def latest_scan(engine: sa.Engine, connector: str) -> Scan | None:
    """The newest scan of a connector that came to its end, a part or all, proven or not; None when there is none.

    One that is under way in another run, or was broken off, holds a part of the source only.
    """
    return _newest(engine, connector)


def latest_full_scan(engine: sa.Engine, connector: str, *, proven: bool = False) -> Scan | None:
    """As latest_scan, of those that were begun to read everything; `proven`: of those that did."""
    return _newest(engine, connector, scan.c.part == "", *((scan.c.state == PROVEN,) if proven else ()))


def _newest(engine: sa.Engine, connector: str, *which: sa.ColumnElement[bool]) -> Scan | None:
    ended = sa.select(scan).where(scan.c.connector == connector, scan.c.ended_at.is_not(None), *which)
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
        raise StorageError(f"There is no scan {scan_id}; it was pruned, or the pages were reset. Start a new scan.")
    return found[0]


@dataclass(frozen=True)
class PageEntry:
    """What is known of a stored page without opening it; `bytes` and `sha256` are of the body as received."""

    scan_id: int
    page: int
    path: str
    sha256: str
    records: int
    bytes: int
    fetched_at: datetime
    api_count: int | None


# Written out, because it runs for every page. It does not wait for the disk: the scan's own row is written after its
# pages and does, and a scan without that is read again.
_PUT = sa.text("""
WITH replaced AS (SELECT path FROM imagesync.raw_page WHERE scan_id = :scan_id AND page = :page),
     hasty AS (SELECT set_config('synchronous_commit', 'off', true) AS setting)
INSERT INTO imagesync.raw_page (scan_id, page, connector, path, sha256, records, bytes, fetched_at, api_count)
VALUES (:scan_id, :page, :connector, :path, :sha256, :records, :bytes, clock_timestamp(), :api_count)
ON CONFLICT (scan_id, page) DO UPDATE
   SET connector = EXCLUDED.connector, path = EXCLUDED.path, sha256 = EXCLUDED.sha256, records = EXCLUDED.records,
       bytes = EXCLUDED.bytes, fetched_at = EXCLUDED.fetched_at, api_count = EXCLUDED.api_count
RETURNING fetched_at, (SELECT path FROM replaced), (SELECT setting FROM hasty)
""")


@dataclass(frozen=True)
class RawPages:
    """The stored pages of one connector below the storage root."""

    engine: sa.Engine
    root: UPath
    connector: str

    def put(self, scan_id: int, page: int, body: bytes, records: int, api_count: int | None = None) -> PageEntry:
        """Keep a page of a scan; one that was kept before is replaced.

        `records` is the number of records in it, `api_count` the total that it names. Raises StorageError.
        """
        sha256 = hashlib.sha256(body).hexdigest()
        path = f"raw_pages/{self.connector}/{scan_id}/{page:06d}-{sha256[:16]}.zst"
        write_whole(self.root / path, zstandard.ZstdCompressor(level=3).compress(body))
        values: dict[str, Any] = {"scan_id": scan_id, "page": page, "path": path, "sha256": sha256}
        values |= {"records": records, "bytes": len(body), "api_count": api_count}
        try:
            # One statement that commits itself: a scan waits for the database once per page, not ten times.
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                fetched_at, before, _ = connection.execute(_PUT, {**values, "connector": self.connector}).one()
        except IntegrityError as error:
            raise StorageError(
                f"Page {page} belongs to scan {scan_id} of {self.connector}, which is not there."
            ) from error
        if before is not None and before != path:
            (self.root / before).unlink(missing_ok=True)
        return PageEntry(**values, fetched_at=fetched_at)

    def entries(self, scan_id: int) -> list[PageEntry]:
        """What is stored of a scan, in page order, without opening any page."""
        mine = (raw_page.c.scan_id == scan_id) & (raw_page.c.connector == self.connector)
        query = sa.select(*fields_of(PageEntry, raw_page)).where(mine).order_by(raw_page.c.page)
        return read_rows(self.engine, query, PageEntry)

    def iterate(self, scan_id: int, only: Collection[int] | None = None) -> Iterator[tuple[PageEntry, bytes]]:
        """The pages of a scan, or `only` these, with their bodies as received, in page order, one in memory at a time.

        Raises StorageError.
        """
        for entry in self.entries(scan_id):
            if only is None or entry.page in only:
                yield entry, self._body(entry)

    def prune(self, keep_scans: int) -> int:
        """Forget old scans as prune_scans does, with their pages; returns how many scans went."""
        gone = prune_scans(self.engine, self.connector, keep_scans)
        # Also folders that an earlier prune left when it was killed: every folder has a scan before its first page.
        connectors_folder = self.root / "raw_pages" / self.connector
        # Listed before the scans are: a scan that begins meanwhile keeps its folder.
        folders = list(connectors_folder.iterdir()) if connectors_folder.exists() else []
        with self.engine.connect() as connection:
            known = sa.select(scan.c.id).where(scan.c.connector == self.connector)
            scans = {str(scan_id) for scan_id in connection.execute(known).scalars()}
        for folder in folders:
            if folder.name not in scans:
                remove_folder(folder)
        return gone

    def _body(self, entry: PageEntry) -> bytes:
        where = told(f"{self.connector}: page {entry.page} of scan {entry.scan_id}")
        again = told("read the page again from the source")
        try:
            stored = (self.root / entry.path).read_bytes()
        except FileNotFoundError:
            raise StorageError(f"{where}: its file {entry.path} is gone; {again}.") from None
        try:
            body = zstandard.ZstdDecompressor().decompress(stored, max_output_size=entry.bytes)
        except zstandard.ZstdError:
            body = None
        if body is None or hashlib.sha256(body).hexdigest() != entry.sha256:
            raise StorageError(f"{where} is damaged: {entry.path} is not what was written; {again}.")
        return body
