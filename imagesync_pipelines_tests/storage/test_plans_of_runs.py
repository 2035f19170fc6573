"""Which plan a run applies: that of its lineage, or the one that is named, no other."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.defs.work import is_permanent
from imagesync_pipelines.storage.errors import NoPlanOfThisRunError, PlanMissingError
from imagesync_pipelines.storage.plans import CLEAN_UP, DRY_RUN, ONLY_NAMED, PIECE, Lineage, NewPlan, Plans

ROWS = pd.DataFrame({"key": pd.Series(["1/10"], dtype="str")})
PART = {"account": "harbour"}


@pytest.fixture
def plans(database: sa.Engine, tmp_path: Path) -> Plans:
    return Plans(database, UPath(tmp_path))


def save(plans: Plans, run_id: str, **scope: Any) -> int:
    """A stored plan of the harbour's."""
    return plans.save(ROWS, None, NewPlan("edge", run_id, {**PART, **scope}, {}, {}, None))


def chosen(plans: Plans, run_id: str, *ancestors: str, plan_id: int | None = None) -> int:
    """The plan that a run applies."""
    return plans.to_apply("edge", Lineage(run_id, ancestors), plan_id, PART).id


def test_a_run_applies_its_own_plan_or_its_parents_or_its_roots_and_never_a_strangers(plans: Plans) -> None:
    root, parent, mine = (save(plans, run) for run in ("root", "parent", "mine"))
    stranger = save(plans, "stranger")
    plans.save(ROWS, None, NewPlan("edge", "again", {"account": "quiet"}, {}, {}, None))
    assert chosen(plans, "mine", "parent", "root") == mine
    assert chosen(plans, "again", "parent", "root") == parent
    assert chosen(plans, "again", "gone", "root") == root
    assert chosen(plans, "again", "parent", plan_id=stranger) == stranger
    with pytest.raises(NoPlanOfThisRunError) as refused:
        chosen(plans, "again", "gone")
    for told in ("Start the job edge__sync", "`imagesync apply N`", f"edge/harbour is plan {stranger}", "nothing was"):
        assert told in str(refused.value)
    assert isinstance(refused.value, PlanMissingError)
    assert is_permanent(refused.value), "another attempt of the step finds no plan either"


def test_without_any_plan_people_are_told_what_to_start(plans: Plans) -> None:
    with pytest.raises(NoPlanOfThisRunError, match=r"Start the job edge__sync, which plans first\.$"):
        chosen(plans, "mine")


def test_of_two_plans_of_one_run_the_newer_counts(plans: Plans) -> None:
    save(plans, "mine")
    newer = save(plans, "mine")
    assert chosen(plans, "mine") == newer


@pytest.mark.parametrize("why", [DRY_RUN, CLEAN_UP])
def test_a_plan_to_look_at_is_carried_out_only_by_its_number(plans: Plans, why: str) -> None:
    save(plans, "root")
    looked_at = save(plans, "mine", **{ONLY_NAMED: why})
    for lineage in (["mine"], ["again", "mine"], ["again", "mine", "root"]):
        with pytest.raises(
            NoPlanOfThisRunError, match=rf"made for {why}.*`imagesync apply {looked_at}`.*Nothing was changed"
        ):
            chosen(plans, *lineage)
    assert chosen(plans, "again", "mine", plan_id=looked_at) == looked_at


def test_a_piece_that_was_planned_again_is_never_taken_for_the_runs_plan(plans: Plans) -> None:
    whole = save(plans, "mine")
    piece = save(plans, "mine", **{PIECE: True})
    assert chosen(plans, "again", "mine") == whole
    assert chosen(plans, "again", plan_id=piece) == piece


def test_a_check_looks_at_its_lineages_plan_and_by_itself_at_the_newest(plans: Plans) -> None:
    assert plans.to_look_at("edge", Lineage("mine")) is None
    mine, newest = save(plans, "mine"), save(plans, "stranger")
    looked_at = [plans.to_look_at("edge", Lineage(*runs)) for runs in (("again", ("mine",)), ("check",))]
    assert [header.id for header in looked_at if header is not None] == [mine, newest]
