"""What we manage in a child account: the lists of images as we last wrote or saw them, and what its server taught us.

What belongs here: the tables `moysklad_child_images` and `moysklad_account`, and the engine's log of intents beside
them. What does not: what is to be there (planning.py), calls (writing.py). Lists that were lost are no harm: an image
is known again by its file name and size (rules.recognise).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.connectors.moysklad.model import Managed, Record, Seen
from imagesync_pipelines.storage import intents
from imagesync_pipelines.storage.schema_moysklad import moysklad_account, moysklad_child_images
from imagesync_pipelines.sync.model import GroupWork, Intent, RowResult

_TEXTS = sa.ARRAY(sa.Text)


@dataclass(frozen=True)
class ChildState:
    """What is known of one child account, by its alias. Used from several threads."""

    engine: sa.Engine
    child: str

    def records(self, keys: Collection[str] | None = None) -> dict[str, Record]:
        """What we know of these entities' images, or of all; an entity that we never wrote is missing."""
        query = sa.select(moysklad_child_images).where(self._mine(keys))
        with self.engine.connect() as connection:
            return {
                row.entity_key: Record(_managed(row.images), _managed(row.writing or ()), row.others)
                for row in connection.execute(query)
            }

    def begin(self, key: str, writing: Sequence[Managed]) -> None:
        """Write and commit what is about to be written to an entity, before the call."""
        statement = insert(moysklad_child_images).values(
            child=self.child, entity_key=key, images=[], writing=list(writing), others=0
        )
        with self.engine.begin() as connection:
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["child", "entity_key"], set_={"writing": statement.excluded.writing}
                )
            )

    def note(self, seen: Mapping[str, Seen]) -> None:
        """Note what entities hold now, by key; what was about to be written is known by that."""
        if not seen:
            return
        rows = [
            {"child": self.child, "entity_key": key, "images": list(one.images), "writing": None, "others": one.others}
            for key, one in seen.items()
        ]
        statement = insert(moysklad_child_images)
        statement = statement.on_conflict_do_update(
            index_elements=["child", "entity_key"],
            set_={name: statement.excluded[name] for name in ("images", "writing", "others")}
            | {"changed_at": sa.func.now()},
        )
        with self.engine.begin() as connection:
            connection.execute(statement, rows)

    def note_others(self, counts: Mapping[str, int]) -> None:
        """Note how many images entities say that they have which we never read or wrote; the others' notes stay."""
        rows: list[dict[str, Any]] = [
            {"child": self.child, "entity_key": key, "images": [], "writing": None, "others": count}
            for key, count in counts.items()
            if count
        ]
        if rows:
            with self.engine.begin() as connection:
                connection.execute(insert(moysklad_child_images).on_conflict_do_nothing(), rows)

    def forget(self, keys: Collection[str]) -> None:
        """Forget entities that the child account does not have any more."""
        with self.engine.begin() as connection:
            connection.execute(moysklad_child_images.delete().where(self._mine(keys)))

    def max_image_bytes(self) -> int | None:
        """The largest image that the account's server named when it refused one; None: it never did."""
        query = sa.select(moysklad_account.c.max_image_bytes).where(moysklad_account.c.child == self.child)
        with self.engine.connect() as connection:
            size: int | None = connection.execute(query).scalar()
        return size

    def learn_max_image_bytes(self, size: int) -> None:
        """Believe the number that the server named."""
        values = {"max_image_bytes": size, "learned_at": sa.func.now()}
        statement = insert(moysklad_account).values(child=self.child, **values)
        with self.engine.begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["child"], set_=values))

    def _mine(self, keys: Collection[str] | None) -> sa.ColumnElement[bool]:
        mine = moysklad_child_images.c.child == self.child
        if keys is None:
            return mine
        return mine & (moysklad_child_images.c.entity_key == sa.any_(sa.literal(list(keys), _TEXTS)))


@dataclass(frozen=True)
class ChildIntents:
    """Which entities of a child account are being written; satisfies the engine's IntentLog.

    What an entity holds is noted in the state by whoever wrote or read it, before its intent is closed here.
    """

    engine: sa.Engine
    connector: str
    run_id: str | None = None

    def open_intents(self) -> list[Intent]:
        """The entities whose outcome is unknown."""
        return [Intent(entry.group, entry.fingerprint) for entry in intents.open_intents(self.engine, self.connector)]

    def begin(self, intent: Intent) -> None:
        """Write and commit that an entity is about to be written."""
        intents.begin_intent(self.engine, self.connector, intent.group, intent.fingerprint, self.run_id)

    def finish(self, work: GroupWork, results: Sequence[RowResult]) -> None:
        """Close the intent of an entity."""
        self.close([work.group])

    def settle(self, current: pd.DataFrame, groups: Collection[str]) -> None:
        """Close the intents of entities that were read again."""
        self.close(groups)

    def close(self, groups: Collection[str]) -> None:
        """Close the intents of entities whose outcome is known, or which are gone."""
        with self.engine.begin() as connection:
            intents.close_intents(connection, self.connector, groups)


def forget_lists(connection: sa.Connection, child: str, keys: Collection[str]) -> None:
    """Forget what we manage under these keys, in the caller's transaction."""
    mine = moysklad_child_images.c.child == child
    connection.execute(moysklad_child_images.delete().where(mine & moysklad_child_images.c.entity_key.in_(list(keys))))


def hand_over(connection: sa.Connection, child: str, keys: Mapping[str, str]) -> None:
    """What we manage under these keys is managed under others from now on, in the caller's transaction."""
    for before, after in keys.items():
        mine = moysklad_child_images.c.child == child
        connection.execute(moysklad_child_images.delete().where(mine & (moysklad_child_images.c.entity_key == after)))
        moved = mine & (moysklad_child_images.c.entity_key == before)
        connection.execute(moysklad_child_images.update().where(moved).values(entity_key=after))


def _managed(values: Sequence[Sequence[Any]]) -> tuple[Managed, ...]:
    return tuple(Managed(*value) for value in values)
