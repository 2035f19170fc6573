"""A stored plan comes back as it was saved, and is found only when it is whole."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.storage.errors import PlanMissingError
from imagesync_pipelines.storage.plans import Lineage, NewPlan, Plans

ROWS = pd.DataFrame(
    {
        "key": pd.Series(["1/10", "1/11", "2/10"], dtype="str"),
        "key_before": pd.Series([pd.NA, "1/9", pd.NA], dtype="str"),
        "position": pd.Series([1, pd.NA, 2**40], dtype="Int64"),
        "change": pd.Series(["add", "update", "remove"], dtype="str"),
    }
)
PAYLOAD = pd.DataFrame({"key": ["1/10"], "metadata": ['{"größe": 1}'], "width": pd.Series([None], dtype="Int64")})


def _new(connector: str = "image_db") -> NewPlan:
    return NewPlan(
        connector, "run-1", {"groups": None}, {"add": 1, "update": 1}, {"calls": 0, "minutes": 0.5}, scan_id=3
    )


@pytest.fixture(params=["folder", "memory"])
def plans(request: pytest.FixtureRequest, database: sa.Engine, tmp_path: Path) -> Plans:
    """Stored plans, in a folder and in another kind of store."""
    root = UPath(tmp_path / "storage") if request.param == "folder" else UPath(f"memory://{tmp_path.name}")
    return Plans(database, root)


def test_a_plan_comes_back_as_it_was_saved(plans: Plans) -> None:
    plan = plans.save(ROWS, [PAYLOAD], _new())
    pd.testing.assert_frame_equal(plans.load(plan), ROWS)
    pd.testing.assert_frame_equal(plans.need_payload(plan), PAYLOAD)
    header = plans.header(plan)
    assert (header.connector, header.run_id, header.scan_id, header.applied_at) == ("image_db", "run-1", 3, None)
    assert (header.scope, header.counts, header.cost) == (_new().scope, _new().counts, _new().cost)


def test_a_plan_without_rows_or_payload_is_a_plan(plans: Plans) -> None:
    plan = plans.save(ROWS.iloc[:0], None, _new())
    pd.testing.assert_frame_equal(plans.load(plan), ROWS.iloc[:0])


def test_a_payload_comes_back_in_the_portions_in_which_it_was_saved(plans: Plans) -> None:
    plan = plans.save(ROWS, (PAYLOAD.assign(key=[key]) for key in ("1/10", "1/11")), _new())
    portions = plans.payload_portions(plan)
    assert [list(portion["key"]) for portion in portions] == [["1/10"], ["1/11"]]
    assert list(plans.need_payload(plan)["key"]) == ["1/10", "1/11"]
    with pytest.raises(PlanMissingError, match="was stored without what applying needs; plan again"):
        plans.payload_portions(plans.save(ROWS, None, _new()))


def test_no_portion_of_a_damaged_payload_is_given(plans: Plans) -> None:
    plan = plans.save(ROWS, [PAYLOAD, PAYLOAD], _new())
    file = plans.root / plans.header(plan).path / "payload.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(PlanMissingError, match=f"plan {plan} is damaged.*plan again"):
        plans.payload_portions(plan)


def test_the_latest_plan_is_the_connectors_own(plans: Plans) -> None:
    assert plans.newest(1, "image_db") == []
    plans.save(ROWS, None, _new())
    newest = plans.save(ROWS, None, _new())
    plans.save(ROWS, None, _new("plytix"))
    assert plans.newest(1, "image_db") == [plans.header(newest)]
    assert [header.id for header in plans.all("image_db")] == [newest, newest - 1]


def test_a_plan_that_is_asked_for_is_of_that_part_of_the_connector_and_never_anothers(plans: Plans) -> None:
    quiet, busy, plytix = (
        plans.save(ROWS, None, replace(_new(connector), scope={"store": store}))
        for connector, store in (("edge", "quiet"), ("edge", "busy"), ("plytix", "busy"))
    )
    run = Lineage("a run without a plan")
    assert plans.to_apply("edge", run, busy, {"store": "busy"}).id == busy
    assert plans.to_apply("edge", run, quiet).id == quiet
    for other in (quiet, plytix):
        with pytest.raises(PlanMissingError, match=f"Plan {other} is none of edge/busy"):
            plans.to_apply("edge", run, other, {"store": "busy"})
    with pytest.raises(PlanMissingError, match="no plan 999"):
        plans.to_apply("edge", run, 999)


def test_a_plan_without_what_applying_needs_is_not_applied(plans: Plans) -> None:
    whole, bare = plans.save(ROWS, [PAYLOAD], _new()), plans.save(ROWS, None, _new())
    pd.testing.assert_frame_equal(plans.need_payload(whole), PAYLOAD)
    with pytest.raises(PlanMissingError, match=f"plan {bare} .*plan again"):
        plans.need_payload(bare)


def test_an_applied_plan_says_so(plans: Plans) -> None:
    plan = plans.save(ROWS, None, _new())
    plans.mark_applied(plan, "run-2")
    assert plans.header(plan).applied_run == "run-2"
    assert plans.header(plan).applied_at >= plans.header(plan).created_at


def test_pruning_keeps_the_newest_plans_of_the_connector_with_their_files(plans: Plans) -> None:
    ids = [plans.save(ROWS, [PAYLOAD], _new()) for _ in range(4)]
    other = plans.save(ROWS, None, _new("plytix"))
    assert plans.prune("image_db", keep=2) == 2
    assert plans.prune("image_db", keep=2) == 0
    for gone in ids[:2]:
        with pytest.raises(PlanMissingError, match=f"no plan {gone}"):
            plans.load(gone)
    for kept in (*ids[2:], other):
        assert len(plans.load(kept)) == 3
    assert len(list(plans.root.glob("plans/image_db/*/*"))) == 4


def test_a_busy_store_does_not_push_out_the_plans_of_another(plans: Plans) -> None:
    quiet = plans.save(ROWS, [PAYLOAD], replace(_new("edge"), scope={"store": "quiet", "groups": None}))
    busy = [plans.save(ROWS, [PAYLOAD], replace(_new("edge"), scope={"store": "busy"})) for _ in range(4)]
    assert plans.prune("edge", 2, {"store": "busy"}) == 2
    assert plans.prune("edge", 2, {"store": "quiet"}) == 0
    assert [header.id for header in plans.all("edge")] == [busy[3], busy[2], quiet]
    assert [header.id for header in plans.all("edge", {"store": "quiet"})] == [quiet]
    pd.testing.assert_frame_equal(plans.load(quiet), ROWS)
    pd.testing.assert_frame_equal(plans.need_payload(quiet), PAYLOAD)
    assert {place.name for place in (plans.root / "plans/edge").iterdir()} == {str(one) for one in (quiet, *busy[2:])}


@pytest.mark.parametrize("damage", ["cut short", "one byte changed", "emptied"])
def test_a_damaged_plan_is_never_applied(plans: Plans, damage: str) -> None:
    plan = plans.save(pd.concat([ROWS] * 1000), None, _new())
    file = plans.root / plans.header(plan).path / "rows.parquet"
    body = bytearray(file.read_bytes())
    if damage == "one byte changed":
        body[200] ^= 0xFF
    file.write_bytes(bytes(body[: {"cut short": -10, "emptied": 0}.get(damage, len(body))]))
    with pytest.raises(PlanMissingError, match=f"plan {plan} is damaged.*plan again"):
        plans.load(plan)


def test_a_plan_that_is_gone_is_said_so(plans: Plans) -> None:
    plan = plans.save(ROWS, None, _new())
    (plans.root / plans.header(plan).path / "rows.parquet").unlink()
    with pytest.raises(PlanMissingError, match="plan again"):
        plans.load(plan)
    with pytest.raises(PlanMissingError, match="no plan 999"):
        plans.mark_applied(999, "run")


def test_an_application_that_began_and_did_not_end_can_be_told_from_one_that_never_began(plans: Plans) -> None:
    plan = plans.save(ROWS, None, _new())
    assert (plans.header(plan).applied_at, plans.header(plan).applied_run) == (None, None)
    plans.mark_begun(plan, "run-2")
    assert (plans.header(plan).applied_at, plans.header(plan).applied_run) == (None, None)
    assert plans.header(plan).begun_run == "run-2"
    plans.mark_applied(plan, "run-2")
    applied_at = plans.header(plan).applied_at
    plans.mark_begun(plan, "run-3")
    header = plans.header(plan)
    assert (header.applied_at, header.applied_run, header.begun_run) == (applied_at, "run-2", "run-3")
    assert applied_at is not None, "that it was applied before is not forgotten"
    with pytest.raises(PlanMissingError):
        plans.mark_begun(999, "run-2")
