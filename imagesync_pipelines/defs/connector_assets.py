"""What all Dagster assets have in common: owner, freshness, partitions by account, telling what happened.

What belongs here: what every connector's assets.py would say in the same words. What does not: a connector's own
assets, and the wrapper around their work (summaries.py).
"""

import logging
from collections.abc import Iterable
from typing import Any

import dagster as dg

from imagesync_pipelines.defs.freshness import fresh_within
from imagesync_pipelines.defs.summaries import WorkContext

OWNERS = ["team:product-images"]


def connector_options(connector: str, fresh_hours: float) -> dict[str, Any]:
    """The arguments of `dg.asset` that are the same for every asset of a connector."""
    return {
        "group_name": connector,
        "owners": OWNERS,
        "key_prefix": [connector],
        "freshness_policy": fresh_within(fresh_hours),
    }


def account_options(accounts: dg.DynamicPartitionsDefinition) -> dict[str, Any]:
    """The arguments of `dg.asset` for a partition per account or store; a run is one: one that fails stops no other."""
    return {
        "partitions_def": accounts,
        "backfill_policy": dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
    }


def tell(context: WorkContext, logger: logging.Logger, lines: Iterable[str], warnings: Iterable[str] = ()) -> None:
    """A few lines about a stage, in the run's log and on a terminal; a terminal shows warnings in the summary."""
    for line in lines:
        context.log.info(line)
        logger.info(line)
    for warning in warnings:
        context.log.warning(warning)
