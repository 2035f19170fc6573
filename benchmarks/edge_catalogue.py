"""A large catalogue at a store: a run in which nothing changed, and one in which one photo of a hundred did."""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from pydantic import SecretStr

from benchmarks.edge_bytes import LIMITS, NoQuarantine, new_store
from benchmarks.edge_photos import photo_at
from benchmarks.measuring import Stopwatch
from imagesync_pipelines.connectors.edge import store as stores
from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi, ListingPage
from imagesync_pipelines.connectors.edge.downloads import Downloads
from imagesync_pipelines.connectors.edge.listing import ListingHandOver, take_listing
from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.connectors.edge.planning import LISTED_VALUES, payload_of, plan_photos
from imagesync_pipelines.connectors.edge.settings import EdgeSettings, EdgeStore, HeadOfficeAccount
from imagesync_pipelines.connectors.edge.store import StoreDatabase
from imagesync_pipelines.connectors.edge.target import PhotosApplied, apply_photos
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.copying import copy_rows
from imagesync_pipelines.storage.installation import Installation, open_installation
from imagesync_pipelines.storage.mirror import read_mirror, read_payloads
from imagesync_pipelines.sync.model import Scope

STORE = EdgeStore(
    "bench",
    "00000000-0000-0000-0000-000000000001",
    HeadOfficeAccount.model_construct(url="http://none", username="none", password=SecretStr("")),
)
_COLUMNS = (
    "id", "product_id", "object_key", "filename", "size", "content_type", "checksum", "version", "is_primary",
    "sort_order", "updated_at", "image_binary", "sync_status", "last_sync_at",
)  # fmt: skip


@dataclass
class Office:
    """A head office in memory: what it lists since a moment, and the bytes of its photos."""

    photos: list[Photo]
    calls: int = 0
    bytes: int = 0
    bodies: dict[str, bytes] = field(default_factory=dict)

    def list_page(self, store_id: str, *, since: datetime | None, limit: int, offset: int) -> ListingPage:
        """One page, in the order of the API."""
        self.calls += 1
        listed = self.photos if since is None else [one for one in self.photos if one.updated_at >= since]
        page = listed[offset : offset + limit]
        following = offset + limit if offset + limit < len(listed) else None
        return ListingPage(tuple(page), (), len(listed), following, frozenset(), None)

    @contextmanager
    def open(self, photo: Photo, start: int, etag: str) -> Iterator["Body"]:
        """A photo's bytes."""
        yield Body(self.bodies[photo.photo_id])


@dataclass
class Body:
    """Bytes that are there at once."""

    body: bytes
    start: int = 0
    etag: str = ""

    def chunks(self) -> Iterator[bytes]:
        """All of them."""
        yield self.body


def measure(home: Path, number: int) -> dict[str, Any]:
    """Fill mirror and store, then run twice: nothing new, and a hundredth of the photos new."""
    watch, settings = Stopwatch(), EdgeSettings(page_size=1000, overlap_minutes=0)
    office = Office([photo_at(nth, hashlib.md5(_body(nth, "first")).hexdigest(), 100) for nth in range(number)])
    database = new_store(home)
    with open_installation(Settings(home=home)) as place:
        _list(place, office, settings, database, full=True)
        _fill(database, office.photos)
        # One photo is at the cursor itself, and listed again: `since` includes it.
        calls, before = office.calls, _versions(database)
        with watch.step("nothing changed"):
            quiet = _list(place, office, settings, database)
            pending = stores.anything_pending(database)
        nothing = {"calls": office.calls - calls, "pending": pending, "rows": len(_versions(database) ^ before),
                   "mirror": quiet.new + quiet.changed}  # fmt: skip
        office.photos = _changed(office, number)
        with watch.step("1 % changed: listing"):
            _list(place, office, settings, database)
        done = _plan_and_apply(watch, place, office, settings, database)
    return {"spans": watch.as_json(), "nothing": nothing, "downloads": done.downloads, "bytes": done.bytes}


def _list(
    place: Installation, office: Office, settings: EdgeSettings, database: StoreDatabase, *, full: bool = False
) -> ListingHandOver:
    def mark(photos: Sequence[Photo]) -> None:
        if not full:
            stores.mark_pending(database, photos)

    api = cast(HeadOfficeApi, office)
    return take_listing(place.engine, STORE, api, settings, full=full, mark_pending=mark)


def _plan_and_apply(
    watch: Stopwatch, place: Installation, office: Office, settings: EdgeSettings, database: StoreDatabase
) -> PhotosApplied:
    with watch.step("1 % changed: reading the mirror"), place.engine.connect() as connection:
        mirror = read_mirror(connection, "edge", STORE.name, LISTED_VALUES)
    with watch.step("1 % changed: reading the store"):
        current = stores.read_current(database)
    with watch.step("1 % changed: plan"), place.engine.connect() as connection:
        made = plan_photos(mirror, current, Scope(None, None), LIMITS, max_bytes=settings.max_photo)
        payload = list(payload_of(made.written, partial(read_payloads, connection, "edge", STORE.name)))
    with watch.step("1 % changed: apply"):
        downloads = Downloads(office.open, settings, check=lambda body, photo: None)
        return apply_photos(made.plan, payload, database, downloads, NoQuarantine())


def _changed(office: Office, number: int) -> list[Photo]:
    """The photos with every hundredth replaced in place, later than all others."""
    later = office.photos[-1].updated_at + timedelta(hours=1)
    changed = []
    for nth in range(0, number, 100):
        body = _body(nth, "other")
        office.bodies[office.photos[nth].photo_id] = body
        changed.append(office.photos[nth]._replace(checksum=hashlib.md5(body).hexdigest(), updated_at=later))
    return [*(one for nth, one in enumerate(office.photos) if nth % 100), *changed]


def _body(nth: int, text: str) -> bytes:
    return f"{text} {nth} ".encode().ljust(100, b".")


def _fill(database: StoreDatabase, photos: Sequence[Photo]) -> None:
    now = datetime.now(UTC)
    with database.engine.begin() as connection:
        copy_rows(connection, database.table, _COLUMNS, (
            (one.photo_id, one.product_id, one.object_key, one.filename, one.size, one.content_type, one.checksum, 1,
             True, 0, one.updated_at, _body(nth, "first"), "synced", now)
            for nth, one in enumerate(photos)
        ))  # fmt: skip
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"VACUUM ANALYZE {database.table}"))


def _versions(database: StoreDatabase) -> set[tuple[str, str]]:
    """Every row with its version; PostgreSQL's own counts come late, those of rows written before among them."""
    with database.engine.connect() as connection:
        found = connection.execute(sa.text(f"SELECT id::text, ctid || ' ' || xmin FROM {database.table}"))
        return {(row[0], row[1]) for row in found}


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    print(json.dumps(measure(Path(arguments["home"]), arguments["photos"])))
