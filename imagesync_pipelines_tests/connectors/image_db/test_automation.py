"""Schedule, sensor and requests on a real instance: what they launch, what they say, what a dead API does to them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from imagesync_pipelines.cli.sandbox.dev import _blocks
from imagesync_pipelines.connectors.image_db.client import open_session
from imagesync_pipelines.connectors.image_db.connector import CONNECTOR
from imagesync_pipelines.connectors.image_db.settings import ImageDbOptions, ImageDbSettings
from imagesync_pipelines.defs import pages, runs
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.products.erp import ErpError
from imagesync_pipelines.sandbox.faults import FaultKind, WireFault
from imagesync_pipelines.sandbox.image_db.app import ENDPOINT
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines.sync.blocks import BadBlockError
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines_tests.installations import FIRST, QUIET, SECOND, World, block_status, materialised, world

REFUSED = WireFault(FaultKind.ANSWER, ENDPOINT, status=401, times=None, body=b'{"detail":"Invalid username/password."}')
NO_PAGE = WireFault(FaultKind.ANSWER, ENDPOINT, times=None, body=b"[]")


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path) -> Iterator[World]:
    """An installation that has never run."""
    with world(server, tmp_path / "place") as made:
        yield made


def tick_of_the_schedule(instance: dg.DagsterInstance) -> dg.RunRequest:
    """What the schedule asks for at one tick."""
    repository = build_definitions().get_repository_def()
    moment = datetime(2026, 3, 1, 3, tzinfo=UTC)
    with dg.build_schedule_context(
        instance=instance, repository_def=repository, scheduled_execution_time=moment
    ) as context:
        data = repository.get_schedule_def("image_db__sync__daily").evaluate_tick(context)
    assert data.skip_message is None
    assert data.run_requests is not None
    assert len(data.run_requests) == 1, "one run for everything"
    return data.run_requests[0]


def tick_of_the_sensor(instance: dg.DagsterInstance) -> Any:
    """What the discovery sensor does at one tick."""
    repository = build_definitions().get_repository_def()
    with dg.build_sensor_context(instance=instance, repository_def=repository) as context:
        return repository.get_sensor_def("image_db__page_discovery").evaluate_tick(context)


def test_the_schedule_launches_one_run_over_all_blocks_and_that_run_works(place: World) -> None:
    with place.opened() as (_, instance):
        request = tick_of_the_schedule(instance)
        assert job_runs.ALL_BLOCKS_TAG in request.tags
        assert instance.get_dynamic_partitions("image_db_pages") == [FIRST, SECOND]
        assert place.sandbox.ledger.count(ENDPOINT) == 1, "a tick has no time for more than one call"
        job = build_definitions().resolve_job_def("image_db__sync")
        result = job.execute_in_process(
            run_config={**request.run_config, **QUIET}, tags=request.tags, instance=instance, raise_on_error=False
        )
        assert result.success
        assert block_status(instance) == {FIRST: "done", SECOND: "done"}
        assert "product_images" in materialised(instance, result.run_id)
    assert place.product_images()


@pytest.mark.parametrize("fault", [pytest.param(REFUSED, id="refused"), pytest.param(NO_PAGE, id="no page of data")])
def test_a_source_that_cannot_be_asked_keeps_no_run_from_starting(place: World, fault: WireFault) -> None:
    place.sandbox.faults.add(fault)
    with place.opened() as (_, instance):
        for _ in range(2):
            assert job_runs.ALL_BLOCKS_TAG in tick_of_the_schedule(instance).tags
        assert instance.get_dynamic_partitions("image_db_pages") == [FIRST], "as nothing is known yet"


def test_a_file_of_products_that_is_away_keeps_no_scheduled_run_from_starting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The run itself fails by it, is recorded and alerted; a person at a terminal is told before there is a run."""
    password = {"IMAGE_API_USERNAME": "reader", "IMAGE_API_PASSWORD": "canary"}
    for name, value in {**password, "IMAGE_API_URL": "http://127.0.0.1:9/api/"}.items():
        monkeypatch.setenv(name, value)
    for name in ("ERP_PARENTS_FILE", "ERP_VARIANTS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "no.csv"))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert job_runs.ALL_BLOCKS_TAG in tick_of_the_schedule(instance).tags
        known = instance.get_dynamic_partitions("image_db_pages")
        assert len(known) == 1
        assert "no.csv could not be read" in tick_of_the_sensor(instance).skip_message
        # imagesync dev --real
        assert _blocks(instance, CONNECTOR) == tuple(known)
        monkeypatch.setenv("IMAGE_API_PASSWORD", "")
        assert _blocks(instance, CONNECTOR) == known


def test_the_sensor_keeps_partitions_equal_to_the_source_and_says_so(place: World) -> None:
    with place.opened() as (_, instance):
        found = tick_of_the_sensor(instance)
        assert found.run_requests == []
        assert found.skip_message == "3 pages in 2 blocks; added 2, removed 0."
        assert tick_of_the_sensor(instance).skip_message == "3 pages in 2 blocks; added 0, removed 0."
        assert block_status(instance) == {FIRST: "missing", SECOND: "missing"}


def test_a_source_that_cannot_be_asked_removes_no_partition(place: World) -> None:
    with place.opened() as (installation, instance):
        tick_of_the_sensor(instance)
        for fault in (REFUSED, NO_PAGE):
            place.sandbox.faults.clear()
            place.sandbox.faults.add(fault)
            with pytest.raises(UpstreamError):
                pages.discover_pages(instance, CONNECTOR, installation.settings, print)
        assert instance.get_dynamic_partitions("image_db_pages") == [FIRST, SECOND]


def test_the_sensor_refuses_another_block_size_with_one_line(place: World) -> None:
    with place.opened() as (_, instance):
        tick_of_the_sensor(instance)
    with place.opened(IMAGE_DB_PAGES_PER_BLOCK="3") as (installation, instance):
        with pytest.raises(BadBlockError, match="reset-pages") as refused:
            tick_of_the_sensor(instance)
        assert "\n" not in str(refused.value)
        with pytest.raises(BadBlockError, match="reset-pages"):
            pages.known_blocks(instance, CONNECTOR, installation.settings, print)


@pytest.mark.parametrize(
    ("options", "job", "over_all"),
    [
        pytest.param(ImageDbOptions(), "image_db__sync", True, id="everything"),
        pytest.param(ImageDbOptions(dry_run=True), "image_db__dry_run", True, id="dry run"),
        pytest.param(ImageDbOptions(force=True), "image_db__sync", True, id="force"),
        pytest.param(ImageDbOptions(limit=2), "image_db__partial", False, id="limit"),
        pytest.param(ImageDbOptions(skip_pages=2), "image_db__partial", False, id="skip pages"),
        pytest.param(ImageDbOptions(skus=["803721"]), "image_db__skus", False, id="sku"),
        pytest.param(ImageDbOptions(dry_run=True, limit=2), "image_db__partial_dry_run", False, id="part of a dry run"),
    ],
)
def test_every_option_is_a_valid_configuration_of_its_job(
    place: World, options: ImageDbOptions, job: str, over_all: bool
) -> None:
    with place.opened() as (installation, instance):
        request = job_runs.run_of(CONNECTOR, "", options.model_dump())
        chosen = CONNECTOR.job(CONNECTOR.job_for(options))
        tags = pages.range_tags_of(instance, CONNECTOR, chosen, installation.settings, print)
    assert request.job == job
    assert bool(tags) is over_all
    validated = dg.validate_run_config(build_definitions().resolve_job_def(job), dict(request.run_config))
    config = {name: op["config"] for name, op in validated["ops"].items() if op.get("config")}
    assert config["image_db__plan"]["force"] is options.force
    if not over_all:
        assert config["image_db__records"]["limit"] == options.limit
        assert config["image_db__records"]["skus"] == list(options.skus)
        assert config["image_db__plan"]["dry_run"] is options.dry_run
        assert ("image_db__product_images" in config) is not options.dry_run, "a dry run has no step that writes"


def test_a_run_without_credentials_is_refused_by_name_before_it_starts(place: World) -> None:

    with pytest.raises(SettingsError, match="IMAGE_API_PASSWORD") as refused:
        place.sync({"IMAGE_API_PASSWORD": ""})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "could not be read"),
        (b"", "no header"),
        (b"id,name\n1,Chair\n", "lacks sku"),
        (b"id,sku\n1,A1", "cut off"),
        (b"id,sku\n1,A1\n2,A2,x\n3,A3\n", "line 3: this row has 3 values"),
        (b'id,sku\n1,A1\n2,"A2\n3,A3\n', "line 3: a quotation mark"),
    ],
)
def test_a_missing_or_broken_file_of_products_is_told_before_the_first_call(
    place: World, tmp_path: Path, content: bytes | None, said: str
) -> None:
    file, ledger = tmp_path / "parents.csv", place.sandbox.ledger
    if content is not None:
        file.write_bytes(content)
    calls = ledger.count()
    with pytest.raises(ErpError, match=said):
        place.sync({"ERP_PARENTS_FILE": str(file)})
    assert ledger.count() == calls
    if content is None:
        # The button of the UI too.
        with place.opened() as (_, instance):
            instance.add_dynamic_partitions(CONNECTOR.page_partitions, [FIRST])
        assert not place.materialise(["api_pages"], [FIRST], ERP_PARENTS_FILE=str(file)).success
        assert ledger.count() == calls


def test_plain_http_to_another_machine_is_refused_in_production(place: World) -> None:
    production = place.entered(IMAGE_API_URL="http://images.example/api/", IMAGESYNC_ENVIRONMENT="production")
    with production, pytest.raises(SettingsError, match="IMAGE_API_URL: plain http"):
        open_session(load_settings(ImageDbSettings), load_settings(Settings), print)


def test_refused_credentials_are_reported_once_and_change_nothing(place: World) -> None:
    assert place.sync().status is runs.Status.COMPLETED
    images = place.product_images()
    place.sandbox.ledger.clear()
    outcome = place.sync({"IMAGE_API_PASSWORD": "canary-wrong-password"})
    assert outcome.status is runs.Status.FAILED
    assert "refused" in outcome.error
    assert "canary" not in repr(outcome)
    assert place.sandbox.ledger.count(ENDPOINT) <= 2, "once by discovery, once by the run"
    assert place.product_images() == images
