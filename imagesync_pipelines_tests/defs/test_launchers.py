"""The launchers of Kubernetes and Docker: which runs are dead, which are canceled, what a container is told."""

import ast
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import dagster as dg
import docker.errors
import pytest
import sqlalchemy as sa
from dagster._core.launcher import WorkerStatus
from dagster_docker.docker_run_launcher import DOCKER_CONTAINER_ID_TAG

from imagesync_pipelines.connectors.moysklad.settings import MoyskladWebhookSettings
from imagesync_pipelines.defs import celery_launcher, docker_launcher, k8s_launcher, launchers
from imagesync_pipelines.defs.docker_launcher import CheckedDockerRunLauncher, variables_of_runs
from imagesync_pipelines.defs.k8s_launcher import CheckedK8sRunLauncher
from imagesync_pipelines.storage.liveness import alive
from imagesync_pipelines.web.catalogue.oidc.settings import OidcSettings
from imagesync_pipelines.web.catalogue.state import CatalogueSettings
from imagesync_pipelines.web.head_office.office import HeadOfficeSettings
from imagesync_pipelines_tests import generated
from imagesync_pipelines_tests.deployment.written import read

STARTED, CANCELING = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING
# What a cluster or a host says of a run's job or container: it works, it was killed, there is none.
WORKS, KILLED, NONE = "works", "killed", "none"


@dg.job
def some_job() -> None:
    """Does nothing."""


def k8s(monkeypatch: pytest.MonkeyPatch, there: str) -> Any:
    monkeypatch.setattr("dagster_k8s.launcher.load_kubernetes_config", lambda **_: None)
    made = CheckedK8sRunLauncher("imagesync", "instance", dagster_home="/opt/dagster", job_image="imagesync")
    jobs = {
        WORKS: SimpleNamespace(active=1, failed=None, succeeded=None),
        KILLED: SimpleNamespace(active=None, failed=1, succeeded=None),
        NONE: None,
    }
    made._api_client = SimpleNamespace(get_job_status=lambda **_: jobs[there], delete_job=lambda **_: True)
    return made


def containers(monkeypatch: pytest.MonkeyPatch, there: str) -> Any:
    made = CheckedDockerRunLauncher(image="imagesync")

    def get(name: str) -> Any:
        if there == NONE:
            raise docker.errors.NotFound("no such container")
        return SimpleNamespace(
            status="running" if there == WORKS else "exited", attrs={}, stop=lambda timeout: None, id=name
        )

    client = SimpleNamespace(containers=SimpleNamespace(get=get))
    monkeypatch.setattr(made, "_get_client", lambda context: client)
    return made


@pytest.fixture(params=[k8s, containers])
def launcher_for(
    request: pytest.FixtureRequest, instance: dg.DagsterInstance, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Any]:
    """Makes a launcher, by what its cluster or host says of every run."""
    monkeypatch.setattr(launchers, "AGAIN_SECONDS", 0.0)

    def make(there: str) -> Any:
        made = request.param(monkeypatch, there)
        made.register_instance(instance)
        vars(made).update(_engine=database)
        return made

    return make


def a_run(instance: dg.DagsterInstance, there: str) -> dg.DagsterRun:
    tags = {} if there == NONE else {DOCKER_CONTAINER_ID_TAG: "a-container"}
    return instance.create_run_for_job(some_job, status=STARTED, tags=tags)


@pytest.mark.parametrize(
    ("there", "holds_lock", "is_alive"),
    [(WORKS, False, True), (KILLED, False, False), (KILLED, True, True), (NONE, True, True), (NONE, False, False)],
    ids=["at work", "killed", "its end was not seen yet", "a command's", "a command's that was killed"],
)
def test_a_run_is_alive_while_it_holds_its_lock_or_its_job_or_container_works(
    launcher_for: Callable[[str], Any],
    instance: dg.DagsterInstance,
    database_url: str,
    there: str,
    holds_lock: bool,
    is_alive: bool,
) -> None:
    run = a_run(instance, there)
    with alive(database_url, run.run_id) if holds_lock else nullcontext():
        assert (launcher_for(there).check_run_worker_health(run).status == WorkerStatus.RUNNING) is is_alive


def test_a_run_whose_lock_was_cut_for_a_moment_is_not_called_dead(
    launcher_for: Callable[[str], Any], instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, looks = launcher_for(NONE), iter([False, True])
    monkeypatch.setattr(launcher, "holds_lock", lambda run_id: next(looks))
    assert launcher.check_run_worker_health(a_run(instance, NONE)).status == WorkerStatus.RUNNING


@pytest.mark.parametrize(
    ("there", "is_canceled"), [(WORKS, True), (NONE, False)], ids=["in its job or container", "a command's"]
)
def test_only_a_run_that_can_be_told_to_end_is_called_canceled(
    launcher_for: Callable[[str], Any], instance: dg.DagsterInstance, database_url: str, there: str, is_canceled: bool
) -> None:
    run = a_run(instance, there)
    with alive(database_url, run.run_id):
        assert launcher_for(there).terminate(run.run_id) is is_canceled
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is (CANCELING if is_canceled else STARTED)


def test_a_container_is_given_every_variable_that_a_run_reads_by_name(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    accounts = tmp_path / "accounts.toml"
    accounts.write_text('[edge.head_office]\npassword = "env:JAKARTA_PASSWORD"\n', encoding="utf-8")
    only_served = {MoyskladWebhookSettings, CatalogueSettings, OidcSettings, HeadOfficeSettings}
    kinds = [kind for _, kind in generated.SETTINGS if kind not in only_served]
    needed = {name for kind in kinds for name in generated.variables(kind)}
    given = dict.fromkeys(needed, "1") | {"IMAGESYNC_BRAKE_SHARE": "1", "JAKARTA_PASSWORD": "s", "PATH": "/bin"}
    assert "IMAGESYNC_DELETION_LIMIT_SHARE" in needed
    monkeypatch.setenv("IMAGESYNC_ACCOUNTS", str(accounts))
    assert set(variables_of_runs(given)) == needed | {
        "IMAGESYNC_BRAKE_SHARE", "JAKARTA_PASSWORD",
    }  # fmt: skip
    monkeypatch.setenv("IMAGESYNC_DELETION_LIMIT_SHARE", "0.05")
    launcher = CheckedDockerRunLauncher(env_vars=["IMAGESYNC_DELETION_LIMIT_SHARE=0.01"])
    context = launcher.get_container_context(a_run(instance, NONE))
    limits = [one for one in context.env_vars if "DELETION_LIMIT_SHARE" in one]
    assert limits == ["IMAGESYNC_DELETION_LIMIT_SHARE", "IMAGESYNC_DELETION_LIMIT_SHARE=0.01"]
    assert "IMAGESYNC_ACCOUNTS" in context.env_vars


def test_a_container_needs_no_variable_that_may_be_left_out() -> None:
    listed = set(read("dagster/docker.yaml")["run_launcher"]["config"]["env_vars"])
    assert listed == {
        "IMAGESYNC_HOME", "IMAGESYNC_DAGSTER_YAML", "IMAGESYNC_DATABASE_URL", "IMAGESYNC_STORAGE_URL",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("module", "own"),
    [
        (launchers, set()),
        (celery_launcher, {"dagster_celery"}),
        (k8s_launcher, {"dagster_k8s"}),
        (docker_launcher, {"dagster_docker"}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_launcher_imports_no_library_of_another_one(module: Any, own: set[str]) -> None:
    nodes = ast.walk(ast.parse(inspect.getsource(module)))
    imported = {
        name.partition(".")[0]
        for node in nodes
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
    }
    assert imported & {"celery", "dagster_celery", "dagster_docker", "dagster_k8s", "docker", "kubernetes"} == own
