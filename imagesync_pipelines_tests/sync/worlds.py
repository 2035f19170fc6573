"""Hypothesis strategies:

small worlds of wanted, current, rejected rows, scopes and deletion limits in which things collide.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd
from hypothesis import strategies as st

from imagesync_pipelines.sync.model import DeletionLimits, Memory, Proof, Scope, Undone
from imagesync_pipelines_tests.sync.fakes import Row, frame, rejects

GROUPS = ("g1", "g2", "g3", "g4")
NEVER = DeletionLimits(share=1.0, count=10**6, bare=10**6, floor=0)


@dataclass(frozen=True)
class World:
    """Everything that a plan is made from."""

    wanted: pd.DataFrame
    current: pd.DataFrame
    rejected: pd.DataFrame
    scope: Scope
    deletion_limits: DeletionLimits
    match_position: bool
    marks: Mapping[str, str] = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()

    @property
    def limits(self) -> DeletionLimits:
        """The deletion limits with what is remembered: the marks of what people undid, and what they excluded."""
        undone = {key: Undone(wanted, "undone by anna") for key, wanted in self.marks.items()}
        memory = Memory(undone=undone, excluded=dict.fromkeys(self.excluded, "excluded by anna"))
        return replace(self.deletion_limits, memory=memory)


def _row(group: str, number: int) -> st.SearchStrategy[Row]:
    return st.builds(
        lambda position, fingerprint, content: (f"{group}/{number}", group, position, fingerprint, content),
        st.one_of(st.none(), st.integers(0, 3)),
        st.sampled_from(("f1", "f2")),
        st.one_of(st.none(), st.sampled_from(("c1", "c2", "c3"))),
    )


def tables(max_size: int = 14) -> st.SearchStrategy[list[Row]]:
    """Rows of a few groups with few values, so that keys, contents and positions meet; keys are unique."""
    rows = st.tuples(st.sampled_from(GROUPS), st.integers(0, 5)).flatmap(lambda which: _row(*which))
    return st.lists(rows, max_size=max_size, unique_by=lambda row: row[0])


def limit_sets() -> st.SearchStrategy[DeletionLimits]:
    limits = st.integers(0, 4)
    shares = st.sampled_from((0.0, 0.2, 0.5, 1.0))
    return st.builds(DeletionLimits, shares, limits, limits, limits, st.booleans(), shares, limits)


@st.composite
def scopes(draw: st.DrawFn) -> Scope:
    groups = draw(st.one_of(st.none(), st.frozensets(st.sampled_from(GROUPS))))
    proof = draw(st.sampled_from((None, Proof(7, False, "page 3 is missing"), Proof(7, True, ""))))
    absent = draw(st.frozensets(st.builds("{}/{}".format, st.sampled_from(GROUPS), st.integers(0, 5)), max_size=3))
    return Scope(groups, proof, absent)


@st.composite
def worlds(draw: st.DrawFn, deletion_limits: DeletionLimits | None = None, *, with_rejects: bool = True) -> World:
    """A world; with `deletion limits` given, that one."""
    scope = draw(scopes())
    words = st.sampled_from(("", "f1", "f2", "f1 at 1", "f2 at no place"))
    wanted = [row for row in draw(tables()) if scope.groups is None or row[1] in scope.groups]
    current = draw(tables())
    known = [row[:2] for row in (*wanted, *current)] + [("g1/9", "g1"), ("page 4, reject 2", None)]
    bad = draw(st.lists(st.sampled_from(known), max_size=2)) if with_rejects else []
    return World(
        frame(*wanted),
        frame(*current),
        rejects(*((key, group, "no file_id") for key, group in bad)),
        scope,
        deletion_limits or draw(limit_sets()),
        draw(st.booleans()),
        draw(st.dictionaries(st.builds("{}/{}".format, st.sampled_from(GROUPS), st.integers(0, 5)), words, max_size=6)),
        draw(st.frozensets(st.sampled_from(GROUPS), max_size=2)),
    )
