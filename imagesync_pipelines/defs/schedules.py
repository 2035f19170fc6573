"""Schedules made from the declarations of connectors."""

from collections.abc import Iterator
from zoneinfo import ZoneInfo

import dagster as dg

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.defs import launching, pages
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.sync.connector import Connector, Schedule
from imagesync_pipelines.sync.job_runs import job_name, job_run


def build_schedules(connector: Connector, shared: Settings) -> list[dg.ScheduleDefinition]:
    """All schedules of a connector, in the installation's time zone."""
    return [_schedule(connector, schedule, shared) for schedule in connector.schedules]


def _schedule(connector: Connector, schedule: Schedule, shared: Settings) -> dg.ScheduleDefinition:
    settings = load_settings(connector.settings)
    name, on = job_name(connector, connector.job(schedule.job)), schedule.starts_by_itself(shared, settings)

    @dg.schedule(
        name=f"{name}__{schedule.name}",
        job_name=name,
        cron_schedule=schedule.cron(settings),
        execution_timezone=shared.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED,
        description=schedule.description,
    )
    def start(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        yield from _requests(context, connector, schedule)

    return start


def _requests(
    context: dg.ScheduleEvaluationContext, connector: Connector, schedule: Schedule
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    shared, settings = load_settings(Settings), load_settings(connector.settings)
    moment = context.scheduled_execution_time
    reason = schedule.skip(shared, settings, moment.astimezone(ZoneInfo(shared.timezone)))
    if reason:
        yield dg.SkipReason(reason)
        return
    job, asked = connector.job(schedule.job), schedule.options(moment)
    if job.alone is None:
        # A synchronisation is described by the connector's options, a job of one step by its own.
        asked = connector.options.model_validate(asked).model_dump(mode="json")
    if connector.accounts is None or not connector.per_account(job):
        paged = connector.pages is not None
        tags = pages.range_tags_of(context.instance, connector, job, shared, context.log.warning) if paged else {}
        run = job_run(connector, job, "", asked, tags)
        yield dg.RunRequest(run_config=dict(run.run_config), tags=dict(run.tags))
        return
    accounts = load_accounts(shared)
    names = launching.keep_partitions(context.instance, connector, accounts)
    if not names:
        yield dg.SkipReason(connector.accounts.missing)
        return
    busy = set() if schedule.waits else launching.in_flight(context.instance, connector, names)
    free = [name for name in sorted(launching.active_accounts(connector, accounts)) if name not in busy]
    for name in free:
        run = job_run(connector, job, name, asked)
        yield launching.request_of(run, moment.isoformat(), launching.BY_ITSELF)
    if not free:
        yield dg.SkipReason(f"Every {connector.accounts.noun} is at work, or switched off.")
