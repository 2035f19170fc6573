"""Runs that died: each run holds a lock as long as it lives, and one that holds it no more is marked as failed.

Left alone, a run whose process was killed shows as running for ever and keeps its place in the pools: the night's runs
would wait for it. Dagster's daemon looks by itself; so does every command that starts runs.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import sqlalchemy as sa

from imagesync_pipelines.defs import launching
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage import liveness
from imagesync_pipelines.storage.installation import open_installation, open_locations
from imagesync_pipelines.sync.job_runs import HIDDEN

# On a run from the moment at which it holds its lock, with its id: a run that is tried again gets the tags of the first
# one, and holds nothing while it waits. Nothing is concluded of a run without.
LOCK_TAG = f"{HIDDEN}holds_lock"
SENSOR = "dead_runs"
LOOK_SECONDS = 30
# A run whose connection was cut takes its lock again within this time, and one that ends is marked as ended.
AGAIN_SECONDS = 6 * liveness.WATCH_SECONDS


@contextmanager
def holding_lock(instance: dg.DagsterInstance | None, run: dg.DagsterRun | None) -> Iterator[None]:
    """Hold the lock of a run for the length of a `with` block; outside of runs there is nothing to hold.

    Raises SettingsError, and StorageError when there is no database or no lock would last in it.
    """
    if instance is None or run is None:
        yield
        return
    with liveness.alive(open_locations(load_settings(Settings)).database_url, run.run_id):
        instance.add_run_tags(run.run_id, lock_tag(run.run_id))
        yield


def lock_tag(run_id: str) -> dict[str, str]:
    """What a run bears that holds its lock."""
    return {LOCK_TAG: run_id}


def close_dead_runs(
    instance: dg.DagsterInstance, engine: sa.Engine, sleep: Callable[[float], None] = time.sleep
) -> list[str]:
    """Mark as failed the unfinished runs that held their lock and hold it no more, or as canceled; returns their ids.

    It looks twice: a database that was restarted has no locks for a moment. Runs of earlier releases hold none and are
    left to Dagster's own limit of hours.
    """
    suspects = {run.run_id for run in _dead(instance, engine)}
    if not suspects:
        return []
    sleep(AGAIN_SECONDS)
    dead = [run for run in _dead(instance, engine) if run.run_id in suspects]
    for run in dead:
        if run.status is dg.DagsterRunStatus.CANCELING:
            # Failed, it would be tried again, which nobody wants who cancels.
            instance.report_run_canceled(run, "The process of this run has ended; what it had written is kept.")
        else:
            instance.report_run_failed(run, "The process of this run was killed; what it had written is kept.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]


def build_dead_runs_sensor() -> dg.SensorDefinition:
    """The sensor: runs of every job and account, wherever they were started."""

    @dg.sensor(
        name=SENSOR,
        description="Marks runs whose process died as failed, so that they do not keep the next ones waiting.",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if not _in_flight(context.instance):
            return dg.SkipReason("No run is at work.")
        with open_installation(load_settings(Settings)) as place:
            dead = close_dead_runs(context.instance, place.engine)
        return dg.SkipReason(f"Marked as failed: {', '.join(dead)}." if dead else "Every run at work is alive.")

    return dead_runs


def _in_flight(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    # No run that waits in the queue holds its lock, and there may be thousands.
    statuses = [status for status in launching.IN_FLIGHT if status is not dg.DagsterRunStatus.QUEUED]
    return list(instance.get_runs(dg.RunsFilter(statuses=statuses)))


def _dead(instance: dg.DagsterInstance, engine: sa.Engine) -> list[dg.DagsterRun]:
    """Those that held their lock and hold it no more, and those that a launcher sent to a worker that is gone."""
    runs = _in_flight(instance)
    if not runs:
        return []
    with engine.connect() as connection:
        alive = liveness.living(connection, [run.run_id for run in runs])
    dead = {run.run_id for run in runs if run.tags.get(LOCK_TAG) == run.run_id} - alive
    starting = [run for run in runs if run.status is dg.DagsterRunStatus.STARTING]
    if starting and hasattr(launching.launcher_kind(instance), "lost"):
        launcher: Any = instance.run_launcher
        dead |= launcher.lost(starting)
    return [run for run in runs if run.run_id in dead]
