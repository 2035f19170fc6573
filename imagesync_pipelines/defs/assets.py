"""What Dagster gets of a connector's declaration: an asset per step, jobs, schedules, checks of what the steps made."""

import inspect
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.defs import launching, pages
from imagesync_pipelines.defs.metadata import result_metadata, shown_metadata, summary_metadata
from imagesync_pipelines.defs.work import config_of, context_of, log_lines, named_partitions, run_step, secrets_of
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.sync.connector import Check, Connector, Job, Schedule, Step
from imagesync_pipelines.sync.job_runs import job_name, job_run
from imagesync_pipelines.sync.steps import CheckResult

OWNERS = ["team:product-images"]
# A run that had to leave something tells here when one like it can go on; the sensors read it.
GOES_ON_TAG = "imagesync/goes_on_at"


def build_assets(connector: Connector) -> list[Any]:
    """The Dagster assets of a connector: its outside systems, and one asset per step."""
    externals = [
        dg.AssetSpec(
            [connector.name, external.name],
            description=external.description,
            group_name=connector.name,
            kinds=set(external.kinds),
            owners=OWNERS,
        )
        for external in connector.externals
    ]
    hours = connector.fresh_hours(load_settings(connector.settings))
    return [*externals, *(_asset(connector, step, hours) for step in connector.steps)]


def build_jobs(connector: Connector) -> list[Any]:
    """All jobs of a connector; all of them run in one process."""
    return [
        _alone(connector, job, job.alone) if job.alone is not None else _of_assets(connector, job)
        for job in (*connector.jobs, connector.apply_job)
    ]


def _asset(connector: Connector, step: Step, fresh_hours: float) -> Any:
    """One step as a Dagster asset; each of its runs is one account, or a range of blocks of pages."""
    held = _partitions_def(connector, step)
    policy = None if held is None else dg.BackfillPolicy.multi_run(max_partitions_per_run=1)
    if step.partitions == "pages":
        policy = dg.BackfillPolicy.single_run()

    def compute(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        """Do the work of the step and tell Dagster what it made; nothing when the step ended the run."""
        result = run_step(context, connector, step, context.asset_key)
        if result.goes_on_at is not None:
            context.instance.add_run_tags(context.run.run_id, {GOES_ON_TAG: result.goes_on_at.isoformat()})
        if not result.ends:
            # Each partition that the run names got its own metadata.
            several = step.partitions == "pages" and named_partitions(context)
            if several:
                log_lines(context, result.lines)
            yield dg.MaterializeResult(metadata={} if several else result_metadata(result, secrets_of(connector)))
            return
        log_lines(context, [*result.lines, result.ends])
        if result.summary is not None:
            context.log_event(dg.AssetObservation(context.asset_key, metadata=dict(summary_metadata(result.summary))))

    decorate: Any = dg.asset(
        name=step.name,
        key_prefix=[connector.name],
        group_name=connector.name,
        owners=OWNERS,
        kinds=set(step.kinds),
        deps=[dg.AssetKey([connector.name, name]) for name in step.after],
        partitions_def=held,
        backfill_policy=policy,
        output_required=not step.may_end,
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=fresh_hours)),
        metadata=_code_reference(step),
        **_common(connector, step),
    )
    return decorate(compute)


def _common(connector: Connector, step: Step) -> dict[str, Any]:
    seconds = step.tries_again_after
    return {
        "description": inspect.cleandoc(step.description),
        "pool": step.pool or None,
        # A step that broke is tried once more; a worker that died is another matter (run retries).
        "retry_policy": None if seconds is None else dg.RetryPolicy(max_retries=1, delay=seconds),
        "config_schema": config_of(step.options).to_config_schema(),
        "required_resource_keys": {"installation", connector.name, "progress"},
    }


def _partitions_def(connector: Connector, step: Step) -> dg.PartitionsDefinition[str] | None:
    if step.partitions == "pages":
        return dg.DynamicPartitionsDefinition(name=connector.page_partitions)
    if step.partitions == "account" and connector.accounts is not None:
        return dg.DynamicPartitionsDefinition(name=connector.accounts.partition_set)
    return None


def _code_reference(step: Step) -> dict[str, Any]:
    """Where the step's function is, for the UI: the function that Dagster knows is the same for all steps."""
    function = inspect.unwrap(step.run)
    path, line = inspect.getsourcefile(function), function.__code__.co_firstlineno
    if path is None:
        return {}
    found = dg.LocalFileCodeReference(file_path=path, line_number=line, label=f"{function.__module__}.{step.name}")
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[found])}


def _of_assets(connector: Connector, job: Job) -> Any:
    names = [step.name for step in connector.steps] if job.steps is None else job.steps
    return dg.define_asset_job(
        job_name(connector, job),
        selection=dg.AssetSelection.assets(*(dg.AssetKey([connector.name, name]) for name in names)),
        config=dict(job_run(connector, job, "", {}).run_config) or None,
        description=job.description,
    )


def _alone(connector: Connector, job: Job, step: Step) -> dg.JobDefinition:
    """A job of one op, whose events are shown with the Dagster asset that it looks after."""

    def work(context: dg.OpExecutionContext) -> None:
        about = dg.AssetKey([connector.name, job.about or connector.steps[-1].name])
        result = run_step(context, connector, step, about)
        if job.about:
            account = context.partition_key if context.has_partition_key else None
            observed = dg.AssetObservation(asset_key=about, partition=account, metadata=dict(result_metadata(result)))
            context.log_event(observed)
        else:
            log_lines(context, result.lines)

    decorate: Any = dg.op(name=step.name, **_common(connector, step))
    op = decorate(work)

    @dg.job(
        name=job_name(connector, job),
        partitions_def=_partitions_def(connector, step),
        executor_def=dg.in_process_executor,
        description=job.description,
    )
    def alone() -> None:
        op()

    return alone


def build_checks(connector: Connector) -> list[Any]:
    """The checks of a connector: those of a step that let the run go on are one op, and so are those that do not."""
    together: dict[tuple[str, bool], list[Check]] = {}
    for check in connector.all_checks:
        together.setdefault((check.step, check.blocking), []).append(check)
    return [_checks_of(connector, step, checks) for (step, _), checks in together.items()]


def _checks_of(connector: Connector, step_name: str, checks: Sequence[Check]) -> Any:
    """Checks of one step in one op, of which each can be run by itself.

    Those of a step with a partition per account look at one account.
    """
    step, key = connector.step(step_name), dg.AssetKey([connector.name, step_name])
    of = {name: check for check in checks for name in check.sentences}
    group = next(
        (check.group for check in checks if check.group), f"{step_name}_{'checks' if len(of) > 1 else min(of)}"
    )
    held = _partitions_def(connector, step)
    specs = [
        dg.AssetCheckSpec(name, asset=key, description=text, blocking=check.blocking, partitions_def=held)
        for check in checks
        for name, text in check.sentences.items()
    ]

    def look(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        chosen = sorted(selected.name for selected in context.selected_asset_check_keys)
        broken: list[Exception] = []
        for run in dict.fromkeys(of[name].run for name in chosen):
            try:
                with context.resources.installation.open() as opened:
                    found = run(context_of(context, connector, step, opened))
            except Exception as error:  # noqa: BLE001
                # Raised when the others have answered.
                broken.append(error)
                continue
            yield from (_answer(key, name, of[name], found[name]) for name in chosen if of[name].run is run)
        if broken:
            raise broken[0]

    decorate: Any = dg.multi_asset_check(
        name=f"{connector.name}__{group}",
        specs=specs,
        can_subset=True,
        required_resource_keys={"installation", connector.name, "progress"},
    )
    return decorate(look)


def _answer(key: dg.AssetKey, name: str, check: Check, answer: CheckResult) -> dg.AssetCheckResult:
    severe = check.severe if answer.severe is None else answer.severe
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=answer.passed,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description=answer.description,
        metadata=dict(shown_metadata(answer.shown)),
    )


def starts_at(cron: str, timezone: str, moment: datetime) -> bool:
    """Whether a schedule starts at this moment, as Dagster reckons it: where the clock is changed, still once a day."""
    # Windows of time begin when a schedule starts; how the first one would be called does not matter.
    windows = dg.TimeWindowPartitionsDefinition("2026-01-01", "%Y-%m-%d", timezone=timezone, cron_schedule=cron)
    following = windows.get_next_partition_window(moment, respect_bounds=False)
    # Times of day that there are twice are not equal to anything in another zone.
    return following is not None and following.start.timestamp() == moment.timestamp()


def build_schedule(connector: Connector, schedule: Schedule, shared: Settings) -> dg.ScheduleDefinition:
    """A schedule in the installation's time zone; with accounts it starts one run for each."""
    settings = load_settings(connector.settings)
    name = job_name(connector, connector.job(schedule.job))
    on = launching.is_set_up(connector, shared) and schedule.starts_by_itself(shared, settings)

    @dg.schedule(
        name=f"{name}__{schedule.name}",
        job_name=name,
        cron_schedule=schedule.cron(settings),
        execution_timezone=shared.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED,
        description=schedule.description,
    )
    def start(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        shared, settings = load_settings(Settings), load_settings(connector.settings)
        moment, job = context.scheduled_execution_time, connector.job(schedule.job)
        reason = schedule.skip(shared, settings)
        if schedule.gives_way_to is not None and starts_at(schedule.gives_way_to(settings), shared.timezone, moment):
            reason = "The daily full run starts at this very minute."
        if reason:
            yield dg.SkipReason(reason)
            return
        asked = schedule.options(moment)
        if job.alone is None:
            # A synchronisation is described by the connector's options, a job of one step by its own.
            asked = connector.options.model_validate(asked).model_dump(mode="json")
        if connector.accounts is None or not connector.per_account(job):
            paged = connector.pages is not None
            tags = pages.range_tags_of(context.instance, connector, job, shared, context.log.warning) if paged else {}
            yield launching.request_of(job_run(connector, job, "", asked, tags))
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

    return start
