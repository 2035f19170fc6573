"""What a check looks at, which hand-overs are forgotten, and which stored plan a run carries out."""

from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from pydantic_settings import BaseSettings
from upath import UPath

from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.errors import HandOverMissingError, NoPlanOfThisRunError
from imagesync_pipelines.storage.handovers import KEPT_RUNS
from imagesync_pipelines.storage.installation import Installation, Locations
from imagesync_pipelines.storage.plans import CLEAN_UP, Lineage
from imagesync_pipelines.storage.schema import handover
from imagesync_pipelines.sync.frames import PLAN_COLUMNS
from imagesync_pipelines.sync.guard import RULING
from imagesync_pipelines.sync.model import PlanCost
from imagesync_pipelines.sync.planned import Planned, store_plan
from imagesync_pipelines.sync.steps import RunContext

NOTHING = Planned(
    pd.DataFrame(columns=[*PLAN_COLUMNS, RULING]), pd.DataFrame(columns=["key", "reason"]), PlanCost(0, 0, 0)
)


class Counted(BaseModel):
    """A hand-over for these tests."""

    number: int


@pytest.fixture
def installation(database: sa.Engine, tmp_path: Path) -> Installation:
    return Installation(Settings(), Locations(tmp_path, tmp_path, UPath(tmp_path), "", "", {}), database)


def at(installation: Installation, run_id: str, *ancestors: str, account: str = "main") -> RunContext[BaseSettings]:
    return RunContext("plytix", account, Lineage(run_id, ancestors), installation, Settings())


def test_a_check_that_runs_by_itself_looks_at_the_newest_and_says_when_there_is_none(
    installation: Installation,
) -> None:
    with pytest.raises(HandOverMissingError, match="plytix/read has not been materialised for main yet"):
        at(installation, "look").look_at("read", Counted)
    at(installation, "old").keep("read", Counted(number=1))
    at(installation, "new").keep("read", Counted(number=2))
    assert at(installation, "look").look_at("read", Counted) == Counted(number=2)
    assert at(installation, "old").look_at("read", Counted) == Counted(number=1)


def test_what_is_missing_is_said_with_the_step_and_the_job_to_run(installation: Installation) -> None:
    context = at(installation, "run")
    with pytest.raises(HandOverMissingError, match=r"plytix/listings for main.*plytix__sync") as told:
        context.need("listings", Counted)
    assert told.value.retryable is False
    context.keep("listings", Counted(number=1))
    with installation.engine.begin() as connection:
        connection.execute(handover.update().values(value={"count": "one"}))
    with pytest.raises(HandOverMissingError):
        context.need("listings", Counted)


def test_storing_a_plan_forgets_the_hand_overs_of_old_runs_but_not_of_those_whose_plan_is_kept(
    installation: Installation,
) -> None:
    planned = at(installation, "planned")
    planned.keep("read", Counted(number=0))
    store_plan(planned, NOTHING)
    for number in range(KEPT_RUNS + 5):
        at(installation, f"run-{number}").keep("read", Counted(number=number))
    store_plan(at(installation, "last"), NOTHING)
    assert at(installation, "run-0").find("read", Counted) is None
    assert at(installation, "run-24").find("read", Counted) == Counted(number=24)
    assert planned.find("read", Counted) == Counted(number=0)


@pytest.mark.parametrize(("made", "why"), [({"dry_run": True}, "a dry run"), ({"made_for": CLEAN_UP}, "a clean-up")])
def test_a_plan_that_somebody_only_looks_at_is_carried_out_by_its_number_alone(
    installation: Installation, made: dict[str, object], why: str
) -> None:
    context = at(installation, "run")
    number = store_plan(context, NOTHING, **made)  # type: ignore[arg-type]
    with pytest.raises(NoPlanOfThisRunError, match=f"Plan {number} was made for {why}"):
        context.plan_to_apply(None)
    assert context.plan_to_apply(number).id == number
