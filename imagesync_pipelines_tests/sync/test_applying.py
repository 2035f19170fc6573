"""A plan into a database: batches of whole groups, halving around bad ones, quarantine, counts, crashes."""

import threading
import time
from collections.abc import Mapping

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagesync_pipelines.storage.errors import LockLostError
from imagesync_pipelines.storage.quarantine import QuarantineItem
from imagesync_pipelines.sync.apply import answers, apply_database, group_works
from imagesync_pipelines.sync.model import Change, Outcome, PlanRow, Proof, RowResult, Scope, group_state
from imagesync_pipelines.sync.plan import build_plan, group_states
from imagesync_pipelines.sync.tally import SHOWN_ERRORS, Applied, ProgramFaultError
from imagesync_pipelines_tests.sync.fakes import (
    Crash,
    FakeDatabase,
    FakeQuarantine,
    Row,
    done,
    frame,
    lost_after,
    rejects,
    rows_of,
)
from imagesync_pipelines_tests.sync.test_reference_model import law, planned
from imagesync_pipelines_tests.sync.worlds import NEVER, World, worlds

WHOLE = Scope(None, Proof(1, True, ""))


def many(groups: int, rows: int = 2, fingerprint: str = "f") -> list[Row]:
    return [(f"g{g:03}/{r}", f"g{g:03}", r, fingerprint, None) for g in range(groups) for r in range(rows)]


def run(
    wanted: list[Row], current: list[Row], target: FakeDatabase, quarantine: FakeQuarantine | None = None, size: int = 6
) -> Applied:
    plan = build_plan(frame(*wanted), frame(*current), WHOLE)
    states = group_states(frame(*current))
    return apply_database(plan, target, quarantine or FakeQuarantine(), states=states, rows_per_batch=size)


def database(wanted: list[Row], current: list[Row], **options: object) -> FakeDatabase:
    return FakeDatabase(rows_of(frame(*current)), rows_of(frame(*wanted)), **options)  # type: ignore[arg-type]


def test_batches_are_whole_groups_up_to_the_size_and_a_larger_group_goes_alone() -> None:
    wanted = [*many(5), *[(f"h/{n}", "h", n, "f", None) for n in range(9)]]
    target = database(wanted, [])
    run(wanted, [], target)
    assert target.sizes == [6, 4, 9]


def test_everything_is_counted_and_progress_is_told_in_rows() -> None:
    current = [*many(2), ("h/1", "h", 1, "f", None)]
    wanted = [*many(2, fingerprint="f")[:3], ("g001/1", "g001", 1, "new", None), ("i/1", "i", 1, "f", None)]
    told: list[int] = []
    plan = build_plan(frame(*wanted), frame(*current), WHOLE, rejected=rejects(("page 1, reject 2", None, "broken")))
    target = database(wanted, current)
    applied = apply_database(
        plan, target, FakeQuarantine(), states=group_states(frame(*current)), rows_per_batch=2, on_progress=told.append
    )
    affected = frozenset({"g001", "h", "i"})
    assert applied == Applied(
        added=1, updated=1, removed=1, kept=3, rejected=1, affected=affected, gone=frozenset({"h/1"})
    )
    assert told == [2, 3]


@settings(max_examples=20)
@given(st.sets(st.integers(0, 19)))
def test_bad_groups_fail_alone_whatever_their_number_and_place(bad: set[int]) -> None:
    wanted = many(20)
    poison = {f"g{n:03}/1" for n in bad}
    target, quarantine = database(wanted, [], poison=poison), FakeQuarantine()
    applied = run(wanted, [], target, quarantine, size=12)
    assert target.rows == {row[0]: row for row in wanted if int(row[1][1:]) not in bad}
    assert applied.added == len(target.rows)
    assert (applied.failed, applied.refused, applied.unknown) == (2 * len(bad), 0, 0)
    assert set(quarantine.items) == {row[0] for row in wanted if int(row[1][1:]) in bad}


def test_a_failing_item_is_in_the_report_and_in_quarantine_and_is_tried_again_until_it_goes() -> None:
    wanted = many(3)
    target, quarantine = database(wanted, [], poison={"g001/1"}), FakeQuarantine()
    applied = run(wanted, [], target, quarantine)
    assert applied.errors[1] == "g001/1: failed: ValueError: value too long for g001/1"
    assert quarantine.items["g001/1"] == QuarantineItem(
        "g001/1", "g001", "apply", "ValueError: value too long for g001/1", None
    )
    again = build_plan(frame(*wanted), target.current(), WHOLE)
    assert list(again.loc[again["change"] != "keep", "key"]) == ["g001/0", "g001/1"]
    target.poison = ()
    assert run(wanted, list(target.rows.values()), target, quarantine).added == 2
    assert quarantine.items == {}


def test_an_item_that_was_put_right_just_before_a_crash_leaves_quarantine_the_next_night() -> None:
    wanted = many(1)
    quarantine = FakeQuarantine({"g000/0": QuarantineItem("g000/0", "g000", "apply", "too long", None)})
    run(wanted, wanted, database(wanted, wanted), quarantine)
    assert quarantine.items == {}


def test_a_row_that_was_rejected_again_stays_in_quarantine() -> None:
    current = many(1)
    item = QuarantineItem("g000/0", "g000", "record", "no file_id", None)
    quarantine = FakeQuarantine({"g000/0": item})
    plan = build_plan(frame(), frame(*current), WHOLE, rejected=rejects(("g000/0", "g000", "no file_id")))
    apply_database(plan, database([], current), quarantine)
    assert quarantine.items == {"g000/0": item}


def test_a_server_that_is_gone_is_raised_and_not_halved() -> None:
    class ServerGoneError(Exception):
        pass

    class Gone(FakeDatabase):
        def apply_batch(self, rows: object, digests: object) -> pd.DataFrame:
            self.sizes.append(0)
            raise ServerGoneError("terminating connection")

    target, quarantine = Gone({}, {}), FakeQuarantine()
    plan = build_plan(frame(*many(8)), frame(), WHOLE)
    with pytest.raises(ServerGoneError):
        apply_database(plan, target, quarantine, fatal=(ServerGoneError,))
    assert target.sizes == [0]
    assert quarantine.items == {}


def test_a_lock_that_is_lost_ends_the_run_at_the_next_batch_and_no_row_is_blamed() -> None:
    wanted = many(8)
    target, quarantine = FakeDatabase({}, rows_of(frame(*wanted))), FakeQuarantine()
    plan, told = build_plan(frame(*wanted), frame(), WHOLE), list[Applied]()
    with pytest.raises(LockLostError):
        apply_database(plan, target, quarantine, rows_per_batch=4, before_write=lost_after(2), broke=told.append)
    assert [(one.added, one.affected) for one in told] == [(8, {row[1] for row in target.rows.values()})]
    assert {key.partition("/")[0] for key in target.rows} == {f"g{number:03}" for number in range(4)}
    assert quarantine.items == {}


class TwoAtOnce(FakeDatabase):
    """Its calls meet in pairs, so that it only comes to an end when two writers are at work; writes one at a time."""

    def apply_batch(self, rows: pd.DataFrame, digests: Mapping[str, str] | None) -> pd.DataFrame:
        if rows["group"].nunique() > 1:  # the parts of a halved batch come one after the other
            self.meeting.wait(timeout=10)
        with self.lock:
            return super().apply_batch(rows, digests)

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.meeting, self.lock = threading.Barrier(2), threading.Lock()


def test_two_writers_apply_two_batches_at_the_same_time_and_reach_the_same() -> None:
    wanted = many(8)
    target, quarantine = TwoAtOnce({}, rows_of(frame(*wanted)), poison={"g002/1"}), FakeQuarantine()
    told: list[int] = []
    plan = build_plan(frame(*wanted), frame(), WHOLE)
    applied = apply_database(plan, target, quarantine, states={}, rows_per_batch=4, writers=2, on_progress=told.append)
    assert (applied.added, applied.failed) == (14, 2)
    assert target.rows == {row[0]: row for row in wanted if row[1] != "g002"}
    assert set(quarantine.items) == {"g002/0", "g002/1"}
    assert told == [4, 8, 12, 16]


def test_when_the_server_is_gone_batches_under_way_end_and_no_further_one_begins() -> None:
    class ServerGoneError(Exception):
        pass

    class HalfGone(TwoAtOnce):
        def apply_batch(self, rows: pd.DataFrame, digests: Mapping[str, str] | None) -> pd.DataFrame:
            if rows["group"].iloc[0] == "g000":
                self.meeting.wait(timeout=10)
                raise ServerGoneError("terminating connection")
            results = super().apply_batch(rows, digests)
            time.sleep(0.3)  # so that the other one has been heard of
            return results

    wanted = many(20)
    target = HalfGone({}, rows_of(frame(*wanted)))
    plan, told = build_plan(frame(*wanted), frame(), WHOLE), list[Applied]()
    options = {"rows_per_batch": 4, "writers": 2, "fatal": (ServerGoneError,), "broke": told.append}
    with pytest.raises(ServerGoneError):
        apply_database(plan, target, FakeQuarantine(), **options)  # type: ignore[arg-type]
    assert set(target.rows) == {"g002/0", "g002/1", "g003/0", "g003/1"}
    assert [one.added for one in told] == [4], "what was under way counts"


def test_a_group_that_moved_since_the_plan_is_refused_with_its_reason_and_the_others_go_on() -> None:
    current, wanted = many(3), many(3, fingerprint="new")
    target = database(wanted, [*current[:2], ("g001/0", "g001", 0, "by hand", None), *current[3:]])
    quarantine = FakeQuarantine()
    applied = run(wanted, current, target, quarantine)
    assert (applied.updated, applied.refused, applied.refused_in) == (4, 2, frozenset({"g001"}))
    assert applied.errors[0].startswith("g001/0: refused: it changed at the target since the plan was made")
    assert quarantine.items == {}
    assert target.rows["g001/0"][3] == "by hand"


def test_a_new_group_that_somebody_filled_since_the_plan_is_refused_too() -> None:
    wanted = many(1)
    target = database(wanted, [("g000/9", "g000", 9, "by hand", None)])
    assert run(wanted, [], target).refused == 2


@pytest.mark.parametrize("missing", [{}, {"g000": float("nan")}, {"g000": None}], ids=["not there", "NaN", "None"])
def test_a_group_without_a_planned_digest_had_no_rows(missing: dict[str, str]) -> None:
    (work,) = group_works(build_plan(frame(*many(1)), frame(), WHOLE), missing)
    assert work.state_before == group_state(())


def test_without_digests_nothing_is_compared() -> None:
    (work,) = group_works(build_plan(frame(*many(1)), frame(), WHOLE))
    assert work.state_before is None


def test_rows_come_by_position_then_key_as_plain_values() -> None:
    wanted = [("b", "g", 2, "f2", None), ("c", "g", 1, "f1", None), ("a", "g", None, "f3", None)]
    plan = build_plan(frame(*wanted), frame(("b", "g", 2, "f0", None)), WHOLE)
    (work,) = group_works(plan.sample(frac=1, random_state=1))
    assert work.rows == (
        PlanRow("c", None, "g", 1, Change.ADD, "new", None, "f1"),
        PlanRow("b", "b", "g", 2, Change.UPDATE, "changed", "f0", "f2"),
        PlanRow("a", None, "g", None, Change.ADD, "new", None, "f3"),
    )
    assert all(type(row.change) is Change and type(row.position) in (int, type(None)) for row in work.rows)


def test_a_row_that_the_target_does_not_speak_about_is_unknown_and_never_done() -> None:
    (work,) = group_works(build_plan(frame(*many(1)), frame(), WHOLE))
    told = answers([work], [*done(work)[:1], RowResult("stranger", "g000", Change.ADD, Outcome.DONE, "")])
    assert [(result.key, result.outcome) for result in told] == [("g000/0", "done"), ("g000/1", "unknown")]


def test_at_most_twenty_errors_are_told_and_the_number_is_exact() -> None:
    wanted = many(50)
    applied = run(wanted, [], database(wanted, [], poison={row[0] for row in wanted}))
    assert len(applied.errors) == SHOWN_ERRORS == 20
    assert (applied.failed, applied.refused, applied.unknown) == (100, 0, 0)


def test_planning_refused_groups_again_counts_every_row_once() -> None:
    lost, moved, bad = (
        RowResult(key, group, Change.ADD, outcome, "why")
        for key, group, outcome in (
            ("x", "a", Outcome.UNKNOWN),
            ("y", "b", Outcome.REFUSED),
            ("z", "b", Outcome.FAILED),
        )
    )
    first = Applied(
        added=2, kept=5, rejected=1, refused=2, unknown=1, affected=frozenset({"a"}), refused_in=frozenset({"b"}),
        undone=(lost, moved), gone=frozenset({"k"}),
    )  # fmt: skip
    both, here = frozenset({"a", "b"}), frozenset({"l"})
    second = Applied(added=1, kept=1, rejected=1, failed=1, affected=both, undone=(bad,), gone=here)
    assert first.plus(second) == Applied(
        added=3, kept=6, rejected=1, failed=1, unknown=1, affected=both, undone=(lost, bad), gone=frozenset({"k", "l"})
    )
    assert first.plus(first).errors == ("x: unknown: why", "x: unknown: why", "y: refused: why")


def test_rows_kept_in_a_refused_group_are_not_counted_so_that_planning_again_can() -> None:
    current = many(2)
    wanted = [*current[:3], ("g001/1", "g001", 1, "new", None)]
    target = database(wanted, [*current[:3], ("g001/1", "g001", 1, "by hand", None)])
    applied = run(wanted, current, target)
    assert (applied.kept, applied.refused) == (2, 1)


@settings(max_examples=15)
@given(worlds(deletion_limits=NEVER), st.data())
def test_a_crash_at_any_effect_and_a_second_run_reach_the_state_of_an_uninterrupted_one(
    world: World, data: st.DataObject
) -> None:
    crash_and_run_again(world, data)


@pytest.mark.slow
@given(worlds(deletion_limits=NEVER), st.data())
def test_a_crash_at_any_effect_of_many_worlds_and_a_second_run_reach_the_state_of_an_uninterrupted_one(
    world: World, data: st.DataObject
) -> None:
    crash_and_run_again(world, data)


def crash_and_run_again(world: World, data: st.DataObject) -> None:
    target = FakeDatabase(rows_of(world.current), rows_of(world.wanted))
    states = group_states(world.current)
    counting = FakeDatabase(dict(target.rows), target.wanted)
    apply_database(planned(world).plan, counting, FakeQuarantine(), states=states, rows_per_batch=2)
    target.crash = Crash(data.draw(st.integers(0, counting.crash.seen), label="killed at"))
    try:
        apply_database(planned(world).plan, target, FakeQuarantine(), states=states, rows_per_batch=2)
    except KeyboardInterrupt:
        plan = planned(world, target.current()).plan
        target.crash = Crash()
        apply_database(plan, target, FakeQuarantine(), states=group_states(target.current()), rows_per_batch=2)
    assert target.rows == counting.rows == rows_of(law(world))


def test_a_plan_of_nothing_calls_nobody() -> None:
    target = database([], [])
    assert apply_database(build_plan(frame(), frame(), WHOLE), target, FakeQuarantine()) == Applied()
    assert target.sizes == []


def test_a_stored_plan_with_string_changes_is_applied_like_a_fresh_one() -> None:
    plan = build_plan(frame(*many(2)), frame(), WHOLE)
    stored = plan.assign(change=pd.Categorical(plan["change"]))
    target = database(many(2), [])
    assert apply_database(stored, target, FakeQuarantine()).added == 4


def test_ten_groups_in_a_row_with_the_same_error_that_nobody_expects_end_the_run_when_none_was_written() -> None:
    plan, quarantine, told = build_plan(frame(*many(30)), frame(), WHOLE), FakeQuarantine(), list[Applied]()
    with pytest.raises(ProgramFaultError, match=r"10 in a row failed by the same error .*g009/1 \(KeyError: 'sku'\)"):
        apply_database(plan, stumbling(30, 30), quarantine, rows_per_batch=2, broke=told.append)
    assert len(quarantine.items) == 20
    assert told[0].failed == 20


@pytest.mark.parametrize("good", [0, 9, 29])
def test_an_error_that_nobody_expects_ends_no_run_that_wrote_anything(good: int) -> None:
    applied = apply_database(build_plan(frame(*many(30)), frame(), WHOLE), stumbling(30, good), FakeQuarantine())
    assert (applied.added, applied.failed) == (2, 58)


def test_errors_of_several_kinds_or_of_values_are_of_their_items_however_many() -> None:
    kinds = (KeyError, TypeError, ValueError)
    for some in (kinds, kinds[2:]):
        plan = build_plan(frame(*many(30)), frame(), WHOLE)
        assert apply_database(plan, stumbling(30, 30, *some), FakeQuarantine()).failed == 60


def stumbling(number: int, good: int, *kinds: type[Exception]) -> FakeDatabase:
    """A database into which only the group with this number can be written; kinds: what is raised, in turn."""
    raised = kinds or (KeyError,)

    class Stumbling(FakeDatabase):
        def apply_batch(self, rows: pd.DataFrame, digests: Mapping[str, str] | None) -> pd.DataFrame:
            bad = [int(group[1:]) for group in rows["group"].unique() if group != f"g{good:03}"]
            if bad:
                raise raised[bad[0] % len(raised)]("sku")
            return super().apply_batch(rows, digests)

    return Stumbling({}, rows_of(frame(*many(number))))
