"""Runs in Dagster: for which accounts they are started, the partitions that stand for these, which are unfinished.

Two runs of one account never work at the same time: Dagster's pool queues their steps, and the steps hold the account's
lock in our database.
"""

import logging
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Self

import dagster as dg
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._serdes import ConfigurableClassData
from pydantic import BaseModel, ValidationError

from imagesync_pipelines.accounts.file import Accounts
from imagesync_pipelines.languages import N_
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.sync.connector import AccountSet, Connector
from imagesync_pipelines.sync.job_runs import (
    ALL_BLOCKS_TAG,
    HIDDEN,
    PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    JobRun,
)
from imagesync_pipelines.telemetry import spans

_logger = logging.getLogger("imagesync")

# On every run that no person started.
BY_ITSELF = {f"{HIDDEN}started": N_("by itself")}
# What such runs of the release before bear.
BY_ITSELF_EARLIER = {"imagesync/started": N_("by itself")}

# As workspace.yaml names it, by which Dagster's pages find the jobs of a run.
LOCATION, MODULE = "imagesync_pipelines", "imagesync_pipelines.definitions"

IN_FLIGHT = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


class Memory(BaseModel):
    """What a sensor remembers between two looks, as its cursor."""

    @classmethod
    def of(cls, cursor: str | None) -> Self:
        """What a cursor says; one that cannot be read is an empty memory: at worst a run too many, which changes
        nothing."""
        try:
            return cls.model_validate_json(cursor or "{}")
        except ValidationError:
            return cls()


def launcher_kind(instance: dg.DagsterInstance) -> type:
    """The class of the run launcher, which is not made: where no run is started it may lack what it needs.

    That of Kubernetes needs the token of a pod, that of Docker the image of its runs.
    """
    made = instance._run_launcher
    if made is not None:
        return type(made)
    return class_of(instance.get_ref().run_launcher_data)


def class_of(named: ConfigurableClassData | None) -> type:
    """The class that a part of dagster.yaml names; nothing is made of it."""
    found: type = getattr(import_module(named.module_name), named.class_name) if named else object
    return found


def origin_of(job: str) -> RemoteJobOrigin:
    """Where Dagster's pages find a job of ours, so that a run of it can be executed again from there."""
    target = LoadableTargetOrigin(module_name=MODULE)
    place = ManagedGrpcPythonEnvCodeLocationOrigin(target, LOCATION)
    return RemoteRepositoryOrigin(place, "__repository__").get_job_origin(job)


def is_set_up(connector: Connector, shared: Settings) -> bool:
    """Whether runs of a connector may start by themselves: it has what it needs, and its systems are real ones.

    Where something of it is wrong they do start, so that it is told.
    """
    try:
        return not shared.sandbox and not connector.lacks(shared, load_settings(connector.settings))
    except SettingsError:
        return True


def request_of(run: JobRun, key: str | None = None, tags: Mapping[str, str] | None = None) -> dg.RunRequest:
    """A run as schedules and sensors ask Dagster's daemon for it; for one `key` and account there is only one."""
    account = run.tags.get(PARTITION_TAG)
    run_key = None if key is None else f"{key} {account}" if account else key
    with spans.span(f"request {run.job}"):
        told = {**run.tags, **(tags or {}), **spans.parent_tag()}
    others = {name: value for name, value in told.items() if name != PARTITION_TAG}
    return dg.RunRequest(run_key=run_key, run_config=dict(run.run_config), partition_key=account, tags=others)


def keep_partitions(instance: dg.DagsterInstance, connector: Connector, accounts: Accounts) -> list[str]:
    """Make a connector's partitions equal to its accounts in the accounts file, also wrong ones; returns these, sorted.

    An account that left the file keeps its partition while a run of it is unfinished.
    """
    held = _account_set(connector)
    wanted, existing = set(held.known(accounts).names), set(instance.get_dynamic_partitions(held.partition_set))
    if wanted - existing:
        instance.add_dynamic_partitions(held.partition_set, sorted(wanted - existing))
    extra = existing - wanted
    for name in sorted(extra - in_flight(instance, connector, extra)):
        instance.delete_dynamic_partition(held.partition_set, name)
    return sorted(wanted)


def in_flight(instance: dg.DagsterInstance, connector: Connector, accounts: Collection[str]) -> set[str]:
    """Those of the accounts that an unfinished run of any job works on, one of the UI's buttons included."""
    if not accounts:
        return set()
    ours = [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=list(IN_FLIGHT)))
        if run.job_name.startswith(f"{connector.name}__")
        or any(key.path[0] == connector.name for key in run.asset_selection or ())
    ]
    return {run.tags.get(PARTITION_TAG, "") for run in ours} & set(accounts)


def blocks_in_flight(instance: dg.DagsterInstance, blocks: Collection[str]) -> set[str]:
    """Those of the blocks that an unfinished run of any job may still write; they must not be deleted."""
    at_work = instance.get_runs(dg.RunsFilter(statuses=list(IN_FLIGHT)))
    if any(ALL_BLOCKS_TAG in run.tags for run in at_work):
        return set(blocks)
    ranges = [partitions_of(run) for run in at_work]
    return {block for block in blocks for held in ranges if held is not None and held[0] <= block <= held[1]}


def partitions_of(run: dg.DagsterRun) -> tuple[str, str] | None:
    """First and last partition of a run, twice the same for a run of one partition, None for a run without."""
    single = run.tags.get(PARTITION_TAG)
    first = run.tags.get(RANGE_START_TAG, single)
    last = run.tags.get(RANGE_END_TAG, single)
    return (first, last) if first is not None and last is not None else None


def partition_text(run: dg.DagsterRun) -> str:
    """The partition of a run, `first to last` for a range, '' for none."""
    return " to ".join(dict.fromkeys(partitions_of(run) or ()))


def chosen_accounts(connector: Connector, accounts: Accounts, names: Collection[str]) -> list[str]:
    """The accounts asked for, or all that a run over all of them is about; that of a wrong one says what is wrong.

    Raises SettingsError when there is none or a choice is needed, AccountsError for a wrong name.
    """
    held = _account_set(connector)
    known = held.known(accounts)
    for warning in known.warnings:
        _logger.warning(warning)
    if not known.names:
        raise SettingsError(held.missing)
    if names:
        for name in set(names) - set(known.names):
            known.named(name)
        return list(names)
    if held.one_by and len(known.names) > 1:
        several = ", ".join(sorted(known.names))
        raise SettingsError(f"There are several {connector.title} {held.noun}s ({several}); say which: {held.one_by}")
    return sorted(active_accounts(connector, accounts))


def active_accounts(connector: Connector, accounts: Accounts) -> Collection[str]:
    """The accounts that a run over all of them is about, also wrong ones: their runs say what is wrong."""
    held = _account_set(connector)
    return held.known(accounts).names if held.active is None else held.active(accounts)


def _account_set(connector: Connector) -> AccountSet:
    if connector.accounts is None:
        raise SettingsError(f"{connector.title} has no accounts.")
    return connector.accounts
