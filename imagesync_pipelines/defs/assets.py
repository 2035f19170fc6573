"""Dagster assets made from the steps that connectors declare."""

import inspect
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import BaseModel, Field, SecretStr, create_model

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.defs import partitions
from imagesync_pipelines.defs.freshness import fresh_within
from imagesync_pipelines.defs.lineage import lineage_of
from imagesync_pipelines.defs.resources import InstallationResource, connector_settings
from imagesync_pipelines.defs.shown import result_metadata
from imagesync_pipelines.defs.summaries import Stage, WorkContext, run_started, stage, summary_metadata
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines.sync.connector import Connector, Step
from imagesync_pipelines.sync.report import Summary
from imagesync_pipelines.sync.steps import PartitionOutcomes, RunContext, StepResult

OWNERS = ["team:product-images"]
# A run that had to leave something tells here when one like it can go on; the sensors read it.
GOES_ON_TAG = "imagesync/goes_on_at"
# Names of run config options of an earlier release, accepted for one more.
EARLIER_NAMES = {"allow_mass_delete": "lift_brake"}


# Heard on a terminal only; what the UI shows goes through the context of the run.
_LOGGERS = "imagesync"


@dataclass(frozen=True)
class DagsterBlocks:
    """The page partitions of a connector, as its steps see them."""

    instance: dg.DagsterInstance
    definition: str

    def known(self) -> Sequence[str]:
        """All of them, in the order in which they were added."""
        return self.instance.get_dynamic_partitions(self.definition)

    def add(self, keys: Sequence[str]) -> None:
        """Add some after those that are there."""
        self.instance.add_dynamic_partitions(self.definition, list(keys))


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


def partitions_def(connector: Connector, step: Step) -> dg.PartitionsDefinition[str] | None:
    """The partitions of a step: accounts, blocks of pages, or none."""
    if step.partitions == "pages":
        return dg.DynamicPartitionsDefinition(name=pages_name(connector))
    if step.partitions == "account" and connector.accounts is not None:
        return dg.DynamicPartitionsDefinition(name=connector.accounts.partition_set)
    return None


def pages_name(connector: Connector) -> str:
    """The name of a connector's page partitions."""
    return f"{connector.name}_pages"


def config_of(options: type[BaseModel]) -> type[dg.Config]:
    """A step's options as Dagster explains them in the launchpad: the same names, defaults and descriptions."""
    fields: dict[str, Any] = {name: (info.annotation, info) for name, info in options.model_fields.items()}
    for name, earlier in EARLIER_NAMES.items():
        if name in options.model_fields:
            info = options.model_fields[name]
            fields[earlier] = (info.annotation, Field(info.default, description=f"earlier name of {name}"))
    return create_model(f"{options.__name__}Config", __base__=dg.Config, __doc__=options.__doc__, **fields)


def config_schema_of(step: Step) -> Any:
    """The run config of a step, as Dagster wants it of what is made by functions."""
    return config_of(step.options).to_config_schema()


def secrets_of(connector: Connector) -> Collection[SecretStr]:
    """What no text of a run may show; none when it cannot be read: the run itself meets the same error and says so."""
    try:
        shared = load_settings(Settings)
        return connector.secrets(shared, load_settings(connector.settings))
    except SettingsError:
        return ()


def tell(context: WorkContext, connector: Connector, result: StepResult) -> None:
    """What a step tells, in the run's log and on a terminal; a terminal shows warnings in the summary."""
    logger = logging.getLogger(f"{_LOGGERS}.{connector.name}")
    for line in result.lines:
        context.log.info(line)
        logger.info(line)
    for warning in result.warnings:
        context.log.warning(warning)
    if result.details is not None and logger.isEnabledFor(logging.DEBUG):
        # Lines about single images: an event each would cost more than the image itself.
        for line in result.details():
            logger.debug(line)


def options_from(options: type[BaseModel], config: Mapping[str, Any]) -> BaseModel:
    """The options of a step from run config; an option under its earlier name counts as well."""
    values = dict(config)
    for name, earlier in EARLIER_NAMES.items():
        if earlier in values:
            given = values.pop(earlier)
            values[name] = values.get(name) or given
    return options.model_validate(values)


def run_step(context: WorkContext, connector: Connector, step: Step, about: dg.AssetKey) -> StepResult:
    """Do a step's work for Dagster; `about` is the asset whose records it belongs to.

    Raises dg.Failure for people, after a record of what the run had done by then (see summaries.stage).
    """
    with at_work(context, connector, step, about) as (run, options, work):
        result = step.run(run, options)
        work.summary = result.summary or work.summary
        tell(context, connector, result)
        if result.partitions is not None and isinstance(context, dg.AssetExecutionContext):
            _report(context, connector, result.partitions)
        return result


@contextmanager
def at_work(
    context: WorkContext, connector: Connector, step: Step, about: dg.AssetKey
) -> Iterator[tuple[RunContext[Any], BaseModel, Stage]]:
    """The wrapper around the work of a step: its run context, its options, and the summary to be."""
    installation: InstallationResource = context.resources.installation
    shared = installation.settings()
    with stage(context, about, secrets_of(connector)) as work, installation.open() as opened:
        settings = connector_settings(connector)
        account = _account(context, connector, step)
        if account and connector.accounts is not None:
            connector.accounts.known(load_accounts(shared)).named(account)

        def note(summary: Summary) -> None:
            work.summary = summary

        run = RunContext(
            connector=connector.name,
            account=account,
            lineage=lineage_of(context),
            installation=opened,
            settings=settings,
            started_at=run_started(context),
            progress=context.resources.progress,
            partitions=tuple(context.partition_keys) if step.partitions == "pages" else (),
            blocks=DagsterBlocks(context.instance, pages_name(connector)),
            tell=context.log.warning,
            note_summary=note,
        )
        yield run, options_from(step.options, _op_config(context)), work


@contextmanager
def at_work_for_check(
    context: dg.AssetCheckExecutionContext, connector: Connector, step: Step
) -> Iterator[RunContext[Any]]:
    """The run context of a check of what a step made."""
    installation: InstallationResource = context.resources.installation
    with installation.open() as opened:
        yield RunContext(
            connector=connector.name,
            account=_account(context, connector, step),
            lineage=lineage_of(context),
            installation=opened,
            settings=connector_settings(connector),
            tell=context.log.warning,
        )


def _op_config(context: WorkContext) -> Mapping[str, Any]:
    op_context = context.op_execution_context if isinstance(context, dg.AssetExecutionContext) else context
    return op_context.op_config or {}


def _account(context: WorkContext | dg.AssetCheckExecutionContext, connector: Connector, step: Step) -> str:
    """The account of a run, which is its partition; a step that all accounts share is told the account too."""
    if connector.accounts is None or step.partitions == "pages":
        return ""
    return context.run.tags.get(job_runs.PARTITION_TAG, "")


def _asset(connector: Connector, step: Step, fresh_hours: float) -> dg.AssetsDefinition:
    """One step as a Dagster asset; each of its runs is one account, or a range of blocks of pages."""
    held = partitions_def(connector, step)
    policy = None
    if held is not None:
        by_page = step.partitions == "pages"
        policy = dg.BackfillPolicy.single_run() if by_page else dg.BackfillPolicy.multi_run(max_partitions_per_run=1)

    def compute(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        yield from _materialize(context, connector, step)

    decorate: Any = dg.asset(
        name=step.name,
        key_prefix=[connector.name],
        group_name=connector.name,
        description=inspect.cleandoc(step.description),
        owners=OWNERS,
        kinds=set(step.kinds),
        deps=[dg.AssetKey([connector.name, name]) for name in step.after],
        partitions_def=held,
        backfill_policy=policy,
        pool=step.pool or None,
        retry_policy=retry_policy(step),
        output_required=not step.may_end,
        freshness_policy=fresh_within(fresh_hours),
        required_resource_keys={"installation", connector.name, "progress"},
        config_schema=config_schema_of(step),
        metadata=code_reference(step),
    )
    made: dg.AssetsDefinition = decorate(compute)
    return made


def retry_policy(step: Step) -> dg.RetryPolicy | None:
    """A step that broke is tried once more; a worker that died is another matter (run retries)."""
    seconds = step.tries_again_after
    return None if seconds is None else dg.RetryPolicy(max_retries=1, delay=seconds)


def code_reference(step: Step) -> dict[str, Any]:
    """Where the step's function is, for the UI: the function that Dagster knows is the same for all steps."""
    function = inspect.unwrap(step.run)
    path, line = inspect.getsourcefile(function), inspect.getsourcelines(function)[1]
    if path is None:
        return {}
    found = dg.LocalFileCodeReference(file_path=path, line_number=line, label=f"{function.__module__}.{step.name}")
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[found])}


def _materialize(context: dg.AssetExecutionContext, connector: Connector, step: Step) -> Iterator[dg.MaterializeResult]:
    """Do the work of a step and tell Dagster what it made; nothing when the step ended the run."""
    result = run_step(context, connector, step, context.asset_key)
    metadata = result_metadata(result, secrets_of(connector))
    if result.goes_on_at is not None:
        context.instance.add_run_tags(context.run.run_id, {GOES_ON_TAG: result.goes_on_at.isoformat()})
    if result.ends:
        context.log.info(result.ends)
        if result.summary is not None:
            observed = dict(summary_metadata(result.summary))
            context.log_event(dg.AssetObservation(context.asset_key, metadata=observed))
        return
    if result.partitions is not None and not result.partitions.of:
        yield dg.MaterializeResult()  # each partition has its own metadata
        return
    yield dg.MaterializeResult(metadata=metadata)


def _report(context: dg.AssetExecutionContext, connector: Connector, outcomes: PartitionOutcomes) -> None:
    """Mark partitions as what they became. Raises dg.Failure when some of the step's own failed."""
    if outcomes.of:
        partitions.log_landed(context, dg.AssetKey([connector.name, outcomes.of]), outcomes.landed)
    else:
        partitions.report_partitions(context, outcomes.landed, outcomes.failed)
