"""When the runs of the edge connector start by the clock.

What belongs here: the schedules. What does not: what the runs do (jobs.py), runs that news start (sensors.py).
"""

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg

from imagesync_pipelines.accounts.file import Accounts
from imagesync_pipelines.connectors.edge.automation.starting import (
    SCRUB_JOB,
    SYNC_JOB,
    SyncOptions,
    in_flight,
    keep_partitions,
    scrub_run,
    sync_run,
)
from imagesync_pipelines.connectors.edge.resources import EdgeResource
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.defs.run_requests import request_of
from imagesync_pipelines.settings import Settings


def build_schedules(shared: Settings, settings: EdgeSettings) -> list[dg.ScheduleDefinition]:
    """Hourly incremental and daily full synchronisation, stopped while there is no accounts file; the weekly scrub."""
    status = dg.DefaultScheduleStatus.RUNNING if shared.accounts else dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(
        name=f"{SYNC_JOB}__hourly",
        job_name=SYNC_JOB,
        cron_schedule=settings.incremental_schedule,
        execution_timezone=shared.timezone,
        default_status=status,
        description="What changed since the last listing, store by store; a store at work is left out this time.",
    )
    def hourly(
        context: dg.ScheduleEvaluationContext, installation: InstallationResource, edge: EdgeResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        moment = context.scheduled_execution_time.astimezone(ZoneInfo(shared.timezone))
        if starts_at(settings.full_schedule, moment):
            yield dg.SkipReason("The daily full run starts at this very minute.")
            return
        yield from _requests(context, edge.accounts(installation.settings()), SyncOptions(), even_busy=False)

    @dg.schedule(
        name=f"{SYNC_JOB}__daily_full",
        job_name=SYNC_JOB,
        cron_schedule=settings.full_schedule,
        execution_timezone=shared.timezone,
        default_status=status,
        description="Everything, store by store: finds what vanished at the head office; waits for a run at work.",
    )
    def daily_full(
        context: dg.ScheduleEvaluationContext, installation: InstallationResource, edge: EdgeResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        accounts = edge.accounts(installation.settings())
        yield from _requests(context, accounts, SyncOptions(full=True), even_busy=True)

    @dg.schedule(
        name=f"{SCRUB_JOB}__weekly",
        job_name=SCRUB_JOB,
        cron_schedule=settings.scrub_schedule,
        execution_timezone=shared.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Hashes every stored photo inside the stores' databases and repairs what differs; off at first.",
    )
    def weekly(
        context: dg.ScheduleEvaluationContext, installation: InstallationResource, edge: EdgeResource
    ) -> Iterator[dg.RunRequest]:
        for name in keep_partitions(context.instance, edge.accounts(installation.settings())):
            yield request_of(scrub_run(name), context.scheduled_execution_time.isoformat())

    return [hourly, daily_full, weekly]


def starts_at(cron: str, moment: datetime) -> bool:
    """Whether a daily schedule (plain minute and hour, every day) starts at this minute of its own zone."""
    minute, hour, *days = cron.split()
    return days == ["*"] * 3 and (minute, hour) == (str(moment.minute), str(moment.hour))


def _requests(
    context: dg.ScheduleEvaluationContext, accounts: Accounts, options: SyncOptions, *, even_busy: bool
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    stores = keep_partitions(context.instance, accounts)
    left_out = set() if even_busy else in_flight(context.instance, stores)
    for name in stores:
        if name not in left_out:
            yield request_of(sync_run(name, options), context.scheduled_execution_time.isoformat())
    if not set(stores) - left_out:
        yield dg.SkipReason("Every store is at work." if stores else "There are no edge stores.")
