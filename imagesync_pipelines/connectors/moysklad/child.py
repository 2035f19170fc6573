"""A child account as a run works on it: its section of the accounts file, whose account it is, what we manage in it.

Lists that were lost are no harm: an image is known again by its bytes (recognising.py).

Whose account a token opens, the entities say that are read anyway (`accountId`). A child account that is the main one's
or another child's, or another than recorded, is refused before its map is written and before each of its lists is
replaced, since writing needs an entity that was found there.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import pandas as pd
import sqlalchemy as sa
from pydantic import BaseModel, ValidationError
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines import languages
from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.moysklad import accounts
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.errors import SkippedOffError
from imagesync_pipelines.connectors.moysklad.model import ACCOUNT_ID, NAME, ChildRecord, MainReading, Managed
from imagesync_pipelines.connectors.moysklad.rules import source_of
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.settings import Settings, SettingsError
from imagesync_pipelines.storage.contents import Content, Contents
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.outbox import Details, Intent, begin_intent, close_intents, note_details, open_intents
from imagesync_pipelines.storage.quarantine import REFUSED_STAGE
from imagesync_pipelines.storage.schema import cursor, mirror
from imagesync_pipelines.storage.schema_accounts import moysklad_account, moysklad_entity_map
from imagesync_pipelines.storage.schema_accounts import moysklad_child_images as lists
from imagesync_pipelines.storage.statistics import analyze_if_many
from imagesync_pipelines.sync.doubts import Doubts
from imagesync_pipelines.sync.effects import Done, done_as_seen, done_by
from imagesync_pipelines.sync.identity import Identity, Told, only
from imagesync_pipelines.sync.model import GroupWork, RowResult
from imagesync_pipelines.sync.steps import RunContext
from imagesync_pipelines.sync.undoing import mark_effects

# How long content that a run needs is kept for it, whatever a clean-up is told; a run that takes longer downloads anew.
HOLD = timedelta(hours=12)
# By what name an earlier release kept what a step left, as files; read when one of its failed runs is executed again.
_NOTES_OF_BEFORE = {"main_images": "MainNote", "entity_map": "MapNote", "content": "ContentNote"}

Run = RunContext[MoyskladSettings]
H = TypeVar("H", bound=BaseModel)


def records_of(engine: sa.Engine, alias: str, keys: Collection[str] | None = None) -> dict[str, ChildRecord]:
    """What we know of the images of a child account's entities, or of all; one that we never wrote is missing."""
    query = sa.select(*(lists.c[name] for name in ("entity_key", "images", "writing", "others")))
    query = query.where(lists.c.child == alias)
    if keys is not None:
        query = query.where(among(lists.c.entity_key, keys))
    with engine.connect() as connection:
        return {
            key: ChildRecord(_managed(images), _managed(writing or ()), others)
            for key, images, writing, others in connection.execute(query)
        }


@dataclass(frozen=True)
class ChildRun:
    """One child account in one run, and what is known of it in our database. Used from several threads.

    It says which entities are being written, too, and satisfies the engine's IntentLog: what an entity holds is noted
    by whoever wrote or read it, before its intent is closed. others: the child accounts that are not off.
    """

    context: Run
    child: accounts.MoyskladChild
    others: frozenset[str] = frozenset()

    @property
    def alias(self) -> str:
        """The name of the child account, which is its Dagster partition too."""
        return self.child.alias

    @property
    def engine(self) -> sa.Engine:
        """Our database."""
        return self.context.installation.engine

    @property
    def contents(self) -> Contents:
        """The pictures that are kept, of all connectors."""
        return Contents(self.engine, self.context.installation.storage, self.context.clock)

    @property
    def doubts(self) -> Doubts:
        """The entities that answers of the account lacked."""
        return Doubts(self.engine, self.context.connector, self.alias, self.context.clock)

    def kept_of(self, sources: Iterable[str]) -> dict[str, Content]:
        """What is kept of images of the main account, by identity, and held for this run."""
        names = {source_of(source): source for source in sources}
        return {names[name]: content for name, content in self.contents.hold(names, HOLD).items()}

    @property
    def mirror(self) -> bool:
        """Whether the account has what the main account has, and nothing else."""
        return self.child.ownership is accounts.Ownership.MIRROR

    def refused(self) -> dict[str, str]:
        """Row key to reason of the images that the account refused, until they leave the quarantine."""
        return {entry.key: entry.reason for entry in self.context.quarantine.list() if entry.stage == REFUSED_STAGE}

    def refuse_off(self) -> None:
        """Raise SkippedOffError when the account's mode is off."""
        if self.child.mode is accounts.Mode.OFF:
            raise SkippedOffError(f"skipped: image sync is disabled for {self.alias}; set its mode to first or all")

    @cached_property
    def identity(self) -> Identity:
        """Whose account it is. A name that left the accounts file, or is off, is no matter."""
        told = lambda: {accounts.MAIN: told_by_main(self.context)}  # noqa: E731
        return child_identity(self.engine, self.child, self.others, told, self.context.run_id)

    def records(self, keys: Collection[str] | None = None) -> dict[str, ChildRecord]:
        """What we know of these entities' images, or of all; an entity that we never wrote is missing."""
        return records_of(self.engine, self.alias, keys)

    def begin_list(self, writing: Mapping[str, Sequence[Managed]], details: Mapping[str, Details]) -> None:
        """Write and commit what is about to be written to entities, by key, before the call; details: of their rows."""
        records = {key: ChildRecord(writing=tuple(images)) for key, images in writing.items()}
        self._put(records, "writing", details=details)

    def note(self, seen: Mapping[str, ChildRecord]) -> None:
        """Note what entities hold now, by key; what was about to be written is known by that."""
        self._put(seen, "images", "writing", "others", "changed_at")

    def note_others(self, counts: Mapping[str, int]) -> None:
        """Note how many images entities say that they have which we never read or wrote; the others' notes stay."""
        self._put({key: ChildRecord(others=count) for key, count in counts.items() if count})

    def max_image_bytes(self) -> int | None:
        """The largest image that the account's server named when it refused one; None: it never did."""
        query = sa.select(moysklad_account.c.max_image_bytes).where(moysklad_account.c.child == self.alias)
        with self.engine.connect() as connection:
            size: int | None = connection.execute(query).scalar()
        return size

    def learn_max_image_bytes(self, size: int) -> None:
        """Believe the number that the server named."""
        values = {"max_image_bytes": size, "learned_at": sa.func.now()}
        statement = insert(moysklad_account).values(child=self.alias, **values)
        with self.engine.begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["child"], set_=values))

    def open_intents(self) -> list[Intent]:
        """The entities whose outcome is unknown."""
        return open_intents(self.engine, self.context.owner)

    def begin(self, intent: Intent) -> None:
        """Write and commit that an entity is about to be written."""
        begin_intent(self.engine, self.context.owner, intent, self.context.run_id)

    def finish(self, work: GroupWork, results: Sequence[RowResult]) -> None:
        """Close the intent of an entity."""
        self.close([work.group], done_by(results))

    def settle(self, current: pd.DataFrame, groups: Collection[str]) -> None:
        """Close the intents of entities that were read again."""
        self.close(groups, done_as_seen(current))

    def close(self, groups: Collection[str], done: Done) -> None:
        """Close the intents of entities whose outcome is known; what was done is told and marked."""
        with self.engine.begin() as connection:
            mark_effects(connection, close_intents(connection, self.context.owner, groups, done))

    def _put(
        self, records: Mapping[str, ChildRecord], *replaced: str, details: Mapping[str, Details] = MappingProxyType({})
    ) -> None:
        """Write records; of entities that have one only these columns are replaced. details: see note_details."""
        rows = [
            {"child": self.alias, "entity_key": key, **one._asdict(), "writing": list(one.writing) or None}
            for key, one in records.items()
        ]
        new = insert(lists)
        statement = new.on_conflict_do_nothing()
        if replaced:
            taken = {name: new.excluded[name] for name in replaced}
            statement = new.on_conflict_do_update(index_elements=["child", "entity_key"], set_=taken)
        if rows or any(details.values()):
            with self.engine.begin() as connection:
                if rows:
                    connection.execute(statement, rows)
                note_details(connection, self.context.owner, details)
                analyze_if_many(connection, lists, len(rows))


def _managed(images: Iterable[Sequence[Any]]) -> tuple[Managed, ...]:
    return tuple(Managed(*one) for one in images)


def child_identity(
    engine: sa.Engine,
    child: accounts.MoyskladChild,
    others: Collection[str],
    told_by_sources: Callable[[], Mapping[str, Told]],
    run_id: str | None = None,
) -> Identity:
    """Whose account a child account is. others: the child accounts that are not off."""
    return Identity(
        engine,
        NAME,
        child.alias,
        accounts.section_of(child.alias),
        run_id,
        declared=child.account.account_id,
        others={name: accounts.section_of(name) for name in sorted(others)},
        sources={accounts.MAIN: accounts.section_of(accounts.MAIN)},
        told_by_sources=told_by_sources,
    )


def main_identity(
    engine: sa.Engine, account: accounts.MoyskladAccount, children: Collection[str], run_id: str | None = None
) -> Identity:
    """Whose account the main one is. children: the child accounts that are not off."""
    return Identity(
        engine,
        NAME,
        accounts.MAIN,
        accounts.section_of(accounts.MAIN),
        run_id,
        declared=account.account_id,
        others={name: accounts.section_of(name) for name in sorted(children)},
    )


def identity_of_main(context: Run, account: accounts.MoyskladAccount) -> Identity:
    """The same for who reads it in a run; it is recorded by the run that writes into a child account."""
    return main_identity(context.installation.engine, account, _accounts(context).active, context.run_id)


def forget_child(connection: sa.Connection, alias: str) -> None:
    """Forget a child account's entities and lists: the account is another one now. The main one is read whole next."""
    for known in (moysklad_entity_map, lists, moysklad_account):
        connection.execute(known.delete().where(known.c.child == alias))
    connection.execute(cursor.delete().where(cursor.c.connector == NAME, cursor.c.account == alias))


def declared(shared: Settings, settings: MoyskladSettings) -> dict[str, str]:
    """How the accounts are declared: address and login, by name."""
    known = accounts.moysklad_accounts(load_accounts(shared))
    named = [*([known.main] if known.main else []), *(child.account for child in known.by_name.values())]
    token = languages.told("with a token")
    return {one.name: f"{one.url} {one.login or token}" for one in named}


def told_by_main(context: Run) -> Told:
    """Whose account the main one is: as this run's reading of it says, else the entities that were read before."""
    read = left_by(replace(context, account=accounts.MAIN), "main_images", MainReading)
    said = set(read.accounts) - {""} if read is not None else set()
    if not said:
        row, account_id = mirror.c, mirror.c.payload["account_id"].astext
        mine = (row.connector == NAME) & (row.account == accounts.MAIN) & row.gone_at.is_(None) & (account_id != "")
        with context.installation.engine.connect() as connection:
            said = set(connection.scalars(sa.select(account_id).where(mine).limit(1)))
    return only(ACCOUNT_ID, said)


def child_of(context: Run) -> ChildRun:
    """The child account of a run. Raises AccountsError for an alias that the accounts file lacks."""
    known = _accounts(context)
    return ChildRun(context, known.named(context.account), others=frozenset(known.active))


def main_api(context: Run) -> AbstractContextManager[MoyskladApi]:
    """The main account, for the length of a `with` block. Raises SettingsError when the accounts file has none."""
    account = _accounts(context).main
    if account is None:
        raise SettingsError("IMAGESYNC_ACCOUNTS: there is no main account of МойСклад; write [moysklad.main].")
    return open_api(context, account)


def _accounts(context: Run) -> accounts.MoyskladAccounts:
    return accounts.moysklad_accounts(load_accounts(context.installation.settings))


def open_api(context: Run, account: accounts.MoyskladAccount) -> AbstractContextManager[MoyskladApi]:
    """An account, for the length of a `with` block."""
    hosts = frozenset(context.installation.settings.allowed_image_hosts)
    return closing(MoyskladApi(account, context.settings, context.installation.engine, allowed_hosts=hosts))


def left_by(context: Run, step: str, kind: type[H]) -> H | None:
    """The hand-over of a step of this run's lineage; None when it left none.

    A run of an earlier release, which this one executes again, left a file with the same fields; one that is empty or
    damaged counts as none.
    """
    found = context.find(step, kind)
    folder = context.installation.storage / "notes" / NAME / context.account / _NOTES_OF_BEFORE[step]
    paths = [] if found is not None else [folder / f"{run_id}.json" for run_id in context.lineage.ancestors]
    for path in paths:
        with suppress(FileNotFoundError, ValidationError):
            return kind.model_validate_json(path.read_bytes())
    return found


def look_at(context: Run, step: str, kind: type[H]) -> H:
    """What a check looks at. Raises HandOverMissingError when there is nothing at all."""
    return left_by(context, step, kind) or context.look_at(step, kind)
