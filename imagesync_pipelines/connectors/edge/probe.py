"""A head office (HO) asked outside a run: tried out step by step for a person, or looked at for news in one call.

Nothing is written anywhere: the status report that is sent holds no photo.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi, ListingPage
from imagesync_pipelines.connectors.edge.errors import StoreUnknownError
from imagesync_pipelines.connectors.edge.model import EDGE, fingerprint
from imagesync_pipelines.connectors.edge.settings import EdgeSettings, EdgeStore
from imagesync_pipelines.languages import told
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.mirror import read_cursor
from imagesync_pipelines.storage.schema import mirror
from imagesync_pipelines.upstream.errors import UpstreamError


@dataclass(frozen=True)
class ProbeStep:
    """One step: what was tried, whether HO did as its contract says, what it answered; seconds it took."""

    name: str
    ok: bool
    detail: str
    seconds: float


def probe(api: HeadOfficeApi, store: EdgeStore, settings: EdgeSettings) -> Iterator[ProbeStep]:
    """The steps one by one, as they are done; a step that fails without which the rest makes no sense is the last."""
    asked = _Asked(api, store, settings)
    steps: tuple[tuple[str, bool, Callable[[], str]], ...] = (
        ("token", True, asked.log_in),
        ("list", True, asked.list_first),
        (told("incremental list"), False, asked.list_since),
        (told("download with checksum"), False, asked.download),
        (told("status report"), False, asked.report),
        (told("pagination to the end"), False, asked.all_pages),
        (told("invalid store"), False, asked.invalid_store),
    )
    for name, needed, action in steps:
        started = time.monotonic()
        try:
            ok, detail = True, action()
        except (UpstreamError, _UnexpectedError) as error:
            ok, detail = False, str(error)
        yield ProbeStep(name, ok, detail, time.monotonic() - started)
        if needed and not ok:
            return


class _UnexpectedError(Exception):
    """HO answered, but not as its contract says."""


@dataclass
class _Asked:
    """What is asked, each giving HO's answer in words for people; `first` is the first page, once it is there."""

    api: HeadOfficeApi
    store: EdgeStore
    settings: EdgeSettings
    first: ListingPage = field(default_factory=lambda: ListingPage((), (), 0, None, frozenset(), None))

    def page(self, offset: int = 0, since: datetime | None = None) -> ListingPage:
        return self.api.list_page(self.store.store_id, since=since, limit=self.settings.page_size, offset=offset)

    def log_in(self) -> str:
        self.api.check_login()
        return told(f"logged in as {self.store.head_office.username}")

    def list_first(self) -> str:
        page = self.first = self.page()
        bare = sum(not photo.has_image for photo in page.photos)
        said = told(f"{page.total} photos in all, {len(page.photos)} on the first page")
        said += told(f", {bare} of them without an image") if bare else ""
        return said + (
            told(f", {len(page.rejects)} that cannot be read: {page.rejects[0].reason}") if page.rejects else ""
        )

    def list_since(self) -> str:
        if not self.first.photos:
            return told("there is no photo to take a time from")
        newest = max(photo.updated_at for photo in self.first.photos)
        page = self.page(since=newest)
        said = told(f"{page.total} photos since {newest:%Y-%m-%d %H:%M:%S} UTC")
        if page.total > self.first.total:
            raise _UnexpectedError(f"{said}, more than there are")
        older = sum(photo.updated_at < newest - timedelta(seconds=1) for photo in page.photos)
        if older:
            raise _UnexpectedError(f"{older} photos are older than the `since` that was asked for")
        if not page.total:
            raise _UnexpectedError("no photo since the newest one's own time, but `since` includes it")
        return said

    def download(self) -> str:
        photo = next((photo for photo in self.first.photos if photo.has_image), None)
        if photo is None:
            return told("there is no photo with an image on the first page")
        named = (
            told(f"photo {photo.photo_id} of {photo.product_sku}")
            if photo.product_sku
            else told(f"photo {photo.photo_id}")
        )
        digest = hashlib.md5(usedforsecurity=False)
        with self.api.open_photo(photo.photo_id, self.store.store_id) as body:
            for piece in body.chunks():
                digest.update(piece)
        if digest.hexdigest() != photo.checksum:
            raise _UnexpectedError(f"{named}: {body.received} bytes came, and their MD5 is not the listed checksum")
        return told(f"{named}: {body.received} bytes, MD5 as listed")

    def report(self) -> str:
        self.api.report(self.store.store_id, [])
        return told("a report without photos was taken")

    def all_pages(self) -> str:
        ids: set[str | None] = set()
        offset: int | None = 0
        pages, total = 0, 0
        while offset is not None:
            page = self.page(offset)
            ids |= {photo.photo_id for photo in page.photos} | {reject.photo_id for reject in page.rejects}
            pages, total, offset = pages + 1, page.total, page.next_offset
        if len(ids) != total:
            raise _UnexpectedError(f"{len(ids)} different photos on {pages} pages, but HO counts {total}")
        return told(f"{total} photos on {pages} pages")

    def invalid_store(self) -> str:
        try:
            page = self.api.list_page(str(uuid.uuid4()), since=None, limit=1, offset=0)
        except StoreUnknownError:
            return told("a store that there is not is refused with 404")
        raise _UnexpectedError(f"a store that there is not has {page.total} photos")


@dataclass(frozen=True)
class Look:
    """What one look found; `mark` is the same for the same news, so that no run is started twice for it."""

    changed: bool
    why: str
    mark: str


def look(engine: sa.Engine, store: EdgeStore, api: HeadOfficeApi, settings: EdgeSettings) -> Look:
    """Ask for the first photo since the store's cursor and for how many there are, and compare with the mirror.

    What the cursor stands on is listed again (`since` is inclusive), so the same number of the same photos is no news.
    A change committed late, below the cursor, is not seen here; the next run's overlap finds it.
    """
    with engine.connect() as connection:
        value = read_cursor(connection, EDGE, store.name)
    if value is None:
        return Look(True, told("it was never listed"), told("never listed"))
    since = datetime.fromisoformat(value)
    page = api.list_page(store.store_id, since=since, limit=1, offset=0)
    mine = sa.select(mirror.c.key, mirror.c.fingerprint).where(
        mirror.c.connector == EDGE, mirror.c.account == store.name, mirror.c.gone_at.is_(None)
    )
    named = [*(photo.photo_id for photo in page.photos), *page.deleted_ids]
    with engine.connect() as connection:
        known = connection.scalar(
            sa.select(sa.func.count()).select_from(mine.where(mirror.c.source_updated_at >= since).subquery())
        )
        there = dict(connection.execute(mine.where(among(mirror.c.key, named))).all())
    deleted = sorted(page.deleted_ids & there.keys())
    different = [photo.photo_id for photo in page.photos if there.get(photo.photo_id) != fingerprint(photo)]
    mark = f"{value} {page.total} {' '.join(different)} {len(deleted)} {''.join(deleted[:1])}"
    news, when = page.total != known or bool(different or deleted), f"{since:%Y-%m-%d %H:%M:%S} UTC"
    said = (
        told(f"{page.total} photos since {when}, {len(deleted)} deleted")
        if news
        else told(f"no photo newer than {when}")
    )
    return Look(news, said, mark)
