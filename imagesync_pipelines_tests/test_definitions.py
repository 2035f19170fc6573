"""What Dagster loads: the rules that every definition keeps, the committed snapshot, and loading in a bare process."""

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from imagesync_pipelines.cli.sandbox.stand_ins import _PREFIXES
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.registry import connectors
from imagesync_pipelines_tests import generated
from imagesync_pipelines_tests.conftest import OUR_VARIABLES

# They yield nothing on a dry run, or for an account that is off, so that nothing is marked as done; Dagster then wants
# no result type.
MAY_YIELD_NOTHING = {"image_db/product_images", "moysklad/main_images"}

CONNECTOR_PREFIXES = ("image_db__", "edge__", "moysklad__", *(f"{one.name}__" for one in connectors()))

# Pages are one reading, so a range is one run; stores and accounts have nothing to do with each other: each is a run.
BACKFILL = {
    "image_db": dg.BackfillPolicy.single_run(),
    "edge": dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
    "plytix": dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
    "moysklad": dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
}

LOADED = """
import sys
from imagesync_pipelines.definitions import defs
import dagster as dg
dg.Definitions.validate_loadable(defs())
import psutil
assert not psutil.Process().children(recursive=True), psutil.Process().children(recursive=True)
print(len(defs().get_repository_def().asset_graph.get_all_asset_keys()))
"""


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    """All definitions, without any environment of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        for _, kind in generated.SETTINGS:
            for name in generated.variables(kind):
                patch.delenv(name, raising=False)
        patch.setenv("IMAGESYNC_ENV_FILE", os.devnull)
        return build_definitions()


def asset_ops(definitions: dg.Definitions) -> dict[str, dg.OpDefinition]:
    """The op of every asset that can be materialised."""
    found = {}
    for asset in definitions.assets or ():
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable:
            found[asset.key.to_user_string()] = asset.op
    return found


def test_every_asset_keeps_the_rules_of_the_house(definitions: dg.Definitions) -> None:
    graph = definitions.get_repository_def().asset_graph
    broken = []
    for key in graph.get_all_asset_keys():
        node, name = graph.get(key), key.to_user_string()
        first_line = inspect.cleandoc(node.description or "").partition("\n")[0]
        rules = {
            "a key of connector and noun": re.fullmatch(r"[a-z_]+/[a-z_]+", name) is not None,
            "a description that begins with a sentence": re.fullmatch(r"[A-Z].{20,}\.", first_line) is not None,
            "an owner": bool(node.owners),
            "kinds": bool(node.kinds),
            "its connector as group": node.group_name == key.path[0],
            "freshness": node.is_external or node.freshness_policy is not None,
            "its way with ranges": node.partitions_def is None or node.backfill_policy == BACKFILL[key.path[0]],
            "something before it": node.is_external or bool(node.parent_keys) or name == "installation/doctor",
        }
        broken += [f"{name} lacks {rule}" for rule, kept in rules.items() if not kept]
    assert not broken


def test_every_asset_returns_metadata_only_and_always_unless_its_step_may_end_the_run(
    definitions: dg.Definitions,
) -> None:
    ops = asset_ops(definitions)
    said = {name: op.compute_fn.decorated_fn.__annotations__["return"] for name, op in ops.items()}  # type: ignore[union-attr]
    assert len(ops) == 27
    assert set(said.values()) <= {dg.MaterializeResult, Iterator[dg.MaterializeResult]}
    assert {name for name, op in ops.items() if not op.output_defs[0].is_required} == MAY_YIELD_NOTHING


def test_what_calls_an_api_or_writes_product_images_waits_in_a_pool(definitions: dg.Definitions) -> None:
    graph = definitions.get_repository_def().asset_graph
    pools = {key.to_user_string(): node.pools for key in graph.get_all_asset_keys() if (node := graph.get(key)).pools}
    assert pools == {
        "image_db/api_pages": {"image_db_api"},
        "image_db/records": {"image_db_api"},
        "image_db/product_images": {"image_db_write"},
        "edge/photo_listing": {"edge_api"},
        "edge/photo_binaries": {"edge_write"},
        "edge/status_report": {"edge_api"},
        "plytix/products": {"plytix_api"},
        "plytix/plan": {"plytix_api"},
        "plytix/assets": {"plytix_api"},
        "plytix/product_images": {"plytix_api"},
        "moysklad/main_images": {"moysklad_main"},
        "moysklad/entity_map": {"moysklad_child"},
        "moysklad/plan": {"moysklad_child"},
        "moysklad/content": {"moysklad_main"},
        "moysklad/child_images": {"moysklad_child"},
    }


def test_every_job_is_named_by_its_connector_and_described(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert len(repository.job_names) > 10
    for name in repository.job_names:
        if not name.startswith("__"):
            job = repository.get_job(name)
            assert (job.description or "").endswith("."), name
            others = ("prune_events_job", "cleanup_job", "doctor_job", "quality__measure", "webhooks_out__deliver")
            assert name.startswith(CONNECTOR_PREFIXES) or name in others
            assert job.executor_def is dg.in_process_executor


def test_every_option_of_a_run_is_explained_in_the_launchpad(definitions: dg.Definitions) -> None:
    options = {
        f"{name}: {option}": field.description
        for name, op in asset_ops(definitions).items()
        for option, field in (getattr(op.config_schema.config_type, "fields", None) or {}).items()
    }
    assert len(options) > 20
    assert not [option for option, text in options.items() if not text]


def test_every_schedule_and_sensor_is_described_and_names_its_time_zone(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert repository.schedule_defs
    assert repository.sensor_defs
    for schedule in repository.schedule_defs:
        assert schedule.execution_timezone == "Europe/Berlin", schedule.name
        assert (schedule.description or "").endswith("."), schedule.name
    for sensor in repository.sensor_defs:
        assert (sensor.description or "").endswith("."), sensor.name


def test_every_check_is_a_true_sentence_with_a_description(definitions: dg.Definitions) -> None:
    graph = definitions.get_repository_def().asset_graph
    assert len(graph.asset_check_keys) > 10
    for key in graph.asset_check_keys:
        assert re.fullmatch(r"(every|few|no|nothing)_[a-z_]+", key.name)
        assert (graph.get(key).description or "").endswith("."), key.name


def test_a_code_server_loads_everything(definitions: dg.Definitions) -> None:
    definitions.get_repository_def().load_all_definitions()


def test_what_dagster_loads_is_what_is_committed(definitions: dg.Definitions) -> None:
    committed = json.loads(generated.SNAPSHOT.read_text(encoding="utf-8"))
    assert generated.snapshot(definitions) == committed, (
        "what Dagster loads has changed; if it is meant: python -m imagesync_pipelines_tests.generated"
    )


def test_a_bare_process_without_any_environment_loads_everything_and_starts_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", LOADED],
        cwd=tmp_path, env={"PATH": os.defpath, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 35
    assert done.stderr == ""
    assert not list(tmp_path.iterdir()), "loading wrote files"


def test_alerts_run_from_the_start() -> None:
    repository = build_definitions().get_repository_def()
    for alert in ("run_failure_alert", "failed_check_alert", "dagster_alert", "held_alert"):
        assert repository.get_sensor_def(alert).default_status.value == "RUNNING"


def test_the_schedule_follows_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_DB_SCHEDULE", "30 4 * * 1-5")
    monkeypatch.setenv("IMAGESYNC_TIMEZONE", "Europe/Vienna")
    schedule = build_definitions().get_repository_def().get_schedule_def("image_db__sync__daily")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 4 * * 1-5", "Europe/Vienna")


def test_resources_can_be_replaced_by_name() -> None:
    replaced = dg.ResourceDefinition.hardcoded_resource("mine")
    repository = build_definitions({"image_db": replaced}).get_repository_def()
    assert repository.get_top_level_resources()["image_db"] is not None
    assert set(repository.get_top_level_resources()) == {
        "installation", "image_db", "edge", "plytix", "moysklad", "folder", "progress",
    }  # fmt: skip


@pytest.mark.parametrize("kept_apart", [OUR_VARIABLES, _PREFIXES], ids=["tests", "sandbox"])
def test_the_settings_of_every_connector_are_kept_out_of_tests_and_of_the_sandbox(kept_apart: tuple[str, ...]) -> None:
    for one in connectors():
        prefix = str(one.settings.model_config.get("env_prefix") or "")
        names = {(prefix + name).upper() for name in one.settings.model_fields}
        assert {name for name in names if not name.startswith(kept_apart)} == set(), one.name
