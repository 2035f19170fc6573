"""When the runs of the МойСклад connector start by the clock.

What belongs here: the schedules. What does not: what the runs do (jobs.py), runs that requests start (sensors.py).
"""

from collections.abc import Iterator

import dagster as dg

from imagesync_pipelines.accounts.file import Accounts
from imagesync_pipelines.connectors.moysklad.automation.starting import (
    CLEANUP_JOB,
    SYNC_JOB,
    SyncOptions,
    chosen_children,
    in_flight,
    keep_partitions,
    sync_run,
)
from imagesync_pipelines.connectors.moysklad.resources import MoyskladResource
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.defs.run_requests import request_of
from imagesync_pipelines.settings import Settings


def build_schedules(shared: Settings, settings: MoyskladSettings) -> list[dg.ScheduleDefinition]:
    """Hourly incremental and daily full synchronisation, stopped while there is no accounts file; the clean-up."""
    status = dg.DefaultScheduleStatus.RUNNING if shared.accounts else dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(
        name=f"{SYNC_JOB}__hourly",
        job_name=SYNC_JOB,
        cron_schedule=settings.incremental_schedule,
        execution_timezone=shared.timezone,
        default_status=status,
        description="What changed in the main account, child by child; a child at work or switched off is left out.",
    )
    def hourly(
        context: dg.ScheduleEvaluationContext, installation: InstallationResource, moysklad: MoyskladResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        yield from _requests(context, moysklad.accounts(installation.settings()), full=False)

    @dg.schedule(
        name=f"{SYNC_JOB}__daily_full",
        job_name=SYNC_JOB,
        cron_schedule=settings.full_schedule,
        execution_timezone=shared.timezone,
        default_status=status,
        description="Everything, compared with the child accounts themselves; waits for a run at work.",
    )
    def daily_full(
        context: dg.ScheduleEvaluationContext, installation: InstallationResource, moysklad: MoyskladResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        yield from _requests(context, moysklad.accounts(installation.settings()), full=True)

    cleanup = dg.ScheduleDefinition(
        name=f"{CLEANUP_JOB}__daily",
        job_name=CLEANUP_JOB,
        cron_schedule=settings.cleanup_schedule,
        execution_timezone=shared.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Removes image content that no run used for MOYSKLAD_CONTENT_HOURS, never what is in use.",
    )
    return [hourly, daily_full, cleanup]


def _requests(
    context: dg.ScheduleEvaluationContext, accounts: Accounts, *, full: bool
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    children = keep_partitions(context.instance, accounts)
    if not children:
        yield dg.SkipReason("There are no child accounts of МойСклад.")
        return
    busy = set() if full else in_flight(context.instance, children)
    free = [child for child in chosen_children(accounts, ()) if child not in busy]
    moment = context.scheduled_execution_time
    for child in free:
        yield request_of(sync_run(child, SyncOptions(full=full, since=moment)), moment.isoformat())
    if not free:
        yield dg.SkipReason("Every child account is at work, or its mode is off.")
