"""The stages before the plan, each a function without Dagster: the main account into the mirror, and the map.

What belongs here: joining the parts with storage, one function per Dagster asset. What does not: the plan and what
comes of it (plan_stages.py, apply_stages.py), what the UI shows (assets.py, telling.py).
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from imagesync_pipelines.accounts.moysklad import MAIN, Mode, Ownership
from imagesync_pipelines.connectors.moysklad import mapping, reading
from imagesync_pipelines.connectors.moysklad.api.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.desk import Desk, MainDesk
from imagesync_pipelines.connectors.moysklad.identity import remember_main
from imagesync_pipelines.connectors.moysklad.model import TYPES, Entity, EntityType, key_parts
from imagesync_pipelines.connectors.moysklad.notes import MainNote, MapNote, Unmapped
from imagesync_pipelines.storage.mirror import read_mirror
from imagesync_pipelines.storage.notes import keep_note, read_note

# Payloads that are Python objects at one time.
_PORTION = 1000


class SkippedOffError(Exception):
    """The account's mode is off: nothing of it is read or written, and that is no failure."""

    retryable = False


@dataclass(frozen=True)
class Chosen:
    """The entities that a run is about: of these types, and with these keys of the main account (none: all)."""

    types: tuple[EntityType, ...] = TYPES
    keys: tuple[str, ...] = ()

    def has(self, key: str) -> bool:
        """Whether an entity is among them."""
        return key_parts(key)[0] in self.types and (not self.keys or key in self.keys)


EVERYTHING = Chosen()


def refuse_off(desk: Desk) -> None:
    """Raise SkippedOffError when the account's mode is off."""
    if desk.child.mode is Mode.OFF:
        raise SkippedOffError(f"skipped: image sync is disabled for {desk.alias}; set its mode to first or all")


def read_main(
    desk: MainDesk, main: MoyskladApi, run_id: str, *, full: bool = False, keys: Sequence[str] = ()
) -> MainNote:
    """Read the main account into the mirror: what changed since the cursor, all of it with `full`, or only `keys`.

    Raises AccountBusyError when another run reads it, RowsMissingError, and the errors of the API; nothing was changed
    then.
    """
    permanent = main.account.permanent_links
    with desk.locked():
        if keys:
            read = reading.read_entities(desk.place.engine, main, keys, permanent=permanent)
        else:
            read = reading.read_main(
                desk.place.engine,
                main,
                full=full,
                overlap=timedelta(minutes=desk.settings.overlap_minutes),
                repeats=desk.settings.walk_repeats,
                permanent=permanent,
            )
    remember_main(desk.place.engine, read.accounts)
    warnings = []
    if not read.complete:
        warnings.append(f"The reading of the main account does not prove to be complete: {read.reason}.")
    if read.unread:
        key, why = next(iter(read.unread.items()))
        warnings.append(f"{len(read.unread)} entities stay as they were read before, such as {key}: {why}.")
    note = MainNote(
        run_id=run_id,
        asked=tuple(keys),
        full=read.full,
        complete=read.complete,
        reason=read.reason,
        seen=dict(read.seen),
        images=read.images,
        new=read.new,
        changed=read.changed,
        deleted=read.deleted,
        archived=read.archived,
        unread=dict(read.unread),
        calls=read.calls,
        warnings=tuple(warnings),
    )
    keep_note(desk.place.storage, MAIN, note)
    return note


def map_entities(desk: Desk, api: MoyskladApi, run_id: str, *, chosen: Chosen = EVERYTHING) -> MapNote:
    """Find the counterparts of the main account's entities that have images; the account is asked for new ones only.

    Raises SkippedOffError, AccountBusyError, SameAccountError, and the errors of the API.
    """
    refuse_off(desk)
    identity = desk.identity
    calls, new = api.calls, 0
    mapped: Counter[str] = Counter()
    unmapped: list[Unmapped] = []
    with desk.locked():
        for entities in mirrored(desk.place.engine, chosen):
            with_images = [entity for entity in entities if entity.images]
            found = mapping.map_entities(desk.place.engine, api, desk.child, with_images, identity=identity)
            if desk.child.ownership is Ownership.MIRROR:
                desk.state.note_others({match.key: match.images for match in found.new})
            mapped.update(key_parts(key)[0] for key in found.ids)
            new += len(found.new)
            unmapped += [Unmapped(key=one.key, name=one.name, reason=one.reason) for one in found.unmatched]
    warnings = []
    if unmapped:
        first = unmapped[0]
        warnings.append(
            f"{len(unmapped)} entities have no counterpart in {desk.alias}, such as {first.name} ({first.key}): "
            f"{first.reason}."
        )
    note = MapNote(
        run_id=run_id,
        mapped=dict(mapped),
        new=new,
        unmapped=tuple(unmapped),
        calls=api.calls - calls,
        warnings=tuple(warnings),
    )
    keep_note(desk.place.storage, desk.alias, note)
    return note


def calls_before_plan(desk: Desk, run_id: str) -> int:
    """Calls that this run made to both accounts before its plan."""
    read = read_note(desk.place.storage, MAIN, run_id, MainNote)
    mapped = read_note(desk.place.storage, desk.alias, run_id, MapNote)
    return (read.calls if read is not None else 0) + (mapped.calls if mapped is not None else 0)


def mirrored(engine: sa.Engine, chosen: Chosen, among: Collection[str] | None = None) -> Iterator[list[Entity]]:
    """The entities of the main account as the mirror has them, in portions, ordered by key; among: only these keys."""
    with engine.connect() as connection:
        keys = read_mirror(connection, reading.CONNECTOR, MAIN)["key"].tolist()
        wanted = [key for key in keys if chosen.has(key) and (among is None or key in among)]
        for first in range(0, len(wanted), _PORTION):
            yield reading.entities_of(connection, wanted[first : first + _PORTION])
