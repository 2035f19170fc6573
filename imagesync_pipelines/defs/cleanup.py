"""Keeping Dagster's event log small without losing anything that somebody still reads."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import sqlalchemy as sa
from pydantic import Field

from imagesync_pipelines.settings import Settings

# Step by step details of a run, worth nothing once the run is old. What is not named here is kept: everything about
# Dagster assets and checks, how runs started and ended, and why steps failed.
PRUNED_EVENTS = (
    dg.DagsterEventType.ENGINE_EVENT,
    dg.DagsterEventType.HANDLED_OUTPUT,
    dg.DagsterEventType.LOADED_INPUT,
    dg.DagsterEventType.LOGS_CAPTURED,
    dg.DagsterEventType.OBJECT_STORE_OPERATION,
    dg.DagsterEventType.RESOURCE_INIT_STARTED,
    dg.DagsterEventType.RESOURCE_INIT_SUCCESS,
    dg.DagsterEventType.STEP_INPUT,
    dg.DagsterEventType.STEP_OUTPUT,
    dg.DagsterEventType.STEP_WORKER_STARTED,
    dg.DagsterEventType.STEP_WORKER_STARTING,
)

_ROWS_PER_DELETE = 10_000
_EVENTS = sa.table(
    "event_logs", sa.column("id"), sa.column("dagster_event_type"), sa.column("asset_key"), sa.column("timestamp")
)


class PruneConfig(dg.Config):
    """How old an event must be to be pruned."""

    older_than_days: int = Field(30, ge=1, description="log lines and step details older than this are deleted")


def prune_events(instance: dg.DagsterInstance, before: datetime) -> int:
    """Delete log lines and step details written before that time (aware); returns how many there were.

    Deletes in batches, each a transaction of its own, so that running jobs are not held up and a stop loses nothing.
    """
    storage: Any = instance.event_log_storage
    # An event log that is one database, as that of PostgreSQL is.
    if not hasattr(storage, "index_connection"):
        raise TypeError(f"The event log of this Dagster instance ({type(storage).__name__}) is no database to prune.")
    kind, is_old = _EVENTS.c.dagster_event_type, _EVENTS.c.timestamp < before.astimezone(UTC).replace(tzinfo=None)
    # Lines that somebody logged carry no type.
    is_pruned = kind.is_(None) | kind.in_([one.value for one in PRUNED_EVENTS])
    old = sa.select(_EVENTS.c.id).where(is_old, is_pruned, _EVENTS.c.asset_key.is_(None))
    statement = sa.delete(_EVENTS).where(_EVENTS.c.id.in_(old.limit(_ROWS_PER_DELETE)))
    deleted = 0
    while True:
        with storage.index_connection() as connection, connection.begin():
            rows = int(connection.execute(statement).rowcount)
        deleted += rows
        if rows < _ROWS_PER_DELETE:
            return deleted


@dg.op(name="prune_events", description="Deletes old log lines and step details from Dagster's event log.")
def prune_events_op(context: dg.OpExecutionContext, config: PruneConfig) -> None:
    """Prune, and say how much."""
    deleted = prune_events(context.instance, datetime.now(UTC) - timedelta(days=config.older_than_days))
    context.log.info("%d events older than %d days were deleted.", deleted, config.older_than_days)


@dg.job(
    name="prune_events_job",
    executor_def=dg.in_process_executor,
    description="Keeps Dagster's event log small; runs, materializations, checks and failures are kept.",
)
def prune_events_job() -> None:
    """One op; never deletes a run."""
    prune_events_op()


def build_schedule(shared: Settings) -> dg.ScheduleDefinition:
    """The weekly schedule of the job, in the installation's time zone."""
    return dg.ScheduleDefinition(
        name="prune_events__weekly",
        job=prune_events_job,
        cron_schedule="0 5 * * 0",
        execution_timezone=shared.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every Sunday at 05:00, after the night's synchronisation.",
    )
