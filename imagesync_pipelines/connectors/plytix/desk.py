"""One Plytix account as a run works on it: its alias, our installation, the connector's settings.

What belongs here: what the stages share. What does not: what is done with it (stages.py, plan_stages.py), the client of
the account (api/pim.py).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from imagesync_pipelines.connectors.plytix.ledger import CONNECTOR, GalleryIntents, Ledger
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.locks import account_lock
from imagesync_pipelines.storage.quarantine import QuarantineTable


@dataclass(frozen=True)
class Desk:
    """What the stages of one account work with; `account` is its alias, which is its Dagster partition too.

    clock: how old a reading is, is judged by it.
    """

    place: Installation
    settings: PlytixSettings
    account: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def connector(self) -> str:
        """The name under which the account's lock, intents and quarantine are kept: two accounts have the same SKUs."""
        return f"{CONNECTOR}/{self.account}"

    @property
    def ledger(self) -> Ledger:
        """Which asset is which picture in this account, and what we linked."""
        return Ledger(self.place.engine, self.account)

    def intents(self, run_id: str | None) -> GalleryIntents:
        """Which galleries are being written."""
        return GalleryIntents(self.ledger, run_id)

    def quarantine(self, run_id: str) -> QuarantineTable:
        """What could not be synchronised in this account."""
        return QuarantineTable(self.place.engine, self.connector, run_id)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the account's lock. Raises AccountBusyError when another run works on the account."""
        with account_lock(self.place.engine, self.connector, self.place.settings.lock_wait_seconds):
            yield
