"""A synchronisation from Python: one call, one Dagster run, one outcome.

from imagesync_pipelines.defs import runs

for account, outcome in runs.sync("folder", dry_run=True):
    print(account, outcome.status, outcome.summary)
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import uuid4

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from sqlalchemy.exc import DBAPIError

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.defs import build, history, launching, liveness, pages, quality
from imagesync_pipelines.languages import N_
from imagesync_pipelines.registry import connector_named, connectors
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.database import check_answers
from imagesync_pipelines.storage.errors import PlanExpiredError, StorageError
from imagesync_pipelines.storage.installation import Installation, open_installation
from imagesync_pipelines.storage.liveness import alive
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines.sync.connector import Connector
from imagesync_pipelines.sync.job_runs import JobRun
from imagesync_pipelines.sync.plan_rows import expired_because
from imagesync_pipelines.sync.steps import Progress, silent
from imagesync_pipelines.telemetry import spans

_logger = logging.getLogger("imagesync")

# Somebody sees how it ends: Dagster starts it no second time by itself.
ATTENDED = {"dagster/max_retries": "0"}


class Status(StrEnum):
    """How a run ended. Partial: what could be done is done, and the warnings say what could not."""

    COMPLETED = N_("completed")
    PARTIAL = N_("completed with warnings")
    FAILED = N_("failed")


@dataclass(frozen=True)
class RunOutcome:
    """One finished run.

    summary: the run summary (status, started_at, images_added …), empty when the run broke before it knew one.
    plan: the plan that the run made, if it made one; `plan.applied_at` is None after a dry run.
    report: the run's own report; only runs into Plytix have one.
    """

    run_id: str
    status: Status
    summary: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    plan: PlanHeader | None = None
    report: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def opened(settings: Settings | None = None) -> Iterator[tuple[Installation, dg.DagsterInstance]]:
    """This installation and its Dagster instance, for the length of a `with` block.

    Child processes and Dagster itself find the installation through the environment, so the variables of
    Locations.environment() are set in this process. Runs whose process died are closed first: they would hold their
    place for hours.
    """
    spans.begin()
    with open_installation(settings) as installation:
        if installation.settings.dagster_url is not None:
            check_answers(installation.locations.dagster_url, "IMAGESYNC_DAGSTER_URL")
        os.environ.update(installation.locations.environment())
        with dg.DagsterInstance.from_config(str(installation.locations.dagster_home)) as instance:
            make_pools(instance, [pool for one in connectors() for pool in one.pools])
            liveness.close_dead_runs(instance, installation.engine)
            yield installation, instance


def apply_plan(
    plan_id: int,
    *,
    replan: bool = False,
    settings: Settings | None = None,
    progress: Progress = silent,
    person: str = "",
) -> RunOutcome:
    """Apply a stored plan of any connector; with replan, products that moved since are planned again first.

    person: who asks for it, '' when nobody says so.

    Raises PlanMissingError, before any run is started, when there is no such plan, PlanExpiredError when nothing of it
    can be carried out any more and it is not to be made again, LookupError for a connector that there is no more.
    """
    with opened(settings) as (installation, instance):
        plans = Plans(installation.engine, installation.storage)
        header = plans.header(plan_id)
        declared = connector_named(header.connector)
        if not replan and (expired := expired_because(plans, header, declared)):
            raise PlanExpiredError(expired)
        if declared.accounts is not None:
            launching.keep_partitions(instance, declared, load_accounts(installation.settings))
        request = job_runs.apply_run(declared, str(header.scope.get("account", "")), plan_id, {"replan": replan})
        return _run(installation, instance, request, progress, person)


def sync(
    name: str,
    accounts: Sequence[str] = (),
    *,
    settings: Settings | None = None,
    progress: Progress = silent,
    **asked: Any,
) -> Iterator[tuple[str, RunOutcome]]:
    """Synchronise with a connector: one run for each of its accounts (all that are switched on, or those named).

    asked: fields of the connector's options, such as dry_run. Gives each account's outcome ('' where there are no
    accounts) as soon as its run has ended; one that fails stops no other. Raises LookupError for an unknown connector,
    SettingsError, AccountsError and pydantic's ValidationError before any run; everything that happens in a run itself
    is in its RunOutcome.
    """
    connector = connector_named(name)
    options = connector.options.model_validate(asked)
    # Made once: what a default takes from this moment is the same for all accounts.
    same, job = options.model_dump(mode="json"), connector.job_for(options)
    yield from run_job(name, job, accounts, settings=settings, progress=progress, **same)


def run_job(
    name: str,
    job: str,
    accounts: Sequence[str] = (),
    *,
    settings: Settings | None = None,
    progress: Progress = silent,
    person: str = "",
    **asked: Any,
) -> Iterator[tuple[str, RunOutcome]]:
    """Run another job of a connector, such as a scrub or a clean-up; otherwise as `sync`. person: who asks for it."""
    connector = connector_named(name)
    chosen = connector.job(job)
    load_settings(connector.settings)  # a wrong setting is told before a database is started
    shared = settings or load_settings(Settings)
    known = load_accounts(shared) if connector.per_account(chosen) else None
    wanted = [""] if known is None else launching.chosen_accounts(connector, known, accounts)
    with opened(settings) as (installation, instance):
        if known is not None:
            launching.keep_partitions(instance, connector, known)
        tags = pages.range_tags_of(instance, connector, chosen, installation.settings, _logger.warning, attended=True)
        for account in wanted:
            request = job_runs.job_run(connector, chosen, account, asked, tags)
            yield account, _run(installation, instance, request, progress, person)


def only(outcomes: Iterator[tuple[str, RunOutcome]]) -> RunOutcome:
    """The outcome of the one run of a connector without accounts. Raises ValueError where there are several."""
    [(_, outcome)] = outcomes
    return outcome


def make_pools(instance: dg.DagsterInstance, names: Iterable[str]) -> None:
    """Make Dagster's concurrency pools that are not there yet, with the limit of dagster.yaml.

    Dagster makes a pool when a step first asks for a place in it; two runs that do so at the same moment break one
    another, because its answer to the second INSERT is an UPDATE in the transaction that has just failed.
    """
    storage = instance.event_log_storage
    for name in sorted(set(names) - {pool.name for pool in storage.get_pool_limits()}):
        try:
            storage.initialize_concurrency_limit_to_default(name)
        except DBAPIError:
            # Unless another process made it at this moment.
            if name not in {pool.name for pool in storage.get_pool_limits()}:
                raise


def measure_quality(*, settings: Settings | None = None, progress: Progress = silent, person: str = "") -> RunOutcome:
    """Measure and judge the main pictures of all channels; the summary has a sentence, `said`, and the warnings."""
    with opened(settings) as (installation, instance):
        definitions = build.build_definitions({"progress": progress})
        run_id, success = _execute(installation, instance, definitions, JobRun(quality.JOB, {}, {}), person)
        line = history.run_line(instance, run_id)
    done = Status.PARTIAL if line.summary.get("warnings") else Status.COMPLETED
    error = "" if success else line.error
    return RunOutcome(run_id, done if success else Status.FAILED, line.summary, error=error)


def _run(
    installation: Installation, instance: dg.DagsterInstance, request: JobRun, progress: Progress, person: str = ""
) -> RunOutcome:
    connector = connector_named(request.job.partition("__")[0])
    # No connector depends on another one; all of them are made by who shows them.
    definitions = build.build_definitions({"progress": progress}, [connector])
    run_id, success = _execute(installation, instance, definitions, request, person)
    line = history.run_line(instance, run_id)
    plans = Plans(installation.engine, installation.storage).all(connector.name)
    report, summary = report_of(connector, installation, run_id, line.summary)
    done = Status.PARTIAL if summary.get("warnings") else Status.COMPLETED
    return RunOutcome(
        run_id,
        done if success else Status.FAILED,
        summary,
        error="" if success else line.error,
        plan=next((plan for plan in plans if plan.run_id == run_id), None),
        report=report,
    )


def _execute(
    installation: Installation, instance: dg.DagsterInstance, definitions: dg.Definitions, request: JobRun, person: str
) -> tuple[str, bool]:
    """Run one job in this process, and give its run and whether it ended well.

    Dagster's own console log is kept to errors: the summary is what people read.
    """
    job = definitions.resolve_job_def(request.job)
    run_id, by = str(uuid4()), {job_runs.STARTED_BY_TAG: person} if person else {}
    # Before the run is there, and until it has ended: at no moment it looks dead.
    with spans.span(f"start {request.job}"), alive(installation.locations.database_url, run_id):
        run = instance.create_run_for_job(
            job,
            run_id=run_id,
            run_config={**request.run_config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            tags={**job.run_tags, **request.tags, **ATTENDED, **liveness.lock_tag(run_id), **by, **spans.parent_tag()},
            remote_job_origin=launching.origin_of(request.job),
        )
        result = execute_run(InMemoryJob(job), run, instance, raise_on_error=False)
    return run_id, result.success


def report_of(
    connector: Connector, installation: Installation, run_id: str, summary: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The run's own report, and its summary; the summary says so where the report cannot be read."""
    try:
        return connector.report(installation, run_id), summary
    except StorageError as error:
        return {}, {**summary, "warnings": [*summary.get("warnings", ()), str(error)]}
