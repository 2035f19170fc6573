"""Reading the main account into the mirror (docs/contracts/moysklad.md).

Three things are believed: a row that came is as it says; rows of images that did not come say nothing, and what the
mirror has of that entity stays; an entity is gone only when a scan over everything proved to be complete and the
account, asked for its very id, does not have it either. An archived entity is left alone: it leaves the mirror with
that reason, its images in the child accounts stay as they are, and it is back once a reading meets it unarchived.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import orjson
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import MAIN
from imagesync_pipelines.connectors.moysklad.client.answers import AssortmentPage
from imagesync_pipelines.connectors.moysklad.errors import RowsMissingError
from imagesync_pipelines.connectors.moysklad.model import NAME, TYPES, Entity, EntityType, MainReading, key_parts
from imagesync_pipelines.storage.mirror import (
    Merged,
    MirrorRow,
    count_live,
    mark_gone,
    merge,
    move_cursor,
    read_cursor,
    read_payloads,
    settle_staging,
    stage,
    stage_nothing,
    staging,
    unstaged_keys,
)
from imagesync_pipelines.sync.scan import why_unproven

DELETED = "the main account does not have it any more"
ARCHIVED = "it is archived in the main account"
_NOT_DELIVERED = "its images were not delivered, or not all of them"


class Source(Protocol):
    """What a reading asks of the main account; `MoyskladApi` is one."""

    @property
    def calls(self) -> int:
        """Requests made so far."""

    def assortment(
        self,
        *,
        types: Sequence[EntityType] = TYPES,
        ids: Sequence[str] | None = None,
        updated_since: datetime | None = None,
        expand: bool = True,
        permanent: bool = False,
    ) -> Iterator[AssortmentPage]:
        """Entities page by page."""


@dataclass
class MainScan:
    """What the pages of one reading told; the rows themselves are staged. distinct: different entities.

    unread: key to reason of entities whose row cannot be used. archived: keys of entities that are. with_images: how
    many entities say that they have some. accounts: ids of the accounts that they say they are in.
    """

    sizes: list[int] = field(default_factory=list)
    distinct: int = 0
    newest: datetime | None = None
    types: Counter[str] = field(default_factory=Counter)
    images: int = 0
    with_images: int = 0
    unread: dict[str, str] = field(default_factory=dict)
    archived: set[str] = field(default_factory=set)
    accounts: set[str] = field(default_factory=set)

    def reason(self) -> str:
        """Why the reading does not prove to be complete; '' when it does."""
        return why_unproven(self.sizes, self.distinct, rows="entities", source="the account")


class _Kept(NamedTuple):
    """What was written to the mirror."""

    merged: Merged
    deleted: int
    archived: int


def read_main(
    engine: sa.Engine, api: Source, *, full: bool, overlap: timedelta, repeats: int, permanent: bool
) -> MainReading:
    """Read the main account, all of it or what changed since the cursor, and bring the mirror up to date.

    Without a cursor everything is read. A reading that does not prove to be complete is made again, up to `repeats`
    times; then what it saw is kept, nothing unseen is called gone, and the cursor stays. Raises RowsMissingError when
    no images came at all although there are some, and every error of the API, with nothing changed. Call it under the
    lock of the main account. An entity whose row cannot be used does not hold the cursor: the next full reading asks
    for it again.
    """
    calls = api.calls
    with engine.connect() as connection:
        value = read_cursor(connection, NAME, MAIN)
        connection.commit()
        before = None if value is None else datetime.fromisoformat(value)
        since = None if full or before is None else before - overlap
        with staging(connection):
            scan = _scan_until_proven(connection, api, since, repeats, permanent)
            reason = scan.reason() or ("" if since else _nothing_left(connection, scan))
            missing = unstaged_keys(connection, NAME, MAIN) if since is None and not reason else []
            connection.commit()
            deleted = _confirmed(connection, api, missing, permanent, scan)
            kept = _keep(connection, deleted, scan.archived)
            after = max(filter(None, (before, None if reason else scan.newest)), default=None)
            if after is not None:
                move_cursor(connection, NAME, MAIN, after.isoformat())
            connection.commit()
    full = since is None
    return _reading(scan, kept, api.calls - calls, full=full, reason=reason, before=before, after=after)


def read_entities(engine: sa.Engine, api: Source, keys: Collection[str], *, permanent: bool) -> MainReading:
    """Read only these entities (keys) of the main account into the mirror; the cursor stays.

    One that the account does not have is gone, one that is archived too. Raises as `read_main` does.
    """
    calls = api.calls
    with engine.connect() as connection, staging(connection):
        scan = MainScan()
        deleted = _confirmed(connection, api, sorted(keys), permanent, scan)
        _refuse_rowless(scan)
        kept = _keep(connection, deleted, scan.archived)
        connection.commit()
    return _reading(scan, kept, api.calls - calls)


def entities_of(connection: sa.Connection, keys: Sequence[str]) -> list[Entity]:
    """The entities of the main account with these keys, as the mirror has them, ordered by key; what is gone is not."""
    payloads = read_payloads(connection, NAME, MAIN, keys)
    found = [Entity.from_json(orjson.loads(payload)) for payload in payloads["payload"]]
    return sorted(found, key=lambda entity: entity.key)


def fingerprint(entity: Entity) -> str:
    """What the images of an entity are, and by what it is found in other accounts; its name may change."""
    images = [[row.id, row.filename, row.size] for row in entity.images or ()]
    fields = [entity.external_code, entity.code, entity.article, entity.barcodes, entity.product_id]
    return hashlib.sha256(orjson.dumps([images, fields])).hexdigest()


def _scan_until_proven(
    connection: sa.Connection, api: Source, since: datetime | None, repeats: int, permanent: bool
) -> MainScan:
    """The first scan that proves to be complete, or the last of `repeats` + 1; its rows are staged afterwards."""
    scan = MainScan()
    for _ in range(repeats + 1):
        stage_nothing(connection)
        scan = MainScan()
        for page in api.assortment(updated_since=since, permanent=permanent):
            scan.sizes.append(page.size)
            _take(connection, scan, page)
        _refuse_rowless(scan)
        scan.distinct = settle_staging(connection)
        if not scan.reason():
            break
    return scan


def _take(connection: sa.Connection, scan: MainScan, page: AssortmentPage) -> None:
    """Stage the rows of a page, and note what it tells."""
    scan.unread |= page.illegible
    rows = [_seen(key) for key in page.illegible if key.partition(":")[0] in TYPES]
    for entity in page.entities:
        scan.accounts.add(entity.account_id)
        scan.newest = entity.updated if scan.newest is None else max(scan.newest, entity.updated)
        if entity.archived:
            scan.archived.add(entity.key)
            rows.append(_seen(entity.key))
            continue
        scan.types[entity.type] += 1
        scan.with_images += entity.image_count > 0
        if len(entity.images or ()) != entity.image_count:
            scan.unread[entity.key] = _NOT_DELIVERED
            rows.append(_seen(entity.key))
            continue
        scan.images += entity.image_count
        rows.append(_row(entity))
    stage(connection, rows)


def _refuse_rowless(scan: MainScan) -> None:
    if scan.with_images and not scan.images:
        raise RowsMissingError(
            f"{scan.with_images} entities have images, and no row of them came; nothing is concluded from that"
        )


def _nothing_left(connection: sa.Connection, scan: MainScan) -> str:
    """Why a scan over everything that saw nothing proves nothing: a lost right to see products looks the same."""
    there = 0 if scan.distinct else count_live(connection, NAME, MAIN)
    connection.commit()
    return f"the main account lists nothing, but there were {there}; nothing is concluded from that" if there else ""


def _confirmed(
    connection: sa.Connection, api: Source, keys: Sequence[str], permanent: bool, scan: MainScan
) -> frozenset[str]:
    """Ask for entities by their ids and stage what comes; give the keys of those that the account does not have.

    An answer that lacks rows it counts, or has one without an id, says nothing about those that did not come.
    """
    ids = {key_parts(key)[1]: key for key in keys}
    if not ids:
        return frozenset()
    found: set[str] = set()
    counted = 0
    for page in api.assortment(ids=list(ids), permanent=permanent):
        _take(connection, scan, page)
        found |= {entity.key for entity in page.entities} | page.illegible.keys()
        counted += page.size if page.offset == 0 else 0
    settle_staging(connection)
    return frozenset(ids.values()) - found if counted == len(found & set(ids.values())) else frozenset()


def _keep(connection: sa.Connection, deleted: Collection[str], archived: Collection[str]) -> _Kept:
    """Merge what is staged, and mark what is gone, in the caller's transaction."""
    merged = merge(connection, NAME, MAIN, None)
    gone = mark_gone(connection, NAME, MAIN, deleted, DELETED)
    return _Kept(merged, gone, mark_gone(connection, NAME, MAIN, archived, ARCHIVED))


def _reading(
    scan: MainScan,
    kept: _Kept,
    calls: int,
    *,
    full: bool = False,
    reason: str = "",
    before: datetime | None = None,
    after: datetime | None = None,
) -> MainReading:
    return MainReading(
        full=full,
        complete=not reason,
        reason=reason,
        seen=dict(scan.types),
        images=scan.images,
        new=kept.merged.new,
        changed=kept.merged.changed + kept.merged.revived,
        deleted=kept.deleted,
        archived=kept.archived,
        unread=scan.unread,
        cursor_before=before,
        cursor_after=after,
        calls=calls,
        accounts=frozenset(scan.accounts),
    )


def _row(entity: Entity) -> MirrorRow:
    known = entity if entity.images is not None else replace(entity, images=())
    payload = orjson.dumps(known.as_json()).decode()
    return MirrorRow(entity.key, entity.key, fingerprint(known), payload, entity.updated)


def _seen(key: str) -> MirrorRow:
    return MirrorRow(key, None, None, None, None)
