"""Dagster's concurrency pools, made before a run needs them."""

from collections.abc import Iterable

import dagster as dg
from sqlalchemy.exc import DBAPIError


def make_pools(instance: dg.DagsterInstance, names: Iterable[str]) -> None:
    """Make the pools that are not there yet, with the limit of dagster.yaml.

    Dagster makes a pool when a step first asks for a place in it; two runs that do so at the same moment break one
    another, because its answer to the second INSERT is an UPDATE in the transaction that has just failed.
    """
    storage = instance.event_log_storage
    there = {pool.name for pool in storage.get_pool_limits()}
    for name in names:
        if name in there:
            continue
        try:
            storage.initialize_concurrency_limit_to_default(name)
        except DBAPIError:
            # Another process made it at this moment.
            if name not in {pool.name for pool in storage.get_pool_limits()}:
                raise
