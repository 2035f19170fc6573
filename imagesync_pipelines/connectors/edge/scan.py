"""One scan through a store's listing, and whether it saw everything (contract section 7, offset holes).

What belongs here: reading the pages into the staging table of the mirror, and the proof. What does not: HTTP (api.py),
what is new or gone by it (listing.py).

Rows move between pages while HO works. A scan proves to be complete only when every page names the same total and
there are exactly that many different ids.
"""

from dataclasses import dataclass, field
from datetime import datetime

import orjson
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.api import HeadOfficeApi, ListingPage, Reject
from imagesync_pipelines.connectors.edge.model import Photo, fingerprint
from imagesync_pipelines.storage.mirror import MirrorRow, settle_staging, stage, stage_nothing

# Photos on the one page of a repeated scan, at most: about 25 MB while it is read.
LARGEST_PAGE = 10_000


@dataclass
class Scan:
    """What the pages of a scan told; the rows themselves are staged.

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
        """Why the scan does not prove to be complete; '' when it does."""
        if min(self.totals) != max(self.totals):
            return f"the number of photos changed while reading, between {min(self.totals)} and {max(self.totals)}"
        if self.unidentified:
            return f"{self.unidentified} photos have no legible id"
        if self.distinct != self.totals[-1]:
            counted = f"HO counts {self.totals[-1]}"
            return f"{self.distinct} different photos were read, but {counted}: some moved between pages"
        return ""


def scan_until_proven(
    connection: sa.Connection,
    api: HeadOfficeApi,
    store_id: str,
    *,
    since: datetime | None,
    page_size: int,
    repeats: int,
) -> Scan:
    """The first scan that proves to be complete, or the last of `repeats` + 1; its rows are staged afterwards.

    A repeated scan asks for everything on one page: HO may give less, but where it does, no row can move between pages
    or come in another order on each. What any of the scans was told to be deleted is kept. Raises the errors of the
    API: a page that cannot be read ends the scan.
    """
    deleted: set[str] = set()
    scan = Scan()
    limit = page_size
    for _ in range(repeats + 1):
        stage_nothing(connection)
        scan = _scan(connection, api, store_id, since, limit)
        deleted |= scan.deleted
        if not scan.reason():
            break
        limit = max(page_size, min(scan.totals[-1] + page_size, LARGEST_PAGE))
    scan.deleted = deleted
    return scan


def _scan(connection: sa.Connection, api: HeadOfficeApi, store_id: str, since: datetime | None, limit: int) -> Scan:
    scan = Scan()
    offset: int | None = 0
    while offset is not None:
        page = api.list_page(store_id, since=since, limit=limit, offset=offset)
        _note(scan, page)
        stage(connection, [*map(_row, page.photos), *(_seen(r.photo_id) for r in page.rejects if r.photo_id)])
        offset = page.next_offset
    scan.distinct = settle_staging(connection)
    return scan


def _note(scan: Scan, page: ListingPage) -> None:
    scan.totals.append(page.total)
    scan.ho_time = scan.ho_time or page.ho_time
    scan.deleted |= page.deleted_ids
    scan.rejects += page.rejects
    scan.unidentified += sum(reject.photo_id is None for reject in page.rejects)
    for photo in page.photos:
        scan.unusable += not photo.has_image
        scan.newest = photo.updated_at if scan.newest is None else max(scan.newest, photo.updated_at)


def _row(photo: Photo) -> MirrorRow:
    payload = orjson.dumps(photo.as_json()).decode()
    return MirrorRow(photo.photo_id, photo.product_id, fingerprint(photo), payload, photo.updated_at)


def _seen(photo_id: str) -> MirrorRow:
    return MirrorRow(photo_id, None, None, None, None)
