"""History tells every run from Dagster's own records, with the summary of its last event or the error that ended it."""

import dagster as dg
import pytest

from imagesync_pipelines.defs.history import history, run_line
from imagesync_pipelines.defs.metadata import summary_metadata
from imagesync_pipelines.defs.work import report_partitions, stage
from imagesync_pipelines.sync.blocks import page_blocks
from imagesync_pipelines.sync.job_runs import range_tags
from imagesync_pipelines_tests.defs.fakes import a_summary

BLOCKS = page_blocks(1500, 10)
PAGES = dg.DynamicPartitionsDefinition(name="pages")


class WorkConfig(dg.Config):
    """How the fake connector ends."""

    error: str = ""


@dg.asset(key=["image_db", "product_images"])
def product_images(context: dg.AssetExecutionContext, config: WorkConfig) -> dg.MaterializeResult:
    with stage(context, context.asset_key) as work:
        work.summary = a_summary(images_added=4)
        if config.error:
            raise RuntimeError(config.error)
    return dg.MaterializeResult(metadata=summary_metadata(a_summary(images_added=7, warnings=("deletion_limits",))))


@dg.asset(key=["image_db", "unmatched_articles"], deps=[product_images])
def unmatched_articles(context: dg.AssetExecutionContext, config: WorkConfig) -> dg.MaterializeResult:
    with stage(context, context.asset_key):
        if config.error:
            raise RuntimeError(config.error)
    return dg.MaterializeResult(metadata={"dagster/row_count": 3})


@dg.asset(key=["plytix", "plan"])
def other_connector() -> dg.MaterializeResult:
    raise ValueError("no mapping file")


@dg.op
def tidy() -> None:
    """Work of no room."""


@dg.job
def tidy_job() -> None:
    """A job of no room."""
    tidy()


DEFINITIONS = dg.Definitions(
    assets=[product_images, unmatched_articles, other_connector],
    jobs=[dg.define_asset_job("image_db__sync", selection=dg.AssetSelection.key_prefixes("image_db")), tidy_job],
    executor=dg.in_process_executor,
)


def run(instance: dg.DagsterInstance, job: str, error: str = "", at: str = "product_images") -> str:
    config = {"ops": {f"image_db__{at}": {"config": {"error": error}}}} if error else {}
    result = DEFINITIONS.resolve_job_def(job).execute_in_process(
        instance=instance, run_config=config, raise_on_error=False
    )
    return result.run_id


def test_a_run_that_completed_tells_its_summary_though_other_assets_came_after_it(instance: dg.DagsterInstance) -> None:
    run_id = run(instance, "image_db__sync")
    (line,) = history(instance, limit=5)
    assert (line.run_id, line.job, line.connector, line.status) == (run_id, "image_db__sync", "image_db", "completed")
    assert (line.added, line.error) == (7, "")
    assert line.summary["warnings"] == ["deletion_limits"]
    assert line.started is not None
    assert line.completed is not None
    assert line.started <= line.completed
    assert line == run_line(instance, run_id)


def test_a_run_that_failed_tells_what_it_had_done_and_its_error(instance: dg.DagsterInstance) -> None:
    run(instance, "image_db__sync", error="disk full")
    (line,) = history(instance, limit=5)
    assert (line.status, line.added, line.updated, line.error) == ("failed", 4, 0, "RuntimeError: disk full")


def test_a_later_step_that_fails_does_not_take_back_what_was_counted(instance: dg.DagsterInstance) -> None:
    run(instance, "image_db__sync", error="No space left on device", at="unmatched_articles")
    (line,) = history(instance, limit=5)
    assert (line.status, line.added) == ("failed", 7)
    assert line.error == "RuntimeError: No space left on device"
    assert line.summary["status"] == "failed"
    assert line.summary["warnings"] == ["deletion_limits"]


def test_a_run_that_failed_without_a_summary_tells_the_error_that_ended_it(instance: dg.DagsterInstance) -> None:
    result = dg.materialize([other_connector], instance=instance, raise_on_error=False)
    line = run_line(instance, result.run_id)
    assert (line.connector, line.status, line.added, line.error) == (
        "plytix",
        "failed",
        None,
        "ValueError: no mapping file",
    )


def test_the_runs_of_the_ui_are_listed_under_their_connector(instance: dg.DagsterInstance) -> None:
    result = DEFINITIONS.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(["image_db", "product_images"])], raise_on_error=False
    )
    line = run_line(instance, result.run_id)
    assert (line.job, line.connector, line.status, line.added) == ("__ASSET_JOB", "image_db", "completed", 7)


def test_runs_are_listed_newest_first_by_connector_and_up_to_the_limit(instance: dg.DagsterInstance) -> None:
    first = run(instance, "image_db__sync")
    run(instance, "tidy_job")
    second = run(instance, "image_db__sync", error="x")
    last = dg.materialize([other_connector], instance=instance, raise_on_error=False).run_id
    assert [line.run_id for line in history(instance, limit=10, connector="image_db")] == [second, first]
    assert [line.run_id for line in history(instance, limit=1)] == [last]
    assert [line.connector for line in history(instance, limit=10)] == ["plytix", "image_db", None, "image_db"]
    assert history(instance, limit=10, connector="edge") == []


def test_runs_beyond_the_first_query_are_found(instance: dg.DagsterInstance) -> None:
    wanted = run(instance, "image_db__sync")
    for _ in range(60):
        instance.add_run(dg.DagsterRun(job_name="plytix__sync", status=dg.DagsterRunStatus.SUCCESS))
    assert [line.run_id for line in history(instance, limit=1, connector="image_db")] == [wanted]


def test_an_unfinished_run_is_in_progress_and_a_cancelled_one_failed(instance: dg.DagsterInstance) -> None:
    started = dg.DagsterRun(job_name="image_db__sync", status=dg.DagsterRunStatus.STARTED)
    cancelled = dg.DagsterRun(job_name="image_db__sync", status=dg.DagsterRunStatus.CANCELED)
    for record in (started, cancelled):
        instance.add_run(record)
    assert (run_line(instance, started.run_id).status, run_line(instance, started.run_id).error) == ("in_progress", "")
    line = run_line(instance, cancelled.run_id)
    assert (line.status, line.error) == ("failed", "The run was cancelled.")


def test_the_summary_is_found_behind_the_events_of_many_partitions(instance: dg.DagsterInstance) -> None:
    @dg.asset(key=["image_db", "api_pages"], partitions_def=PAGES, backfill_policy=dg.BackfillPolicy.single_run())
    def api_pages(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        report_partitions(context, {key: {"records": 1} for key in context.partition_keys}, {})
        return dg.MaterializeResult()

    @dg.asset(key=["image_db", "after"], deps=[api_pages])
    def after() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata=summary_metadata(a_summary(images_added=9)))

    instance.add_dynamic_partitions("pages", BLOCKS)
    result = dg.materialize([api_pages, after], instance=instance, tags=range_tags(BLOCKS[0], BLOCKS[-1]))
    assert run_line(instance, result.run_id).added == 9


def test_an_unknown_run_is_an_error_for_people(instance: dg.DagsterInstance) -> None:
    with pytest.raises(LookupError, match="imagesync history"):
        run_line(instance, "nothing")
