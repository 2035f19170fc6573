"""Runs on Celery's workers: which are dead, how one is canceled, how the workers are set up. Without Redis."""

import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from dagster._core.launcher import WorkerStatus
from dagster._utils.interrupts import check_captured_interrupt
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from imagesync_pipelines.defs.celery_launcher import CheckedCeleryRunLauncher
from imagesync_pipelines.defs.liveness import close_dead_runs
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage.liveness import alive
from imagesync_pipelines_tests.clusters import redis
from imagesync_pipelines_tests.generated import ROOT

TASK, WORKER = "a-task", "w1@here"
STARTED, CANCELING, CANCELED = (dg.DagsterRunStatus[name] for name in ("STARTED", "CANCELING", "CANCELED"))


class Workers:
    """What stands between the launcher and workers: which tasks they say they have, and what they are told."""

    def __init__(self, *tasks: str) -> None:
        self.tasks, self.asked, self.revoked = tasks, [], []

    def inspect(self, destination: list[str] | None = None, timeout: float = 0) -> "Workers":
        self.asked.append(destination)
        return self

    def active(self) -> dict[str, Any] | None:
        return {WORKER: [{"id": task} for task in self.tasks]} if self.tasks else None

    def reserved(self) -> dict[str, Any] | None:
        return None

    def stats(self) -> dict[str, Any]:
        return {name: {"pool": {"max-concurrency": 2}} for name in ("w1@here", "w2@there")}

    def revoke(self, task: str, terminate: bool = False, **_: object) -> None:
        self.revoked.append((task, terminate))


@dg.job
def some_job() -> None:
    """Does nothing."""


@pytest.fixture
def launcher(instance: dg.DagsterInstance, database: sa.Engine) -> Iterator[CheckedCeleryRunLauncher]:
    """A launcher whose Redis is this process's memory."""
    made = CheckedCeleryRunLauncher("dagster", broker="memory://", backend="cache+memory://")
    made.register_instance(instance)
    vars(made).update(_engine=database)
    made.celery.control = Workers()
    return made


def a_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus = STARTED, **tags: str) -> dg.DagsterRun:
    return instance.create_run_for_job(some_job, status=status, tags=tags or {DAGSTER_CELERY_TASK_ID_TAG: TASK})


@pytest.mark.parametrize(
    ("said", "holds_lock", "has_worker", "found"),
    [
        ("STARTED", False, True, WorkerStatus.RUNNING),
        ("STARTED", True, False, WorkerStatus.RUNNING),
        ("STARTED", False, False, WorkerStatus.NOT_FOUND),
        ("PENDING", True, False, WorkerStatus.RUNNING),
        ("PENDING", False, True, WorkerStatus.RUNNING),
        ("PENDING", False, False, WorkerStatus.NOT_FOUND),
        ("SUCCESS", False, False, WorkerStatus.SUCCESS),
        ("FAILURE", False, False, WorkerStatus.FAILED),
    ],
    ids=[
        "its worker has it", "its worker is too busy to answer", "its worker was killed",
        "Redis was restarted, and it holds its lock", "Redis was restarted, and a worker has it",
        "nobody knows it", "it ended", "it failed",
    ],
)  # fmt: skip
def test_a_run_is_alive_while_it_holds_its_lock_or_a_worker_has_its_task(
    launcher: CheckedCeleryRunLauncher, database_url: str, said: str, holds_lock: bool, has_worker: bool, found: str
) -> None:
    run = a_run(launcher._instance)
    launcher.celery.control = Workers(*([TASK] if has_worker else ["another"]))
    if said != "PENDING":
        info = OSError("killed") if said == "FAILURE" else {"pid": 1, "hostname": WORKER}
        launcher.celery.backend.store_result(TASK, info, said)
    with alive(database_url, run.run_id) if holds_lock else nullcontext():
        assert launcher.check_run_worker_health(run).status == found
    asked = launcher.celery.control.asked
    assert asked in ([], [[WORKER]] if said == "STARTED" else [None])
    launcher.celery.backend.forget(TASK)


def test_a_run_that_ends_while_the_worker_is_asked_is_not_called_dead(launcher: CheckedCeleryRunLauncher) -> None:
    run = a_run(launcher._instance)
    launcher.celery.backend.store_result(TASK, {"hostname": WORKER}, "STARTED")

    def ended() -> None:
        launcher.celery.backend.store_result(TASK, 0, "SUCCESS")

    launcher.celery.control.active = ended
    assert launcher.check_run_worker_health(run).status == WorkerStatus.SUCCESS
    launcher.celery.backend.forget(TASK)


def test_of_a_run_whose_task_is_not_known_nothing_is_concluded(launcher: CheckedCeleryRunLauncher) -> None:
    run = a_run(launcher._instance, another="tag")
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING


@pytest.mark.parametrize(
    ("said", "before", "after"),
    [("STARTED", STARTED, CANCELING), ("PENDING", dg.DagsterRunStatus.STARTING, CANCELED), ("PENDING", CANCELED, None)],
    ids=["at work", "waiting for a worker", "over"],
)
def test_a_run_that_is_canceled_is_never_taken_for_one_that_failed(
    launcher: CheckedCeleryRunLauncher, said: str, before: dg.DagsterRunStatus, after: dg.DagsterRunStatus | None
) -> None:
    instance = launcher._instance
    run, told = a_run(instance, before), launcher.celery.control
    if said == "STARTED":
        launcher.celery.backend.store_result(TASK, {"hostname": WORKER}, said)
    assert launcher.terminate(run.run_id) is (after is not None)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is (after or before)
    assert told.revoked == ([(TASK, True)] if after else [])
    launcher.celery.backend.forget(TASK)


def test_a_run_of_a_command_goes_on_and_is_not_called_canceled(
    launcher: CheckedCeleryRunLauncher, database_url: str
) -> None:
    run = a_run(launcher._instance, another="tag")
    with alive(database_url, run.run_id):
        assert launcher.terminate(run.run_id) is False
    found = launcher._instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is STARTED
    assert launcher.celery.control.revoked == []


@pytest.mark.parametrize(
    ("said", "tasks", "queued", "is_lost"),
    [
        ("PENDING", (), set(), True),
        ("PENDING", (TASK,), set(), False),
        ("PENDING", (), {TASK}, False),
        ("STARTED", (), set(), True),
        ("STARTED", (TASK,), set(), False),
        ("FAILURE", (), set(), True),
    ],
    ids=["nobody has it", "a worker has it", "it waits in the queue", "killed as it began", "it begins", "it broke"],
)
def test_a_run_that_was_sent_to_a_worker_that_is_gone_is_marked_as_failed(
    launcher: CheckedCeleryRunLauncher,
    database: sa.Engine,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    tasks: tuple[str, ...],
    queued: set[str],
    is_lost: bool,
) -> None:
    instance = launcher._instance
    run = a_run(instance, dg.DagsterRunStatus.STARTING)
    launcher.celery.control = Workers(*tasks)
    monkeypatch.setattr(launcher, "_queued", lambda: queued)
    monkeypatch.setattr(instance, "_run_launcher", launcher)
    if said != "PENDING":
        launcher.celery.backend.store_result(TASK, {"hostname": WORKER}, said)
    with alive(database_url, run.run_id):
        assert close_dead_runs(instance, database, lambda seconds: None) == []
    assert close_dead_runs(instance, database, lambda seconds: None) == [run.run_id] * is_lost
    launcher.celery.backend.forget(TASK)


def test_what_no_worker_has_taken_is_seen_in_redis(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with redis(tmp_path) as url:
        launcher = CheckedCeleryRunLauncher("dagster", broker=f"{url}/0", backend=f"{url}/1")
        launcher.register_instance(instance)
        sent = {launcher.celery.send_task("execute_job", queue="dagster", priority=one).id for one in (0, 9)}
        assert launcher._queued() == sent
        launcher.celery.close()


def test_the_slots_of_all_workers_are_counted(launcher: CheckedCeleryRunLauncher) -> None:
    assert launcher.slots() == 4


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the workers' application."""
    monkeypatch.setenv("IMAGESYNC_CELERY_BROKER", "memory://")
    monkeypatch.setenv("IMAGESYNC_CELERY_BACKEND", "cache+memory://")
    from imagesync_pipelines.defs import celery_app

    return celery_app


def test_workers_take_one_run_a_slot_and_wait_longer_than_any_run_takes(application: Any) -> None:
    document = yaml.safe_load((ROOT / "deploy" / "dagster" / "celery.yaml").read_text(encoding="utf-8"))
    conf, launcher = application.app.conf, document["run_launcher"]["config"]
    assert conf.worker_prefetch_multiplier == 1
    assert not conf.task_acks_late
    visible = conf.broker_transport_options["visibility_timeout"]
    assert visible == launcher["config_source"]["broker_transport_options"]["visibility_timeout"]
    assert min(visible, conf.result_expires) > document["run_monitoring"]["max_runtime_seconds"]
    assert {"execute_job", "resume_job"} <= set(application.app.tasks)


def test_a_worker_that_is_not_told_where_redis_is_says_so(application: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGESYNC_CELERY_BACKEND")
    with pytest.raises(SettingsError, match=r"^IMAGESYNC_CELERY_BACKEND: Redis for Celery"):
        application.configuration()


def test_an_end_that_is_asked_for_during_a_run_waits_for_a_good_moment_and_not_for_the_next_run(
    application: Any,
) -> None:
    app, before = application.app, signal.getsignal(signal.SIGTERM)

    @app.task(base=application.RunTask)
    def a_run_at_work() -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return check_captured_interrupt()

    assert a_run_at_work() is True
    assert signal.getsignal(signal.SIGTERM) == before
    assert not check_captured_interrupt()
