"""Runs whose process died are closed and give back their place; runs of living processes, and of others, are not."""

import subprocess
import sys

import dagster as dg
import psutil
import pytest

from imagesync_pipelines.defs.runs import HOST_TAG, PROCESS_TAG, close_orphans, process_tags

STARTED = dg.DagsterRunStatus.STARTED
POOL = "image_db_api"


@dg.job
def some_job() -> None:
    """Does nothing."""


def started(instance: dg.DagsterInstance, tags: dict[str, str]) -> dg.DagsterRun:
    """A run that the instance believes to be running."""
    return instance.create_run_for_job(some_job, status=STARTED, tags=tags)


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


@pytest.fixture
def dead_process() -> str:
    """The name, as in the tag, of a process of this host that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    name = f"{process.pid}/{psutil.Process(process.pid).create_time():.0f}"
    process.communicate()
    return name


def test_a_run_whose_process_died_is_closed_and_says_why(instance: dg.DagsterInstance, dead_process: str) -> None:
    orphan = started(instance, {**process_tags(), PROCESS_TAG: dead_process})
    assert close_orphans(instance) == [orphan.run_id]
    assert status(instance, orphan) is dg.DagsterRunStatus.FAILURE
    said = [entry.message for entry in instance.all_logs(orphan.run_id)]
    assert any("was killed; what it had written is kept" in message for message in said)
    assert close_orphans(instance) == []


def test_a_run_of_a_living_process_is_left_alone(instance: dg.DagsterInstance) -> None:
    living = started(instance, process_tags())
    assert close_orphans(instance) == []
    assert status(instance, living) is STARTED


@pytest.mark.parametrize(
    ("tags", "closed"),
    [
        pytest.param({}, False, id="launched by the daemon"),
        pytest.param({HOST_TAG: "another-host", PROCESS_TAG: "1/1"}, False, id="another host"),
        pytest.param({PROCESS_TAG: "1/1"}, True, id="the number was given to another process since"),
        pytest.param({PROCESS_TAG: "no number"}, True, id="a tag that names no process"),
    ],
)
def test_only_runs_of_this_host_without_their_process_are_closed(
    instance: dg.DagsterInstance, tags: dict[str, str], closed: bool
) -> None:
    run = started(instance, {**(process_tags() if PROCESS_TAG in tags else {}), **tags})
    assert close_orphans(instance) == ([run.run_id] if closed else [])
    assert (status(instance, run) is STARTED) is not closed


def test_a_finished_run_is_left_as_it_is(instance: dg.DagsterInstance, dead_process: str) -> None:
    tags = {**process_tags(), PROCESS_TAG: dead_process}
    done = instance.create_run_for_job(some_job, status=dg.DagsterRunStatus.SUCCESS, tags=tags)
    assert close_orphans(instance) == []
    assert status(instance, done) is dg.DagsterRunStatus.SUCCESS


def test_the_place_of_a_dead_run_in_a_pool_is_free_again(
    postgres_instance: dg.DagsterInstance, dead_process: str
) -> None:
    storage = postgres_instance.event_log_storage
    storage.initialize_concurrency_limit_to_default(POOL)
    orphan = started(postgres_instance, {**process_tags(), PROCESS_TAG: dead_process})
    assert storage.claim_concurrency_slot(POOL, orphan.run_id, "image_db__api_pages").is_claimed
    assert not storage.claim_concurrency_slot(POOL, "another-run", "image_db__api_pages").is_claimed
    close_orphans(postgres_instance)
    assert storage.claim_concurrency_slot(POOL, "another-run", "image_db__api_pages").is_claimed
