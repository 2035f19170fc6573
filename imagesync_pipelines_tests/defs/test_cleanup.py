"""Pruning on a real PostgreSQL deletes old log lines and step details, and nothing that somebody still reads."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa

from imagesync_pipelines.defs import cleanup
from imagesync_pipelines.defs.cleanup import PRUNED_EVENTS, build_schedules, cleanup_job, prune_events, prune_events_job
from imagesync_pipelines.defs.history import history
from imagesync_pipelines.defs.metadata import summary_metadata
from imagesync_pipelines.defs.work import report_partitions
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import Locations
from imagesync_pipelines.sync.blocks import page_blocks
from imagesync_pipelines.sync.job_runs import range_tags
from imagesync_pipelines_tests.defs.fakes import a_summary

BLOCKS = page_blocks(30, 10)
PAGES = dg.DynamicPartitionsDefinition(name="pages")


@dg.asset(key=["image_db", "api_pages"], partitions_def=PAGES, backfill_policy=dg.BackfillPolicy.single_run())
def api_pages(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    for number in range(50):
        context.log.info("line %d", number)
    failed = {BLOCKS[2]: "HTTP 500"}
    report_partitions(context, {key: {"records": 1} for key in context.partition_keys if key not in failed}, failed)
    return dg.MaterializeResult()


@dg.asset(key=["image_db", "product_images"])
def product_images() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata=summary_metadata(a_summary(images_added=7)))


@dg.asset_check(asset=product_images)
def every_product_has_one_primary() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@pytest.fixture
def instance(postgres_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """The instance on PostgreSQL, with three blocks of pages."""
    postgres_instance.add_dynamic_partitions("pages", BLOCKS)
    return postgres_instance


def work(instance: dg.DagsterInstance) -> list[str]:
    """One run that fails for one of three blocks, and one that completes with its check."""
    first = dg.materialize([api_pages], instance=instance, tags=range_tags(BLOCKS[0], BLOCKS[-1]), raise_on_error=False)
    second = dg.materialize([product_images, every_product_has_one_primary], instance=instance)
    return [first.run_id, second.run_id]


def counts(locations: Locations) -> dict[str | None, int]:
    engine = sa.create_engine(locations.dagster_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT dagster_event_type, count(*) FROM event_logs GROUP BY 1"))
        return {row[0]: row[1] for row in rows}


def tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def test_what_people_read_survives(locations: Locations, instance: dg.DagsterInstance) -> None:
    run_ids = work(instance)
    pages, images = api_pages.key, product_images.key
    check = dg.AssetCheckKey(images, "every_product_has_one_primary")

    def readable() -> tuple[object, ...]:
        latest = instance.get_latest_materialization_event(images)
        return (
            history(instance, limit=10),
            instance.get_materialized_partitions(pages),
            instance.event_log_storage.get_latest_storage_id_by_partition(
                pages, dg.DagsterEventType.ASSET_MATERIALIZATION
            ),
            latest.asset_materialization.metadata if latest and latest.asset_materialization else None,
            instance.event_log_storage.get_latest_asset_check_execution_by_key([check]).keys(),
            [instance.get_run_by_id(run_id) for run_id in run_ids],
            instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=5).records,
        )

    before, rows_before = readable(), counts(locations)
    deleted = prune_events(instance, before=tomorrow())
    rows_after = counts(locations)
    assert readable() == before
    assert deleted == sum(rows_before.values()) - sum(rows_after.values()) > 50
    assert {kind for kind in rows_after if kind is None or kind in PRUNED_EVENTS} == set()
    assert {"ASSET_MATERIALIZATION", "ASSET_MATERIALIZATION_PLANNED", "ASSET_CHECK_EVALUATION"} <= rows_after.keys()
    assert {"STEP_FAILURE", "PIPELINE_FAILURE", "PIPELINE_START", "PIPELINE_SUCCESS"} <= rows_after.keys()
    assert instance.get_materialized_partitions(pages) == set(BLOCKS[:2])


def test_a_pruned_installation_goes_on_working(locations: Locations, instance: dg.DagsterInstance) -> None:
    work(instance)
    prune_events(instance, before=tomorrow())
    work(instance)
    assert len(history(instance, limit=10)) == 4
    assert prune_events(instance, before=tomorrow()) > 50
    assert prune_events(instance, before=tomorrow()) == 0


def test_what_is_younger_is_kept(locations: Locations, instance: dg.DagsterInstance) -> None:
    work(instance)
    before = counts(locations)
    assert prune_events(instance, before=datetime.now(UTC) - timedelta(hours=1)) == 0
    assert counts(locations) == before


def test_the_age_is_counted_to_the_minute_in_any_time_zone(locations: Locations, instance: dg.DagsterInstance) -> None:
    engine = sa.create_engine(locations.dagster_url, poolclass=sa.NullPool)
    work(instance)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE event_logs SET timestamp = '2026-01-02 12:00'"))
    berlin = datetime.fromisoformat("2026-01-02T13:00:00+01:00")
    assert prune_events(instance, before=berlin) == 0
    assert prune_events(instance, before=berlin + timedelta(minutes=1)) > 50


def test_many_events_are_deleted_in_batches(
    locations: Locations, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(instance)
    monkeypatch.setattr(cleanup, "_ROWS_PER_DELETE", 7)
    assert prune_events(instance, before=tomorrow()) > 50
    assert None not in counts(locations)


def test_the_job_prunes_and_says_how_much(instance: dg.DagsterInstance) -> None:
    work(instance)
    result = prune_events_job.execute_in_process(
        instance=instance, run_config={"ops": {"prune_events": {"config": {"older_than_days": 1}}}}
    )
    messages = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert any("0 events older than 1 days were deleted" in message for message in messages)


def test_another_kind_of_event_log_is_refused() -> None:
    with pytest.raises(TypeError, match="no database"):
        prune_events(type("Elsewhere", (), {"event_log_storage": object()})(), before=tomorrow())  # type: ignore[arg-type]


def test_the_schedule_is_daily_in_the_installations_time_zone_and_the_weekly_one_is_off() -> None:
    daily, weekly = build_schedules(Settings(timezone="Europe/Moscow"))
    assert (daily.cron_schedule, daily.execution_timezone) == ("30 5 * * *", "Europe/Moscow")
    assert (daily.job_name, daily.default_status) == ("cleanup_job", dg.DefaultScheduleStatus.RUNNING)
    assert (weekly.name, weekly.default_status) == ("prune_events__weekly", dg.DefaultScheduleStatus.STOPPED)


def test_the_daily_job_says_of_each_kind_what_went_and_prunes_as_the_settings_say(
    locations: Locations, instance: dg.DagsterInstance
) -> None:
    engine = sa.create_engine(locations.dagster_url, poolclass=sa.NullPool)
    work(instance)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE event_logs SET timestamp = now() - interval '31 days'"))
    before = counts(locations)

    def said(dry_run: bool) -> list[str]:
        config = {"ops": {"clean_up": {"config": {"dry_run": dry_run}}}}
        result = cleanup_job.execute_in_process(instance=instance, run_config=config)
        return [entry.user_message for entry in instance.all_logs(result.run_id) if entry.dagster_event is None]

    kinds = ["plans", "hand-overs", "scans", "quarantined items", "smaller copies", "pictures", "alerts", "effects in"]
    kinds += ["webhook deliveries", "webhook events", "events of"]
    dry = said(True)
    assert [line.startswith(kind) for line, kind in zip(dry, kinds, strict=True)] == [True] * len(kinds)
    assert sum(counts(locations).values()) > sum(before.values())
    really = said(False)
    assert really[-1] == dry[-1].replace("would be removed", "removed")
    assert sum(counts(locations).values()) < sum(before.values())
