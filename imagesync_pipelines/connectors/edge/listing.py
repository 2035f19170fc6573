"""Listing a store's photos at the head office (HO), into the mirror (docs/contracts/edge.md).

Three things are believed: a row that HO lists is there; a photo is gone when HO says so about its very id (deleted_ids,
404); a photo that is not listed is gone only when a scan over everything proved to be complete. Rows move between pages
while HO works: a scan proves to be complete only when every page names the same total and there are exactly that many
different ids.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import orjson
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi, ListingPage
from imagesync_pipelines.connectors.edge.model import EDGE, IllegibleRow, Photo, fingerprint
from imagesync_pipelines.connectors.edge.settings import EdgeSettings, EdgeStore
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.storage import mirror
from imagesync_pipelines.storage.scans import finish_scan, start_scan
from imagesync_pipelines.sync.guard import why_unproven
from imagesync_pipelines.upstream.details import details_told
from imagesync_pipelines.upstream.errors import UpstreamError

DELETED = N_("the head office says that it was deleted")
NOT_FOUND = N_("the head office answers 404 to its id")
NOT_LISTED = N_("it is not in a complete listing")
# What the mirror knows as gone is proven: by HO's word about the very photo, or by a listing that saw everything.
PROVEN_GONE = (DELETED, NOT_FOUND, NOT_LISTED)
# So many photos that HO gives no answer about, and no other is asked about in this listing.
ENOUGH_FAILURES = 3

# Photos on the one page of a repeated scan, at most: about 25 MB while it is read.
LARGEST_PAGE = 10_000


@dataclass
class ListingScan:
    """What the pages of a scan told; the rows themselves are staged.

    distinct: different ids. newest: the largest updated_at. ho_time: HO's clock at the first page, None: unknown.
    unusable: photos without an image upstream. deleted: ids that HO calls deleted. left_out: details that cannot be
    read, with the photo's id.
    """

    totals: list[int] = field(default_factory=list)
    distinct: int = 0
    newest: datetime | None = None
    ho_time: datetime | None = None
    unusable: int = 0
    rejects: list[IllegibleRow] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def reason(self) -> str:
        """Why the scan does not prove to be complete; '' when it does."""
        unknown = sum(reject.photo_id is None for reject in self.rejects)
        illegible = told(f"{unknown} photos have no legible id") if unknown else ""
        return why_unproven(self.totals, self.distinct, rows="photos", source="HO", illegible=illegible)

    def cursor(self) -> datetime | None:
        """HO's own time (never ours) up to which everything was seen; a row from HO's future must not hide others."""
        return min(self.newest, self.ho_time) if self.newest and self.ho_time else self.newest

    def note(self, page: ListingPage) -> None:
        """Take in what a page tells."""
        self.totals.append(page.total)
        self.ho_time = self.ho_time or page.ho_time
        self.deleted |= page.deleted_ids
        self.rejects += page.rejects
        self.left_out += page.left_out
        self.unusable += sum(not photo.has_image for photo in page.photos)
        self.newest = max([*([self.newest] if self.newest else []), *(p.updated_at for p in page.photos)], default=None)


class ListingHandOver(BaseModel):
    """What a listing found, as the next step and the checks need it.

    full: everything was asked for, not only what changed since the cursor. scan_id: of a full scan, else None.
    complete: everything asked for was surely seen; reason: why not, '' when it was. seen: different photos listed;
    unusable: those without an image upstream. new, changed (those that came back among them) and gone: rows of the
    mirror that this listing wrote. rejected: rows that could not be read, rejects of the plan too; illegible: the ids
    of those that have one; rejects: with why, not kept in the hand-over. mirror_at: when the mirror of this store last
    changed, None: it is empty. lag_seconds: age, by HO's clock, of the oldest change since the cursor that this listing
    brought; 0: nothing new; None: not known. calls, bytes: of this listing. quiet: nothing is new and nothing waits, so
    no plan is made; this, run_id and dry_run are the step's.
    """

    model_config = ConfigDict(frozen=True)

    full: bool
    scan_id: int | None
    complete: bool
    reason: str
    mirror_at: datetime | None
    seen: int = 0
    new: int = 0
    changed: int = 0
    unusable: int = 0
    gone: int = 0
    rejected: int = 0
    illegible: tuple[str, ...] = ()
    rejects: tuple[IllegibleRow, ...] = Field((), exclude=True)
    cursor: datetime | None = None
    lag_seconds: float | None = None
    calls: int = 0
    bytes: int = 0
    warnings: tuple[str, ...] = ()
    run_id: str = ""
    dry_run: bool = False
    quiet: bool = False


def take_listing(
    engine: sa.Engine,
    store: EdgeStore,
    api: HeadOfficeApi,
    settings: EdgeSettings,
    *,
    full: bool,
    mark_pending: Callable[[Sequence[Photo]], object],
    moves_cursor: bool = True,
    before_commit: Callable[[], None] = lambda: None,
) -> ListingHandOver:
    """List a store's photos, all of them or what changed since the cursor, and bring the mirror up to date.

    Without a cursor everything is listed. A scan that does not prove to be complete is made again, up to
    EDGE_WALK_REPEATS times; then what it saw is kept, nothing unseen is called gone, and the cursor stays. Photos that
    are new or changed are given in portions to `mark_pending`, which notes in the store's own database that they are to
    be written and commits, before mirror and cursor move in one transaction. Raises StoreUnknownError and every other
    error of the API with nothing changed. Call it under the store's lock, which before_commit looks after.
    moves_cursor: not in a dry run, after which the same changes are listed again.
    """
    calls, received, mine = api.calls, api.bytes, (EDGE, store.name)
    with engine.connect() as connection:
        value = mirror.read_cursor(connection, *mine)
        connection.commit()
        before = None if value is None else datetime.fromisoformat(value)
        since = None if full or before is None else before - timedelta(minutes=settings.overlap_minutes)
        scan_id = None
        if since is None:
            scan_id = start_scan(engine, f"{EDGE}/{store.name}", page_size=settings.page_size, block_size=1)
        with mirror.staging(connection):
            scan = _scan_until_proven(connection, api, store.store_id, settings, since)
            reason = scan.reason()
            # An unlinked brand empties a store's scope too.
            if not (reason or since or scan.distinct) and (there := mirror.count_live(connection, *mine)):
                reason = told(f"HO lists no photo at all, but there were {there}; nothing is removed on that")
            all_seen = since is None and not reason
            # What is gone by the proof of a whole listing is not gone anew by the head office's word.
            deleted = scan.deleted - mirror.staged_keys(connection, scan.deleted)
            if deleted:
                deleted &= set(mirror.unstaged_keys(connection, *mine))
            # A complete listing of everything answers what became of replaced photos without asking.
            left = [] if all_seen else [key for key in mirror.left_behind(connection, *mine) if key not in deleted]
            connection.commit()
            not_found, unanswered = _not_found(api, store.store_id, left, settings.concurrency)
            oldest = None
            for payloads in mirror.staged_changes(connection, *mine):
                photos = [Photo.from_payload(payload) for payload in payloads]
                before_commit()
                mark_pending(photos)
                late = [photo.updated_at for photo in photos if before is not None and photo.updated_at > before]
                oldest = min([*late, *([oldest] if oldest else [])], default=None)
            merged = mirror.merge(connection, *mine, scan_id)
            gone = mirror.mark_gone(connection, *mine, deleted, DELETED)
            gone += mirror.mark_gone(connection, *mine, not_found, NOT_FOUND)
            if all_seen:
                gone += mirror.mark_missing_gone(connection, *mine, NOT_LISTED)
            after = None if reason or not moves_cursor else scan.cursor()
            if after is not None:
                mirror.move_cursor(connection, *mine, after.isoformat())
            before_commit()
            connection.commit()
            changed_at = mirror.mirror_at(connection, *mine)
    calls, received = api.calls - calls, api.bytes - received
    if scan_id is not None:
        finish_scan(
            engine,
            scan_id,
            reason,
            page_length=settings.page_size,
            first_count=scan.totals[0],
            last_count=scan.totals[-1],
            pages=len(scan.totals),
            calls=calls,
            bytes=received,
        )
    lag = None
    if before is not None and scan.ho_time is not None:
        lag = 0.0 if oldest is None else max(0.0, (scan.ho_time - oldest).total_seconds())
    unproven = told(f"the listing did not prove to be complete: {reason}; the cursor stays")
    bad = scan.rejects
    unread = told(f"{len(bad)} rows of the listing cannot be read, such as: {bad[0].reason}") if bad else ""
    return ListingHandOver(
        full=since is None,
        scan_id=scan_id,
        complete=not reason,
        reason=reason,
        mirror_at=changed_at,
        seen=scan.distinct,
        new=merged.new,
        changed=merged.changed + merged.revived,
        unusable=scan.unusable,
        gone=gone,
        rejected=len(bad),
        illegible=tuple(reject.photo_id for reject in bad if reject.photo_id is not None),
        rejects=tuple(bad),
        cursor=after or before,
        lag_seconds=lag,
        calls=calls,
        bytes=received,
        warnings=(
            *filter(None, (unproven if reason else "", unread, unanswered)),
            *details_told(told("The listing"), scan.left_out),
        ),
    )


def _not_found(api: HeadOfficeApi, store_id: str, asked: Sequence[str], threads: int) -> tuple[set[str], str]:
    """Those of these photos that HO answers 404 about, and a warning when it did not answer about every one.

    They are the other photos of products that got a new one: a replaced photo has a new id.
    """
    failures: list[UpstreamError] = []

    def is_gone(photo_id: str) -> bool:
        # When HO is down, every question would take a minute to fail; the next full listing answers it as well.
        if len(failures) >= ENOUGH_FAILURES:
            return False
        try:
            return not api.photo_exists(photo_id, store_id)
        except UpstreamError as error:
            failures.append(error)
            return False

    with ThreadPoolExecutor(threads, thread_name_prefix="replaced") as pool:
        gone = {key for key, is_gone_now in zip(asked, pool.map(is_gone, asked), strict=True) if is_gone_now}
    if not failures:
        return gone, ""
    return gone, told(f"HO did not say of every replaced photo whether it is gone; those stay: {failures[0]}")


def _scan_until_proven(
    connection: sa.Connection, api: HeadOfficeApi, store_id: str, settings: EdgeSettings, since: datetime | None
) -> ListingScan:
    """The first scan that proves to be complete, or the last of those allowed; its rows are staged afterwards.

    A repeated scan asks for everything on one page: HO may give less, but where it does, no row can move between pages
    or come in another order on each. What any of the scans was told to be deleted is kept. Raises the errors of the
    API: a page that cannot be read ends the scan.
    """
    scan, limit = ListingScan(), settings.page_size
    for _ in range(settings.walk_repeats + 1):
        mirror.stage_nothing(connection)
        scan = ListingScan(deleted=scan.deleted)
        offset: int | None = 0
        while offset is not None:
            page = api.list_page(store_id, since=since, limit=limit, offset=offset)
            scan.note(page)
            rows = [
                mirror.MirrorRow(
                    one.photo_id, one.product_id, fingerprint(one), orjson.dumps(one._asdict()).decode(), one.updated_at
                )
                for one in page.photos
            ]
            # Seen, but not legible.
            bad = [mirror.MirrorRow(row.photo_id, None, None, None, None) for row in page.rejects if row.photo_id]
            mirror.stage(connection, [*rows, *bad])
            offset = page.next_offset
        scan.distinct = mirror.settle_staging(connection)
        if not scan.reason():
            break
        limit = max(settings.page_size, min(scan.totals[-1] + settings.page_size, LARGEST_PAGE))
    return scan
