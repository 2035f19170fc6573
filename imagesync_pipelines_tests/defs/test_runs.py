"""The Python call: one run per call, its outcome, what a dead process leaves, two processes at once."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from dagster._core.storage.tags import TagType, get_tag_type

from imagesync_pipelines.defs import history, runs
from imagesync_pipelines.products.erp import ErpError
from imagesync_pipelines.sandbox.faults import FaultKind, WireFault
from imagesync_pipelines.sandbox.image_db.app import ENDPOINT
from imagesync_pipelines.settings import load_settings
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.errors import PlanExpiredError, PlanMissingError
from imagesync_pipelines.storage.plans import NewPlan, Plans
from imagesync_pipelines_tests.cli.terminals import COMMAND, environment_of
from imagesync_pipelines_tests.installations import World, world
from imagesync_pipelines_tests.places import ended_well


@pytest.fixture(scope="module")
def place(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation that has been synchronised once."""
    with world(server, tmp_path_factory.mktemp("runs")) as made:
        ended_well(made.sync())
        yield made


def test_an_outcome_tells_the_run_its_plan_and_its_summary(place: World) -> None:
    outcome = place.sync()
    assert (outcome.status, outcome.error) == (runs.Status.COMPLETED, "")
    assert outcome.plan is not None
    assert outcome.plan.run_id == outcome.plan.applied_run == outcome.run_id
    assert outcome.plan.counts["keep"] == outcome.summary["kept"]
    with place.opened() as (_, instance):
        line = history.run_line(instance, outcome.run_id)
        run = instance.get_run_by_id(outcome.run_id)
    assert (line.status, line.connector, line.job) == ("completed", "image_db", "image_db__sync")
    assert run is not None
    shown = {tag for tag in run.tags if get_tag_type(tag) is not TagType.HIDDEN}
    assert shown == {"dagster/code_location", "dagster/max_retries"}, "nothing internal of ours"
    assert line.summary == outcome.summary


def test_force_writes_unchanged_rows_too_and_removes_none(place: World) -> None:
    images = place.product_images()
    outcome = place.sync(force=True)
    assert outcome.summary["images_updated"] == len(images)
    assert place.product_images() == images


def test_a_sku_is_synchronised_from_fresh_stored_pages_without_a_call(place: World) -> None:
    place.sync()
    product = place.rows(
        "SELECT p.sku, count(*) FROM imagesync.product p JOIN imagesync.product_image i ON i.product_id = p.id "
        "WHERE p.kind = 'variant' GROUP BY p.sku ORDER BY p.sku LIMIT 1"
    )[0]
    place.sandbox.ledger.clear()
    outcome = place.sync(skus=[product[0]], force=True)
    assert place.sandbox.ledger.count(ENDPOINT) == 0
    assert outcome.summary["images_updated"] == product[1]
    with place.opened() as (_, instance):
        run = instance.get_run_by_id(outcome.run_id)
    assert run is not None
    assert (run.job_name, run.tags["imagesync/skus"]) == ("image_db__skus", product[0])


def test_page_size_is_sent_as_is(place: World) -> None:
    place.sandbox.ledger.clear()
    place.sync(page_size=7, limit=1)
    assert "page_size=7" in place.sandbox.ledger.calls(ENDPOINT)[-1].query


def test_progress_is_told_stage_by_stage(place: World) -> None:
    told: dict[str, tuple[int, int | None]] = {}

    def progress(stage: str, done: int, total: int | None) -> None:
        told[stage] = (done, total)

    place.sync(force=True, progress=progress)
    assert told["pages read"] == (3, 3)
    assert told["pages validated"] == (3, 3)
    assert told["rows written"][0] == len(place.product_images())


def test_settings_can_be_given(place: World) -> None:
    with place.entered(IMAGESYNC_HOME="/nonexistent/home"):
        with place.entered():
            settings = load_settings(runs.Settings)
        outcome = runs.only(runs.sync("image_db", dry_run=True, settings=settings))
    assert outcome.status is runs.Status.COMPLETED


def test_a_plan_that_is_not_there_or_has_expired_starts_no_run(place: World) -> None:
    with place.opened() as (_, instance):
        before = instance.get_runs_count()
    with place.entered(), pytest.raises(PlanMissingError, match="no plan 4711"):
        runs.apply_plan(4711)
    row = {"key": "1/1", "key_before": None, "group": "1", "change": "add", "reason": "new", "ruling": ""}
    with place.opened() as (installation, _):
        plans = Plans(installation.engine, installation.storage)
        old, newer = (
            plans.save(pd.DataFrame([{**row, "fingerprint_after": one}]).astype("str"), None,
                       NewPlan("image_db", None, {}, {"add": 1}, {}, None)) for one in "ab"
        )  # fmt: skip
    said = f"Plan {old} expired: all of it is refused now, such as 1/1: plan {newer} says add"
    with place.entered(), pytest.raises(PlanExpiredError, match=said):
        runs.apply_plan(old)
    with place.opened() as (_, instance):
        assert instance.get_runs_count() == before


def test_an_erp_that_is_gone_is_told_before_any_run_and_changes_nothing(place: World, tmp_path: Path) -> None:
    images = place.product_images()
    with pytest.raises(ErpError, match=r"no\.csv"):
        place.sync({"ERP_PARENTS_FILE": str(tmp_path / "no.csv"), "ERP_VARIANTS_FILE": str(tmp_path / "no.csv")})
    assert place.product_images() == images


def started(place: World, folder: Path) -> "subprocess.Popen[str]":
    """A synchronisation in a process of its own."""
    return subprocess.Popen(
        [*COMMAND, "sync", "image-db"], cwd=folder, env=environment_of(place, {}),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_at_once_both_end_well_and_write_once(server: EmbeddedServer, tmp_path: Path) -> None:
    with world(server, tmp_path / "place") as fresh:
        fresh.sandbox.faults.add(WireFault(FaultKind.LATENCY, ENDPOINT, times=None, seconds=0.3))
        both = [started(fresh, tmp_path), started(fresh, tmp_path)]
        ended = [process.communicate(timeout=200) for process in both]
        codes = sorted(process.returncode for process in both)
        images = len(fresh.product_images())
        with fresh.opened() as (_, instance):
            lines = history.history(instance, limit=5)
        again = fresh.sync()
    assert set(codes) <= {0, 3}, ended
    assert fresh.sandbox.ledger.peak(ENDPOINT) <= 4 + 1, "one reads while the other waits; discovery is one more call"
    assert len(lines) == 2
    assert images > 0
    assert sum(line.added or 0 for line in lines) == images, "each row is counted by the run that wrote it"
    assert (again.summary["images_added"], again.summary["images_updated"], again.summary["kept"]) == (0, 0, images)
