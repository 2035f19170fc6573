"""When the runs of the Plytix connector start by the clock.

What belongs here: the schedule. What does not: what the runs do (jobs.py), runs that a new file starts (sensors.py).
"""

from collections.abc import Iterator

import dagster as dg

from imagesync_pipelines.connectors.plytix.automation.starting import (
    SYNC_JOB,
    SyncOptions,
    in_flight,
    keep_partitions,
    request_of,
    sync_run,
)
from imagesync_pipelines.connectors.plytix.resources import PlytixResource
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.settings import Settings


def build_schedule(shared: Settings, settings: PlytixSettings) -> dg.ScheduleDefinition:
    """One run a day and account over all mapping files of the folder; off while accounts or folder are missing."""

    @dg.schedule(
        name=f"{SYNC_JOB}__daily",
        job_name=SYNC_JOB,
        cron_schedule=settings.schedule,
        execution_timezone=shared.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING
        if starts_by_itself(shared, settings)
        else dg.DefaultScheduleStatus.STOPPED,
        description="All mapping files of PLYTIX_MAPPING_FOLDER, account by account; an account at work is left out.",
    )
    def daily(
        context: dg.ScheduleEvaluationContext, installation: InstallationResource, plytix: PlytixResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        if not plytix.settings().mapping_folder:
            yield dg.SkipReason("PLYTIX_MAPPING_FOLDER is not set, so there are no mapping files to synchronise.")
            return
        accounts = keep_partitions(context.instance, plytix.accounts(installation.settings()))
        busy = in_flight(context.instance, accounts)
        for alias in accounts:
            if alias not in busy:
                yield request_of(sync_run(alias, SyncOptions()), context.scheduled_execution_time)
        if not set(accounts) - busy:
            yield dg.SkipReason("Every account is at work." if accounts else "There are no Plytix accounts.")

    return daily


def starts_by_itself(shared: Settings, settings: PlytixSettings) -> bool:
    """Whether runs may start without a person: there is an accounts file and a folder of mapping files."""
    return shared.accounts is not None and bool(settings.mapping_folder)
