"""A step's work done for Dagster: its run context, its options, its summary kept whatever happens, its errors told."""

import logging
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData
from pydantic import BaseModel, Field, SecretStr, create_model

from imagesync_pipelines import languages
from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.defs import metadata
from imagesync_pipelines.languages import N_
from imagesync_pipelines.settings import Settings, SettingsError, load_settings, secrets_in
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.plans import Lineage
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines.sync.connector import Connector, Step
from imagesync_pipelines.sync.steps import RunContext, StepResult, Summary
from imagesync_pipelines.telemetry import spans

STOPPED = N_("Stopped before it was done; what was written is kept.")
TRACEBACK_CHARACTERS = 4000
EVENTS_AT_ONCE = 1000
# Names of run config options of an earlier release, accepted for one more.
EARLIER_NAMES = {"allow_mass_delete": ("lift_brake",), "allow_products_gone": ("lift_brake", "allow_mass_delete")}
# Dagster writes both on a re-execution from the UI and on its own retry of a run whose worker died.
PARENT_TAG = "dagster/parent_run_id"
# In the metadata of a partition: what tells its content from another.
CONTENT = "content"

# What works on a Dagster asset: the asset itself, or an op of a job that keeps it in order.
WorkContext = dg.AssetExecutionContext | dg.OpExecutionContext
AnyContext = WorkContext | dg.AssetCheckExecutionContext
# What landed in one partition, for its metadata.
Stats = Mapping[str, int | float | str]


@dataclass
class Stage:
    """A step at work; it sets `summary` as soon as it knows one, so that a failure after that does not lose it."""

    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    summary: Summary | None = None

    def note(self, summary: Summary) -> None:
        """Keep a summary."""
        self.summary = summary


def run_step(context: WorkContext, connector: Connector, step: Step, about: dg.AssetKey) -> StepResult:
    """Do a step's work for Dagster; `about` is the asset whose records it belongs to.

    Raises dg.Failure for people, after a record of what the run had done by then (see `stage`).
    """
    installation, shared = context.resources.installation, load_settings(Settings)
    record = context.instance.get_run_record_by_id(context.run.run_id)
    started = record.start_time if record is not None else None
    named = spans.span(f"step {connector.name}.{step.name}", imagesync__connector=connector.name)
    with named, stage(context, about, secrets_of(connector)) as work, installation.open() as opened:
        run = context_of(
            context, connector, step, opened,
            started_at=datetime.now(UTC) if started is None else datetime.fromtimestamp(started, UTC),
            progress=context.resources.progress,
            partitions=named_partitions(context) if step.partitions == "pages" else (),
            all_blocks=job_runs.ALL_BLOCKS_TAG in context.run.tags,
            known_blocks=partial(context.instance.get_dynamic_partitions, connector.page_partitions),
            add_blocks=partial(context.instance.add_dynamic_partitions, connector.page_partitions),
            note_summary=work.note,
        )  # fmt: skip
        if run.account and connector.accounts is not None:
            connector.accounts.known(load_accounts(shared)).named(run.account)
        op_context = context.op_execution_context if isinstance(context, dg.AssetExecutionContext) else context
        result = step.run(run, options_from(step.options, op_context.op_config or {}))
        work.summary = result.summary or work.summary
        _count(connector, result.summary)
        tell(context, connector, result)
        told = result.partitions
        if told is not None and isinstance(context, dg.AssetExecutionContext):
            if told.of:
                log_landed(context, dg.AssetKey([connector.name, told.of]), told.landed)
            else:
                report_partitions(context, told.landed, told.failed)
        return result


def _count(connector: Connector, summary: Summary | None) -> None:
    counted = {} if summary is None else {
        "add": summary.images_added, "update": summary.images_updated, "remove": summary.images_deleted,
        "reject": summary.rejected, "held back": summary.held_back, "fail": summary.failed,
    }  # fmt: skip
    for change, number in counted.items():
        spans.count("imagesync.images", number, connector=connector.name, change=change)


def context_of(
    context: AnyContext, connector: Connector, step: Step, installation: Installation, **more: Any
) -> RunContext[Any]:
    """The run context of a step, or of a check of what it made.

    The account of a run is its partition; a step that all accounts share is told the account too.
    """
    has_account = connector.accounts is not None and step.partitions != "pages"
    return RunContext(
        connector=connector.name,
        account=context.run.tags.get(job_runs.PARTITION_TAG, "") if has_account else "",
        lineage=Lineage(context.run.run_id, ancestors_of(context)),
        installation=installation,
        settings=load_settings(connector.settings),
        tell=context.log.warning,
        is_dry_run=is_dry_run(context.run),
        person=context.run.tags.get(job_runs.STARTED_BY_TAG),
        groups_by_sku=connector.groups_by_sku,
        **more,
    )


def is_dry_run(run: dg.DagsterRun) -> bool:
    """Whether a run is only to be looked at: by its job, or because any of its steps was told so."""
    return run.job_name.endswith("_dry_run") or is_told(run, "dry_run")


def is_told(run: dg.DagsterRun, option: str) -> bool:
    """Whether an option is on in any step of a run, as its configuration says."""
    config: Mapping[str, Any] = run.run_config
    told = ((op or {}).get("config") or {} for op in (config.get("ops") or {}).values())
    return any(options.get(option) is True for options in told)


def ancestors_of(context: AnyContext) -> tuple[str, ...]:
    """The runs that the run of this step re-executes, its parent first, its root last; none of a run of its own.

    A run in between that was deleted ends the way up; the root is known all the same.
    """
    found: list[str] = []
    run: dg.DagsterRun | None = context.run
    # Dagster's Python API leaves the tag out and fills the field alone.
    while run is not None and (parent := run.tags.get(PARENT_TAG) or run.parent_run_id) and parent not in found:
        found.append(parent)
        run = context.instance.get_run_by_id(parent)
    root = context.run.tags.get("dagster/root_run_id") or context.run.root_run_id
    return (*found, *([root] if root is not None and root not in found else []))


def config_of(options: type[BaseModel]) -> type[dg.Config]:
    """A step's options as Dagster's pages explain them: the same names, defaults and descriptions."""
    fields: dict[str, Any] = {name: (info.annotation, info) for name, info in options.model_fields.items()}
    for name, earlier in _earlier_names(options):
        info = options.model_fields[name]
        fields[earlier] = (info.annotation, Field(info.default, description=f"earlier name of {name}"))
    return create_model(f"{options.__name__}Config", __base__=dg.Config, __doc__=options.__doc__, **fields)


def options_from(options: type[BaseModel], config: Mapping[str, Any]) -> BaseModel:
    """The options of a step from run config; an option under its earlier name counts as well."""
    values = dict(config)
    for name, earlier in _earlier_names(options):
        if earlier in values:
            given = values.pop(earlier)
            values[name] = values.get(name) or given
    return options.model_validate(values)


def _earlier_names(options: type[BaseModel]) -> list[tuple[str, str]]:
    """Each option that a step has, with every earlier name of it that is none of another option's now."""
    has = options.model_fields
    return [(name, one) for name, names in EARLIER_NAMES.items() if name in has for one in names if one not in has]


def secrets_of(connector: Connector) -> Collection[SecretStr]:
    """What no text of a run may show: every secret of the settings and of the connector's accounts.

    None when they cannot be read: the run itself meets the same error and says so.
    """
    try:
        shared = load_settings(Settings)
        known = None if connector.accounts is None else connector.accounts.known(load_accounts(shared))
        return secrets_in([shared, load_settings(connector.settings), known])
    except SettingsError:
        return ()


def tell(context: WorkContext, connector: Connector, result: StepResult) -> None:
    """What a step tells: lines on a terminal, warnings in the run's log; a terminal shows these in the summary."""
    # Heard on a terminal only; what the UI shows goes through the context of the run, lines with the metadata.
    logger = logging.getLogger(f"imagesync.{connector.name}")
    for line in result.lines:
        logger.info(line)
    for warning in result.warnings:
        context.log.warning(warning)
    if result.details is not None and logger.isEnabledFor(logging.DEBUG):
        # Lines about single images: an event each would cost more than the image itself.
        for line in result.details():
            logger.debug(line)


def log_lines(context: WorkContext, lines: Collection[str]) -> None:
    """What a step says, in the run's log: for where there is no metadata of its own to hold it."""
    if lines:
        context.log.info("\n".join(lines))


def named_partitions(context: WorkContext) -> tuple[str, ...]:
    """The partitions that a run names; none of a run that names none."""
    named = context.has_partition_key or context.has_partition_key_range
    return tuple(context.partition_keys) if named else ()


def report_partitions(
    context: dg.AssetExecutionContext, landed: Mapping[str, Stats], failed: Mapping[str, str]
) -> None:
    """Mark every partition of a run as what it became: `landed` (key → metadata) done, `failed` (key → reason) not.

    With a failed partition this raises dg.Failure after the others were marked, so that what depends on the asset does
    not run. Call it last, and return a MaterializeResult after it, without metadata where the run names partitions.
    Those that landed although the run does not name them are marked too, unless they are marked with the same content.
    Raises ValueError when the run names a partition that neither landed nor failed: Dagster would mark it as done.
    """
    key, named = context.asset_key, set(named_partitions(context))
    forgotten = sorted(name for name in named if name not in landed and name not in failed)
    if forgotten:
        raise ValueError(
            f"Partitions {metadata.names(forgotten)} of {key.to_user_string()} were neither read nor failed; a run "
            "that reads a part only must not name partitions."
        )
    others = {name: stats for name, stats in landed.items() if name not in named}
    held = content_marked(context.instance, key) if others else {}
    changed = {
        name: stats for name, stats in others.items() if stats.get(CONTENT) is None or stats[CONTENT] != held.get(name)
    }
    if failed:
        _announce(context, key, sorted(failed.keys() - named))
        log_landed(context, key, {name: stats for name, stats in landed.items() if name in named or name in changed})
        raise dg.Failure(
            f"{len(failed)} of {len(landed) + len(failed)} partitions of {key.to_user_string()} failed: "
            f"{metadata.names(sorted(failed))}. The others are kept; run the failed ones again.",
            metadata={
                "failed_partitions": len(failed),
                "reasons": metadata.markdown_list([f"{name}: {failed[name]}" for name in sorted(failed)]),
            },
            allow_retries=False,
        )
    # Dagster itself marks those that the run names; the others, like a block that appeared meanwhile, it does not know.
    log_landed(context, key, changed)
    for name in sorted(named):
        context.add_asset_metadata(dict(landed[name]), partition_key=name)


def log_landed(context: dg.AssetExecutionContext, key: dg.AssetKey, landed: Mapping[str, Stats]) -> None:
    """Mark partitions (key → metadata) of a Dagster asset as done; the asset need not be part of this run."""
    for name, stats in landed.items():
        context.log_event(dg.AssetMaterialization(asset_key=key, partition=name, metadata=dict(stats)))


def content_marked(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, object]:
    """The content with which each partition was marked last, of those that no run after that was to make."""
    storage, kinds = instance.event_log_storage, dg.DagsterEventType
    made = storage.get_latest_storage_id_by_partition(key, kinds.ASSET_MATERIALIZATION)
    meant = storage.get_latest_storage_id_by_partition(key, kinds.ASSET_MATERIALIZATION_PLANNED)
    ids = [number for name, number in made.items() if number > meant.get(name, 0)]
    # Dagster gives at most 10,000 at once.
    portions = [ids[first : first + EVENTS_AT_ONCE] for first in range(0, len(ids), EVENTS_AT_ONCE)]
    events = [
        (one.partition_key, one.asset_materialization)
        for portion in portions
        for one in instance.fetch_materializations(
            dg.AssetRecordsFilter(key, storage_ids=portion), limit=len(portion)
        ).records
    ]
    return {
        name: event.metadata[CONTENT].value
        for name, event in events
        if name is not None and event is not None and CONTENT in event.metadata
    }


def _announce(context: dg.AssetExecutionContext, key: dg.AssetKey, names: Collection[str]) -> None:
    """Say that a run was to make partitions that it did not name; those that it does not make show as failed."""
    for name in names:
        planned = AssetMaterializationPlannedData(key, partition=name)
        step = context.op_execution_context.get_step_execution_context().step.key
        event = dg.DagsterEvent.build_asset_materialization_planned_event(context.job_name, step, planned)
        context.instance.report_dagster_event(event, context.run.run_id, logging.DEBUG)


@contextmanager
def stage(context: WorkContext, asset_key: dg.AssetKey, secrets: Collection[SecretStr] = ()) -> Iterator[Stage]:
    """Run a step's work; when it raises, record its summary as failed and raise a dg.Failure that people understand.

    A failure is not tried again when trying cannot help: a wrong setting, and every error that says `retryable = False`
    (refused credentials, an answer that will be the same). All others are left to the asset's RetryPolicy. Work that
    somebody stopped (Ctrl-C, the UI's terminate) has failed and is not tried again either.
    No text that Dagster stores from here holds one of the `secrets` or the user part of a URL; a dg.Failure that the
    work raised itself goes on as it is.
    """
    work = Stage()
    try:
        yield work
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        _observe_failure(context, asset_key, work, STOPPED)
        # Left as it is, the interruption would be answered by the RetryPolicy: the step would run again.
        raise dg.Failure(STOPPED, allow_retries=False) from None
    except dg.Failure as failure:
        _observe_failure(
            context, asset_key, work, metadata.clean_text(failure.description or languages.told("It failed."), secrets)
        )
        raise
    except Exception as error:
        message = metadata.error_text(error, secrets)
        _observe_failure(context, asset_key, work, message)
        trace = "".join(traceback.format_exception(error))
        cleaned = metadata.without_secrets(trace, secrets)
        shown = {metadata.ERROR_CLASS_KEY: dg.MetadataValue.text(type(error).__name__)}
        retry = not is_permanent(error)
        if cleaned == trace:
            raise dg.Failure(message, metadata=shown, allow_retries=retry) from error
        # Dagster would store the text of the chained error as it is.
        shown["traceback"] = dg.MetadataValue.text(cleaned[-TRACEBACK_CHARACTERS:])
        raise dg.Failure(message, metadata=shown, allow_retries=retry) from None


def is_permanent(error: BaseException) -> bool:
    """Whether the same work would fail in the same way again, as the error itself says."""
    return isinstance(error, SettingsError) or getattr(error, "retryable", None) is False


def _observe_failure(context: WorkContext, asset_key: dg.AssetKey, work: Stage, message: str) -> None:
    """Record the summary of work that failed as an observation: a failed step leaves no materialization."""
    now, known = datetime.now(UTC), work.summary or Summary("failed", work.started_at, None)
    told = replace(known, status="failed", started_at=work.started_at, completed_at=now, error_message=message)
    shown = metadata.summary_metadata(told, counted=work.summary is not None)
    context.log_event(dg.AssetObservation(asset_key=asset_key, metadata=shown))
