"""How a run of the edge connector is started, whoever starts it: for which store, with which configuration.

What belongs here: descriptions of runs, the partitions, which stores are at work. What does not: when runs start
(schedules.py, sensors.py), what the jobs do (jobs.py).

One run is one store: a store that fails stops no other. Two runs of one store never work at the same time: Dagster's
pools queue their steps, and each step holds the lock in the store's own database.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import dagster as dg

from imagesync_pipelines.accounts.file import Accounts
from imagesync_pipelines.connectors.edge.assets import STORES
from imagesync_pipelines.connectors.edge.desk import CONNECTOR
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.defs import partitions
from imagesync_pipelines.defs.launching import JobRun
from imagesync_pipelines.settings import Settings, SettingsError, load_settings

SYNC_JOB = "edge__sync"
DRY_RUN_JOB = "edge__dry_run"
SCRUB_JOB = "edge__scrub"


@dataclass(frozen=True)
class SyncOptions:
    """What a person may ask of one synchronisation; see runs.sync_edge."""

    full: bool = False
    dry_run: bool = False
    allow_mass_delete: bool = False


def sync_run(store: str, options: SyncOptions) -> JobRun:
    """The run that brings one store up to date, or that stops after its plan."""
    ops: dict[str, Any] = {
        f"{CONNECTOR}__photo_listing": {"config": {"full": options.full, "dry_run": options.dry_run}},
        f"{CONNECTOR}__plan": {"config": {"allow_mass_delete": options.allow_mass_delete, "dry_run": options.dry_run}},
    }
    return JobRun(DRY_RUN_JOB if options.dry_run else SYNC_JOB, {"ops": ops}, {partitions.PARTITION_TAG: store})


def apply_run(store: str, plan_id: int) -> JobRun:
    """The run that applies a stored plan of a store, and reports it to the head office."""
    ops = {f"{CONNECTOR}__photo_binaries": {"config": {"plan_id": plan_id}}}
    assets = ((CONNECTOR, "photo_binaries"), (CONNECTOR, "status_report"))
    return JobRun(SYNC_JOB, {"ops": ops}, {partitions.PARTITION_TAG: store}, assets)


def scrub_run(store: str) -> JobRun:
    """The run that hashes what a store has, and repairs what differs."""
    return JobRun(SCRUB_JOB, tags={partitions.PARTITION_TAG: store})


def keep_partitions(instance: dg.DagsterInstance, accounts: Accounts) -> list[str]:
    """Make the partitions equal to the stores of the accounts file and return these.

    A store that left the file keeps its partition while a run of it is unfinished.
    """
    return partitions.keep_partitions(instance, CONNECTOR, str(STORES.name), accounts.edge_stores)


def in_flight(instance: dg.DagsterInstance, stores: Collection[str]) -> set[str]:
    """Those of the stores that an unfinished run of any job works on."""
    return partitions.in_flight(instance, CONNECTOR, stores)


def read_settings() -> tuple[Settings, EdgeSettings]:
    """The settings that the definitions themselves depend on: times, and whether there are stores at all."""
    return load_settings(Settings), load_settings(EdgeSettings)


def chosen_stores(accounts: Accounts, names: Collection[str]) -> list[str]:
    """The stores asked for, or all of them. Raises SettingsError when there is none, AccountsError for a wrong name."""
    if not accounts.edge_stores:
        raise SettingsError(
            "IMAGESYNC_ACCOUNTS: there are no edge stores; name a TOML file with a section [edge.stores.<name>]."
        )
    return [accounts.edge_store(name).name for name in names] or sorted(accounts.edge_stores)
