"""The files of deploy/ agree with one another and with the program; their own tools judge them in test_tools.py."""

import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.config import dagster_instance_config_schema
from dagster._core.workspace.config_schema import process_workspace_config
from prometheus_client.parser import text_string_to_metric_families

from imagesync_pipelines.cli.commands import LazyCommand
from imagesync_pipelines.cli.main import root
from imagesync_pipelines.cli.sandbox import dev
from imagesync_pipelines.web import service as served
from imagesync_pipelines.web.head_office import app as head_office
from imagesync_pipelines_tests import generated, locks
from imagesync_pipelines_tests.deployment.written import (
    CHART,
    DEPLOY,
    SECRET,
    commands,
    env_example,
    expressions,
    read,
    services,
    units,
)
from imagesync_pipelines_tests.web.catalogue.world import open_world, serving

SECONDS = {"s": 1, "m": 60, "h": 3600}
LONGEST_STOP = max(served.STOP_SECONDS, head_office.STOP_SECONDS, dev.STOP_SECONDS)


def seconds(text: str) -> int:
    return int(text[:-1]) * SECONDS[text[-1]]


def variables(text: str) -> set[str]:
    return set(re.findall(r"\$\{(\w+)", text))


@pytest.mark.parametrize("name", services())
def test_a_service_is_restarted_watched_bounded_and_writes_to_volumes_only(name: str) -> None:
    service = services()[name]
    assert service["restart"] == "unless-stopped"
    assert set(service["healthcheck"]) >= {"test", "interval", "timeout", "retries"}
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert seconds(re.sub(r"\$\{\w+:-(\w+)\}", r"\1", service["stop_grace_period"])) > LONGEST_STOP
    assert service["read_only"] is True
    folders = [mount for mount in service.get("volumes", []) if mount.startswith(".")]
    assert [mount for mount in folders if not mount.endswith(":ro")] == []
    assert "max-size" in service["logging"]["options"]


@pytest.mark.parametrize("name", services())
def test_no_secret_is_in_a_command_line_and_no_image_names_a_registry(name: str) -> None:
    service = services()[name]
    words = [*service.get("command", []), *service.get("entrypoint", []), *service["healthcheck"]["test"]]
    assert [word for word in words if SECRET.search(word)] == []
    first, _, rest = re.sub(r"^\$\{\w+(:-(.*))?.*\}$", r"\2", service["image"]).partition("/")
    assert not rest or not re.search(r"[.:]|^localhost$", first)


def test_only_the_proxy_is_reached_from_outside_and_the_stores_reach_nothing_there() -> None:
    assert {name for name, service in services().items() if "ports" in service} == {"proxy"}
    assert read("compose/compose.yaml")["networks"]["data"] == {"internal": True}
    assert {name for name, one in services().items() if one["networks"] == ["data"]} == {"postgres", "redis", "s3"}
    proxy = services()["proxy"]["networks"]["front"]["ipv4_address"]
    assert services()["catalogue"]["environment"]["IMAGESYNC_TRUSTED_PROXIES"] == proxy


def test_the_example_has_every_variable_of_the_compose_file_and_no_other() -> None:
    text = (DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8")
    given = set(env_example()) | {"IMAGESYNC_IMAGE", "BASE_IMAGE", "STORAGE_PREFIX", "WORKER_STOP_GRACE"}
    assert variables(text) | {"COMPOSE_PROFILES"} == given
    needed = set(re.findall(r"\$\{(\w+):\?", text))
    assert needed >= {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "S3_SECRET_KEY", "CATALOGUE_SESSION_SECRET", "DOMAIN"}


def known_variables() -> set[str]:
    return {name for _, kind in generated.SETTINGS for name in generated.variables(kind)}


def test_every_variable_of_ours_is_one_that_the_program_reads() -> None:
    named = {name for service in services().values() for name in service.get("environment", {})}
    named |= set(read("helm/imagesync/values.yaml")["env"])
    named |= set(re.findall(r"^  ([A-Z_]+):", (CHART / "templates" / "env.yaml").read_text(), re.MULTILINE))
    ours = {name for name in named if name.startswith(("IMAGESYNC_", "CATALOGUE_", "HO_", "MOYSKLAD_"))}
    # Read by workspace.yaml and by the files of deploy/dagster themselves.
    files = [DEPLOY / "workspace.yaml", *(DEPLOY / "dagster").glob("*.yaml")]
    ours -= {name for file in files for name in re.findall(r"env: (\w+)", file.read_text(encoding="utf-8"))}
    assert len(ours) > 10
    assert ours - known_variables() == set()


@pytest.mark.parametrize(("where", "command"), list(commands()))
def test_a_command_is_one_that_we_have(where: str, command: list[str]) -> None:
    if command[0] != "imagesync":
        assert command[0] in {
            "imagesync-entrypoint", "dagster", "dagster-webserver", "dagster-daemon", "celery", "postgres",
            "redis-server",
        } or where == "compose s3"  # fmt: skip
        return
    found: click.Command = root
    words = command[1:]
    while isinstance(found, click.Group):
        found, words = found.commands[words[0]], words[1:]
    real = found.load() if isinstance(found, LazyCommand) else found
    real.make_context(" ".join(command), words)


def test_the_page_names_files_and_commands_that_are_there() -> None:
    docs = generated.ROOT / "docs"
    text = (docs / "deployment.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#]+)", text)
    assert len(linked) > 8
    assert [link for link in linked if not (docs / link).exists()] == []
    block = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    named = set(re.findall(r"(?<![/\w-])(?:deploy|tools)/[\w./-]+", block))
    assert len(named) > 5
    assert [name for name in named if not (generated.ROOT / name).exists()] == []


def test_the_settings_for_the_units_take_nothing_from_them(tmp_path: Path) -> None:
    """systemd lets an EnvironmentFile win over the units' own Environment."""
    text = (generated.ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    made = re.search(r"^sed '.*\n  install .*$", text, re.MULTILINE)
    assert made is not None
    script = made[0].replace("/etc/imagesync/", f"{tmp_path}/etc/")
    subprocess.run(["sh", "-ec", script], cwd=generated.ROOT, check=True)
    file = tmp_path / "etc" / "imagesync.env"
    assert file.stat().st_mode & 0o777 == 0o600
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == ["IMAGESYNC_ENVIRONMENT=production"]
    assert "#IMAGESYNC_HOME=.imagesync" in lines


def test_every_file_for_dagster_is_accepted_and_names_the_most_runs_once() -> None:
    files = sorted((DEPLOY / "dagster").glob("*.yaml"))
    assert files
    for file in files:
        document = read(f"dagster/{file.name}")
        result = process_config(resolve_to_config_type(dagster_instance_config_schema()), document)
        assert [error.message for error in result.errors or ()] == []
        assert file.read_text(encoding="utf-8").count("max_concurrent_runs:") == 1
    values = (DEPLOY / "helm" / "dagster-values.yaml").read_text(encoding="utf-8")
    assert re.findall(r"maxConcurrentRuns|max_concurrent_runs:", values) == []
    assert read("helm/dagster-values.yaml")["global"]["dagsterInstanceConfigMap"] == "imagesync-instance"


def test_the_workers_have_a_slot_for_every_run() -> None:
    given = env_example()
    most = read("dagster/celery.yaml")["concurrency"]["runs"]["max_concurrent_runs"]
    assert int(given["WORKERS"]) * int(given["SLOTS"]) == most
    service = services()["worker"]
    assert f"${{SLOTS:-{given['SLOTS']}}}" in service["command"]
    assert service["deploy"]["replicas"] == f"${{WORKERS:-{given['WORKERS']}}}"
    unit = (DEPLOY / "systemd" / "imagesync-worker.service").read_text(encoding="utf-8")
    assert re.findall(r"-c (\d+) ", unit) == [str(most)]
    assert re.findall(r"^MemoryMax=(\d+)G$", unit, re.MULTILINE) == [str(most)]


def test_a_worker_ends_its_runs_itself_when_its_unit_is_stopped() -> None:
    unit = (DEPLOY / "systemd" / "imagesync-worker.service").read_text(encoding="utf-8")
    assert re.findall(r"^KillMode=(\S+)$", unit, re.MULTILINE) == ["mixed"]


def test_dagsters_chart_and_the_runs_take_what_our_chart_makes() -> None:
    launcher = read("dagster/kubernetes.yaml")["run_launcher"]["config"]
    values, [code] = (
        read("helm/dagster-values.yaml"),
        read("helm/dagster-values.yaml")["dagster-user-deployments"]["deployments"],
    )
    assert launcher["instance_config_map"] == values["global"]["dagsterInstanceConfigMap"] == "imagesync-instance"
    assert launcher["service_account_name"] == values["global"]["serviceAccountName"]
    assert launcher["dagster_home"] == values["global"]["dagsterHome"]
    for part in (code, values["dagsterWebserver"], values["dagsterDaemon"]):
        assert [one["name"] for one in part["envConfigMaps"]] == launcher["env_config_maps"] == ["imagesync-config"]
        assert [one["name"] for one in part["envSecrets"]] == launcher["env_secrets"]
    assert launcher["env_secrets"] == [read("helm/imagesync/values.yaml")["secretName"]]
    container = launcher["run_k8s_config"]["container_config"]
    assert container["security_context"]["read_only_root_filesystem"] is True
    assert {mount["mount_path"] for mount in container["volume_mounts"]} == {
        "/var/lib/imagesync", "/tmp", "/etc/imagesync",
    }  # fmt: skip


def test_every_process_on_kubernetes_sees_the_accounts_file_that_it_is_told_of() -> None:
    told = re.search(r"IMAGESYNC_ACCOUNTS: (\S+)", (CHART / "templates" / "env.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = read("helm/dagster-values.yaml")
    [code] = values["dagster-user-deployments"]["deployments"]
    parts = [
        (one["volumes"], one["volumeMounts"], "secretName", "mountPath", "defaultMode")
        for one in (code, values["dagsterWebserver"], values["dagsterDaemon"])
    ]
    run = read("dagster/kubernetes.yaml")["run_launcher"]["config"]["run_k8s_config"]
    of_run = (run["pod_spec_config"]["volumes"], run["container_config"]["volume_mounts"])
    parts.append((*of_run, "secret_name", "mount_path", "default_mode"))
    for volumes, mounts, name, path, mode in parts:
        [secret] = [one["secret"] for one in volumes if one["name"] == "accounts"]
        assert secret == {name: "accounts", "optional": True, mode: 0o440}
        assert secret[name] in schema["properties"]["accountsSecret"]["enum"]
        [mount] = [one for one in mounts if one["name"] == "accounts"]
        assert told is not None
        assert Path(told[1]).parent == Path(mount[path])


def test_one_code_server_by_one_name_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGESYNC_CODE_HOST", "code")
    document = read("workspace.yaml")
    assert process_workspace_config(document).success
    server = document["load_from"][0]["grpc_server"]
    root_file = read("../workspace.yaml")["load_from"][0]["python_module"]
    assert server["location_name"] == root_file["location_name"]
    values = read("helm/dagster-values.yaml")
    [of_dagster] = values["dagsterWebserver"]["workspace"]["servers"]
    assert (of_dagster["name"], of_dagster["port"]) == (server["location_name"], server["port"])
    [deployment] = values["dagster-user-deployments"]["deployments"]
    assert (deployment["name"], deployment["port"]) == (of_dagster["host"], of_dagster["port"])
    starting = [command for _, command in commands() if "grpc" in command]
    assert len(starting) == 2
    for command in starting:
        assert ("-p", str(server["port"])) in pairwise(command)
        assert ("-m", root_file["module_name"]) in pairwise(command)


def test_rules_and_dashboard_ask_for_numbers_that_the_catalogue_has(database: sa.Engine, tmp_path: Path) -> None:
    with serving(open_world(database, tmp_path).opened) as site:
        families = list(text_string_to_metric_families(site.get("/metrics").text))
    real = {name for one in families for name in (one.name, f"{one.name}_total" if one.type == "counter" else one.name)}
    asked = {name for text in expressions() for name in re.findall(r"imagesync_\w+", text)}
    assert len(asked) > 10
    assert asked - real == set()


def test_the_chart_has_the_version_of_the_program_and_the_images_of_compose() -> None:
    chart: dict[str, Any] = read("helm/imagesync/Chart.yaml")
    assert chart["version"] == chart["appVersion"] == locks.project()["version"]
    image = read("helm/imagesync/values.yaml")["image"]
    of_dagster = read("helm/dagster-values.yaml")["dagsterDaemon"]["image"]
    assert of_dagster == image
    assert services()["catalogue"]["image"] == f"${{IMAGESYNC_IMAGE:-{image['repository']}:{image['tag']}}}"


def test_what_the_image_copies_is_not_ignored() -> None:
    kept = (generated.ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [line for line in kept if line.startswith("!") and not (generated.ROOT / line[1:]).exists()] == []
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    named = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    assert {f"!{word}" for words in named for word in words.split()} - {"!."} <= set(kept)


@pytest.mark.parametrize("unit", units(), ids=lambda unit: unit.name)
def test_a_unit_gives_a_server_the_time_to_stop(unit: Path) -> None:
    found = re.search(r"^TimeoutStopSec=(\d+)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    assert int(found[1]) > LONGEST_STOP


def test_what_the_package_links_to_comes_into_the_image() -> None:
    kept = (generated.ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    linked = [path.name for path in (generated.ROOT / "imagesync_pipelines" / "root_files").iterdir()]
    assert len(linked) > 1
    assert [name for name in linked if f"!{name}" not in kept] == []
