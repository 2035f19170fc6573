"""Keeping small what grows, without losing anything that somebody still reads: our tables and files, Dagster's events.

The command line and the daily schedule pass here. What goes of our own is decided in storage/retention.py.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import sqlalchemy as sa
from pydantic import Field

from imagesync_pipelines.languages import told
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.installation import Installation, open_installation
from imagesync_pipelines.storage.retention import Ages, Cleaned, Retention
from imagesync_pipelines.sync.steps import Progress, silent

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


class CleanupConfig(dg.Config):
    """How to clean up."""

    dry_run: bool = Field(False, description="only say what would be removed")


def clean_up(
    place: Installation, instance: dg.DagsterInstance, *, dry_run: bool = False, progress: Progress = silent
) -> Iterator[Cleaned]:
    """Forget what is old of every kind, as the settings say, one kind after the other; each is told when it is done.

    A dry run says what would go and changes nothing.
    """
    now = datetime.now(UTC)
    needed = [run for connector in connectors() for run in connector.needed_runs(place)]
    yield from Retention(place.engine, place.storage, ages_of(place.settings), now, dry_run, needed, progress).all()
    before = now - timedelta(days=place.settings.keep_days)
    yield Cleaned(told("events of Dagster"), prune_events(instance, before, dry_run=dry_run, progress=progress))


def ages_of(settings: Settings) -> Ages:
    """From which age on each kind is old."""
    days = timedelta(days=settings.keep_days)
    # An undo brings back pictures that nothing shows until then.
    pictures = timedelta(days=max(settings.keep_pictures_days, settings.undo_days))
    quarantine = timedelta(days=settings.keep_quarantine_days)
    effects = timedelta(days=settings.undo_days)
    return Ages(
        days, days, days, quarantine, copies=days, pictures=pictures, alerts=quarantine, effects=effects, webhooks=days
    )


def sentence(cleaned: Cleaned, *, dry_run: bool = False) -> str:
    """What went of a kind, for people."""
    kind, count, megabytes = cleaned.kind, cleaned.count, (cleaned.bytes or 0) / 1_000_000
    if cleaned.bytes is None:
        said = told(f"{kind}: {count} would be removed") if dry_run else told(f"{kind}: {count} removed")
    elif dry_run:
        said = told(f"{kind}: {count} would be removed, {megabytes:,.1f} MB")
    else:
        said = told(f"{kind}: {count} removed, {megabytes:,.1f} MB")
    return "; ".join([said, *([told(f"{cleaned.kept} old ones stay, they are needed")] if cleaned.kept else [])])


def prune_events(
    instance: dg.DagsterInstance, before: datetime, *, dry_run: bool = False, progress: Progress = silent
) -> int:
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
    which = (is_old, is_pruned, _EVENTS.c.asset_key.is_(None))
    if dry_run:
        with storage.index_connection() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(_EVENTS).where(*which)).scalar_one())
    statement = sa.delete(_EVENTS).where(
        _EVENTS.c.id.in_(sa.select(_EVENTS.c.id).where(*which).limit(_ROWS_PER_DELETE))
    )
    deleted = 0
    while True:
        with storage.index_connection() as connection, connection.begin():
            rows = int(connection.execute(statement).rowcount)
        deleted += rows
        progress(told("events"), deleted, None)
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


@dg.op(name="clean_up", description="Forgets what is old: see docs/operating.md, Retention.")
def clean_up_op(context: dg.OpExecutionContext, config: CleanupConfig) -> None:
    """Clean up, and say of each kind how much."""
    with open_installation(load_settings(Settings)) as place:
        for cleaned in clean_up(place, context.instance, dry_run=config.dry_run):
            context.log.info(sentence(cleaned, dry_run=config.dry_run))


@dg.job(
    name="cleanup_job",
    executor_def=dg.in_process_executor,
    description="Forgets old pages, plans, hand-overs, quarantine, pictures, history and events; never what is needed.",
)
def cleanup_job() -> None:
    """One op; never deletes a run."""
    clean_up_op()


JOBS = (prune_events_job, cleanup_job)


def build_schedules(shared: Settings) -> list[dg.ScheduleDefinition]:
    """The schedules of both jobs, in the installation's time zone."""
    return [
        dg.ScheduleDefinition(
            name="cleanup__daily",
            job=cleanup_job,
            cron_schedule="30 5 * * *",
            execution_timezone=shared.timezone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Every day at 05:30, after the night's synchronisation.",
        ),
        dg.ScheduleDefinition(
            name="prune_events__weekly",
            job=prune_events_job,
            cron_schedule="0 5 * * 0",
            execution_timezone=shared.timezone,
            default_status=dg.DefaultScheduleStatus.STOPPED,
            description="Every Sunday at 05:00; off, because cleanup__daily does the same and more.",
        ),
    ]
