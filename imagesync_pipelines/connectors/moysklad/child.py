"""A child account as a run works on it: its section of the accounts file, whose account it is, its client.

What belongs here: what the steps of one account share. What does not: what is done with it (reading_steps.py,
plan_step.py, apply_steps.py), the HTTP contract (client/), the rule of identity (sync/identity.py).

Whose account a token opens, the entities say that are read anyway (`accountId`). A child account that is the main one's
or another child's is refused before its map is written and before each of its lists is replaced, since writing needs an
entity that was found there.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from typing import TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, SecretStr

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.accounts.moysklad import MAIN, Mode, MoyskladAccount, MoyskladChild
from imagesync_pipelines.connectors.moysklad.api.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.errors import SameAccountError, SkippedOffError
from imagesync_pipelines.connectors.moysklad.model import NAME
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.connectors.moysklad.state import ChildIntents, ChildState
from imagesync_pipelines.settings import Settings, SettingsError
from imagesync_pipelines.storage.contents import Contents
from imagesync_pipelines.storage.cursors import move_cursor, read_cursors
from imagesync_pipelines.sync.identity import same_account
from imagesync_pipelines.sync.steps import RunContext

# Where an image in quarantine failed that the account will not take, however often it is sent.
REFUSED_STAGE = "refused"
# By what name an earlier release kept what a step left, as files; read when one of its failed runs is executed again.
_NOTES_OF_BEFORE = {"main_images": "MainNote", "entity_map": "MapNote", "content": "ContentNote"}

H = TypeVar("H", bound=BaseModel)
# Under this name the ids are kept beside the cursors: like them, one word per account that a reading brought.
_KEPT_AS = "moysklad/account_id"
# Any number that nothing else in this database uses as an advisory lock ("msid" in ASCII).
_LOCK = 0x6D736964


@dataclass(frozen=True)
class ChildIdentity:
    """What is known of a child account's identity, and of those that it must not be. Used from several threads.

    others: the child accounts that are not off; None: all that were ever seen. passed: ids that were checked already.
    """

    engine: sa.Engine
    child: str
    others: frozenset[str] | None = None
    passed: set[str] = field(default_factory=set, compare=False)

    def check(self, account_ids: Iterable[str]) -> None:
        """Look at whose entities came from this account, and remember it.

        Raises SameAccountError when they are the main account's or another child's. An entity that does not say whose
        it is proves nothing.
        """
        for account_id in set(account_ids) - self.passed - {""}:
            with self.engine.begin() as connection:
                # Two children that begin at the same moment must see each other.
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                known = read_cursors(connection, _KEPT_AS)
                other = same_account(self.child, account_id, self._compared(known))
                if other:
                    raise SameAccountError(_refusal(self.child, other))
                move_cursor(connection, _KEPT_AS, self.child, account_id)
            self.passed.add(account_id)

    def _compared(self, known: Mapping[str, str]) -> dict[str, str]:
        """The accounts that this one must not be: a name that left the accounts file, or is off, is no matter."""
        return {
            name: account_id
            for name, account_id in known.items()
            if name == MAIN or self.others is None or name in self.others
        }


@dataclass(frozen=True)
class ChildRun:
    """One child account in one run.

    others: the child accounts that are not off, whose account this one must not be; None: all that were ever seen.
    """

    context: RunContext[MoyskladSettings]
    child: MoyskladChild
    others: frozenset[str] | None = None

    @property
    def alias(self) -> str:
        """The name of the child account, which is its Dagster partition too."""
        return self.child.alias

    @property
    def engine(self) -> sa.Engine:
        """Our database."""
        return self.context.installation.engine

    @property
    def state(self) -> ChildState:
        """What we manage in this account."""
        return ChildState(self.engine, self.alias)

    @property
    def identity(self) -> ChildIdentity:
        """Whose account this is, and whose it must not be."""
        return ChildIdentity(self.engine, self.alias, self.others)

    @property
    def contents(self) -> Contents:
        """The pictures that are kept, of all connectors."""
        return Contents(self.engine, self.context.installation.storage, self.context.clock)

    @property
    def intents(self) -> ChildIntents:
        """Which entities are being written."""
        return ChildIntents(self.engine, self.context.owner, self.context.run_id)

    def refused(self) -> dict[str, str]:
        """Row key to reason of the images that the account refused, until they leave the quarantine."""
        return {entry.key: entry.reason for entry in self.context.quarantine.list() if entry.stage == REFUSED_STAGE}

    def refuse_off(self) -> None:
        """Raise SkippedOffError when the account's mode is off."""
        if self.child.mode is Mode.OFF:
            raise SkippedOffError(f"skipped: image sync is disabled for {self.alias}; set its mode to first or all")


def child_of(context: RunContext[MoyskladSettings]) -> ChildRun:
    """The child account of a run. Raises AccountsError for an alias that the accounts file lacks."""
    accounts = load_accounts(context.installation.settings)
    active = frozenset(name for name, child in accounts.moysklad_children.items() if child.mode is not Mode.OFF)
    return ChildRun(context, accounts.moysklad_child(context.account), others=active)


def main_api(context: RunContext[MoyskladSettings]) -> AbstractContextManager[MoyskladApi]:
    """The main account, for the length of a `with` block. Raises SettingsError when the accounts file has none."""
    account = load_accounts(context.installation.settings).moysklad_main
    if account is None:
        raise SettingsError("IMAGESYNC_ACCOUNTS: there is no main account of МойСклад; write [moysklad.main].")
    return _api(context, account)


def child_api(child: ChildRun) -> AbstractContextManager[MoyskladApi]:
    """A child account, for the length of a `with` block."""
    return _api(child.context, child.child.account)


def left_by(context: RunContext[MoyskladSettings], step: str, kind: type[H]) -> H | None:
    """The hand-over of a step of this run's lineage; None when it left none."""
    return context.find(step, kind) or _note_of_before(context, step, kind)


def look_at(context: RunContext[MoyskladSettings], step: str, kind: type[H]) -> H:
    """What a check looks at. Raises HandOverMissingError when there is nothing at all."""
    return left_by(context, step, kind) or context.look_at(step, kind)


def secrets_of(shared: Settings) -> list[SecretStr]:
    """What no text of a run may show: tokens and passwords. Raises AccountsError when the file cannot be read."""
    accounts = load_accounts(shared)
    children = [child.account for child in accounts.moysklad_children.values()]
    main = [accounts.moysklad_main] if accounts.moysklad_main is not None else []
    return [secret for account in (*main, *children) for secret in account.secrets]


def _note_of_before(context: RunContext[MoyskladSettings], step: str, kind: type[H]) -> H | None:
    """What a run of an earlier release left, which this one executes again: a file with the same fields."""
    folder = context.installation.storage / "notes" / NAME / context.account / _NOTES_OF_BEFORE[step]
    for run_id in context.lineage.ancestors:
        path = folder / f"{run_id}.json"
        if path.exists():
            return kind.model_validate_json(path.read_bytes())
    return None


def _api(context: RunContext[MoyskladSettings], account: MoyskladAccount) -> AbstractContextManager[MoyskladApi]:
    hosts = frozenset(context.installation.settings.allowed_image_hosts)
    return closing(MoyskladApi(account, context.settings, context.installation.engine, allowed_hosts=hosts))


def remember_main(engine: sa.Engine, account_ids: Collection[str]) -> None:
    """Remember whose entities came from the main account; nothing where they do not say, or not all the same."""
    said = set(account_ids) - {""}
    if len(said) == 1:
        with engine.begin() as connection:
            move_cursor(connection, _KEPT_AS, MAIN, said.pop())


def _refusal(child: str, other: str) -> str:
    whose = "the main account" if other == MAIN else f"the child account {other}"
    section = "[moysklad.main]" if other == MAIN else f"[moysklad.children.{other}]"
    return (
        f"IMAGESYNC_ACCOUNTS: the credentials of [moysklad.children.{child}] and of {section} open one and the same "
        f"account of МойСклад, so {child} would overwrite the images of {whose}. Nothing was written. Give {child} a "
        "token of its own account, or set its mode to off."
    )
