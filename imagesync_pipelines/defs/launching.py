"""Starting runs in Dagster: for which accounts, and the partitions that stand for these.

Two runs of one account never work at the same time: Dagster's
pool queues their steps, and the steps hold the account's lock in our database.
"""

import logging
from collections.abc import Collection, Mapping

import dagster as dg

from imagesync_pipelines.accounts.file import Accounts
from imagesync_pipelines.defs import partitions
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.sync.connector import AccountSet, Connector
from imagesync_pipelines.sync.job_runs import PARTITION_TAG, JobRun

_logger = logging.getLogger("imagesync")

# On every run that no person started.
BY_ITSELF = {"imagesync/started": "by itself"}


def request_of(run: JobRun, key: str | None = None, tags: Mapping[str, str] | None = None) -> dg.RunRequest:
    """A run as schedules and sensors ask Dagster's daemon for it; for one `key` and account there is only one."""
    account = run.tags.get(PARTITION_TAG)
    run_key = None if key is None else f"{key} {account}" if account else key
    others = {name: value for name, value in {**run.tags, **(tags or {})}.items() if name != PARTITION_TAG}
    return dg.RunRequest(run_key=run_key, run_config=dict(run.run_config), partition_key=account, tags=others)


def keep_partitions(instance: dg.DagsterInstance, connector: Connector, accounts: Accounts) -> list[str]:
    """Make a connector's partitions equal to its accounts in the accounts file and return these.

    An account that left the file keeps its partition while a run of it is unfinished.
    """
    held = _account_set(connector)
    return partitions.keep_partitions(instance, connector.name, held.partition_set, held.known(accounts).by_name)


def in_flight(instance: dg.DagsterInstance, connector: Connector, accounts: Collection[str]) -> set[str]:
    """Those of the accounts that an unfinished run of any job works on."""
    return partitions.in_flight(instance, connector.name, accounts)


def chosen_accounts(connector: Connector, accounts: Accounts, names: Collection[str]) -> list[str]:
    """The accounts asked for, or all that a run over all of them is about.

    Raises SettingsError when there is none or a choice is needed, AccountsError for a wrong name.
    """
    held = _account_set(connector)
    known = held.known(accounts)
    for warning in known.warnings:
        _logger.warning(warning)
    if not known.by_name:
        raise SettingsError(held.missing)
    if names:
        for name in names:
            known.named(name)
        return list(names)
    if held.one_by and len(known.by_name) > 1:
        several = ", ".join(sorted(known.by_name))
        raise SettingsError(f"There are several {connector.title} {held.noun}s ({several}); say which: {held.one_by}")
    return sorted(active_accounts(connector, accounts))


def active_accounts(connector: Connector, accounts: Accounts) -> Collection[str]:
    """The accounts that a run over all of them is about."""
    held = _account_set(connector)
    return held.known(accounts).by_name if held.active is None else held.active(accounts)


def _account_set(connector: Connector) -> AccountSet:
    if connector.accounts is None:
        raise SettingsError(f"{connector.title} has no accounts.")
    return connector.accounts
