"""Which run does what a person asked for on a page."""

import re
from collections.abc import Sequence

from imagesync_pipelines.defs import launching
from imagesync_pipelines.defs.jobs import job_name
from imagesync_pipelines.defs.launching import JobRun
from imagesync_pipelines.defs.partitions import range_tags
from imagesync_pipelines.products.rules import DEFAULT_SOURCE
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.storage.plans import PlanHeader

# Who started a run, for the run's page in both UIs.
STARTED_BY_TAG = "imagesync/started_by"

MOST_SKUS, LONGEST_SKU = 500, 100


class NothingToStartError(Exception):
    """What was asked for makes no run; the message says why."""


def job_of(connector: str, *, dry_run: bool = False) -> str:
    """The job that synchronises a connector, or that stops after its plan."""
    declared = connector_named(connector)
    options = declared.options.model_validate({"dry_run": dry_run})
    return job_name(declared, declared.job(declared.job_for(options)))


def sync_of_connector(connector: str, partitions: Sequence[str], account: str, *, dry_run: bool) -> JobRun:
    """The run over a whole connector, or over one account of it; `partitions` are those that Dagster has for its job.

    Raises NothingToStartError when there are none, or when the account is none of them.
    """
    declared = connector_named(connector)
    if declared.pages is not None:
        if not partitions:
            command = f"imagesync sync {declared.name.replace('_', '-')}"
            raise NothingToStartError(
                f"Dagster does not know any pages of the {declared.title.lower()} yet. The sensor "
                f"{declared.name}__page_discovery finds them, or run `{command}` once."
            )
        return launching.run_of(declared, "", {"dry_run": dry_run}, range_tags(partitions[0], partitions[-1]))
    if declared.accounts is None:
        return launching.run_of(declared, "", {"dry_run": dry_run})
    if account not in partitions:
        known = ", ".join(partitions) or "none"
        raise NothingToStartError(f"There is no account or store {account!r} to synchronise; Dagster knows: {known}.")
    return launching.run_of(declared, account, {"dry_run": dry_run})


def sync_of_skus(skus: Sequence[str], *, dry_run: bool) -> JobRun:
    """The run over these products, from the image database. Raises NothingToStartError without any, or for too many."""
    if not skus:
        raise NothingToStartError("Name at least one SKU.")
    if len(skus) > MOST_SKUS:
        raise NothingToStartError(
            f"These are {len(skus)} SKUs. Name {MOST_SKUS} at most, or synchronise the whole connector."
        )
    return launching.run_of(connector_named(DEFAULT_SOURCE), "", {"skus": list(skus), "dry_run": dry_run})


def replay_of(external_ids: Sequence[str]) -> JobRun:
    """The run that tries these images again, from the stored pages. Raises NothingToStartError without any."""
    if not external_ids:
        raise NothingToStartError("None of these is an image of the image database.")
    return launching.run_of(connector_named(DEFAULT_SOURCE), "", {"external_ids": list(external_ids)})


def apply_of(plan: PlanHeader) -> JobRun:
    """The run that applies a stored plan. Raises NothingToStartError for a plan that was applied, or begun."""
    if plan.applied_at is not None or plan.applied_run is not None:
        raise NothingToStartError(f"Plan {plan.id} was applied already; make a new one.")
    return launching.apply_run(connector_named(plan.connector), str(plan.scope.get("account", "")), plan.id, {})


def started_by(name: str) -> dict[str, str]:
    """The tag that says who started a run."""
    return {STARTED_BY_TAG: name}


def skus_of(text: str) -> tuple[str, ...]:
    """The SKUs in what a person typed, separated by blanks, commas, semicolons or lines; each once, in order."""
    return tuple(dict.fromkeys(one for one in re.split(r"[\s,;]+", text) if one))
