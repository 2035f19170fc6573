"""Dagster assets, checks and jobs of the edge as a person meets them: metadata, thresholds, plain failures, scrub."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from imagesync_pipelines.connectors.edge.listing import ListingHandOver
from imagesync_pipelines.connectors.edge.model import BINARIES, EDGE, LISTING
from imagesync_pipelines.connectors.edge.reading import BinariesHandOver
from imagesync_pipelines.defs import history, runs
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines.sync.job_runs import PARTITION_TAG
from imagesync_pipelines_tests.edge_installations import STORE, EdgeWorld, edge_world, head_office
from imagesync_pipelines_tests.installations import QUIET
from imagesync_pipelines_tests.places import ended_well

CANARY = "canary-password-7731"


@pytest.fixture(scope="module")
def office(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeadOfficeSandbox]:
    """A small head office."""
    with head_office(server, tmp_path_factory.mktemp("office"), photos=12) as running:
        yield running


@pytest.fixture(scope="module")
def place(
    server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory, office: HeadOfficeSandbox
) -> Iterator[EdgeWorld]:
    """Two stores; the tests of this module synchronise the first."""
    with edge_world(server, tmp_path_factory.mktemp("place"), office) as made:
        ended_well(made.sync(full=True))
        yield made


def metadata_of(instance: dg.DagsterInstance, run_id: str, asset: str) -> dict[str, Any]:
    """What a run wrote on an asset of the connector, with the partition it wrote it for under `partition`."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is not None and event.asset_key == dg.AssetKey(["edge", asset]):
            found = event.step_materialization_data.materialization.metadata
            return {"partition": event.partition, **{name: shown.value for name, shown in found.items()}}
    raise LookupError(f"run {run_id} did not materialise {asset}")


def test_every_asset_tells_what_the_ui_plots(place: EdgeWorld) -> None:
    place.office.mutate("replace")
    outcome = place.sync()
    assert outcome.status is runs.Status.COMPLETED, outcome
    with place.opened() as (_, instance):
        listing, plan, binaries, report = (
            metadata_of(instance, outcome.run_id, name)
            for name in ("photo_listing", "plan", "photo_binaries", "status_report")
        )
        line = history.run_line(instance, outcome.run_id)
    assert {one["partition"] for one in (listing, plan, binaries, report)} == {STORE}
    assert listing["photos/new"] == 1
    assert listing["lag/seconds"] >= 0
    assert listing["every_page_was_read"] is True
    assert "1 downloads" in plan["cost"]
    assert "replaced" in plan["changes"]
    assert (binaries["photos/downloaded"], binaries["photos/verified"], binaries["photos/failed"]) == (1, 1, 0)
    assert binaries["photos/success_rate"] == 1.0
    assert binaries["dagster/row_count"] == len(place.photos())
    assert binaries["database/bytes"] > binaries["bytes/downloaded"] > 0
    assert "database/grown_bytes" in binaries
    assert 0 < binaries["database/used_share"] < 1
    assert report["report/sent"] >= 1
    assert (line.connector, line.partition, line.job, line.added, line.updated) == ("edge", STORE, "edge__sync", 0, 1)


def checks_of(
    place: EdgeWorld, left: BinariesHandOver | ListingHandOver, **more: str
) -> dict[str, dg.AssetCheckEvaluation]:
    """What the checks of an asset say about a hand-over."""
    asset = LISTING if isinstance(left, ListingHandOver) else BINARIES
    definitions = build_definitions()
    keys = [
        key for key in definitions.get_repository_def().asset_graph.asset_check_keys if key.asset_key.path[-1] == asset
    ]
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(), asset_check_selection=set(keys)
    )
    with place.opened(**more) as (installation, instance):
        HandOvers(installation.engine, installation.storage, EDGE, STORE).keep(uuid.uuid4().hex, asset, left)
        instance.add_dynamic_partitions("edge_stores", [STORE])
        result = job.execute_in_process(
            instance=instance, run_config=QUIET, tags={PARTITION_TAG: STORE}, raise_on_error=False
        )
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


@pytest.mark.parametrize(
    ("tried", "failed", "passed", "severity"),
    [
        pytest.param(0, 0, True, None, id="0 of 0"),
        pytest.param(2, 1, True, None, id="1 of 2 is too few to judge"),
        pytest.param(100, 5, True, None, id="5 %"),
        pytest.param(100, 6, False, "WARN", id="6 %: under 95 % success"),
        pytest.param(100, 10, False, "WARN", id="10 %"),
        pytest.param(100, 11, False, "ERROR", id="11 %"),
    ],
)
def test_the_share_of_failures_warns_and_alerts_at_the_default_thresholds(
    place: EdgeWorld, tried: int, failed: int, passed: bool, severity: str | None
) -> None:
    left = BinariesHandOver(settled_at=None, tried=tried, failed=failed)
    found = checks_of(place, left)["few_photos_fail"]
    assert found.passed is passed
    if severity is not None:
        assert found.severity.value == severity
        assert found.partition == STORE
        assert f"{failed} of {tried}" in (found.description or "")


@pytest.mark.parametrize(
    ("values", "check"),
    [
        pytest.param({"seconds": 3601.0}, "every_run_ends_in_time", id="more than an hour"),
        pytest.param({"mismatched": 1}, "every_photo_matches_its_checksum", id="any mismatch"),
        pytest.param({"database_bytes": 81, "capacity_bytes": 100}, "no_database_is_nearly_full", id="81 % full"),
    ],
)
def test_the_other_default_thresholds_alert(place: EdgeWorld, values: dict[str, Any], check: str) -> None:
    found = checks_of(place, BinariesHandOver(settled_at=None, **values))
    assert [name for name, one in found.items() if not one.passed] == [check]
    assert found[check].severity is dg.AssetCheckSeverity.ERROR


def test_an_unproven_listing_is_a_warning(place: EdgeWorld) -> None:
    left = ListingHandOver(
        run_id="any",
        dry_run=False,
        full=True,
        scan_id=1,
        complete=False,
        reason="pages moved",
        quiet=False,
        mirror_at=None,
    )
    found = checks_of(place, left)["every_page_was_read"]
    assert (found.passed, found.severity, found.description) == (False, dg.AssetCheckSeverity.WARN, "pages moved")


def test_a_scrub_repairs_what_rotted_and_says_so(place: EdgeWorld) -> None:
    place.sync(full=True)
    place.rows(
        "UPDATE product_photo SET image_binary = 'rotten' WHERE id = (SELECT min(id::text)::uuid FROM product_photo)"
    )
    with place.entered():
        outcome = dict(runs.run_job(EDGE, "scrub", [STORE]))[STORE]
    assert outcome.status is runs.Status.PARTIAL
    assert outcome.summary["images_updated"] == 1
    assert any("1 stored photos" in warning for warning in outcome.summary["warnings"])
    place.assert_converged()
    with place.entered():
        assert dict(runs.run_job(EDGE, "scrub", [STORE]))[STORE].status is runs.Status.COMPLETED


def test_a_wrong_password_fails_the_run_in_one_line_without_the_password(place: EdgeWorld) -> None:
    stamps = place.stamps()
    outcome = place.sync(more={"HEAD_OFFICE_PASSWORD": CANARY})
    assert outcome.status is runs.Status.FAILED
    assert "refused user name and password" in outcome.error
    assert CANARY not in repr(outcome)
    assert place.stamps() == stamps


@pytest.mark.slow
def test_a_store_whose_database_is_gone_fails_alone(place: EdgeWorld, tmp_path: Path) -> None:
    accounts = Path(place.environment["IMAGESYNC_ACCOUNTS"])
    text = accounts.read_text(encoding="utf-8").replace(place.environment["store1_DATABASE"], "no_such_database")
    broken = tmp_path / "accounts.toml"
    broken.write_text(text, encoding="utf-8")
    with place.entered(IMAGESYNC_ACCOUNTS=str(broken)):
        outcomes = dict(runs.sync(EDGE))
    assert outcomes["store1"].status is runs.Status.FAILED
    assert "the store's database is not there" in outcomes["store1"].error
    assert outcomes["store2"].status is runs.Status.COMPLETED


def test_what_was_never_listed_cannot_be_planned(place: EdgeWorld) -> None:
    job = build_definitions().resolve_implicit_global_asset_job_def()
    with place.opened() as (_, instance):
        instance.add_dynamic_partitions("edge_stores", ["store9"])
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(["edge", "plan"])],
            tags={PARTITION_TAG: "store9"},
            run_config=QUIET,
            raise_on_error=False,
        )
        line = history.run_line(instance, result.run_id)
    assert not result.success
    assert "no edge store 'store9'" in line.error
