"""A plan into a remote system: intents, lost answers, refusals, threads, interruptions, crashes at every effect."""

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagesync_pipelines.storage.errors import LockLostError
from imagesync_pipelines.storage.outbox import Intent
from imagesync_pipelines.sync.model import GroupWork, Proof, RowResult, Scope
from imagesync_pipelines.sync.plan import build_plan, group_states
from imagesync_pipelines.sync.remote import FRESH_FOR, GROUPS_PER_READ, MOVED, UNSETTLED, apply_remote, recover
from imagesync_pipelines.sync.tally import Applied, ProgramFaultError
from imagesync_pipelines_tests.sync.fakes import (
    Crash,
    FakeIntents,
    FakeQuarantine,
    FakeRemote,
    Row,
    done,
    frame,
    lost_after,
    rows_of,
)
from imagesync_pipelines_tests.sync.test_reference_model import law, planned
from imagesync_pipelines_tests.sync.worlds import NEVER, World, worlds

WHOLE = Scope(None, Proof(1, True, ""))
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def many(groups: int, rows: int = 2, fingerprint: str = "f") -> list[Row]:
    return [(f"g{g:03}/{r}", f"g{g:03}", r, fingerprint, None) for g in range(groups) for r in range(rows)]


class Connector:
    """A remote target, its intents and ledger, its quarantine, and a run as a connector does it."""

    def __init__(self, wanted: Sequence[Row], current: Sequence[Row] = (), **options: object) -> None:
        self.wanted = frame(*wanted)
        want, there = rows_of(self.wanted), rows_of(frame(*current))
        self.target = FakeRemote(dict(there), want, **options)  # type: ignore[arg-type]
        self.intents = FakeIntents(dict(there), want)
        self.quarantine = FakeQuarantine()

    def run(self, **options: object) -> Applied:
        recover(self.intents, self.target)
        current = self.intents.current()
        return self.apply(build_plan(self.wanted, current, WHOLE), group_states(current), **options)

    def apply(self, plan: pd.DataFrame, states: dict[str, str], **options: object) -> Applied:
        given = {"workers": 1, "states_read_at": NOW, "clock": lambda: NOW, **options}
        return apply_remote(plan, self.target, self.intents, self.quarantine, states=states, **given)  # type: ignore[arg-type]


def test_every_group_is_written_once_between_its_intent_and_its_outcome() -> None:
    connector = Connector(many(3), [("g000/0", "g000", 0, "old", None), ("g009/0", "g009", 0, "f", None)])
    seen: list[str] = []
    begin, apply, finish = connector.intents.begin, connector.target.apply, connector.intents.finish
    connector.intents.begin = lambda intent: (seen.append(f"begin {intent.group}"), begin(intent))[1]  # type: ignore[method-assign]
    connector.target.apply = lambda work: (seen.append(f"call {work.group}"), apply(work))[1]  # type: ignore[method-assign]
    connector.intents.finish = lambda work, results: (seen.append(f"finish {work.group}"), finish(work, results))[1]  # type: ignore[method-assign]
    told: list[int] = []
    applied = connector.run(on_progress=told.append)
    assert seen == [
        f"{what} {group}" for group in ("g000", "g001", "g002", "g009") for what in ("begin", "call", "finish")
    ]
    assert (applied.added, applied.updated, applied.removed, len(applied.affected)) == (5, 1, 1, 4)
    assert told == [2, 4, 6, 7]
    assert connector.target.rows == connector.intents.ledger == rows_of(connector.wanted)
    assert connector.run() == Applied(kept=6)


@pytest.mark.parametrize("effect_done", [True, False], ids=["the effect was done", "the effect was not done"])
def test_a_lost_answer_is_unknown_and_settled_by_reading_before_the_group_is_written_again(effect_done: bool) -> None:
    connector = Connector(many(3), loses={"g001": effect_done})
    applied = connector.run()
    assert (applied.added, applied.unknown, len(applied.errors)) == (4, 2, 2)
    assert "the answer was lost" in applied.errors[0]
    assert connector.quarantine.items == {}
    assert [intent.group for intent in connector.intents.open.values()] == ["g001"]
    again = connector.run()
    assert connector.target.reads == [("g001",)]
    assert again.added == (0 if effect_done else 2)
    assert connector.target.rows == connector.intents.ledger == rows_of(connector.wanted)
    assert connector.target.calls.count("g001") == (1 if effect_done else 2)


def test_a_group_whose_outcome_is_unknown_is_not_written_until_it_was_read() -> None:
    connector = Connector(many(2))
    connector.intents.begin(Intent("g000", "x"))
    plan = build_plan(connector.wanted, frame(), WHOLE)
    applied = connector.apply(plan, {})
    assert (applied.added, applied.refused, applied.refused_in) == (2, 2, frozenset({"g000"}))
    assert UNSETTLED in applied.errors[0]
    assert connector.target.calls == ["g001"]


def test_a_row_that_the_target_refuses_leaves_the_others_applied_and_is_tried_again() -> None:
    connector = Connector(many(2), poison={"g000/1"})
    applied = connector.run()
    assert (applied.added, applied.failed) == (3, 1)
    assert applied.errors == ("g000/1: failed: refused by the far side",)
    assert list(connector.quarantine.items) == ["g000/1"]
    assert connector.intents.open == {}
    connector.target.poison = ()
    assert connector.run().added == 1
    assert connector.quarantine.items == {}


def test_a_group_that_breaks_in_the_middle_fails_whole_and_is_read_before_it_is_tried_again() -> None:
    connector = Connector(many(2), breaks={"g000"})
    applied = connector.run()
    assert (applied.added, applied.failed) == (2, 2)
    assert sorted(connector.quarantine.items) == ["g000/0", "g000/1"]
    assert "g000/0" in connector.target.rows, "the first row had its effect, although nobody was told"
    connector.target.breaks = ()
    again = connector.run()
    assert connector.target.reads == [("g000",)]
    assert (again.added, again.kept) == (1, 3)
    assert connector.quarantine.items == {}
    assert connector.target.rows == rows_of(connector.wanted)


def test_a_row_without_an_answer_keeps_the_intent_open() -> None:
    connector = Connector(many(1))
    apply = connector.target.apply
    connector.target.apply = lambda work: apply(work)[:1]  # type: ignore[method-assign]
    assert connector.run().unknown == 1
    assert list(connector.intents.open) == ["g000"]


@pytest.mark.parametrize(
    ("read_at", "reads"),
    [
        pytest.param(NOW, 0, id="read in this run"),
        pytest.param(NOW - FRESH_FOR, 0, id="just fresh"),
        pytest.param(NOW - FRESH_FOR - timedelta(seconds=1), 2, id="older than five minutes"),
        pytest.param(None, 2, id="a stored plan"),
    ],
)
def test_groups_are_read_again_in_batches_when_what_was_read_is_old(read_at: datetime | None, reads: int) -> None:
    connector = Connector(many(GROUPS_PER_READ + 1, rows=1))
    assert connector.run(states_read_at=read_at).added == GROUPS_PER_READ + 1
    assert len(connector.target.reads) == reads


def test_a_long_run_reads_again_what_has_become_old_under_way() -> None:
    connector = Connector(many(GROUPS_PER_READ + 1, rows=1))
    times = iter([NOW, NOW + FRESH_FOR + timedelta(seconds=1)])
    connector.run(clock=lambda: next(times))
    assert [len(groups) for groups in connector.target.reads] == [1]


def test_a_group_that_moved_since_the_plan_is_refused_and_the_others_go_on() -> None:
    current = many(3)
    connector = Connector(many(3, fingerprint="new"), current)
    plan, states = build_plan(connector.wanted, frame(*current), WHOLE), group_states(frame(*current))
    connector.target.rows["g001/0"] = ("g001/0", "g001", 0, "by hand", None)
    applied = connector.apply(plan, states, states_read_at=None)
    assert (applied.updated, applied.refused, applied.refused_in) == (4, 2, frozenset({"g001"}))
    assert MOVED in applied.errors[0]
    assert connector.intents.open == {}
    assert connector.target.rows["g001/0"][3] == "by hand"


def test_a_target_that_answers_with_rows_of_other_groups_is_not_believed() -> None:
    connector = Connector(many(1))
    connector.target.read = lambda groups: frame(("x", "other", 1, "f", None))  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="rows of groups that nobody asked for, such as 'other'"):
        connector.run(states_read_at=None)
    assert connector.target.calls == []


def test_recovering_reads_in_batches_and_a_stop_in_between_goes_on_with_the_rest() -> None:
    connector = Connector(many(GROUPS_PER_READ + 1, rows=1))
    for group in {row[1] for row in connector.wanted.itertuples(index=False)}:
        connector.intents.begin(Intent(group, "x"))
    connector.intents.crash = Crash(at=2)
    with pytest.raises(KeyboardInterrupt):
        recover(connector.intents, connector.target)
    assert len(connector.intents.open) == 1
    assert len(recover(connector.intents, connector.target)) == 1
    assert [len(groups) for groups in connector.target.reads] == [GROUPS_PER_READ, 1, 1]
    assert recover(connector.intents, connector.target) == set()
    assert len(connector.target.reads) == 3


class Watching(FakeRemote):
    """Notes how many groups, and which rows of one group, are under way at the same time."""

    most = 0
    at_work: set[str]

    def apply(self, work: GroupWork) -> Sequence[RowResult]:
        with self.lock:
            self.at_work = {*getattr(self, "at_work", ()), work.group}
            assert self.calls.count(work.group) == 0, "a group twice"
            self.calls.append(work.group)
            self.most = max(self.most, len(self.at_work))
        time.sleep(0.005)
        with self.lock:
            self.at_work.discard(work.group)
        return done(work)


def test_groups_run_side_by_side_up_to_the_number_of_workers_and_each_only_once() -> None:
    connector = Connector(many(40))
    connector.target = Watching({}, connector.target.wanted)
    assert connector.run(workers=4).added == 80
    assert connector.target.most == 4
    assert sorted(connector.target.calls) == sorted({row[1] for row in many(40)})


class CredentialsRefusedError(Exception):
    pass


@pytest.mark.parametrize("error", [CredentialsRefusedError("401"), KeyboardInterrupt()], ids=["fatal", "interrupted"])
def test_after_a_fatal_error_no_group_is_started_and_those_under_way_are_finished(error: BaseException) -> None:
    connector = Connector(many(30))
    started: list[str] = []
    broken = threading.Event()

    class Breaking(FakeRemote):
        def apply(self, work: GroupWork) -> Sequence[RowResult]:
            started.append(work.group)
            if work.group == "g002":
                broken.set()
                raise error
            if work.group == "g003":
                broken.wait(5)
                time.sleep(0.05)
            return FakeRemote.apply(self, work)

    connector.target, told = Breaking({}, connector.target.wanted), list[Applied]()
    with pytest.raises(type(error)):
        connector.run(workers=2, fatal=(CredentialsRefusedError,), broke=told.append)
    assert [one.affected for one in told] == [set(started) - {"g002"}], "it is told what was done until then"
    assert set(started) <= {f"g{n:03}" for n in range(5)}
    assert list(connector.intents.open) == ["g002"]
    assert {row[1] for row in connector.intents.ledger.values()} == set(started) - {"g002"}
    assert threading.active_count() < 10


def test_a_lock_that_is_lost_ends_the_run_at_the_next_group() -> None:
    connector, told = Connector(many(30)), list[Applied]()
    with pytest.raises(LockLostError):
        connector.run(workers=1, before_write=lost_after(7), broke=told.append)
    assert [(one.added, len(one.affected)) for one in told] == [(14, 7)]
    assert len(connector.target.calls) == 7
    assert not connector.intents.open


@pytest.mark.parametrize(("by_hand", "counts"), [(False, (12, 1, 1, 0)), (True, (10, 1, 1, 2))])
def test_an_application_that_broke_off_goes_on_and_counts_what_it_had_written(
    by_hand: bool, counts: tuple[int, ...]
) -> None:
    current = [("g000/9", "g000", 9, "f", None), ("g001/7", "g001", 7, "same", "c")]
    connector = Connector([*many(6), ("g001/8", "g001", 8, "same", "c")], current)
    states = group_states(frame(*current))
    plan = build_plan(connector.wanted, frame(*current), WHOLE)
    with pytest.raises(LockLostError):
        connector.apply(plan, states, before_write=lost_after(3))
    if by_hand:
        connector.target.rows["g002/1"] = ("g002/1", "g002", 1, "by hand", None)
    applied = connector.apply(plan, states, states_read_at=None, resumed=True)
    assert (applied.added, applied.updated, applied.removed, applied.refused) == counts
    assert connector.target.calls == [f"g{number:03}" for number in range(6)], "nothing is written twice"


def test_after_ten_groups_in_a_row_without_an_answer_the_rest_is_left_and_an_answer_between_them_counts_anew() -> None:
    connector = Connector(many(40))
    groups = sorted({row[1] for row in many(40)})
    connector.target.loses = dict.fromkeys([*groups[:9], *groups[10:20]], False)
    applied = connector.run(workers=1)
    assert connector.target.calls == groups[:20]
    assert applied.refused_in == frozenset(groups[20:])
    assert applied.affected == {groups[9]}
    assert connector.target.stopped.startswith("10 in a row got no answer, the last: ")
    assert sorted(connector.intents.open) == [*groups[:9], *groups[10:20]], "of the others nothing was begun"


def test_bad_groups_never_stop_the_others_however_many_follow_one_another() -> None:
    class Confused(FakeRemote):
        def apply(self, work: GroupWork) -> Sequence[RowResult]:
            if work.group < "g020":
                raise ValueError("this group is not what it should be")
            return super().apply(work)

    connector = Connector(many(22))
    connector.target = Confused({}, connector.target.wanted)
    applied = connector.run(workers=1)
    assert (applied.added, applied.failed, applied.refused) == (4, 40, 0)
    assert connector.target.stopped == ""


def test_ten_groups_that_meet_the_same_fault_of_the_program_end_the_run_and_are_read_before_they_are_tried_again() -> (
    None
):
    class Broken(FakeRemote):
        def apply(self, work: GroupWork) -> Sequence[RowResult]:
            self.calls.append(work.group)
            raise AttributeError("'NoneType' object has no attribute 'id'")

    connector = Connector(many(40))
    connector.target = Broken({}, connector.target.wanted)
    with pytest.raises(ProgramFaultError, match="10 in a row failed by the same error"):
        connector.run(workers=1)
    assert len(connector.quarantine.items) == 20
    begun = sorted(connector.intents.open)
    assert begun == sorted({row[1] for row in many(40)})[: len(begun)]
    assert len(begun) <= 11, "no more than was under way"


def test_a_fault_of_the_program_is_told_when_every_call_under_way_has_ended() -> None:
    told, ended = threading.Event(), threading.Event()

    class Slow(FakeRemote):
        def apply(self, work: GroupWork) -> Sequence[RowResult]:
            if work.group == "g000":
                told.wait(0.5)
                ended.set()
            raise AttributeError("'NoneType' object has no attribute 'id'")

    connector = Connector(many(40))
    connector.target = Slow({}, connector.target.wanted)
    with pytest.raises(ProgramFaultError) as caught:
        connector.run(workers=2)
    assert ended.is_set()
    told.set()
    assert not caught.value.retryable


def test_groups_that_failed_in_an_earlier_run_by_such_an_error_do_not_hold_up_the_others() -> None:
    class Partly(FakeRemote):
        def apply(self, work: GroupWork) -> Sequence[RowResult]:
            if work.group < "g012":
                raise AttributeError("'NoneType' object has no attribute 'id'")
            return super().apply(work)

    connector = Connector(many(14))
    connector.target = Partly({}, connector.target.wanted)
    with pytest.raises(ProgramFaultError):
        connector.run(workers=1)
    connector.intents.open.clear()
    applied = connector.run(workers=1)
    assert (applied.added, applied.failed) == (4, 24)


def test_a_log_of_intents_that_cannot_be_written_stops_the_run_before_any_call() -> None:
    connector = Connector(many(3))

    def begin(intent: Intent) -> None:
        raise OSError("the database is gone")

    connector.intents.begin = begin  # type: ignore[method-assign]
    with pytest.raises(OSError, match="gone"):
        connector.run()
    assert connector.target.calls == []


def remote_run(world: World, target: FakeRemote, intents: FakeIntents, workers: int = 1) -> Applied:
    """One run as a connector does it: recover, plan from the ledger, guard, apply."""
    recover(intents, target)
    current = intents.current()
    plan = planned(world, current).plan
    return apply_remote(
        plan, target, intents, FakeQuarantine(), workers=workers, states=group_states(current), states_read_at=None
    )


@settings(max_examples=30)
@given(worlds(deletion_limits=NEVER), st.data())
def test_a_crash_at_any_effect_and_a_second_run_reach_the_state_of_an_uninterrupted_one(
    world: World, data: st.DataObject
) -> None:
    there, want = rows_of(world.current), rows_of(world.wanted)
    crash = Crash()
    target, intents = FakeRemote(dict(there), want, crash=crash), FakeIntents(dict(there), want, crash=crash)
    remote_run(world, target, intents)
    expected = rows_of(law(world))
    assert target.rows == intents.ledger == expected

    crash = Crash(data.draw(st.integers(0, crash.seen), label="killed at"))
    target, intents = FakeRemote(dict(there), want, crash=crash), FakeIntents(dict(there), want, crash=crash)
    try:
        remote_run(world, target, intents)
    except KeyboardInterrupt:
        crash.at = 0
        remote_run(world, target, intents)
    assert target.rows == intents.ledger == expected
    assert intents.open == {}
    intents.assert_told_once(there, expected)


@settings(max_examples=30)
@given(
    worlds(deletion_limits=NEVER),
    st.dictionaries(st.sampled_from(("g1", "g2", "g3", "g4")), st.booleans()),
    st.integers(1, 3),
)
def test_lost_answers_in_any_number_are_settled_by_the_next_run(
    world: World, loses: dict[str, bool], workers: int
) -> None:
    there, want = rows_of(world.current), rows_of(world.wanted)
    target, intents = FakeRemote(dict(there), want, loses=dict(loses)), FakeIntents(dict(there), want)
    first = remote_run(world, target, intents, workers)
    assert (first.unknown > 0) == bool(intents.open)
    second = remote_run(world, target, intents, workers)
    assert second.errors == ()
    assert target.rows == intents.ledger == rows_of(law(world))
    intents.assert_told_once(there, target.rows)


def test_a_crash_at_every_effect_in_turn_with_renames_and_removals_loses_and_doubles_nothing() -> None:
    current = [("a", "g1", 1, "f", "same"), ("b", "g1", 2, "f", None), ("c", "g2", 1, "f", None)]
    wanted = [
        ("n", "g1", 1, "f", "same"),
        ("c", "g2", 1, "new", None),
        ("d", "g2", 2, "f", None),
        ("e", "g3", 1, "f", None),
    ]
    effects = 0
    while True:
        effects += 1
        connector = Connector(wanted, current)
        connector.target.crash = connector.intents.crash = Crash(at=effects)
        try:
            connector.run()
        except KeyboardInterrupt:
            connector.target.crash = connector.intents.crash = Crash()
            connector.run()
        else:
            break
        assert connector.target.rows == connector.intents.ledger == rows_of(connector.wanted), (
            f"killed at effect {effects}"
        )
        assert connector.intents.open == {}
        connector.intents.assert_told_once(rows_of(frame(*current)), connector.target.rows)
    assert effects == 3 * 4 + 5 + 1, (
        "three groups with four points each, five rows, and one run that was not interrupted"
    )
