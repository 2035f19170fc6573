"""Page partitions through Dagster: parts of them, pages that fail, a catalogue that grows or shrinks, block sizes."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from imagesync_pipelines.connectors.image_db.connector import CONNECTOR
from imagesync_pipelines.defs import history, pages, runs
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.sandbox.faults import FaultKind, WireFault
from imagesync_pipelines.sandbox.image_db.app import ENDPOINT
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines.sync.blocks import BadBlockError
from imagesync_pipelines_tests.installations import (
    FIRST,
    QUIET,
    SECOND,
    THIRD,
    World,
    block_status,
    materialised,
    metadata_of,
    world,
)

pytestmark = pytest.mark.slow

DOWNSTREAM = ("records", "erp_products", "plan", "product_images", "unmatched_articles", "export")


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path) -> Iterator[World]:
    """An installation with everything read and applied once."""
    with world(server, tmp_path / "place") as made:
        assert made.sync().status is runs.Status.COMPLETED
        yield made


def latest_scan(place: World) -> tuple[object, ...]:
    """Id and state of the latest scan."""
    return place.rows("SELECT id, state FROM imagesync.scan ORDER BY id DESC LIMIT 1")[0]


def pages_asked(place: World) -> list[str]:
    """The pages that the sandbox was asked for since its ledger was cleared, ascending."""
    return sorted(call.part for call in place.sandbox.ledger.calls(ENDPOINT))


def test_one_block_from_the_ui_reads_its_pages_into_the_latest_scan_and_voids_its_proof(place: World) -> None:
    scan, state = latest_scan(place)
    assert state == "proven"
    gone = place.sandbox.mutate("delete", file_id=_linked_image(place))
    place.sandbox.mutate("insert")
    place.sandbox.ledger.clear()
    assert place.materialise(["api_pages"], [FIRST]).success
    assert pages_asked(place) == ["1", "2"]
    assert latest_scan(place) == (scan, "unproven")

    before = place.product_images()
    result = place.materialise(DOWNSTREAM)
    assert result.success
    with place.opened() as (_, instance):
        summary = metadata_of(instance, result.run_id, "product_images")["summary"]
        proof = metadata_of(instance, result.run_id, "records")
        verdicts = checks_of(instance, result.run_id)
    after = place.product_images()
    assert {row[:2] for row in before} <= {row[:2] for row in after}, "nothing was removed"
    assert summary["images_deleted"] == 0
    assert proof["scan_is_complete"] is False
    assert "only pages 1-2 were read again" in proof["scan_is_incomplete_because"]
    assert any("Nothing is removed this time" in warning for warning in summary["warnings"])
    assert verdicts["every_page_was_read"] is False

    healed = place.sync()
    assert healed.status is runs.Status.COMPLETED
    assert str(gone.file_id) not in {image for _, image, _ in place.product_images()}


def test_a_block_that_limit_cuts_is_not_marked_and_whole_blocks_are(place: World) -> None:
    outcome = place.sync(limit=3)
    with place.opened() as (_, instance):
        assert materialised(instance, outcome.run_id) & {FIRST, SECOND} == {FIRST, SECOND}
    outcome = place.sync(limit=1)
    assert outcome.status is runs.Status.PARTIAL
    with place.opened() as (_, instance):
        assert materialised(instance, outcome.run_id) & {FIRST, SECOND} == set()
    outcome = place.sync(skip_pages=2, limit=5)
    with place.opened() as (_, instance):
        assert materialised(instance, outcome.run_id) & {FIRST, SECOND} == {SECOND}


def test_skip_pages_and_limit_read_exactly_those_pages(place: World) -> None:
    place.sandbox.ledger.clear()
    outcome = place.sync(skip_pages=1, limit=1)
    assert pages_asked(place) == ["2"]
    assert outcome.summary["images_deleted"] == 0


def test_a_failing_page_leaves_good_blocks_done_and_downstream_untouched(place: World) -> None:
    before = place.product_images()
    place.sandbox.faults.add(
        WireFault(FaultKind.ANSWER, ENDPOINT, "3", status=404, times=None, body=b'{"detail":"No."}')
    )
    outcome = place.sync()
    with place.opened() as (_, instance):
        assert block_status(instance) == {FIRST: "done", SECOND: "failed"}
        assert materialised(instance, outcome.run_id) <= {FIRST, "erp_products"}
        line = history.run_line(instance, outcome.run_id)
    assert outcome.status is runs.Status.FAILED
    assert SECOND in outcome.error
    assert outcome.summary["status"] == "failed"
    assert outcome.summary["error_message"] == outcome.error
    assert (line.status, line.added, line.deleted) == ("failed", 0, 0)
    assert place.product_images() == before

    place.sandbox.faults.clear()
    assert place.sync().status is runs.Status.COMPLETED
    with place.opened() as (_, instance):
        assert block_status(instance) == {FIRST: "done", SECOND: "done"}


def test_a_grown_catalogue_gets_its_new_block_in_the_same_run_and_a_shrunk_one_loses_it(place: World) -> None:
    added = [place.sandbox.mutate("insert", position=10**6).file_id for _ in range(25)]
    outcome = place.sync()
    with place.opened() as (_, instance):
        assert block_status(instance) == {FIRST: "done", SECOND: "done", THIRD: "done"}
        assert THIRD in materialised(instance, outcome.run_id)

    for file_id in added:
        place.sandbox.mutate("delete", file_id=file_id)
    with place.opened() as (installation, instance):
        busy = running_over(instance, THIRD)
        found = pages.discover_pages(instance, CONNECTOR, installation.settings, print)
        assert (found.blocks, found.removed) == ((FIRST, SECOND, THIRD), ()), "a running run may still write it"
        instance.report_run_failed(busy)
        found = pages.discover_pages(instance, CONNECTOR, installation.settings, print)
        assert (found.pages, found.blocks, found.removed) == (3, (FIRST, SECOND), (THIRD,))
        assert instance.get_dynamic_partitions("image_db_pages") == [FIRST, SECOND]


def test_pages_that_appear_while_a_scan_is_under_way_get_their_block_in_that_run(place: World) -> None:
    with place.opened() as (_, instance):
        assert instance.get_dynamic_partitions("image_db_pages") == [FIRST, SECOND]
    for _ in range(25):
        place.sandbox.mutate("insert", position=10**6)
    result = place.materialise(["api_pages"], [FIRST, SECOND])
    assert result.success
    with place.opened() as (_, instance):
        assert block_status(instance) == {FIRST: "done", SECOND: "done", THIRD: "done"}


def test_a_block_that_was_added_after_the_launch_makes_no_partial_run(place: World) -> None:
    for _ in range(25):
        place.sandbox.mutate("insert", position=10**6)
    with place.opened() as (installation, instance):
        tags = job_runs.all_blocks_tags()
        assert pages.discover_pages(instance, CONNECTOR, installation.settings, print).added == (THIRD,)
        job = build_definitions().resolve_job_def("image_db__dry_run")
        result = job.execute_in_process(run_config=QUIET, tags=tags, instance=instance, raise_on_error=False)
        assert result.success
        assert block_status(instance) == {FIRST: "done", SECOND: "done", THIRD: "done"}
    assert latest_scan(place)[1] == "proven"


def test_another_block_size_is_refused_with_one_line_until_the_pages_are_reset(place: World) -> None:
    other = {"IMAGE_DB_PAGES_PER_BLOCK": "3"}
    with pytest.raises(BadBlockError, match=r"hold 2 pages each .* the setting says 3") as refused:
        place.sync(other)
    assert "\n" not in str(refused.value)
    assert "reset-pages" in str(refused.value)

    result = place.materialise(["api_pages"], [FIRST, SECOND], **other)
    assert not result.success
    with place.opened(**other) as (installation, instance):
        assert "the setting says 3" in history.run_line(instance, result.run_id).error
        assert pages.reset_pages(installation, instance, CONNECTOR) == 2
        assert instance.get_dynamic_partitions("image_db_pages") == []
    images = place.product_images()
    outcome = place.sync(other)
    assert outcome.status is runs.Status.COMPLETED
    with place.opened(**other) as (installation, instance):
        assert block_status(instance) == {"000001-000003": "done"}
    assert place.product_images() == images


def test_pages_are_not_reset_under_a_running_run(place: World) -> None:
    with place.opened() as (installation, instance):
        busy = running_over(instance, FIRST)
        with pytest.raises(SettingsError, match="still reading pages 000001-000002"):
            pages.reset_pages(installation, instance, CONNECTOR)
        instance.report_run_failed(busy)
        assert instance.get_dynamic_partitions("image_db_pages") == [FIRST, SECOND]


def test_a_dry_run_plans_and_writes_nothing_and_its_plan_can_be_applied_later(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    with world(server, tmp_path / "dry") as fresh:
        dry = fresh.sync(dry_run=True)
        assert dry.status is runs.Status.COMPLETED
        assert fresh.product_images() == set()
        assert dry.plan is not None
        assert dry.plan.applied_at is None
        assert dry.plan.counts["add"] > 0
        with fresh.opened() as (_, instance):
            assert "product_images" not in materialised(instance, dry.run_id)
        fresh.sandbox.ledger.clear()
        with fresh.entered():
            applied = runs.apply_plan(dry.plan.id)
        assert fresh.sandbox.ledger.count(ENDPOINT) == 0
        assert applied.summary["images_added"] == dry.plan.counts["add"] == len(fresh.product_images())

        partial = fresh.sync(dry_run=True, limit=1, force=True)
        with fresh.opened() as (_, instance):
            assert "product_images" not in materialised(instance, partial.run_id)
        assert partial.plan is not None
        assert partial.plan.counts["update"] > 0


def running_over(instance: dg.DagsterInstance, block: str) -> dg.DagsterRun:
    """A run that the instance believes to be reading one block, in another process."""
    return instance.create_run_for_job(
        build_definitions().resolve_job_def("image_db__sync"),
        status=dg.DagsterRunStatus.STARTED,
        tags=job_runs.range_tags(block, block),
    )


def checks_of(instance: dg.DagsterInstance, run_id: str) -> dict[str, bool]:
    """The verdicts of a run's checks."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    found = {}
    for record in records:
        event = record.event_log_entry.dagster_event
        assert event is not None
        evaluation = event.asset_check_evaluation_data
        found[evaluation.check_name] = evaluation.passed
    return found


def _linked_image(place: World) -> int:
    """An image that some product shows."""
    return int(sorted(image for _, image, _ in place.product_images())[0])
