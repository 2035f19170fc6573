"""The words of the engine: changes, scope and its proof, the deletion limits, what passes to an adapter."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

from imagesync_pipelines.languages import N_


class Change(StrEnum):
    """What a plan does with a row. `keep` leaves it as it is; `reject` tells of a row that cannot be used."""

    ADD = N_("add")
    UPDATE = N_("update")
    REMOVE = N_("remove")
    KEEP = N_("keep")
    REJECT = N_("reject")


# The changes that write to the target.
EFFECTS = (Change.ADD, Change.UPDATE, Change.REMOVE)


class Outcome(StrEnum):
    """What became of a row: done, failed, refused (the target moved since the plan), unknown (the answer was lost)."""

    DONE = N_("done")
    FAILED = N_("failed")
    REFUSED = N_("refused")
    UNKNOWN = N_("unknown")


@dataclass(frozen=True)
class Proof:
    """Whether a scan saw everything in its scope; `reason` says why it did not, and is empty when it did."""

    scan_id: int
    complete: bool
    reason: str


@dataclass(frozen=True)
class Scope:
    """What `wanted` speaks about.

    groups: the groups it covers; None: everything. proof: of the scan that read them; None: there was no scan.
    absent: keys about which the source itself said that they are gone; they may go without a proof.
    """

    groups: frozenset[str] | None
    proof: Proof | None
    absent: frozenset[str] = frozenset()


class Ruling(StrEnum):
    """What the guard said of a row that would take something away; '' (no ruling) lets it go by the limits.

    limit, doubt: held back. unproven: not judged, for nothing shows that it is gone. allowed: a person let it go.
    kept: a person keeps it, or undid it. excluded: a person excluded its product, so it stays whatever would become of
    it.
    """

    LIMIT = "limit"
    DOUBT = "doubt"
    UNPROVEN = "unproven"
    ALLOWED = "allowed"
    KEPT = "kept"
    EXCLUDED = "excluded"


class Undone(NamedTuple):
    """A mark on a key: a person undid what the source wants there (guard.wants), and why that is, for people."""

    wanted: str
    why: str


@dataclass(frozen=True)
class Memory:
    """What is remembered of a target beside what it holds.

    removed, replaced: key to group of what went in the last 24 hours without a person's word. allowed: the keys that a
    person let go, each with the fingerprint that it had then. kept: keys that a person keeps. undone: the marks, by
    the key under which the source wants something. excluded: the groups in which nothing is to be done, each with why,
    for people.
    """

    removed: Mapping[str, str] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)
    allowed: Mapping[str, str] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    undone: Mapping[str, Undone] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DeletionLimits:
    """Above which removals are held back, all of them; those of the last 24 hours count too.

    share: of all that we own in the target, from 0 to 1, looked at only above `floor` removals. count: removals. bare:
    groups left without any row. replaced_share, replaced_floor: the same for replacements. lifted: a person said for
    this one run that the removals are right. memory: what counts beside the plan.
    """

    share: float
    count: int
    bare: int
    floor: int
    lifted: bool = False
    replaced_share: float = 0.5
    replaced_floor: int = 20
    memory: Memory = field(default_factory=Memory)


@dataclass(frozen=True)
class PlanCost:
    """What applying a plan will take: calls to the target, bytes to move, minutes at the target's pace.

    calls_if_approved: calls where a person carries out what the limits hold back, too; no more than calls: none.
    """

    calls: int
    bytes: int
    minutes: float
    calls_if_approved: int = 0


class PlanRow(NamedTuple):
    """One row of a plan as an adapter gets it; None stands for the frame's NA.

    key_before: the key that the target has it under now; None for an addition, another key for a rename.
    """

    key: str
    key_before: str | None
    group: str
    position: int | None
    change: Change
    reason: str
    fingerprint_before: str | None
    fingerprint_after: str | None


@dataclass(frozen=True, slots=True)
class GroupWork:
    """All rows of one group that change, by position, then key.

    state_before: the digest that the group had when the plan was made (`group_state`); None: do not compare.
    """

    group: str
    rows: tuple[PlanRow, ...]
    state_before: str | None


class RowResult(NamedTuple):
    """What became of one row of a GroupWork; `reason` is for people and is never empty when it was not done."""

    key: str
    group: str
    change: Change
    outcome: Outcome
    reason: str


def group_state(rows: Iterable[tuple[str, str, int | None]]) -> str:
    """The digest of one group from its rows (key, fingerprint, position); their order does not matter.

    A group without rows has a digest too: `group_state(())`.
    """
    # repr quotes the texts, so that no two sets of rows run into the same bytes.
    told = sorted(repr((str(key), str(fingerprint), position)) for key, fingerprint, position in rows)
    return blake2b("".join(told).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
