"""A child account as a run works on it, and the main account's side of it: installation and settings.

What belongs here: what the stages share. What does not: what is done with it (stages.py, plan_stages.py), the clients
of the accounts (api/account.py).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from imagesync_pipelines.accounts.moysklad import MAIN, MoyskladChild
from imagesync_pipelines.connectors.moysklad.identity import ChildIdentity
from imagesync_pipelines.connectors.moysklad.reading import CONNECTOR
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.connectors.moysklad.state import ChildIntents, ChildState
from imagesync_pipelines.storage.contents import Contents
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.locks import account_lock
from imagesync_pipelines.storage.quarantine import QuarantineTable

# Where an image in quarantine failed that the account will not take, however often it is sent.
REFUSED_STAGE = "refused"


@dataclass(frozen=True)
class MainDesk:
    """What the stage of the main account works with."""

    place: Installation
    settings: MoyskladSettings
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the mirror. Raises AccountBusyError when another run reads the main account."""
        with account_lock(self.place.engine, f"{CONNECTOR}/{MAIN}", self.place.settings.lock_wait_seconds):
            yield


@dataclass(frozen=True)
class Desk:
    """What the stages of one child account work with. clock: how old a reading is, is judged by it.

    others: the child accounts that are not off, whose account this one must not be; None: all that were ever seen.
    """

    place: Installation
    settings: MoyskladSettings
    child: MoyskladChild
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    others: frozenset[str] | None = None

    @property
    def alias(self) -> str:
        """The name of the child account, which is its Dagster partition too."""
        return self.child.alias

    @property
    def connector(self) -> str:
        """The name under which the account's lock, intents and quarantine are kept."""
        return f"{CONNECTOR}/{self.alias}"

    @property
    def state(self) -> ChildState:
        """What we manage in this account."""
        return ChildState(self.place.engine, self.alias)

    @property
    def identity(self) -> ChildIdentity:
        """Whose account this is, and whose it must not be."""
        return ChildIdentity(self.place.engine, self.alias, self.others)

    @property
    def contents(self) -> Contents:
        """The pictures that are kept, of all connectors."""
        return Contents(self.place.engine, self.place.storage, self.clock)

    def intents(self, run_id: str | None) -> ChildIntents:
        """Which entities are being written."""
        return ChildIntents(self.place.engine, self.connector, run_id)

    def refused(self) -> dict[str, str]:
        """Row key to reason of the images that the account refused, until they leave the quarantine."""
        return {entry.key: entry.reason for entry in self.quarantine("").list() if entry.stage == REFUSED_STAGE}

    def quarantine(self, run_id: str) -> QuarantineTable:
        """What could not be synchronised in this account."""
        return QuarantineTable(self.place.engine, self.connector, run_id)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the account's lock. Raises AccountBusyError when another run works on the account."""
        with account_lock(self.place.engine, self.connector, self.place.settings.lock_wait_seconds):
            yield
