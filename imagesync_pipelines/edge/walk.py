"""One walk through a store's listing, and whether it saw everything (contract section 7, offset holes).

What belongs here: reading the pages into the staging table of the mirror, and the proof. What does not: HTTP (api.py),
what is new or gone by it (listing.py).

Rows move between pages while HO works. A walk proves to be complete only when every page names the same total and
there are exactly that many different ids.
"""

from dataclasses import dataclass, field
from datetime import datetime

import orjson
import sqlalchemy as sa

from imagesync_pipelines.edge.api import HeadOfficeApi, ListingPage, Reject
from imagesync_pipelines.edge.model import Photo, fingerprint
from imagesync_pipelines.storage.mirror import MirrorRow, settle_staging, stage, stage_nothing

# Photos on the one page of a repeated walk, at most: about 25 MB while it is read.
LARGEST_PAGE = 10_000


@dataclass
class Walk:
    """What the pages of a walk told; the rows themselves are staged.

    distinct: different ids. newest: the largest updated_at. ho_time: HO's clock at the first page, None: unknown.
    unusable: photos without an image upstream. unidentified: rows without a legible id, which are among the rejects.
    deleted: ids that HO calls deleted.
    """

    totals: list[int] = field(default_factory=list)
    distinct: int = 0
    newest: datetime | None = None
    ho_time: datetime | None = None
    unusable: int = 0
    unidentified: int = 0
    rejects: list[Reject] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)

    def reason(self) -> str:
        """Why the walk does not prove to be complete; '' when it does."""
        if min(self.totals) != max(self.totals):
            return f"the number of photos changed while reading, between {min(self.totals)} and {max(self.totals)}"
        if self.unidentified:
            return f"{self.unidentified} photos have no legible id"
        if self.distinct != self.totals[-1]:
            counted = f"HO counts {self.totals[-1]}"
            return f"{self.distinct} different photos were read, but {counted}: some moved between pages"
        return ""


def walk_until_proven(
    connection: sa.Connection,
    api: HeadOfficeApi,
    store_id: str,
    *,
    since: datetime | None,
    page_size: int,
    repeats: int,
) -> Walk:
    """The first walk that proves to be complete, or the last of `repeats` + 1; its rows are staged afterwards.

    A repeated walk asks for everything on one page: HO may give less, but where it does, no row can move between pages
    or come in another order on each. What any of the walks was told to be deleted is kept. Raises the errors of the
    API: a page that cannot be read ends the walk.
    """
    deleted: set[str] = set()
    walk = Walk()
    limit = page_size
    for _ in range(repeats + 1):
        stage_nothing(connection)
        walk = _walk(connection, api, store_id, since, limit)
        deleted |= walk.deleted
        if not walk.reason():
            break
        limit = max(page_size, min(walk.totals[-1] + page_size, LARGEST_PAGE))
    walk.deleted = deleted
    return walk


def _walk(connection: sa.Connection, api: HeadOfficeApi, store_id: str, since: datetime | None, limit: int) -> Walk:
    walk = Walk()
    offset: int | None = 0
    while offset is not None:
        page = api.list_page(store_id, since=since, limit=limit, offset=offset)
        _note(walk, page)
        stage(connection, [*map(_row, page.photos), *(_seen(r.photo_id) for r in page.rejects if r.photo_id)])
        offset = page.next_offset
    walk.distinct = settle_staging(connection)
    return walk


def _note(walk: Walk, page: ListingPage) -> None:
    walk.totals.append(page.total)
    walk.ho_time = walk.ho_time or page.ho_time
    walk.deleted |= page.deleted_ids
    walk.rejects += page.rejects
    walk.unidentified += sum(reject.photo_id is None for reject in page.rejects)
    for photo in page.photos:
        walk.unusable += not photo.has_image
        walk.newest = photo.updated_at if walk.newest is None else max(walk.newest, photo.updated_at)


def _row(photo: Photo) -> MirrorRow:
    payload = orjson.dumps(photo.as_json()).decode()
    return MirrorRow(photo.photo_id, photo.product_id, fingerprint(photo), payload, photo.updated_at)


def _seen(photo_id: str) -> MirrorRow:
    return MirrorRow(photo_id, None, None, None, None)
