"""What Dagster gets of a declaration: assets, jobs, checks and schedules that do what the connector says."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from imagesync_pipelines.defs import assets, work
from imagesync_pipelines.defs.resources import InstallationResource, settings_resource
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import Locations
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines.sync.connector import Check, Connector
from imagesync_pipelines.sync.steps import CheckResult, RunContext, silent
from imagesync_pipelines_tests.defs.toy import TOY, ReadOptions, ToySettings, WriteOptions

KEY = "s3cr3t-of-the-toy"


def definitions(toy: Connector = TOY) -> dg.Definitions:
    return dg.Definitions(
        assets=assets.build_assets(toy),
        asset_checks=assets.build_checks(toy),
        jobs=assets.build_jobs(TOY),
        schedules=[assets.build_schedule(TOY, schedule, Settings()) for schedule in TOY.schedules],
        resources={
            "installation": InstallationResource(),
            "toy": settings_resource(TOY),
            "progress": dg.ResourceDefinition.hardcoded_resource(silent),
        },
        executor=dg.in_process_executor,
    )


@pytest.fixture
def instance(locations: Locations, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    for name, value in locations.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TOY_KEY", KEY)
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def run(
    instance: dg.DagsterInstance, request: job_runs.JobRun, toy: Connector = TOY, **more: Any
) -> dg.ExecuteInProcessResult:
    job = definitions(toy).resolve_job_def(request.job)
    return job.execute_in_process(
        run_config=dict(request.run_config), tags=dict(request.tags), instance=instance, raise_on_error=False, **more
    )


def metadata_of(result: dg.ExecuteInProcessResult, step: str) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(step)
    return {name: value.value for name, value in event.metadata.items()}


def test_every_step_is_an_asset_that_says_what_the_connector_says(instance: dg.DagsterInstance) -> None:
    graph = definitions().resolve_asset_graph()
    reading = graph.get(dg.AssetKey(["toy", "reading"]))
    assert reading.description == "Reads."
    assert reading.group_name == "toy"
    assert reading.parent_keys == {dg.AssetKey(["toy", "outside"])}
    assert {key.name for key in reading.check_keys} == {"something_was_read", "not_too_much_was_read"}
    assert reading.freshness_policy == dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26))
    reference = reading.metadata["dagster/code_references"].code_references[0]
    assert Path(reference.file_path).name == "toy.py"
    assert "def read(" in Path(reference.file_path).read_text().splitlines()[reference.line_number - 1]


def test_a_run_does_its_steps_in_order_and_shows_what_they_tell(instance: dg.DagsterInstance) -> None:
    result = run(instance, job_runs.run_of(TOY, "", {"limit": 5, "allow_mass_delete": True}))
    assert result.success
    assert metadata_of(result, "toy__reading") == {"said": "5 pages.", "pages/read": 5, "dagster/row_count": 5}
    told = metadata_of(result, "toy__writing")
    assert (told["images/added"], told["lifted"], told["dagster/row_count"]) == (5, True, 5)
    assert {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()} == {
        "something_was_read": True,
        "not_too_much_was_read": True,
        "nothing_is_held_back": True,
    }


def test_a_check_that_is_false_only_warns_unless_it_is_severe(instance: dg.DagsterInstance) -> None:
    result = run(instance, job_runs.run_of(TOY, "", {"limit": 60}))
    assert result.success
    found = {one.check_name: (one.passed, one.severity) for one in result.get_asset_check_evaluations()}
    assert found["not_too_much_was_read"] == (False, dg.AssetCheckSeverity.WARN)


def test_a_look_that_breaks_hides_no_other_of_its_step(instance: dg.DagsterInstance) -> None:
    def breaks(context: RunContext[ToySettings]) -> CheckResult:
        """It can be looked at."""
        raise ValueError("there is nothing to look at")

    broken = replace(TOY, checks=(Check.of("reading", breaks), *TOY.checks))
    result = run(instance, job_runs.run_of(TOY, "", {"limit": 5}), broken)
    assert not result.success
    assert {one.check_name for one in result.get_asset_check_evaluations()} >= {
        "something_was_read", "not_too_much_was_read", "nothing_is_held_back",
    }  # fmt: skip
    assert "breaks" not in {one.check_name for one in result.get_asset_check_evaluations()}
    assert result.asset_materializations_for_node("toy__writing"), "it blocks nothing"


def test_the_earlier_name_of_an_option_is_accepted_in_run_config() -> None:
    schema = work.config_of(WriteOptions).to_config_schema()
    assert set(schema.config_type.fields) == {"allow_mass_delete", "lift_brake", "plan_id"}  # type: ignore[attr-defined]
    assert work.options_from(WriteOptions, {"lift_brake": True}) == WriteOptions(allow_mass_delete=True)
    assert work.options_from(WriteOptions, {"allow_mass_delete": True, "lift_brake": False}).allow_mass_delete  # type: ignore[attr-defined]


def test_a_step_gets_the_options_that_it_has_and_the_job_decides_its_own() -> None:
    asked = {"limit": 3, "allow_mass_delete": True, "dry_run": True}
    ops = {name: job_runs.job_run(TOY, TOY.job(name), "", asked).run_config["ops"] for name in ("sync", "dry_run")}
    assert ops == {
        "sync": {"toy__reading": {"config": {"limit": 3}}, "toy__writing": {"config": {"allow_mass_delete": True}}},
        "dry_run": {"toy__reading": {"config": {"limit": 7}}},
    }
    assert job_runs.run_of(TOY, "", {"dry_run": True}).job == "toy__dry_run"


def test_a_stored_plan_is_applied_by_the_steps_that_do_so() -> None:
    request = job_runs.apply_run(TOY, "", 12, {"replan": True})
    assert (request.job, request.tags) == ("toy__apply", {"imagesync/plan": "12"})
    assert TOY.apply_job.steps == ("writing",)
    assert request.run_config == {"ops": {"toy__writing": {"config": {"plan_id": 12}}}}


@pytest.mark.parametrize(
    ("asked", "tags"),
    [
        pytest.param({"skus": [], "dry_run": False}, {}, id="everything"),
        pytest.param({"skus": ["1", "2"]}, {"imagesync/skus": "1, 2"}, id="two products"),
        pytest.param({"skus": ["7"] * 23}, {"imagesync/skus": ", ".join("7" * 20) + " and 3 more"}, id="many"),
        pytest.param({"plan_id": 12}, {"imagesync/plan": "12"}, id="a stored plan"),
        pytest.param({"dry_run": True}, {"imagesync/dry_run": "yes"}, id="only to be looked at"),
    ],
)
def test_a_runs_tags_say_what_it_is_about(asked: dict[str, object], tags: dict[str, str]) -> None:
    assert job_runs.told_by(asked) == tags


def test_a_step_that_ends_the_run_makes_nothing_and_leaves_its_summary(instance: dg.DagsterInstance) -> None:
    result = run(instance, job_runs.run_of(TOY, "", {"limit": 99}))
    assert result.success
    assert result.asset_materializations_for_node("toy__writing") == []
    observed = [event for event in result.all_events if event.event_type is dg.DagsterEventType.ASSET_OBSERVATION]
    assert len(observed) == 1


def test_a_step_that_breaks_says_why_without_a_secret(instance: dg.DagsterInstance) -> None:
    result = run(instance, job_runs.run_of(TOY, "", {"limit": 101}))
    assert not result.success
    failure = result.failure_data_for_node("toy__writing")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert "too many: 101" in str(failure.user_failure_data.description)
    assert KEY not in str(result.all_events)


def test_no_text_of_a_run_shows_a_secret_of_the_settings_or_of_any_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = tmp_path / "accounts.toml"
    accounts.write_text(
        '[moysklad.main]\nlogin = "admin@company"\npassword = "env:MAIN_PASSWORD"\n'
        '[moysklad.children.north]\nmode = "first"\nmatch_field = "article"\ntoken = "env:NORTH_TOKEN"\n'
    )
    written = {"MAIN_PASSWORD": "of main", "NORTH_TOKEN": "of north", "IMAGESYNC_S3_SECRET_KEY": "of the store"}
    for name, value in {**written, "IMAGESYNC_ACCOUNTS": str(accounts)}.items():
        monkeypatch.setenv(name, value)
    found = work.secrets_of(connector_named("moysklad"))
    assert set(written.values()) <= {secret.get_secret_value() for secret in found}


def test_a_step_of_its_own_is_told_with_the_asset_that_it_looks_after(instance: dg.DagsterInstance) -> None:
    result = run(instance, job_runs.job_run(TOY, TOY.job("sweep"), "", {}))
    assert result.success
    (event,) = [one for one in result.all_events if one.event_type is dg.DagsterEventType.ASSET_OBSERVATION]
    assert event.asset_key == dg.AssetKey(["toy", "writing"])


def test_materialising_the_last_step_alone_says_what_to_run(instance: dg.DagsterInstance) -> None:
    request = job_runs.run_of(TOY, "", {})
    result = run(instance, request, asset_selection=[dg.AssetKey(["toy", "writing"])])
    failure = result.failure_data_for_node("toy__writing")
    assert failure is not None
    assert "toy__sync" in str(failure.user_failure_data)


def test_the_resource_shows_settings_and_only_the_name_of_a_secrets_variable(instance: dg.DagsterInstance) -> None:
    shown = settings_resource(TOY).model_dump()
    assert shown == {"pages": 3, "key_variable": "TOY_KEY", "cron": "0 3 * * *"}


def test_a_schedule_asks_for_one_run_of_everything(instance: dg.DagsterInstance) -> None:
    (declared,) = TOY.schedules
    schedule = assets.build_schedule(TOY, declared, Settings())
    assert (schedule.name, schedule.job_name) == ("toy__sync__daily", "toy__sync")
    context = dg.build_schedule_context(instance, scheduled_execution_time=datetime(2026, 11, 28, 3, tzinfo=UTC))
    (request,) = schedule.evaluate_tick(context).run_requests
    assert request.run_config == {
        "ops": {"toy__reading": {"config": {"limit": 0}}, "toy__writing": {"config": {"allow_mass_delete": False}}}
    }
    assert ReadOptions().limit == 0
