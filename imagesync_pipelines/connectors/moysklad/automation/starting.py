"""How a run of the МойСклад connector is started, whoever starts it: for which child account, with which configuration.

What belongs here: descriptions of runs, the partitions, which accounts are at work. What does not: when runs start
(schedules.py, sensors.py), what the jobs do (jobs.py).

One run is one child account: one that fails stops no other. Runs that start together share one reading of the main
account: `since` is the moment they were started at, and a reading that is newer is not made again. Two runs of one
account never work at the same time: Dagster's pool queues their steps, and the steps hold the account's lock.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from imagesync_pipelines.accounts.file import Accounts
from imagesync_pipelines.connectors.moysklad.assets import ACCOUNTS
from imagesync_pipelines.connectors.moysklad.model import Mode
from imagesync_pipelines.connectors.moysklad.reading import CONNECTOR
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.defs import partitions
from imagesync_pipelines.defs.launching import JobRun
from imagesync_pipelines.settings import Settings, SettingsError, load_settings

SYNC_JOB = "moysklad__sync"
DRY_RUN_JOB = "moysklad__dry_run"
CLEANUP_JOB = "moysklad__cleanup"


@dataclass(frozen=True)
class SyncOptions:
    """What may be asked of one synchronisation; see runs.sync_moysklad.

    requests: of what the queue has for the account, and nothing else. since: see above; None: read anew.
    """

    full: bool = False
    entity_type: str = ""
    entity: str = ""
    dry_run: bool = False
    allow_mass_delete: bool = False
    requests: bool = False
    since: datetime | None = None


def sync_run(child: str, options: SyncOptions) -> JobRun:
    """The run that brings one child account up to date, or that stops after its plan."""
    chosen = {"entity_type": options.entity_type, "entity": options.entity, "requests": options.requests}
    since = options.since.isoformat() if options.since is not None else ""
    configs = {
        "main_images": {**chosen, "full": options.full, "since": since},
        "entity_map": chosen,
        "plan": {
            **chosen,
            "check_child": options.full,
            "allow_mass_delete": options.allow_mass_delete,
            "dry_run": options.dry_run,
        },
    }
    ops = {f"{CONNECTOR}__{name}": {"config": config} for name, config in configs.items()}
    return JobRun(DRY_RUN_JOB if options.dry_run else SYNC_JOB, {"ops": ops}, {partitions.PARTITION_TAG: child})


def apply_run(child: str, plan_id: int) -> JobRun:
    """The run that applies a stored plan of a child account."""
    names = ("content", "child_images")
    ops = {f"{CONNECTOR}__{name}": {"config": {"plan_id": plan_id}} for name in names}
    return JobRun(SYNC_JOB, {"ops": ops}, {partitions.PARTITION_TAG: child}, tuple((CONNECTOR, name) for name in names))


def keep_partitions(instance: dg.DagsterInstance, accounts: Accounts) -> list[str]:
    """Make the partitions equal to the child accounts of the accounts file and return these.

    An account that left the file keeps its partition while a run of it is unfinished.
    """
    return partitions.keep_partitions(instance, CONNECTOR, str(ACCOUNTS.name), accounts.moysklad_children)


def in_flight(instance: dg.DagsterInstance, children: Collection[str]) -> set[str]:
    """Those of the child accounts that an unfinished run of any job works on."""
    return partitions.in_flight(instance, CONNECTOR, children)


def read_settings() -> tuple[Settings, MoyskladSettings]:
    """The settings that the definitions themselves depend on: times, and whether there are accounts at all."""
    return load_settings(Settings), load_settings(MoyskladSettings)


def chosen_children(accounts: Accounts, names: Collection[str]) -> list[str]:
    """The child accounts asked for, or all whose mode is not off.

    Raises SettingsError when there is none, AccountsError for a wrong name.
    """
    children = accounts.moysklad_children
    if not children:
        raise SettingsError(
            "IMAGESYNC_ACCOUNTS: there are no child accounts of МойСклад; name a TOML file with the sections "
            "[moysklad.main] and [moysklad.children.<alias>]."
        )
    chosen = [accounts.moysklad_child(name).alias for name in names]
    return chosen or sorted(alias for alias, child in children.items() if child.mode is not Mode.OFF)
