"""What becomes of a store's photos, told in the store's own database by the transaction that does it.

From there our history takes it over, once. What is replaced or removed is kept beside it for the days of an undo.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from imagesync_pipelines.connectors.edge.downloads import InPieces, OpenBody, OpenPhoto
from imagesync_pipelines.connectors.edge.errors import ObjectMissingError
from imagesync_pipelines.connectors.edge.model import EDGE, KEPT, Photo, fingerprint
from imagesync_pipelines.connectors.edge.primaries import FIRST
from imagesync_pipelines.connectors.edge.store import StoreDatabase
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.effects import Author, Effect, EffectRow, note_effects, note_new
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.schema_effects import effect
from imagesync_pipelines.sync.model import Change, PlanRow
from imagesync_pipelines.sync.undoing import mark_effects

NO_ROOM = N_("the store keeps no more of what it showed before than EDGE_UNDO_MB and EDGE_MAX_STORAGE_SHARE allow")
NO_DISK = N_("the store's disk had no room for keeping what it showed before")
NO_PICTURE = N_("it had no picture")
GAVE_WAY = N_("another photo of its product is the primary now")
# What our history tells of a photo as it is now; the rest is in the store.
_SHOWN = ("product_sku", "filename", "checksum", "is_primary", "sort_order")
_AT_ONCE = 1_000
_EPOCH = datetime.fromtimestamp(0, UTC)
_EFFECTS = "imagesync_effect"
KEPT_PHOTOS = "imagesync_photo_kept"
# Tables of our own, so they are made without asking; a store that an earlier release filled gets them when it is
# written next.
_MAKE = (
    f"""
    CREATE TABLE IF NOT EXISTS {_EFFECTS} (
        id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        product_id uuid NOT NULL,
        by jsonb NOT NULL,
        rows jsonb NOT NULL
    )
    """,
    f"""
    CREATE TABLE IF NOT EXISTS {KEPT_PHOTOS} (
        sha256 text PRIMARY KEY,
        size bigint NOT NULL,
        content_type text NOT NULL,
        kept_at timestamptz NOT NULL DEFAULT now(),
        image_binary bytea NOT NULL
    )
    """,
    f"ALTER TABLE {KEPT_PHOTOS} ALTER COLUMN image_binary SET STORAGE EXTERNAL",
)
_THERE = "SELECT to_regclass(:name) IS NOT NULL"
_FORGET = f"DELETE FROM {KEPT_PHOTOS} WHERE kept_at < now() - make_interval(days => :days)"  # noqa: S608 - ours
_SIZE = "SELECT pg_database_size(current_database())"
_TAKEN = f"SELECT coalesce(sum(size), 0) FROM {KEPT_PHOTOS}"  # noqa: S608 - a constant of this module
_IS_KEPT = f"SELECT sha256 FROM {KEPT_PHOTOS} WHERE sha256 = ANY(CAST(:hashes AS text[]))"  # noqa: S608 - ours
_SEEN = f"""
SELECT id::text, {", ".join(KEPT)}, octet_length(image_binary) AS bytes,
       CASE WHEN id = ANY(CAST(:leaving AS uuid[])) THEN encode(sha256(image_binary), 'hex') END AS sha256
  FROM {{table}} WHERE id = ANY(CAST(:ids AS uuid[]))
"""  # noqa: S608 - names are constants of this module
_KEEP = f"""
INSERT INTO {KEPT_PHOTOS} (sha256, size, content_type, image_binary)
SELECT DISTINCT ON (w.sha256) w.sha256, octet_length(t.image_binary), coalesce(t.content_type, ''), t.image_binary
  FROM {{table}} t JOIN unnest(CAST(:ids AS uuid[]), CAST(:hashes AS text[])) AS w (id, sha256) ON w.id = t.id
    ON CONFLICT (sha256) DO UPDATE SET kept_at = now()
"""  # noqa: S608 - names are constants of this module
_NOTE = f"""
INSERT INTO {_EFFECTS} (product_id, by, rows)
SELECT CAST(one ->> 0 AS uuid), CAST(:by AS jsonb), one -> 1
  FROM jsonb_array_elements(CAST(:told AS jsonb)) WITH ORDINALITY AS e (one, place)
 ORDER BY e.place
"""  # noqa: S608 - a constant of this module
_GIVE_KEPT = f"SELECT image_binary FROM {KEPT_PHOTOS} WHERE sha256 = :sha256"  # noqa: S608 - a constant of this module
_ALONE = "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"
_WAITING = f"""
SELECT id, by::text, CAST(jsonb_build_array(at, product_id, rows) AS text) AS told
  FROM {_EFFECTS} ORDER BY id LIMIT :number
"""  # noqa: S608 - a constant of this module
_OVER = f"DELETE FROM {_EFFECTS} WHERE id = ANY(:ids)"  # noqa: S608 - a constant of this module


class Seen(NamedTuple):
    """A row of the store before it is written: its values, and of a picture that leaves size (bytes) and SHA-256."""

    values: Mapping[str, object]
    bytes: int
    sha256: str | None


@dataclass
class History:
    """What one application of a plan tells. by: in whose name; room: bytes that may still be kept.

    full: the disk has no room for any. Used by one transaction at a time.
    """

    by: Author
    room: int
    full: bool = False

    def seen(
        self, connection: sa.Connection, table: str, ids: Collection[str], leaving: Collection[str]
    ) -> dict[str, Seen]:
        """The rows of these ids as they are, by id; leaving: those of which the picture goes."""
        if not ids:
            return {}
        statement = sa.text(_SEEN.format(table=table))
        found = connection.execute(statement, {"ids": list(ids), "leaving": list(leaving)})
        rows = {}
        for photo_id, *values, size, sha256 in found:
            told = {name: _plain(value) for name, value in zip(KEPT, values, strict=True)}
            rows[photo_id] = Seen(told | ({"sha256": sha256} if sha256 else {}), size or 0, sha256)
        return rows

    def keep(
        self, connection: sa.Connection, table: str, seen: Mapping[str, Seen], leaving: Collection[str]
    ) -> dict[str, str]:
        """Keep pictures before they leave, as far as there is room; why one cannot be brought back, by id."""
        kept, lost = dict[str, str](), dict[str, str]()
        hashes = [there.sha256 for photo_id in leaving if (there := seen.get(photo_id)) and there.sha256]
        is_kept = set(connection.scalars(sa.text(_IS_KEPT), {"hashes": hashes})) if hashes else set()
        for photo_id in leaving:
            there = seen.get(photo_id)
            if there is None or there.sha256 is None:
                lost[photo_id] = NO_PICTURE
            elif there.sha256 not in is_kept and (self.full or there.bytes > self.room):
                lost[photo_id] = NO_DISK if self.full else NO_ROOM
            else:
                kept[photo_id] = there.sha256
                self.room -= 0 if there.sha256 in is_kept else there.bytes
                is_kept.add(there.sha256)
        if kept:
            values = {"ids": list(kept), "hashes": list(kept.values())}
            connection.execute(sa.text(_KEEP.format(table=table)), values)
        return lost

    def note(
        self,
        connection: sa.Connection,
        done: Sequence[tuple[PlanRow, Photo | None]],
        seen: Mapping[str, Seen],
        lost: Mapping[str, str],
        gave_way: Mapping[str, Seen],
    ) -> None:
        """Tell of rows that were written, each with its photo as it is now, in the caller's transaction.

        gave_way: other photos, as they are now, that were the primary of their products until one of these came.
        """
        products = defaultdict[str, list[dict[str, object]]](list)
        for photo_id, there in gave_way.items():
            products[str(there.values["product_id"])].append(_without_none(_second(photo_id, there.values)))
        for row, photo in done:
            before = row.key_before or ""
            products[row.group].append(_told(row, photo, seen.get(before), lost.get(before)))
        if products:
            told = orjson.dumps(list(products.items())).decode()
            by = orjson.dumps(_without_none(self.by)).decode()
            connection.execute(sa.text(_NOTE), {"by": by, "told": told})


def begin(database: StoreDatabase, by: Author, *, most_bytes: int, most_of_all: int | None, days: int) -> History:
    """Begin to tell of an application: make what the store lacks, forget what was kept for so many days.

    most_bytes: what may be kept in all; most_of_all: how large the whole database may become by it, None: any size.
    """
    with database.engine.begin() as connection:
        if not all(connection.scalar(sa.text(_THERE), {"name": name}) for name in (KEPT_PHOTOS, _EFFECTS)):
            for statement in _MAKE:
                connection.execute(sa.text(statement))
        connection.execute(sa.text(_FORGET), {"days": days})
        room = most_bytes - int(connection.scalar(sa.text(_TAKEN)) or 0)
        if most_of_all is not None:
            room = min(room, most_of_all - int(connection.scalar(sa.text(_SIZE)) or 0))
        return History(by, room)


def read_kept(database: StoreDatabase, sha256: str) -> bytes | None:
    """A picture that a store keeps; None where it does not. Raises StorageError when its database cannot be read."""
    try:
        with database.engine.connect() as connection:
            if not connection.scalar(sa.text(_THERE), {"name": KEPT_PHOTOS}):
                return None
            return connection.execute(sa.text(_GIVE_KEPT), {"sha256": sha256}).scalar()
    except DBAPIError as error:
        raise StorageError(f"What the store keeps cannot be read: {error.orig}") from error


def find_kept(database: StoreDatabase, hashes: Iterable[str]) -> set[str]:
    """Which of these SHA-256 a store keeps the pictures of."""
    with database.engine.connect() as connection:
        if not connection.scalar(sa.text(_THERE), {"name": KEPT_PHOTOS}):
            return set()
        return set(connection.scalars(sa.text(_IS_KEPT), {"hashes": sorted(set(hashes))}))


def from_kept(database: StoreDatabase, hashes: Mapping[str, str]) -> OpenPhoto:
    """Photos out of what a store keeps; hashes: photo id to SHA-256."""

    @contextmanager
    def opened(photo: Photo, start: int, etag: str) -> Iterator[OpenBody]:
        with database.engine.connect() as connection:
            body = connection.scalar(sa.text(_GIVE_KEPT), {"sha256": hashes.get(photo.photo_id, "")})
        if body is None:
            raise ObjectMissingError("the store does not keep this picture any more", host="store", path=KEPT_PHOTOS)
        yield InPieces(lambda: iter((memoryview(body),)))

    return opened


def take_over(engine: sa.Engine, store_name: str, database: StoreDatabase) -> int:
    """Take what the store tells into our history, and away from there; returns how many products' effects it were.

    What was undone is marked in the same transaction. Call it under the store's lock. What an earlier call took over
    and could not take away is known by its moment. A store that was not written since an earlier release tells nothing.
    """
    number = 0
    with database.engine.connect() as connection:
        if not connection.scalar(sa.text(_THERE), {"name": _EFFECTS}):
            return 0
    while True:
        with database.engine.connect() as connection:
            rows = connection.execute(sa.text(_WAITING), {"number": _AT_ONCE}).all()
        if not rows:
            return number
        with engine.begin() as connection:
            # One at a time, also where the store's lock was lost.
            connection.execute(sa.text(_ALONE), {"name": f"edge effects {store_name}"})
            for by, some in groupby(rows, key=lambda row: str(row.by)):
                number += _note(connection, store_name, Author(**orjson.loads(by)), list(some))
        with database.engine.begin() as connection:
            connection.execute(sa.text(_OVER), {"ids": [row.id for row in rows]})


@contextmanager
def taken_over(
    engine: sa.Engine, store_name: str, database: StoreDatabase, check_locks: Callable[[], None]
) -> Iterator[None]:
    """What is done in a `with` block is taken over after it, also where it broke off: then that error is what counts.

    check_locks: raises where the store's lock was lost; then whoever has it now takes over.
    """
    try:
        yield
    except BaseException:
        with suppress(Exception):
            check_locks()
            take_over(engine, store_name, database)
        raise
    take_over(engine, store_name, database)


def _note(connection: sa.Connection, store_name: str, by: Author, rows: Sequence[sa.Row[Any]]) -> int:
    """Note what a store tells, and mark what was undone; how many of these were not noted yet."""
    if by.undoes_run is None:
        return note_new(connection, EDGE, store_name, by, [row.told for row in rows])
    effects = []
    for row in rows:
        at, group, some = orjson.loads(row.told)
        told = tuple(EffectRow(**one) for one in some)
        effects.append(Effect(EDGE, store_name, group, told, by, datetime.fromisoformat(at)))
    here = _here(connection, store_name, effects)
    fresh = [one for one in effects if (one.group, one.at) not in here]
    note_effects(connection, fresh)
    mark_effects(connection, fresh)
    return len(fresh)


def _here(connection: sa.Connection, store_name: str, effects: Sequence[Effect]) -> set[tuple[str, datetime]]:
    """Those of these that our history has already: a product has one at a moment."""
    mine = (effect.c.connector == EDGE) & (effect.c.account == store_name)
    groups = effect.c.group_key == sa.any_(sa.literal(sorted({one.group for one in effects}), sa.ARRAY(sa.Text)))
    since = effect.c.at >= min(one.at for one in effects if one.at is not None)
    found = connection.execute(sa.select(effect.c.group_key, effect.c.at).where(mine, groups, since))
    return {(group, at) for group, at in found}


def _told(row: PlanRow, photo: Photo | None, seen: Seen | None, lost: str | None) -> dict[str, object]:
    """A row as the history has it (EffectRow), without what is None; photo: as it is now, seen: as it was.

    Made of each photo of a first synchronisation, so by hand.
    """
    told: dict[str, object] = {"key": row.key, "change": str(row.change), "reason": row.reason}
    if row.key_before not in (None, row.key):
        told["key_before"] = row.key_before
    if row.position is not None:
        told["position"] = row.position
    if row.fingerprint_before is not None:
        told["fingerprint_before"] = row.fingerprint_before
    if row.fingerprint_after is not None:
        told["fingerprint_after"] = row.fingerprint_after
    if seen is not None:
        told["before"] = seen.values
    if photo is not None:
        told["after"] = {name: getattr(photo, name) for name in _SHOWN}
    if lost is not None:
        told["lost"] = lost
    return told


def _second(photo_id: str, values: Mapping[str, Any]) -> EffectRow:
    """A photo that is the primary of its product no more; values: as it is now."""
    now, before = (photo_of(photo_id, {**values, "is_primary": is_primary}) for is_primary in (False, True))
    return EffectRow(
        photo_id,
        str(Change.UPDATE),
        GAVE_WAY,
        position=now.sort_order,
        position_before=FIRST,
        fingerprint_before=fingerprint(before),
        fingerprint_after=fingerprint(now),
        before={**values, "is_primary": True},
        after={name: getattr(now, name) for name in _SHOWN},
    )


def photo_of(photo_id: str, values: Mapping[str, Any]) -> Photo:
    """A photo as a store had it; values: as the history has them."""
    known = {name: values[name] for name in KEPT if values.get(name) is not None}
    moment = datetime.fromisoformat(known["updated_at"]) if "updated_at" in known else _EPOCH
    return Photo(**{**known, "photo_id": photo_id, "updated_at": moment, "checksum": known.get("checksum", "").lower()})


def _without_none(one: EffectRow | Author) -> dict[str, object]:
    return {name: value for name, value in vars(one).items() if value is not None}


def _plain(value: object) -> object:
    """A value as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
