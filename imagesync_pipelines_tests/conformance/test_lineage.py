"""Whose plan a run carries out: its own or that of the run that it re-executes, never a stranger's."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import build_reconstructable_job

from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.defs.history import history
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines_tests.conformance.subject import Subject
from imagesync_pipelines_tests.faults.commands import command
from imagesync_pipelines_tests.installations import QUIET

pytestmark = pytest.mark.slow

# More than two removals at once are held back.
TIGHT = {
    "IMAGESYNC_DELETION_LIMIT_SHARE": "0.1",
    "IMAGESYNC_DELETION_LIMIT_COUNT": "2",
    "IMAGESYNC_DELETION_LIMIT_BARE": "1",
    "IMAGESYNC_DELETION_LIMIT_FLOOR": "1",
}


def job_named(name: str) -> dg.JobDefinition:
    """A job of the code location, as Dagster's daemon finds it."""
    return build_definitions().resolve_job_def(name)


def executed_again(
    instance: dg.DagsterInstance, run_id: str, *, from_failure: bool = False, step: str = ""
) -> dg.DagsterRunStatus:
    """A run executed again, whole, from where it failed or one step, as the UI does it; gives how it ended."""
    before = instance.get_run_by_id(run_id)
    assert before is not None
    job = build_reconstructable_job(__name__, "job_named", (before.job_name,))
    options = (
        dg.ReexecutionOptions.from_failure(run_id, instance)
        if from_failure
        else dg.ReexecutionOptions(run_id, [step] if step else ())
    )
    partitions = {tag: value for tag, value in before.tags.items() if "partition" in tag}
    with dg.execute_job(
        job, instance=instance, reexecution_options=options, run_config=before.run_config, tags=partitions
    ) as done:
        run = instance.get_run_by_id(done.run_id)
        assert run is not None
        assert run.parent_run_id == run_id
        return run.status


def test_a_killed_run_executed_again_carries_out_its_own_plan_and_not_the_dry_run_of_somebody_else(
    subject: Subject, site: Any, tmp_path: Path
) -> None:
    site.sync(**subject.whole)
    site.environment.update(TIGHT)
    site.change()
    site.lose()
    words = (*subject.command(site), *(["--full"] if subject.whole else []))
    with subject.planned(site) as reached, command(tmp_path, site.environment, *words) as run:
        run.wait_until(reached)
        run.kill()
    look = site.sync(**subject.whole, dry_run=True, allow_mass_delete=True)
    assert look.plan is not None
    assert look.plan.counts["remove"] > 2
    with site.opened() as (installation, instance):
        killed = history(instance, 2)[1]
        assert killed.status == "failed"
        assert executed_again(instance, killed.run_id, from_failure=True) is dg.DagsterRunStatus.SUCCESS
        (again, *_) = history(instance, 1)
        stored = {
            header.run_id: header for header in Plans(installation.engine, installation.storage).all(subject.name)
        }
        # A re-execution of the re-execution: its parent made no plan, its root did.
        step = f"{subject.name}__{subject.applies}"
        assert executed_again(instance, again.run_id, step=step) is dg.DagsterRunStatus.SUCCESS
        (third, *_) = history(instance, 1)
        assert Plans(installation.engine, installation.storage).header(look.plan.id).applied_run is None
        assert (
            Plans(installation.engine, installation.storage).header(stored[killed.run_id].id).applied_run
            == third.run_id
        )
    assert stored[killed.run_id].scope["held_back"] > 2
    assert stored[killed.run_id].applied_run == again.run_id
    assert not again.deleted, "what was held back stays"
    assert not third.deleted
    assert stored[look.run_id].applied_run is None
    site.assert_sound()


def test_a_dry_run_executed_again_is_not_carried_out(subject: Subject, site: Any) -> None:
    held = site.held()
    look = site.sync(**subject.whole, dry_run=True)
    assert look.plan is not None
    with site.opened() as (installation, instance):
        executed_again(instance, look.run_id)
        stored = Plans(installation.engine, installation.storage).all(subject.name)
        assert len(stored) == 2
        assert [header.applied_run for header in stored] == [None, None]
    assert site.held() == held


def test_the_last_assets_alone_refuse_and_name_the_command_that_applies_the_newest_plan(
    subject: Subject, site: Any
) -> None:
    site.sync(**subject.whole)
    site.environment.update(TIGHT)
    site.lose()
    held, stamps = site.held(), site.stamps()
    look = site.sync(**subject.whole, dry_run=True, allow_mass_delete=True)
    assert look.plan is not None
    assert look.plan.counts["remove"] > 2
    whole = build_definitions().resolve_implicit_global_asset_job_def()
    with site.opened() as (installation, instance):
        for asset in subject.after_plan:
            alone = whole.execute_in_process(
                instance=instance,
                run_config=dict(QUIET),
                asset_selection=[dg.AssetKey([subject.name, asset])],
                partition_key=subject.account or None,
                raise_on_error=False,
            )
            (failure,) = [event for event in alone.all_events if event.is_step_failure]
            user = failure.step_failure_data.user_failure_data
            assert user is not None
            told = str(user.description)
            assert f"Start the job {subject.name}__sync" in told
            assert "`imagesync apply N`" in told
            assert f"{subject.owner} is plan {look.plan.id}" in told
        assert Plans(installation.engine, installation.storage).header(look.plan.id).applied_run is None
    assert site.held() == held
    assert site.stamps() == stamps
    with site.entered():
        done = runs.apply_plan(look.plan.id)
    assert done.summary["images_deleted"] == look.plan.counts["remove"]
    site.assert_right()
