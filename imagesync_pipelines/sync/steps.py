"""Steps: what one step of a run works with, and what it tells when it is done."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel

from imagesync_pipelines.languages import told
from imagesync_pipelines.storage.effects import Author
from imagesync_pipelines.storage.errors import HandOverMissingError
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.locks import HeldLock, account_lock
from imagesync_pipelines.storage.plans import Lineage, PlanHeader, Plans
from imagesync_pipelines.storage.quarantine import QuarantineTable
from imagesync_pipelines.sync.identity import check_installation

if TYPE_CHECKING:
    import pandas as pd

S = TypeVar("S")
H = TypeVar("H", bound=BaseModel)
Number = int | float


GroupsBySku = Callable[[sa.Connection, str, Collection[str]], Collection[tuple[str, str]]]
"""The groups of an account's plans that are about products with these SKUs, as far as they are known: pairs."""

Progress = Callable[[str, int, int | None], None]
"""Called with a stage's name, how much is done and, where it is known, of how much."""


def silent(stage: str, done: int, total: int | None) -> None:
    """A progress report that nobody sees; the default in Dagster's own workers, where the UI shows the steps."""


@dataclass(frozen=True)
class Table:
    """A frame of which the first rows are shown, with the exact number of all."""

    frame: "pd.DataFrame"


@dataclass(frozen=True)
class Texts:
    """Texts of which the first are shown, with the exact number of all; foreign text is shown as it is, never run."""

    items: Collection[object]


@dataclass(frozen=True)
class Json:
    """A small JSON document."""

    value: Mapping[str, Any]


@dataclass(frozen=True)
class Pictures:
    """Pictures (label, URL) to be seen as thumbnails; `fetch` gives the bytes of a URL, or raises."""

    labels: Sequence[tuple[str, str]]
    fetch: Callable[[str], bytes]


Shown = str | int | float | bool | Table | Texts | Json | Pictures


@dataclass(frozen=True)
class Summary:
    """One run, in rows. status is in_progress, completed or failed; warnings say what could not be done.

    held_back: removals that the guard kept; failed: rows in quarantine; refused: rows of groups that moved since the
    plan; unknown: rows whose answer was lost.
    """

    status: str
    started_at: datetime
    completed_at: datetime | None
    images_added: int = 0
    images_updated: int = 0
    images_deleted: int = 0
    products_affected: int = 0
    error_message: str = ""
    warnings: tuple[str, ...] = ()
    kept: int = 0
    rejected: int = 0
    held_back: int = 0
    failed: int = 0
    refused: int = 0
    unknown: int = 0
    api_calls: int = 0
    bytes_downloaded: int = 0

    @property
    def seconds(self) -> float:
        """From start to end, 0 while it runs."""
        return round((self.completed_at - self.started_at).total_seconds(), 2) if self.completed_at else 0.0

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values, times in ISO 8601."""
        return {
            **asdict(self),
            "started_at": self.started_at.isoformat(),
            "completed_at": self.completed_at.isoformat() if self.completed_at else None,
            "warnings": list(self.warnings),
            "seconds": self.seconds,
        }

    def metrics(self) -> dict[str, int | float]:
        """The numbers that the UI plots over time."""
        return {
            "images/added": self.images_added,
            "images/updated": self.images_updated,
            "images/deleted": self.images_deleted,
            **{f"images/{name}": getattr(self, name) for name in ("kept", "rejected", "held_back", "failed")},
            "products/affected": self.products_affected,
            "api/calls": self.api_calls,
            "bytes/downloaded": self.bytes_downloaded,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class PartitionOutcomes:
    """What became of the partitions of a step that has several: key → numbers of those that landed, key → reason.

    of: the step whose partitions they are, when it is another one than this.
    """

    landed: Mapping[str, Mapping[str, Number | str]]
    failed: Mapping[str, str] = field(default_factory=dict)
    of: str = ""


@dataclass(frozen=True)
class StepResult:
    """What a step tells, whoever shows it.

    rows, size: of what the step made, in rows and bytes. numbers: plotted over time, under names like `images/added`.
    shown: by name. lines: for the log and the terminal. summary: of the whole run, as far as it came. columns: name →
    (type, meaning) of the table that the step fills. ends: why the run ends here without having made anything, '' when
    it goes on. goes_on_at: when a run like this one can do what this one had to leave.
    """

    rows: int | None = None
    size: int | None = None
    numbers: Mapping[str, Number] = field(default_factory=dict)
    shown: Mapping[str, Shown] = field(default_factory=dict)
    lines: Sequence[str] = ()
    warnings: Sequence[str] = ()
    details: Callable[[], Iterator[str]] | None = None
    summary: Summary | None = None
    columns: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    partitions: PartitionOutcomes | None = None
    ends: str = ""
    goes_on_at: datetime | None = None


@dataclass(frozen=True)
class CheckResult:
    """Whether a true sentence is true, with a description for people and what is to be seen of it.

    severe: how bad it is this time, where the check does not always say the same; None: as the check declares.
    """

    passed: bool
    description: str
    shown: Mapping[str, Shown] = field(default_factory=dict)
    severe: bool | None = None


@dataclass(frozen=True)
class RunContext(Generic[S]):
    """What a step of one run works with.

    connector: its name. account: the alias of the account or store, which is the run's partition too; '' where a
    connector has no accounts. lineage: this run and those that it re-executes. settings: the connector's own.
    partitions: the keys of the run's page partitions. all_blocks: it was started for all of them, and for those that
    were added since. known_blocks: the connector's page partitions, in the order of
    adding. add_blocks: adds some after these. tell: hears of things before the step is done, like plain http.
    note_summary: keeps a summary that is known before the end, so that a failure after it does not lose it. locks:
    those that the run holds now. is_dry_run: the run is only to be looked at, from its first step on. person: who
    started it, None where nobody said so. groups_by_sku: as the connector declares them.
    """

    connector: str
    account: str
    lineage: Lineage
    installation: Installation
    settings: S
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    progress: Progress = silent
    partitions: Sequence[str] = ()
    all_blocks: bool = False
    known_blocks: Callable[[], Sequence[str]] = tuple
    add_blocks: Callable[[Sequence[str]], None] = lambda keys: None
    tell: Callable[[str], None] = lambda text: None
    note_summary: Callable[[Summary], None] = lambda summary: None
    locks: list[HeldLock] = field(default_factory=list)
    is_dry_run: bool = False
    person: str | None = None
    groups_by_sku: GroupsBySku = lambda connection, account, skus: ()

    @property
    def run_id(self) -> str:
        """The run."""
        return self.lineage.run_id

    def author(self, plan_id: int | None = None, undoes_run: str | None = None) -> Author:
        """In whose name the history keeps what this run does: carrying out a plan, taking back another run."""
        return Author(self.run_id, self.person, plan_id, undoes_run)

    @property
    def owner(self) -> str:
        """Under which name locks, intents and quarantine are kept: two accounts have the same SKUs."""
        return f"{self.connector}/{self.account}" if self.account else self.connector

    @property
    def part(self) -> Mapping[str, str]:
        """What the scope of every plan of this account says."""
        return {"account": self.account} if self.account else {}

    @property
    def plans(self) -> Plans:
        """The stored plans."""
        return Plans(self.installation.engine, self.installation.storage)

    @property
    def quarantine(self) -> QuarantineTable:
        """What could not be synchronised in this account."""
        return QuarantineTable(self.installation.engine, self.owner, self.run_id, self.is_dry_run)

    @property
    def handovers(self) -> HandOvers:
        """What the steps of this account's runs left."""
        return HandOvers(self.installation.engine, self.installation.storage, self.connector, self.account)

    def keep(self, step: str, value: BaseModel) -> None:
        """Leave a hand-over of a step for the later steps of this run."""
        self.handovers.keep(self.run_id, step, value)

    def find(self, step: str, kind: type[H]) -> H | None:
        """The hand-over of a step: this run's, else its parent's, and so on to its root's; None when there is none."""
        return self.handovers.find(self.lineage, step, kind)

    def need(self, step: str, kind: type[H]) -> H:
        """As find. Raises HandOverMissingError, which says what to run."""
        found = self.find(step, kind)
        if found is None:
            raise HandOverMissingError(
                f"This run has nothing from {self.connector}/{step}{self._for_whom}, and neither has a run that it "
                f"re-executes. Materialise {self.connector}/{step} in the same run, or start the job "
                f"{self.connector}__sync."
            )
        return found

    def look_at(self, step: str, kind: type[H]) -> H:
        """What a check looks at: the hand-over of its run's lineage, else, run by itself, the account's newest.

        Raises HandOverMissingError when there is none at all.
        """
        found = self.find(step, kind) or self.handovers.newest(step, kind)
        if found is None:
            raise HandOverMissingError(
                f"{self.connector}/{step} has not been materialised{self._for_whom} yet; do that first."
            )
        return found

    @property
    def _for_whom(self) -> str:
        return f" for {self.account}" if self.account else ""

    def plan_to_apply(self, plan_id: int | None) -> PlanHeader:
        """The plan that is named, else that of this run's lineage; one that was made to be looked at must be named.

        Raises PlanMissingError and NoPlanOfThisRunError, which say what to do.
        """
        return self.plans.to_apply(self.connector, self.lineage, plan_id, self.part)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the account's lock in a `with` block, in the database that is meant.

        Raises AccountBusyError when another run works on the account, and IdentityRefusedError.
        """
        wait_seconds = self.installation.settings.lock_wait_seconds
        with self.holding(account_lock(self.installation.engine, self.owner, wait_seconds)):
            self.check_installation()
            yield

    def check_installation(self, *, record: bool = False) -> None:
        """Look whether database and storage belong together, and tell it; record: the run is about to write.

        Raises IdentityRefusedError.
        """
        warning = check_installation(self.installation, record=record)
        if warning:
            self.tell(warning)

    @contextmanager
    def holding(self, lock: AbstractContextManager[HeldLock]) -> Iterator[None]:
        """Hold any lock of this run in a `with` block; one that was lost meanwhile is told at the end."""
        with lock as held:
            self.locks.append(held)
            try:
                yield
            finally:
                self.locks.remove(held)
        if held.lost:
            self.tell(
                told("The lock of the account was lost after this step's last write (was the database restarted?).")
            )

    def check_locks(self) -> None:
        """Raise LockLostError when a lock of this run was lost; it costs nothing, so call it before each write."""
        for held in tuple(self.locks):
            held.check()
