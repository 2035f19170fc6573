"""What a connector hands to the engine: targets, the log of intents, the quarantine."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

import pandas as pd

from imagesync_pipelines.storage.outbox import Intent
from imagesync_pipelines.storage.quarantine import QuarantineItem
from imagesync_pipelines.sync.model import GroupWork, RowResult


class DatabaseTarget(Protocol):
    """A database of ours: the effect and its state are one transaction. Called from several threads with more than one
    writer, never for one group at the same time."""

    def apply_batch(self, rows: pd.DataFrame, digests: Mapping[str, str] | None) -> pd.DataFrame:
        """Write whole groups in one transaction and answer for every row; when it raises, nothing was written.

        rows: those of a plan that change (frames.PLAN_COLUMNS), group by group. digests: of each of the groups when the
        plan was made; a group that has another one now is not written, its rows are REFUSED. None: not compared.
        Gives key, outcome and reason of each row.
        """


class ReadableTarget(Protocol):
    """Somebody else's system behind an API, as far as it is only read."""

    def read(self, groups: Sequence[str]) -> pd.DataFrame:
        """What the target holds of these groups now (frames.ROW_COLUMNS); a group that is not there has no rows."""


class RemoteTarget(ReadableTarget, Protocol):
    """Somebody else's system behind an API. Called from several threads, never for one group at the same time.

    stopped: why the rest of a plan is to be left, '' while it is not; set by the target, and by the engine when it
    gives up.
    """

    stopped: str

    def apply(self, work: GroupWork) -> Sequence[RowResult]:
        """Write one group and answer for every row. Raises AnswerLostError when the outcome of a call is unknown.

        Any other error fails the whole group, and its content is taken for unknown until it was read again.
        """


class BulkTarget(Protocol):
    """A remote system that takes several groups in one call, where they allow it. Called from one thread."""

    def portions(self, works: Iterator[GroupWork]) -> Iterator[Sequence[GroupWork]]:
        """Of these groups, those that may be written so, in portions of one call each.

        Takes the groups one after the other as it goes: each was compared with the target a moment before it comes.
        """

    def apply(self, works: Sequence[GroupWork]) -> Sequence[RowResult]:
        """Write a portion in one call. A group of which no row is answered was surely not written.

        Raises AnswerLostError when the outcome of the call is unknown.
        """


class IntentLog(Protocol):
    """Which groups are being written to a remote target, in our database. Called from several threads."""

    def open_intents(self) -> Sequence[Intent]:
        """The intents without an outcome."""

    def begin(self, intent: Intent) -> None:
        """Write and commit an intent; one that is open for the group already is replaced."""

    def finish(self, work: GroupWork, results: Sequence[RowResult]) -> None:
        """Close the intent of a group and record what the target holds since its DONE rows, in one transaction.

        The history tells of these rows in the same one (effects.done_by).
        """

    def settle(self, current: pd.DataFrame, groups: Collection[str]) -> None:
        """Close the intents of groups and record `current` as what the target holds of them, in one transaction.

        The history tells of the rows that were done by it, in the same one (effects.done_as_seen).
        """


class Quarantine(Protocol):
    """Where items wait that could not be synchronised. Called from one thread."""

    def put(self, items: Sequence[QuarantineItem]) -> None:
        """Put items in; one that is there already gets the newest reason."""

    def list(self) -> Sequence[QuarantineItem]:
        """Everything that is in."""

    def clear(self, keys: Collection[str]) -> None:
        """Take out what has succeeded since."""
