"""Pages of a source, exactly as received, compressed: what was read can be read again without asking the source.

What belongs here: keeping the bytes and finding them again. What does not: walks and their proof (walks.py), what is in
a page (the room). A page is its row in `raw_page` and one file below <root>/raw_pages/<room>/<walk>/; the row is
written after the file is whole and names it by its content, so a row never points at half a page.
"""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
import zstandard
from sqlalchemy.exc import IntegrityError
from upath import UPath

from imagesync_pipelines.storage.errors import PageDamaged, PageMissing, WalkMissing
from imagesync_pipelines.storage.files import remove_folder, write_whole
from imagesync_pipelines.storage.schema import raw_page, walk
from imagesync_pipelines.storage.walks import PROVEN

COMPRESSION_LEVEL = 3


@dataclass(frozen=True)
class PageEntry:
    """What is known of a stored page without opening it; `bytes` and `sha256` are of the body as received."""

    walk_id: int
    page: int
    path: str
    sha256: str
    records: int
    bytes: int
    fetched_at: datetime
    api_count: int | None


@dataclass(frozen=True)
class StoredPage:
    """A page with its body as received, verified."""

    entry: PageEntry
    body: bytes


# Written out, because it runs for every page. It does not wait for the disk: the walk's own row is written after its
# pages and does, and a walk without that is read again.
_PUT = sa.text("""
WITH replaced AS (SELECT path FROM imagesync.raw_page WHERE walk_id = :walk_id AND page = :page),
     hasty AS (SELECT set_config('synchronous_commit', 'off', true) AS setting)
INSERT INTO imagesync.raw_page (walk_id, page, room, path, sha256, records, bytes, fetched_at, api_count)
VALUES (:walk_id, :page, :room, :path, :sha256, :records, :bytes, clock_timestamp(), :api_count)
ON CONFLICT (walk_id, page) DO UPDATE
   SET room = EXCLUDED.room, path = EXCLUDED.path, sha256 = EXCLUDED.sha256, records = EXCLUDED.records,
       bytes = EXCLUDED.bytes, fetched_at = EXCLUDED.fetched_at, api_count = EXCLUDED.api_count
RETURNING fetched_at, (SELECT path FROM replaced), (SELECT setting FROM hasty)
""")


@dataclass(frozen=True)
class RawPages:
    """The stored pages of one room below the storage root."""

    engine: sa.Engine
    root: UPath
    room: str

    def put(self, walk_id: int, page: int, body: bytes, records: int, api_count: int | None = None) -> PageEntry:
        """Keep a page of a walk; one that was kept before is replaced.

        `records` is the number of records in it, `api_count` the total that it names. Raises WalkMissing.
        """
        sha256 = hashlib.sha256(body).hexdigest()
        path = f"raw_pages/{self.room}/{walk_id}/{page:06d}-{sha256[:16]}.zst"
        write_whole(self.root / path, zstandard.ZstdCompressor(level=COMPRESSION_LEVEL).compress(body))
        values = {
            "walk_id": walk_id,
            "page": page,
            "room": self.room,
            "path": path,
            "sha256": sha256,
            "records": records,
            "bytes": len(body),
            "api_count": api_count,
        }
        try:
            # One statement that commits itself: a walk waits for the database once per page, not ten times.
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                fetched_at, before, _ = connection.execute(_PUT, values).one()
        except IntegrityError as error:
            raise WalkMissing(f"Page {page} belongs to walk {walk_id} of {self.room}, which is not there.") from error
        if before is not None and before != path:
            (self.root / before).unlink(missing_ok=True)
        return PageEntry(walk_id, page, path, sha256, records, len(body), fetched_at, api_count)

    def get(self, page: int, walk_id: int | None = None) -> bytes:
        """The body of a page: of this walk, or the one fetched last. Raises PageMissing, PageDamaged."""
        entry = self._entry(walk_id, page)
        if entry is None:
            of_walk = f" of walk {walk_id}" if walk_id is not None else ""
            raise PageMissing(f"{self.room}: page {page}{of_walk} is not stored; read it again from the source.")
        return self._body(entry)

    def entries(self, walk_id: int) -> list[PageEntry]:
        """What is stored of a walk, in page order, without opening any page."""
        query = (
            sa.select(*_ENTRY_COLUMNS)
            .where(raw_page.c.walk_id == walk_id, raw_page.c.room == self.room)
            .order_by(raw_page.c.page)
        )
        with self.engine.connect() as connection:
            return [PageEntry(**row._mapping) for row in connection.execute(query)]

    def iterate(self, walk_id: int, only: Collection[int] | None = None) -> Iterator[StoredPage]:
        """The pages of a walk, or `only` these, in page order and one in memory at a time.

        Raises PageMissing, PageDamaged.
        """
        for entry in self.entries(walk_id):
            if only is None or entry.page in only:
                yield StoredPage(entry, self._body(entry))

    def prune(self, keep_walks: int) -> int:
        """Forget old walks with their pages; returns how many walks went.

        The newest `keep_walks` stay, and the newest proven one; with 0 everything goes.
        """
        mine = walk.c.room == self.room
        with self.engine.begin() as connection:
            newest = sa.select(walk.c.id).where(mine).order_by(walk.c.id.desc())
            kept = set(connection.execute(newest.limit(keep_walks)).scalars())
            if keep_walks:
                kept.update(connection.execute(newest.where(walk.c.state == PROVEN).limit(1)).scalars())
            gone = connection.execute(walk.delete().where(mine, walk.c.id.not_in(kept))).rowcount
        # Also folders that an earlier prune left when it was killed: every folder has a walk before its first page.
        rooms_folder = self.root / "raw_pages" / self.room
        if rooms_folder.exists():
            walks = {str(walk_id) for walk_id in self._walk_ids()}
            for folder in list(rooms_folder.iterdir()):
                if folder.name not in walks:
                    remove_folder(folder)
        return int(gone)

    def _walk_ids(self) -> set[int]:
        with self.engine.connect() as connection:
            return set(connection.execute(sa.select(walk.c.id).where(walk.c.room == self.room)).scalars())

    def _entry(self, walk_id: int | None, page: int) -> PageEntry | None:
        query = sa.select(*_ENTRY_COLUMNS).where(raw_page.c.room == self.room, raw_page.c.page == page)
        if walk_id is not None:
            query = query.where(raw_page.c.walk_id == walk_id)
        with self.engine.connect() as connection:
            row = connection.execute(query.order_by(raw_page.c.fetched_at.desc()).limit(1)).first()
        return None if row is None else PageEntry(**row._mapping)

    def _body(self, entry: PageEntry) -> bytes:
        where = f"{self.room}: page {entry.page} of walk {entry.walk_id}"
        try:
            stored = (self.root / entry.path).read_bytes()
        except FileNotFoundError:
            raise PageMissing(f"{where}: its file {entry.path} is gone; read the page again from the source.") from None
        try:
            body = zstandard.ZstdDecompressor().decompress(stored, max_output_size=entry.bytes)
        except zstandard.ZstdError:
            body = None
        if body is None or hashlib.sha256(body).hexdigest() != entry.sha256:
            raise PageDamaged(
                f"{where} is damaged: {entry.path} is not what was written; read the page again from the source."
            )
        return body


_ENTRY_COLUMNS = (
    raw_page.c.walk_id,
    raw_page.c.page,
    raw_page.c.path,
    raw_page.c.sha256,
    raw_page.c.records,
    raw_page.c.bytes,
    raw_page.c.fetched_at,
    raw_page.c.api_count,
)
