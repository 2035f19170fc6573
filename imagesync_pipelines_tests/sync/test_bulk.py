"""Several groups in one call of a remote system: what is offered, what is answered, and what goes one by one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.storage.outbox import Intent
from imagesync_pipelines.sync.model import GroupWork, RowResult
from imagesync_pipelines.sync.plan import build_plan, group_states
from imagesync_pipelines.sync.remote import UNSETTLED, recover
from imagesync_pipelines_tests.sync.fakes import FakeRemote
from imagesync_pipelines_tests.sync.test_remote import NOW, WHOLE, Connector, many


@dataclass
class FakeBulk:
    """Takes `size` groups in one call of the far side. `leaves`: groups that it does not take. `refuses`: groups that
    the call leaves without an answer. `raises`: what happens instead of the call with this group."""

    remote: FakeRemote
    size: int = 3
    leaves: Sequence[str] = ()
    refuses: Sequence[str] = ()
    raises: dict[str, Exception] = field(default_factory=dict)
    calls: list[list[str]] = field(default_factory=list)

    def portions(self, works: Iterator[GroupWork]) -> Iterator[Sequence[GroupWork]]:
        portion: list[GroupWork] = []
        for work in works:
            if work.group not in self.leaves:
                portion.append(work)
            if len(portion) == self.size:
                yield portion
                portion = []
        if portion:
            yield portion

    def apply(self, works: Sequence[GroupWork]) -> Sequence[RowResult]:
        self.calls.append([work.group for work in works])
        for work in works:
            if work.group in self.raises:
                raise self.raises[work.group]
        return [result for work in works if work.group not in self.refuses for result in self.remote.apply(work)]


def singles(connector: Connector, bulk: FakeBulk) -> list[str]:
    """The groups that were written by a call of their own."""
    in_bulk = [group for call in bulk.calls for group in call if group not in (*bulk.refuses, *bulk.raises)]
    return [group for group in connector.target.calls if group not in in_bulk]


def test_what_is_offered_is_written_in_portions_and_only_the_rest_one_by_one() -> None:
    connector = Connector(many(7))
    bulk = FakeBulk(connector.target, leaves=["g002"], refuses=["g004"])
    applied = connector.run(bulk=bulk)
    assert bulk.calls == [["g000", "g001", "g003"], ["g004", "g005", "g006"]]
    assert singles(connector, bulk) == ["g002", "g004"]
    assert (applied.added, applied.errors, len(applied.affected)) == (14, (), 7)
    assert connector.intents.open == {}
    assert connector.target.rows == connector.intents.ledger


def test_groups_that_moved_and_those_whose_outcome_is_unknown_are_not_offered() -> None:
    connector = Connector(many(4))
    before = connector.intents.current()
    plan, states = build_plan(connector.wanted, before, WHOLE), group_states(before)
    connector.target.rows["x"] = ("x", "g001", 0, "the owner's", None)
    connector.intents.begin(Intent("g002", "?"))
    bulk = FakeBulk(connector.target)
    applied = connector.apply(plan, states, bulk=bulk, states_read_at=NOW - timedelta(minutes=6))
    assert bulk.calls == [["g000", "g003"]]
    assert applied.refused_in == {"g001", "g002"}


def test_a_lost_answer_leaves_the_whole_portion_unknown_and_the_next_portion_is_written() -> None:
    connector = Connector(many(4))
    bulk = FakeBulk(connector.target, size=2, raises={"g001": AnswerLostError("read timed out")})
    applied = connector.run(bulk=bulk)
    assert (applied.unknown, applied.added) == (4, 4)
    assert set(connector.intents.open) == {"g000", "g001"}
    assert connector.target.calls == ["g002", "g003"]
    assert connector.run().added == 4


def test_after_any_other_error_the_portion_waits_and_the_rest_goes_one_by_one() -> None:
    connector = Connector(many(4))
    bulk = FakeBulk(connector.target, size=2, raises={"g000": ConnectionError("500 from the far side")})
    applied = connector.run(bulk=bulk)
    assert bulk.calls == [["g000", "g001"]]
    assert (applied.refused_in, applied.errors[0]) == ({"g000", "g001"}, f"g000/0: refused: {UNSETTLED}")
    assert connector.target.calls == ["g002", "g003"]
    assert connector.run().added == 4


class RefusedError(Exception):
    """A fatal error of the tests."""


def test_a_fatal_error_is_raised_and_nothing_further_is_written() -> None:
    connector = Connector(many(4))
    bulk = FakeBulk(connector.target, size=2, raises={"g001": RefusedError("401")})
    with pytest.raises(RefusedError):
        connector.run(bulk=bulk, fatal=(RefusedError,))
    assert connector.target.calls == []
    assert set(connector.intents.open) == {"g000", "g001"}


@settings(max_examples=30)
@given(
    size=st.integers(1, 4),
    leaves=st.sets(st.integers(0, 7)),
    refuses=st.sets(st.integers(0, 7)),
    lost=st.sets(st.integers(0, 7), max_size=2),
)
def test_whatever_is_left_out_refused_or_lost_the_next_run_reaches_what_is_wanted(
    size: int, leaves: set[int], refuses: set[int], lost: set[int]
) -> None:
    connector = Connector(many(8))
    bulk = FakeBulk(
        connector.target,
        size,
        [f"g{n:03}" for n in leaves],
        [f"g{n:03}" for n in refuses],
        {f"g{n:03}": AnswerLostError("reset") for n in lost},
    )
    connector.run(bulk=bulk)
    connector.run()
    assert connector.target.rows == connector.target.wanted == connector.intents.ledger
    assert len(connector.target.calls) == 8, "no group is written twice"


def test_recovering_leaves_open_what_could_not_be_read() -> None:
    connector = Connector(many(3))
    for group in ("g000", "g001"):
        connector.intents.begin(Intent(group, "?"))
    assert recover(connector.intents, connector.target, unread=lambda: ["g001"]) == {"g000"}
    assert set(connector.intents.open) == {"g001"}
