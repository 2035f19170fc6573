"""Runs to start, of any connector, whoever starts them: their job, configuration and tags, as Dagster takes them.

One run is one account: one that fails stops no other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.sync.connector import Connector, Job, Step

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
PARTITION_TAG = "dagster/partition"
# Dagster's pages hide the tags that begin so.
HIDDEN = ".dagster/imagesync_"
# On a run over all blocks of pages, however many there are when it reads them.
ALL_BLOCKS_TAG = f"{HIDDEN}all_blocks"
# What people look for a run by: its products or entity, the plan it carries out, that it is only to be looked at.
SKUS_TAG, ENTITY_TAG = "imagesync/skus", "imagesync/entity"
PLAN_TAG, DRY_RUN_TAG = "imagesync/plan", "imagesync/dry_run"
# Which person started it, for its page in both UIs and for the history.
STARTED_BY_TAG = "imagesync/started_by"
MOST_SKUS = 20
# What people call jobs, whichever connector's.
_JOBS = {
    "sync": N_("Synchronisation"),
    "dry_run": N_("Only a plan"),
    "skus": N_("Chosen products"),
    "skus_dry_run": N_("Only a plan of chosen products"),
    "partial": N_("Chosen products"),
    "partial_dry_run": N_("Only a plan of chosen products"),
    "entities": N_("Chosen entities"),
    "undo": N_("A plan to take a run back"),
    "take_away": N_("A plan to take away what is excluded"),
    "apply": N_("A stored plan carried out"),
    "scrub": N_("Stored photos checked"),
    "cleanup": N_("Clean-up"),
    "cleanup_job": N_("Clean-up"),
    "doctor_job": N_("Whether each system answers"),
    "prune_events_job": N_("Old events of Dagster removed"),
    "deliver": N_("Webhooks delivered"),
    "measure": N_("Pictures measured and judged"),
    "__ASSET_JOB": N_("Chosen steps"),
}


@dataclass(frozen=True)
class JobRun:
    """A run to start: its job, configuration and tags."""

    job: str
    run_config: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PastRun:
    """One run of the past. Times are UTC; numbers are None when the run recorded no summary (it wrote nothing).

    `status` is in_progress, completed or failed. `connector` is None for a run of no connector. `partition` is its
    partition, such as an account, "first to last" for a range, empty for none. `error` is empty when there is none.
    `summary` is the run's whole summary, empty when it recorded none.
    """

    run_id: str
    job: str
    connector: str | None
    partition: str
    status: str
    started: datetime | None
    completed: datetime | None
    added: int | None
    updated: int | None
    deleted: int | None
    products_affected: int | None
    error: str
    summary: Mapping[str, Any]


def run_of(
    connector: Connector, account: str, asked: Mapping[str, Any], tags: Mapping[str, str] | None = None
) -> JobRun:
    """The run that does what was asked (fields of connector.options) for one account ('': there are none)."""
    options = connector.options.model_validate(dict(asked))
    job = connector.job(connector.job_for(options))
    return job_run(connector, job, account, options.model_dump(mode="json"), tags)


def job_run(
    connector: Connector, job: Job, account: str, asked: Mapping[str, Any], tags: Mapping[str, str] | None = None
) -> JobRun:
    """A run of this very job: each of its steps gets those fields of what was asked that it has, and the presets."""
    ours = [step for step in connector.steps if job.steps is None or step.name in job.steps]
    ops = {}
    for step in ours if job.alone is None else [job.alone]:
        options = {name: value for name, value in asked.items() if name in step.options.model_fields}
        options |= job.presets.get(step.name, {})
        if options:
            ops[op_name(connector, step)] = {"config": options}
    partition = {PARTITION_TAG: account} if account else {}
    return JobRun(
        job_name(connector, job), {"ops": ops} if ops else {}, {**partition, **told_by(asked), **(tags or {})}
    )


def apply_run(connector: Connector, account: str, plan_id: int, asked: Mapping[str, Any]) -> JobRun:
    """The run that applies a stored plan; `asked`: further options of the steps that do it."""
    return job_run(connector, connector.apply_job, account, {**asked, "plan_id": plan_id})


def told_by(asked: Mapping[str, Any]) -> dict[str, str]:
    """The tags by which people find a run that was asked so."""
    skus, plan_id = [str(sku) for sku in asked.get("skus") or ()], asked.get("plan_id")
    more = told(f" and {len(skus) - MOST_SKUS} more") if len(skus) > MOST_SKUS else ""
    return {
        **({SKUS_TAG: ", ".join(skus[:MOST_SKUS]) + more} if skus else {}),
        **({ENTITY_TAG: str(asked["entity"])} if asked.get("entity") else {}),
        **({PLAN_TAG: str(plan_id)} if plan_id is not None else {}),
        **({DRY_RUN_TAG: "yes"} if asked.get("dry_run") is True else {}),
    }


def job_name(connector: Connector, job: Job) -> str:
    """The name of a job in Dagster: `plytix__sync`."""
    return f"{connector.name}__{job.name}"


def op_name(connector: Connector, step: Step) -> str:
    """The name of a step's op in run config: that of its Dagster asset, or the step's own when it is none."""
    return f"{connector.name}__{step.name}" if step in connector.steps else step.name


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags that make a run materialise all partitions from `first` to `last`, both included."""
    return {RANGE_START_TAG: first, RANGE_END_TAG: last}


def all_blocks_tags() -> dict[str, str]:
    """The tags of a run over all blocks of pages: those that are known, and those that are added until it reads.

    It names none of them, so that those that it finds as they were need not be recorded anew.
    """
    return {ALL_BLOCKS_TAG: "true"}


def job_words(job: str) -> str:
    """What people call a job, by its id: image_db__sync is a synchronisation, whichever connector's."""
    name = job if job in _JOBS else job.rpartition("__")[2]
    return _JOBS.get(name, name.replace("_", " ").strip().capitalize() or "Run")
