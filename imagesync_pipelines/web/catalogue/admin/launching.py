"""Which run does what a person asked for: its job, configuration, partition and Dagster assets.

What belongs here: describing runs, pure. What does not: starting them (dagster.py), what the jobs do (the connectors).
The connectors describe the same runs in their automation, which needs Dagster as a library; a test holds both equal,
and a connector's own defaults stay its own: only what differs from them is said here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from imagesync_pipelines.defs.launching import JobRun
from imagesync_pipelines.storage.plans import PlanHeader

IMAGE_DB = "image_db"
PARTIAL_JOB = f"{IMAGE_DB}__partial"
# Dagster's own tags.
RANGE_START_TAG, RANGE_END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
PARTITION_TAG = "dagster/partition"
# Who started a run, for the run's page in both UIs.
STARTED_BY_TAG = "imagesync/started_by"

MOST_SKUS, LONGEST_SKU = 500, 100

# What a dry run needs beside the job that stops after the plan.
_DRY_CONFIG: Mapping[str, Mapping[str, Any]] = {
    "edge": {"edge__photo_listing": {"config": {"dry_run": True}}},
    "plytix": {"plytix__plan": {"config": {"dry_run": True}}},
}
# The Dagster assets that apply a stored plan, and which of them are told its number.
_APPLYING: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "edge": (("photo_binaries", "status_report"), ("photo_binaries",)),
    "plytix": (("assets", "product_images"), ("assets", "product_images")),
    "moysklad": (("content", "child_images"), ("content", "child_images")),
    IMAGE_DB: (("product_images", "export"), ("product_images",)),
}


class NothingToStartError(Exception):
    """What was asked for makes no run; the message says why."""


def job_of(connector: str, *, dry_run: bool = False) -> str:
    """The job that synchronises a connector, or that stops after its plan."""
    return f"{connector}__dry_run" if dry_run else f"{connector}__sync"


def sync_of_connector(connector: str, partitions: Sequence[str], account: str, *, dry_run: bool) -> JobRun:
    """The run over a whole connector, or over one account of it; `partitions` are those that Dagster has for its job.

    Raises NothingToStartError when there are none, or when the account is none of them.
    """
    job = job_of(connector, dry_run=dry_run)
    if connector == IMAGE_DB:
        if not partitions:
            raise NothingToStartError(
                "Dagster does not know any pages of the image database yet. The sensor image_db__page_discovery finds "
                "them, or run `imagesync sync image-db` once."
            )
        return JobRun(job, {}, {RANGE_START_TAG: partitions[0], RANGE_END_TAG: partitions[-1]})
    if account not in partitions:
        known = ", ".join(partitions) or "none"
        raise NothingToStartError(f"There is no account or store {account!r} to synchronise; Dagster knows: {known}.")
    config = {"ops": dict(_DRY_CONFIG[connector])} if dry_run and connector in _DRY_CONFIG else {}
    return JobRun(job, config, {PARTITION_TAG: account})


def sync_of_skus(skus: Sequence[str], *, dry_run: bool) -> JobRun:
    """The run over these products, from the image database. Raises NothingToStartError without any, or for too many."""
    if not skus:
        raise NothingToStartError("Name at least one SKU.")
    if len(skus) > MOST_SKUS:
        raise NothingToStartError(
            f"These are {len(skus)} SKUs. Name {MOST_SKUS} at most, or synchronise the whole connector."
        )
    ops: dict[str, Any] = {f"{IMAGE_DB}__records": {"config": {"skus": list(skus)}}}
    if dry_run:
        ops[f"{IMAGE_DB}__product_images"] = {"config": {"dry_run": True}}
    return JobRun(PARTIAL_JOB, {"ops": ops})


def replay_of(external_ids: Sequence[str]) -> JobRun:
    """The run that tries these images again, from the stored pages. Raises NothingToStartError without any."""
    if not external_ids:
        raise NothingToStartError("None of these is an image of the image database.")
    return JobRun(PARTIAL_JOB, {"ops": {f"{IMAGE_DB}__records": {"config": {"external_ids": list(external_ids)}}}})


def apply_of(plan: PlanHeader) -> JobRun:
    """The run that applies a stored plan. Raises NothingToStartError for a plan that was applied, or begun."""
    if plan.applied_at is not None or plan.applied_run is not None:
        raise NothingToStartError(f"Plan {plan.id} was applied already; make a new one.")
    assets, told = _APPLYING[plan.connector]
    ops = {f"{plan.connector}__{name}": {"config": {"plan_id": plan.id}} for name in told}
    keys = tuple((plan.connector, name) for name in assets)
    if plan.connector == IMAGE_DB:
        return JobRun(PARTIAL_JOB, {"ops": ops}, {}, keys)
    return JobRun(job_of(plan.connector), {"ops": ops}, {PARTITION_TAG: str(plan.scope["account"])}, keys)


def started_by(name: str) -> dict[str, str]:
    """The tag that says who started a run."""
    return {STARTED_BY_TAG: name}


def skus_of(text: str) -> tuple[str, ...]:
    """The SKUs in what a person typed, separated by blanks, commas, semicolons or lines; each once, in order."""
    return tuple(dict.fromkeys(one for one in re.split(r"[\s,;]+", text) if one))
