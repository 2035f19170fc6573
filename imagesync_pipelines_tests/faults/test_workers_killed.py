"""Two workers on hosts of their own, one killed in the middle of sixty stores: all arrive, nothing twice.

They share PostgreSQL, an object store and Redis. A third worker takes the place of the one that was killed, whose files
are gone with it; and what a person cancels ends, and is not tried again.
"""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from imagesync_pipelines.sandbox.faults import FaultKind, WireFault
from imagesync_pipelines.sandbox.head_office.watching import DOWNLOAD, LISTING
from imagesync_pipelines.sandbox.moysklad.making import catalogue
from imagesync_pipelines.sandbox.moysklad.server import accounts_of, moysklad_sandbox, secrets_of
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.objects import embedded_s3
from imagesync_pipelines_tests.clusters import Cluster, Process, cluster, wait_until
from imagesync_pipelines_tests.edge_installations import edge_world, head_office

pytestmark = pytest.mark.slow

STORES, SLOTS = 60, 4
# Of the daemon, until it says so of a run whose worker was killed.
POLLS = 2
SCHEDULES = (
    "EDGE_INCREMENTAL_SCHEDULE", "EDGE_FULL_SCHEDULE", "MOYSKLAD_INCREMENTAL_SCHEDULE", "MOYSKLAD_FULL_SCHEDULE",
    "MOYSKLAD_CLEANUP_SCHEDULE",
)  # fmt: skip
JOBS = ("edge__sync", "moysklad__sync")
RunStatus = dg.DagsterRunStatus


@pytest.mark.long
def test_a_worker_that_is_killed_in_the_middle_of_sixty_stores_costs_nothing(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    accounts = catalogue(products=12, images=3)
    with (
        head_office(server, tmp_path / "office", photos=4, stores=STORES) as office,
        edge_world(server, tmp_path / "stores", office) as world,
        moysklad_sandbox(accounts=accounts) as moysklad,
        embedded_s3(tmp_path / "objects", bucket="kept") as objects,
    ):
        shared = {
            **world.environment,
            **secrets_of([one.name for one in accounts]),
            "IMAGESYNC_STORAGE_URL": "s3://kept/site",
            "IMAGESYNC_S3_ENDPOINT_URL": objects.endpoint_url,
            "IMAGESYNC_S3_ACCESS_KEY": objects.access_key,
            "IMAGESYNC_S3_SECRET_KEY": objects.secret_key.get_secret_value(),
            "IMAGESYNC_ALLOWED_IMAGE_HOSTS": "127.0.0.1",
            # The sensor starts the runs, at once; no schedule does.
            **dict.fromkeys(SCHEDULES, "0 0 29 2 *"),
            "EDGE_SENSOR_SECONDS": "3600",
        }
        text = Path(world.environment["IMAGESYNC_ACCOUNTS"]).read_text(encoding="utf-8")
        text += "\n".join(["", *accounts_of(moysklad.api_url), ""])
        office.faults.add(WireFault(FaultKind.LATENCY, DOWNLOAD, times=None, seconds=0.5))
        with cluster(tmp_path / "hosts", shared, text, SLOTS) as hosts:
            for pool in ("edge_api", "edge_write", "moysklad_main", "moysklad_child"):
                hosts.instance.event_log_storage.set_concurrency_slots(pool, SLOTS)
            hosts.worker("first")
            second = hosts.worker("second")
            wait_until(lambda: len(hosts.runs(RunStatus.SUCCESS)) >= STORES // 6, "the first stores")
            doomed = wait_until(lambda: halted_at_work(hosts, second, "second"), "a run that began on the second host")
            second.kill()
            looked = hosts.looks()
            shutil.rmtree(hosts.home("second"))
            hosts.worker("third")
            victims = [run for run in hosts.runs() if run.tags.get(DAGSTER_CELERY_TASK_ID_TAG) in doomed]
            # Two accounts that share the main account's limit, on two hosts.
            children = [hosts.launch("moysklad__sync", child) for child in ("child-1", "child-2")]
            wait_until(lambda: is_done(hosts), "the end of all runs")

            runs = {run.run_id: run for run in synchronisations(hosts)}
            lost = {run.run_id for run in runs.values() if run.status is RunStatus.FAILURE}
            again = Counter(run.parent_run_id for run in runs.values() if run.parent_run_id)
            assert lost, "nothing was at work where it was killed"
            assert lost >= {run.run_id for run in victims if hosts.status(run.run_id) is not RunStatus.SUCCESS}
            assert again == dict.fromkeys(lost, 1), "each that was lost is tried again, once"
            assert len(runs) == STORES + len(lost) + len(children)
            assert {run.status for run in runs.values() if run.run_id not in lost} == {RunStatus.SUCCESS}
            told = {run_id: " ".join(one.message for one in hosts.instance.all_logs(run_id)) for run_id in lost}
            assert all("killed" in text for text in told.values())
            # A run that had not begun is looked for by a sensor.
            begun = [run_id for run_id, text in told.items() if "Detected run worker status" in text]
            polls = hosts.looks() - looked
            assert {run_id: polls[run_id] for run_id in begun if polls[run_id] > POLLS} == {}
            assert begun, "no run that had begun was lost"
            for nth in range(1, STORES + 1):
                world.assert_converged(f"store{nth}")
            reported = Counter((report.store_id, report.photo_id) for report in office.reports())
            twice = {store for (store, _), times in reported.items() if times > 1}
            assert twice <= {str(office.stores[int(store_of(runs[run_id])[5:]) - 1]) for run_id in lost}
            assert office.ledger.count(DOWNLOAD) <= len(reported) + 8 * len(lost)

            assert (moysklad.ledger.count(status=429), moysklad.counters.all()) == (0, ())
            assert moysklad.calls("main") > 45, "more than the limit of three seconds"
            done_by = {run_id: worker_of(hosts, run) for run_id, run in runs.items() if run_id not in lost}
            assert set(done_by.values()) == {"first@host", "second@host", "third@host"}
            for worker in ("first@host", "third@host"):
                run = next(runs[run_id] for run_id, by in done_by.items() if by == worker)
                assert run.job_name in printed(hosts, run), "what it printed on its host is read here"

            office.faults.add(WireFault(FaultKind.LATENCY, LISTING, times=None, seconds=2.0))
            canceled = hosts.launch("edge__sync", "store1")
            wait_until(
                lambda: hosts.status(canceled) is RunStatus.STARTED and office.ledger.under_way(LISTING), "a call"
            )
            hosts.terminate(canceled)
            wait_until(lambda: hosts.status(canceled) is RunStatus.CANCELED, "its end")
            office.faults.clear()
            after = hosts.launch("edge__sync", "store1")
            wait_until(lambda: hosts.status(after) is RunStatus.SUCCESS, "the next run")
            assert [run for run in hosts.runs() if run.parent_run_id == canceled] == []
            world.assert_converged("store1")


def is_done(hosts: Cluster) -> bool:
    """Whether every store and child account arrived, and nothing waits or is at work."""
    runs = synchronisations(hosts)
    again = {run.parent_run_id for run in runs}
    over = all(run.is_finished and (run.status is RunStatus.SUCCESS or run.run_id in again) for run in runs)
    return over and len({(run.job_name, store_of(run)) for run in runs}) == STORES + 2


def halted_at_work(hosts: Cluster, worker: Process, name: str) -> list[str]:
    """The tasks that a worker was halted in, if the run of one had begun; else none, and it goes on."""
    tasks = hosts.at_work_on(name)
    worker.halt()
    if {run.tags.get(DAGSTER_CELERY_TASK_ID_TAG) for run in hosts.runs(RunStatus.STARTED)}.intersection(tasks):
        return tasks
    worker.go_on()
    return []


def synchronisations(hosts: Cluster) -> list[dg.DagsterRun]:
    """The runs of stores and child accounts."""
    return [run for run in hosts.runs() if run.job_name in JOBS]


def store_of(run: dg.DagsterRun) -> str:
    """The store or account of a run."""
    return run.tags["dagster/partition"]


def worker_of(hosts: Cluster, run: dg.DagsterRun) -> str:
    """The worker that did a run."""
    launcher: Any = hosts.instance.run_launcher
    return str(launcher.celery.AsyncResult(run.tags[DAGSTER_CELERY_TASK_ID_TAG]).worker)


def printed(hosts: Cluster, run: dg.DagsterRun) -> str:
    """What the steps of a run printed, as the UI shows it."""
    [captured, *_] = hosts.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED)
    assert captured.dagster_event is not None
    logs = hosts.instance.compute_log_manager
    key = logs.build_log_key_for_run(run.run_id, captured.dagster_event.logs_captured_data.file_key)
    return (logs.get_log_data(key).stderr or b"").decode()
