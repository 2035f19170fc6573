"""A head office (HO) asked outside a run: tried out step by step for a person, or looked at for news in one call.

Nothing is written anywhere: the status report that is sent holds no photo.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.accounts import EdgeStore
from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi, ListingPage
from imagesync_pipelines.connectors.edge.errors import StoreUnknownError
from imagesync_pipelines.connectors.edge.model import EDGE, Photo, fingerprint
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
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
    pages: list[ListingPage] = []
    steps: tuple[tuple[str, bool, Callable[[], str]], ...] = (
        ("token", True, lambda: _log_in(api, store)),
        ("list", True, lambda: _list(api, store, settings, pages)),
        ("incremental list", False, lambda: _list_since(api, store, settings, pages[0])),
        ("download with checksum", False, lambda: _download(api, store, pages[0])),
        ("status report", False, lambda: _report(api, store)),
        ("pagination to the end", False, lambda: _all_pages(api, store, settings)),
        ("invalid store", False, lambda: _invalid_store(api)),
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


def _log_in(api: HeadOfficeApi, store: EdgeStore) -> str:
    api.check_login()
    return f"logged in as {store.head_office.username}"


def _list(api: HeadOfficeApi, store: EdgeStore, settings: EdgeSettings, pages: list[ListingPage]) -> str:
    page = api.list_page(store.store_id, since=None, limit=settings.page_size, offset=0)
    pages.append(page)
    bare = sum(not photo.has_image for photo in page.photos)
    said = f"{page.total} photos in all, {len(page.photos)} on the first page"
    said += f", {bare} of them without an image" if bare else ""
    return said + (f", {len(page.rejects)} that cannot be read: {page.rejects[0].reason}" if page.rejects else "")


def _list_since(api: HeadOfficeApi, store: EdgeStore, settings: EdgeSettings, first: ListingPage) -> str:
    if not first.photos:
        return "there is no photo to take a time from"
    newest = max(photo.updated_at for photo in first.photos)
    page = api.list_page(store.store_id, since=newest, limit=settings.page_size, offset=0)
    if page.total > first.total:
        raise _UnexpectedError(f"{page.total} photos since {newest:%Y-%m-%d %H:%M:%S} UTC, more than there are")
    older = [photo for photo in page.photos if photo.updated_at < newest - timedelta(seconds=1)]
    if older:
        raise _UnexpectedError(f"{len(older)} photos are older than the `since` that was asked for")
    if not page.total:
        raise _UnexpectedError("no photo since the newest one's own time, but `since` includes it")
    return f"{page.total} photos since {newest:%Y-%m-%d %H:%M:%S} UTC"


def _download(api: HeadOfficeApi, store: EdgeStore, first: ListingPage) -> str:
    photo = next((photo for photo in first.photos if photo.has_image), None)
    if photo is None:
        return "there is no photo with an image on the first page"
    digest = hashlib.md5(usedforsecurity=False)
    with api.open_photo(photo.photo_id, store.store_id) as body:
        for piece in body.chunks():
            digest.update(piece)
    if digest.hexdigest() != photo.checksum:
        raise _UnexpectedError(f"{_named(photo)}: {body.received} bytes came, and their MD5 is not the listed checksum")
    return f"{_named(photo)}: {body.received} bytes, MD5 as listed"


def _named(photo: Photo) -> str:
    return f"photo {photo.photo_id}" + (f" of {photo.product_sku}" if photo.product_sku else "")


def _report(api: HeadOfficeApi, store: EdgeStore) -> str:
    api.report(store.store_id, [])
    return "a report without photos was taken"


def _all_pages(api: HeadOfficeApi, store: EdgeStore, settings: EdgeSettings) -> str:
    ids: set[str | None] = set()
    offset: int | None = 0
    pages, total = 0, 0
    while offset is not None:
        page = api.list_page(store.store_id, since=None, limit=settings.page_size, offset=offset)
        ids |= {photo.photo_id for photo in page.photos} | {reject.photo_id for reject in page.rejects}
        pages, total, offset = pages + 1, page.total, page.next_offset
    if len(ids) != total:
        raise _UnexpectedError(f"{len(ids)} different photos on {pages} pages, but HO counts {total}")
    return f"{total} photos on {pages} pages"


def _invalid_store(api: HeadOfficeApi) -> str:
    try:
        page = api.list_page(str(uuid.uuid4()), since=None, limit=1, offset=0)
    except StoreUnknownError:
        return "a store that there is not is refused with 404"
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
        return Look(True, "it was never listed", "never listed")
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
    if page.total != known or different or deleted:
        return Look(True, f"{page.total} photos since {since:%Y-%m-%d %H:%M:%S} UTC, {len(deleted)} deleted", mark)
    return Look(False, f"no photo newer than {since:%Y-%m-%d %H:%M:%S} UTC", mark)
