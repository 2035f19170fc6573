"""Runs that died are marked as failed and give back their place; runs that live anywhere, and old ones, are not."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest
import sqlalchemy as sa

from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.defs.liveness import SENSOR, close_dead_runs, lock_tag
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.storage import liveness
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.errors import TransactionPoolerError
from imagesync_pipelines.storage.installation import Locations
from imagesync_pipelines_tests.poolers import pgbouncer, through

STARTED = dg.DagsterRunStatus.STARTED
POOL = "image_db_api"
# A process that holds the lock of a run until its standard input ends, or it is killed.
HOLDER = """
import sys
from imagesync_pipelines.storage.liveness import alive
with alive(sys.argv[1], sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@dg.job
def some_job() -> None:
    """Does nothing."""


@contextmanager
def held_elsewhere(url: str, run_id: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process, as in another container: it holds the lock of the run."""
    words = [sys.executable, "-c", HOLDER, url, run_id]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


def started(
    instance: dg.DagsterInstance, tags: dict[str, str] | None = None, kind: dg.DagsterRunStatus = STARTED
) -> dg.DagsterRun:
    """A run that the instance believes to be running, with its own tag or others."""
    run = instance.create_run_for_job(some_job, status=kind)
    instance.add_run_tags(run.run_id, lock_tag(run.run_id) if tags is None else tags)
    return run


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def no_time(seconds: float) -> None:
    """The second look comes at once."""


def test_a_run_whose_process_is_killed_is_closed_gives_its_place_back_and_says_why(
    postgres_instance: dg.DagsterInstance, database: sa.Engine, database_url: str
) -> None:
    storage, run = postgres_instance.event_log_storage, started(postgres_instance)
    storage.initialize_concurrency_limit_to_default(POOL)
    assert storage.claim_concurrency_slot(POOL, run.run_id, "image_db__api_pages").is_claimed
    with held_elsewhere(database_url, run.run_id) as process:
        assert close_dead_runs(postgres_instance, database, no_time) == []
        assert not storage.claim_concurrency_slot(POOL, "the night's run", "image_db__api_pages").is_claimed
        process.kill()
        process.wait()
        assert close_dead_runs(postgres_instance, database) == [run.run_id]
    assert status(postgres_instance, run) is dg.DagsterRunStatus.FAILURE
    assert storage.claim_concurrency_slot(POOL, "the night's run", "image_db__api_pages").is_claimed
    said = [entry.message for entry in postgres_instance.all_logs(run.run_id)]
    assert any("was killed; what it had written is kept" in message for message in said)
    assert close_dead_runs(postgres_instance, database, no_time) == []


def test_a_run_whose_process_ends_while_it_is_canceled_is_canceled_and_not_failed(
    postgres_instance: dg.DagsterInstance, database: sa.Engine
) -> None:
    run = started(postgres_instance)
    postgres_instance.report_run_canceling(run)
    assert close_dead_runs(postgres_instance, database, no_time) == [run.run_id]
    assert status(postgres_instance, run) is dg.DagsterRunStatus.CANCELED


def test_runs_of_earlier_releases_and_runs_that_ended_are_left_as_they_are(
    instance: dg.DagsterInstance, database: sa.Engine
) -> None:
    earlier = started(instance, {"imagesync/host": "this-host", "imagesync/process": "1/1"})
    done = started(instance, kind=dg.DagsterRunStatus.SUCCESS)
    assert close_dead_runs(instance, database, no_time) == []
    assert (status(instance, earlier), status(instance, done)) == (STARTED, dg.DagsterRunStatus.SUCCESS)


def test_a_run_that_is_tried_again_is_not_dead_before_it_holds_its_own_lock(
    instance: dg.DagsterInstance, database: sa.Engine
) -> None:
    first = started(instance)
    again = started(instance, lock_tag(first.run_id))
    assert close_dead_runs(instance, database, no_time) == [first.run_id]
    assert status(instance, again) is STARTED


def test_a_run_that_takes_its_lock_again_after_a_restart_of_the_database_is_alive(
    instance: dg.DagsterInstance, database: sa.Engine, database_url: str
) -> None:
    run = started(instance)
    looked = []

    def until_it_is_held_again(seconds: float) -> None:
        for _ in range(1000):
            with database.connect() as connection:
                looked.append(liveness.living(connection, [run.run_id]))
            if looked[-1]:
                return
            liveness.threading.Event().wait(0.02)

    cut = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'imagesync run%'")
    with liveness.alive(database_url, run.run_id):
        with database.connect() as connection:
            connection.execute(cut)
        close_dead_runs(instance, database, until_it_is_held_again)
    assert looked == [] or looked[-1]
    assert status(instance, run) is STARTED


def test_every_run_holds_its_lock_while_it_works_and_the_sensor_sees_it(
    postgres_instance: dg.DagsterInstance, database: sa.Engine
) -> None:
    seen = {}

    @dg.op
    def work(context: dg.OpExecutionContext, installation: InstallationResource) -> None:
        with database.connect() as connection:
            seen["alive"] = liveness.living(connection, [context.run_id])
        repository = build_definitions().get_repository_def()
        with dg.build_sensor_context(instance=context.instance, repository_def=repository) as tick:
            seen["said"] = repository.get_sensor_def(SENSOR).evaluate_tick(tick).skip_message

    @dg.job(resource_defs={"installation": InstallationResource()}, executor_def=dg.in_process_executor)
    def working() -> None:
        work()

    result = working.execute_in_process(instance=postgres_instance)
    assert seen == {"alive": {result.run_id}, "said": "Every run at work is alive."}
    run = postgres_instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags.items() >= lock_tag(run.run_id).items()
    with database.connect() as connection:
        assert liveness.living(connection, [result.run_id]) == set()


def test_a_pooler_of_transactions_is_refused_with_what_to_set(server: EmbeddedServer, locations: Locations) -> None:
    with (
        pgbouncer(server, "transaction") as pooler,
        pytest.raises(TransactionPoolerError, match=r"pool_mode = transaction.*pool_mode = session"),
        liveness.alive(through(locations.database_url, pooler), "some run"),
    ):
        pytest.fail("it was taken")


def test_a_run_that_ended_does_not_look_alive_any_more(database: sa.Engine, database_url: str) -> None:
    with database.connect() as looking:
        for number in range(20):
            with liveness.alive(database_url, f"run-{number}"):
                assert liveness.living(looking, [f"run-{number}"])
            assert not liveness.living(looking, [f"run-{number}"])
