"""Pages of a source, exactly as received, compressed: what was read can be read again without asking the source.

A page is its row in `raw_page` and one file below <root>/raw_pages/<connector>/<scan>/; the row is written after the
file is whole and names it by its content, so a row never points at half a page.
"""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
import zstandard
from sqlalchemy.exc import IntegrityError
from upath import UPath

from imagesync_pipelines.storage.database import fields_of, read_rows
from imagesync_pipelines.storage.errors import PageError, ScanMissingError
from imagesync_pipelines.storage.files import remove_folder, write_whole
from imagesync_pipelines.storage.scans import PROVEN
from imagesync_pipelines.storage.schema import raw_page, scan

COMPRESSION_LEVEL = 3


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

        `records` is the number of records in it, `api_count` the total that it names. Raises ScanMissingError.
        """
        sha256 = hashlib.sha256(body).hexdigest()
        path = f"raw_pages/{self.connector}/{scan_id}/{page:06d}-{sha256[:16]}.zst"
        write_whole(self.root / path, zstandard.ZstdCompressor(level=COMPRESSION_LEVEL).compress(body))
        values = {
            "scan_id": scan_id,
            "page": page,
            "connector": self.connector,
            "path": path,
            "sha256": sha256,
            "records": records,
            "bytes": len(body),
            "api_count": api_count,
        }
        try:
            # One statement that commits itself: a scan waits for the database once per page, not ten times.
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                fetched_at, before, _ = connection.execute(_PUT, values).one()
        except IntegrityError as error:
            raise ScanMissingError(
                f"Page {page} belongs to scan {scan_id} of {self.connector}, which is not there."
            ) from error
        if before is not None and before != path:
            (self.root / before).unlink(missing_ok=True)
        return PageEntry(scan_id, page, path, sha256, records, len(body), fetched_at, api_count)

    def entries(self, scan_id: int) -> list[PageEntry]:
        """What is stored of a scan, in page order, without opening any page."""
        query = sa.select(*fields_of(PageEntry, raw_page)).where(
            raw_page.c.scan_id == scan_id, raw_page.c.connector == self.connector
        )
        return read_rows(self.engine, query.order_by(raw_page.c.page), PageEntry)

    def iterate(self, scan_id: int, only: Collection[int] | None = None) -> Iterator[tuple[PageEntry, bytes]]:
        """The pages of a scan, or `only` these, with their bodies as received, in page order, one in memory at a time.

        Raises PageError.
        """
        for entry in self.entries(scan_id):
            if only is None or entry.page in only:
                yield entry, self._body(entry)

    def prune(self, keep_scans: int) -> int:
        """Forget old scans with their pages; returns how many scans went.

        The newest `keep_scans` stay, and the newest proven one; with 0 everything goes.
        """
        mine = scan.c.connector == self.connector
        newest = sa.select(scan.c.id).where(mine).order_by(scan.c.id.desc())
        proven = newest.where(scan.c.state == PROVEN).limit(min(keep_scans, 1))
        with self.engine.begin() as connection:
            # One statement: a scan that begins meanwhile is not seen by it, so it stays.
            old = [mine, scan.c.id.not_in(newest.limit(keep_scans)), scan.c.id.not_in(proven)]
            gone = connection.execute(scan.delete().where(*old)).rowcount
        # Also folders that an earlier prune left when it was killed: every folder has a scan before its first page.
        connectors_folder = self.root / "raw_pages" / self.connector
        # Listed before the scans are: a scan that begins meanwhile keeps its folder.
        folders = list(connectors_folder.iterdir()) if connectors_folder.exists() else []
        with self.engine.connect() as connection:
            scans = {str(scan_id) for scan_id in connection.execute(newest).scalars()}
        for folder in folders:
            if folder.name not in scans:
                remove_folder(folder)
        return int(gone)

    def _body(self, entry: PageEntry) -> bytes:
        where = f"{self.connector}: page {entry.page} of scan {entry.scan_id}"
        try:
            stored = (self.root / entry.path).read_bytes()
        except FileNotFoundError:
            raise PageError(f"{where}: its file {entry.path} is gone; read the page again from the source.") from None
        try:
            body = zstandard.ZstdDecompressor().decompress(stored, max_output_size=entry.bytes)
        except zstandard.ZstdError:
            body = None
        if body is None or hashlib.sha256(body).hexdigest() != entry.sha256:
            raise PageError(
                f"{where} is damaged: {entry.path} is not what was written; read the page again from the source."
            )
        return body
