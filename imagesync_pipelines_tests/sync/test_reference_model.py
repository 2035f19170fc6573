"""The law: applying a guarded plan gives target_state, planning again gives only keep, the order of rows is nothing."""

from dataclasses import replace
from random import Random

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from imagesync_pipelines.sync.apply import apply_database
from imagesync_pipelines.sync.frames import in_scope
from imagesync_pipelines.sync.guard import Guarded, guard
from imagesync_pipelines.sync.model import Change, DeletionLimits
from imagesync_pipelines.sync.plan import build_plan, group_states
from imagesync_pipelines.sync.tally import Applied
from imagesync_pipelines_tests.sync.fakes import FakeDatabase, FakeQuarantine, rows_of
from imagesync_pipelines_tests.sync.reference_model import target_state
from imagesync_pipelines_tests.sync.worlds import World, worlds


def planned(world: World, current: pd.DataFrame | None = None, *, force: bool = False) -> Guarded:
    there = world.current if current is None else current
    plan = build_plan(
        world.wanted, there, world.scope, rejected=world.rejected, match_position=world.match_position, force=force
    )
    return guard(plan, world.scope, world.limits)


def law(world: World) -> pd.DataFrame:
    return target_state(
        world.wanted,
        world.current,
        world.scope,
        world.deletion_limits,
        rejected=world.rejected,
        match_position=world.match_position,
        marks=world.marks,
        excluded=world.excluded,
    )


def applied(world: World, guarded: Guarded) -> tuple[FakeDatabase, Applied]:
    target = FakeDatabase(rows_of(world.current), rows_of(world.wanted))
    states = group_states(world.current)
    return target, apply_database(guarded.plan, target, FakeQuarantine(), states=states, rows_per_batch=3)


@settings(max_examples=15)
@given(worlds(), st.booleans())
def test_applying_a_guarded_plan_gives_the_state_of_the_law(world: World, force: bool) -> None:
    assert_lawful(world, force=force)


@pytest.mark.slow
@given(worlds(), st.booleans())
def test_applying_guarded_plans_of_many_worlds_gives_the_state_of_the_law(world: World, force: bool) -> None:
    assert_lawful(world, force=force)


def assert_lawful(world: World, *, force: bool) -> None:
    target, result = applied(world, planned(world, force=force))
    assert result.errors == ()
    want = rows_of(law(world))
    # The content of a row that is not written stays as it was, so a forced write may bring the wanted one.
    assert {key: row[:4] for key, row in target.rows.items()} == {key: row[:4] for key, row in want.items()}
    assert force or target.rows == want


@settings(max_examples=15)
@given(worlds())
def test_planning_again_gives_only_keep_and_holds_back_what_was_held_back(world: World) -> None:
    assert_planning_again_keeps(world)


@pytest.mark.slow
@given(worlds())
def test_planning_again_in_many_worlds_gives_only_keep_and_holds_back_what_was_held_back(world: World) -> None:
    assert_planning_again_keeps(world)


def assert_planning_again_keeps(world: World) -> None:
    first = planned(world)
    target, _ = applied(world, first)
    again = planned(world, target.current())
    assert set(again.plan["change"]) <= {Change.KEEP, Change.REJECT}
    assert set(again.held["key"]) == set(first.held["key"])


@settings(max_examples=25)
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(world: World, random: Random) -> None:
    wanted, current, rejected = (
        table.sample(frac=1, random_state=random.randrange(2**31))
        for table in (world.wanted, world.current, world.rejected)
    )
    shuffled = replace(world, wanted=wanted, current=current, rejected=rejected)
    one, other = planned(world), planned(shuffled)
    assert_frame_equal(one.plan, other.plan)
    assert_frame_equal(one.held, other.held)


@settings(max_examples=25)
@given(worlds())
def test_the_engine_never_changes_its_input(world: World) -> None:
    before = [table.copy(deep=True) for table in (world.wanted, world.current, world.rejected)]
    guarded = planned(world)
    plan = guarded.plan.copy(deep=True)
    applied(world, guarded)
    for table, copy in zip((world.wanted, world.current, world.rejected, guarded.plan), (*before, plan), strict=True):
        assert_frame_equal(table, copy)


@settings(max_examples=25)
@given(worlds())
def test_without_proof_or_the_sources_word_nothing_goes_rename_included(world: World) -> None:
    proven = world.scope.proof is not None and world.scope.proof.complete
    plan = planned(world).plan
    writes = plan[plan["change"].isin([Change.REMOVE, Change.UPDATE])]
    gone = set(writes["key_before"]) - set(world.wanted["key"])
    assert proven or gone <= world.scope.absent


@settings(max_examples=25)
@given(worlds())
def test_nothing_outside_the_scope_is_planned(world: World) -> None:
    plan = planned(world).plan
    grouped = plan[plan["group"].notna()]
    assert in_scope(grouped["group"], world.scope).all()


@settings(max_examples=25)
@given(worlds())
def test_a_rejected_key_is_neither_written_nor_removed(world: World) -> None:
    assume(not world.rejected.empty)
    target, _ = applied(world, planned(world))
    for key in world.rejected["key"]:
        assert target.rows.get(key) == rows_of(world.current).get(key)


@settings(max_examples=25)
@given(worlds())
def test_every_wanted_row_and_every_row_in_scope_is_in_the_plan_exactly_once(world: World) -> None:
    plan = planned(world).plan
    rows = plan[plan["change"] != Change.REJECT]
    assert rows["key"].is_unique
    here = world.current.loc[in_scope(world.current["group"], world.scope), "key"]
    assert sorted(rows["key_before"].dropna()) == sorted(here)
    assert set(world.wanted["key"]) - set(world.rejected["key"]) <= set(rows["key"])


@settings(max_examples=25)
@given(worlds())
def test_a_lifted_deletion_limits_lets_everything_go_that_is_proven(world: World) -> None:
    lifted = replace(world, deletion_limits=DeletionLimits(0.0, 0, 0, 0, lifted=True))
    guarded = planned(lifted)
    assert guarded.held.empty
    proven = world.scope.proof is not None and world.scope.proof.complete
    stays = guarded.plan[guarded.plan["ruling"] == "unproven"]
    assert stays.empty or not (proven or set(stays["key"]) & world.scope.absent)
