"""Image content, kept by its SHA-256 below <root>/content/, and whose picture it is (`image_content`).

Content is a store of the past, not a truth: what is forgotten is downloaded again. A source such as
<connector>:<account>:<image id> names bytes that never change. What an address gives may change: it is asked again, and
what was last seen there is noted.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from upath import UPath

from imagesync_pipelines.languages import told
from imagesync_pipelines.storage.database import among, fields_of, read_rows, write_rows
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.facts import PictureFacts
from imagesync_pipelines.storage.files import check_root, write_whole
from imagesync_pipelines.storage.schema import address_check, product_image
from imagesync_pipelines.storage.schema import image_content as table

OWN_PATH = "/images/content/"
# Before the hash and the source of a picture that is kept; see kept_picture.
KEPT = "kept:"
# How the names of smaller copies begin, which pages made.
COPY_SOURCE = "catalogue-copy:"
# The pictures that product images point at here, by their hash.
_SHOWN = sa.select(sa.func.right(product_image.c.image_url, 64)).where(product_image.c.image_url.contains(OWN_PATH))
_SHA256 = re.compile("[0-9a-f]{64}")
# "imgcont" in ASCII: held while files are forgotten, shared while one is put.
_LOCK = 0x696D67636F6E74


def own_source(sha256: str) -> str:
    """The name under which content is kept that the catalogue serves to everybody by its hash."""
    return f"own:{sha256}"


def own_address(base: str, sha256: str) -> str:
    """The address at which the catalogue at `base` serves it; it never shows another picture."""
    return f"{base}{OWN_PATH}{sha256}"


def kept_picture(content: "Content") -> str:
    """How a picture that is kept is named where else the address of a picture stands."""
    return f"{KEPT}{content.sha256}:{content.source}"


def own_source_at(url: str) -> str | None:
    """The name under which the content of such an address is kept; None: the address is not one of ours."""
    _, found, sha256 = url.rpartition(OWN_PATH)
    return own_source(sha256) if found and _SHA256.fullmatch(sha256) else None


class ContentMissingError(StorageError):
    """The content of a picture is not kept (any more), or its file is not what was written."""


@dataclass(frozen=True)
class Content(PictureFacts):
    """A picture that is kept; size in bytes."""

    source: str
    size: int


_COLUMNS = fields_of(Content, table)


@dataclass(frozen=True)
class AddressCheck:
    """What an address was last seen to give: the SHA-256 of the bytes, and how its server tells them from others.

    etag, last_modified: '' where it does not say.
    """

    source: str
    sha256: str
    etag: str
    last_modified: str
    checked_at: datetime


# A check that nobody asked for in so long is forgotten.
_KEPT_CHECKS = timedelta(days=90)


@dataclass(frozen=True)
class Forgotten:
    """What a clean-up forgot, or would: files and their bytes, and how many stay because a run uses them."""

    count: int
    bytes: int
    in_use: int


@dataclass(frozen=True)
class Contents:
    """The pictures that are kept. Used from several threads and processes.

    clock: the time of day with its zone, by which uses and clean-ups are judged.
    """

    engine: sa.Engine
    root: UPath
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def put(self, source: str, body: bytes, facts: PictureFacts, hold: timedelta) -> Content:
        """Keep a picture that was decoded whole; nobody forgets it before `hold` is over."""
        content = Content(facts.format, facts.width, facts.height, facts.sha256, source, len(body))
        now = self.clock()
        new = insert(table).values(**vars(content), last_used_at=now, in_use_until=now + hold)
        # Of two runs that put a source, the later use counts.
        later = {name: sa.func.greatest(table.c[name], new.excluded[name]) for name in ("last_used_at", "in_use_until")}
        with self.engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(_LOCK)))
            path = self._path(content.sha256)
            if not path.exists():
                write_whole(path, body)
            connection.execute(new.on_conflict_do_update(index_elements=["source"], set_=vars(content) | later))
        return content

    def hold(self, sources: Collection[str], hold: timedelta) -> dict[str, Content]:
        """What is kept of these sources, by source; nobody forgets it before `hold` is over."""
        with self.engine.begin() as connection:
            found = connection.execute(self._using(hold).where(among(table.c.source, sources)).returning(*_COLUMNS))
            return {row.source: Content(**row._mapping) for row in found}

    def hold_bytes(self, hashes: Collection[str], hold: timedelta) -> dict[str, Content]:
        """What is kept of these SHA-256, of whatever source, by them; nobody forgets it before `hold` is over."""
        with self.engine.begin() as connection:
            found = connection.execute(self._using(hold).where(among(table.c.sha256, hashes)).returning(*_COLUMNS))
            return {row.sha256: Content(**row._mapping) for row in found}

    def find_bytes(self, hashes: Collection[str]) -> dict[str, Content]:
        """What is kept of these SHA-256, of whatever source, by them; that it is used is not noted."""
        query = sa.select(*_COLUMNS).where(among(table.c.sha256, hashes))
        return {content.sha256: content for content in read_rows(self.engine, query, Content)}

    def find(self, sources: Collection[str]) -> dict[str, Content]:
        """What is kept of these sources, by source; that it is used is not noted."""
        query = sa.select(*_COLUMNS).where(among(table.c.source, sources))
        return {content.source: content for content in read_rows(self.engine, query, Content)}

    def sources_of(self, sha256: str) -> list[str] | None:
        """Under which sources a picture is kept, known by its bytes; None: no such picture was ever kept here.

        A database that was restored from a backup lacks the sources of files that were kept since: there are none.
        """
        query = sa.select(table.c.source).where(table.c.sha256 == sha256).order_by(table.c.source)
        with self.engine.connect() as connection:
            found = list(connection.scalars(query))
        return found if found or self._path(sha256).exists() else None

    def checks(self, sources: Collection[str]) -> dict[str, AddressCheck]:
        """What is noted of these sources, by source."""
        query = sa.select(address_check).where(among(address_check.c.source, sources))
        return {check.source: check for check in read_rows(self.engine, query, AddressCheck)}

    def note_check(self, check: AddressCheck) -> None:
        """Note what an address was just seen to give."""
        new = insert(address_check).values(**vars(check))
        write_rows(self.engine, new.on_conflict_do_update(index_elements=["source"], set_=vars(check)))

    def renew(self, source: str, hold: timedelta, every: timedelta) -> None:
        """Hold a source again, unless it was used a short while (`every`) ago: most uses then write nothing."""
        due = (table.c.source == source) & (table.c.last_used_at < self.clock() - every)
        write_rows(self.engine, self._using(hold).where(due))

    def _using(self, hold: timedelta) -> sa.Update:
        now = self.clock()
        return table.update().values(last_used_at=now, in_use_until=sa.func.greatest(table.c.in_use_until, now + hold))

    def read(self, content: Content) -> bytes:
        """The bytes of a picture. Raises ContentMissingError; an altered file goes, so that it is fetched again."""
        path = self._path(content.sha256)
        try:
            body = path.read_bytes()
            happened = told("was altered")
        except FileNotFoundError:
            # A bucket that is gone says nothing of the picture.
            check_root(self.root)
            body, happened = b"", told("is gone")
        if hashlib.sha256(body).hexdigest() != content.sha256:
            path.unlink(missing_ok=True)
            write_rows(self.engine, table.delete().where(table.c.sha256 == content.sha256))
            raise ContentMissingError(
                f"the kept content of {content.source} {happened}; run again, it is downloaded anew"
            )
        return body

    @contextmanager
    def fetching(self, source: str) -> Iterator[Content | None]:
        """Be the only one who fetches a source, of all processes, for the length of a `with` block.

        Gives what somebody else may have fetched while this one waited.
        """
        key = int.from_bytes(hashlib.blake2b(f"content {source}".encode(), digest_size=8).digest(), signed=True)
        with self.engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
            found = connection.execute(sa.select(*_COLUMNS).where(table.c.source == source)).one_or_none()
            yield None if found is None else Content(**found._mapping)

    def used(self) -> tuple[int, int]:
        """How many different pictures are kept, and the bytes they take on disk."""
        once = sa.select(table.c.sha256, sa.func.max(table.c.size).label("size")).group_by(table.c.sha256).subquery()
        query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(once.c.size), 0)).select_from(once)
        with self.engine.connect() as connection:
            count, size = connection.execute(query).one()
        return int(count), int(size)

    def forget_older(
        self,
        hours: float,
        *,
        copies: bool | None = None,
        dry_run: bool = False,
        on_progress: Callable[[int, int], None] = lambda done, of: None,
    ) -> Forgotten:
        """Forget pictures that were last used more than so many hours ago.

        Never one that a run uses now, nor one that a product shows from here. copies: only the smaller copies that
        pages made, or all but them; None: both. on_progress gets how many were forgotten so far, and of how many. A
        dry run says what would be forgotten.
        """
        now = self.clock()
        before = now - timedelta(hours=hours)
        old = sa.func.max(table.c.last_used_at) < before
        free = (sa.func.max(table.c.in_use_until) < now) & table.c.sha256.not_in(_SHOWN)
        query = sa.select(table.c.sha256, sa.func.max(table.c.size), free).group_by(table.c.sha256).having(old)
        if copies is not None:
            is_copy = sa.func.bool_and(table.c.source.startswith(COPY_SOURCE))
            query = query.having(is_copy if copies else ~is_copy)
        with self.engine.connect() as connection:
            found = connection.execute(query.order_by(table.c.sha256)).all()
        going = [(sha256, size) for sha256, size, is_free in found if is_free]
        count = total = 0
        for sha256, size in going:
            if dry_run or self._forget(sha256, before, now):
                count, total = count + 1, total + size
            on_progress(count, len(going))
        if not dry_run:
            write_rows(self.engine, address_check.delete().where(address_check.c.checked_at < now - _KEPT_CHECKS))
        return Forgotten(count, total, len(found) - len(going))

    def _forget(self, sha256: str, before: datetime, now: datetime) -> bool:
        """Forget one picture unless it was used since; the file goes first, so a row without file is the worst."""
        mine = table.c.sha256 == sha256
        used = mine & ((table.c.last_used_at >= before) | (table.c.in_use_until >= now))
        with self.engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            # Locked, so that a run that is about to hold them waits and then finds them gone.
            connection.execute(sa.select(table.c.source).where(mine).with_for_update())
            if connection.execute(sa.select(sa.exists().where(used))).scalar():
                return False
            self._path(sha256).unlink(missing_ok=True)
            connection.execute(table.delete().where(mine))
        return True

    def _path(self, sha256: str) -> UPath:
        return self.root / "content" / sha256[:2] / sha256
