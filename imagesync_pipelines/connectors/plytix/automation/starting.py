"""How a run of the Plytix connector is started, whoever starts it: for which account, with which configuration.

What belongs here: descriptions of runs, the partitions, which accounts are at work. What does not: when runs start
(schedules.py, sensors.py), what the jobs do (jobs.py).

One run is one account. Two runs of one account never work at the same time: Dagster's pool queues their steps, and the
steps hold the account's lock in our database.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from imagesync_pipelines.accounts.file import Accounts
from imagesync_pipelines.connectors.plytix.assets import ACCOUNTS, GOES_ON_TAG
from imagesync_pipelines.connectors.plytix.ledger import CONNECTOR
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.defs import partitions, run_requests
from imagesync_pipelines.defs.launching import JobRun
from imagesync_pipelines.settings import Settings, SettingsError, load_settings

SYNC_JOB = "plytix__sync"
DRY_RUN_JOB = "plytix__dry_run"
CLEANUP_JOB = "plytix__cleanup"
CLEANUP_OP = "plan_cleanup"
# On every run that no person started.
_BY_ITSELF = {"imagesync/started": "by itself"}


@dataclass(frozen=True)
class SyncOptions:
    """What a person may ask of one synchronisation; see runs.sync_plytix."""

    mapping: str = ""
    live: bool = False
    marketplace: str = ""
    skus: tuple[str, ...] = ()
    dry_run: bool = False
    skip_existing: bool = False
    force_reupload: bool = False
    allow_mass_delete: bool = False


def sync_run(account: str, options: SyncOptions) -> JobRun:
    """The run that brings one account up to date, or that stops after its plan."""
    listings = {
        "mapping": options.mapping,
        "live": options.live,
        "marketplace": options.marketplace,
        "skus": list(options.skus),
    }
    plan = {
        "dry_run": options.dry_run,
        "skip_existing": options.skip_existing,
        "force_reupload": options.force_reupload,
        "allow_mass_delete": options.allow_mass_delete,
    }
    ops = {f"{CONNECTOR}__listings": {"config": listings}, f"{CONNECTOR}__plan": {"config": plan}}
    return JobRun(DRY_RUN_JOB if options.dry_run else SYNC_JOB, {"ops": ops}, {partitions.PARTITION_TAG: account})


def apply_run(account: str, plan_id: int) -> JobRun:
    """The run that applies a stored plan of an account."""
    names = ("assets", "product_images")
    ops = {f"{CONNECTOR}__{name}": {"config": {"plan_id": plan_id}} for name in names}
    return JobRun(
        SYNC_JOB, {"ops": ops}, {partitions.PARTITION_TAG: account}, tuple((CONNECTOR, name) for name in names)
    )


def cleanup_run(account: str, missing_from: str, *, allow_mass_delete: bool) -> JobRun:
    """The run that plans the removal of what we created for listings that are not in a mapping file any more."""
    config = {"missing_from": missing_from, "allow_mass_delete": allow_mass_delete}
    return JobRun(CLEANUP_JOB, {"ops": {CLEANUP_OP: {"config": config}}}, {partitions.PARTITION_TAG: account})


def request_of(run: JobRun, moment: datetime | None = None) -> dg.RunRequest:
    """A run as sensors ask Dagster for it, or as schedules do: for one `moment` and account there is only one run."""
    return run_requests.request_of(run, None if moment is None else moment.isoformat(), _BY_ITSELF)


def keep_partitions(instance: dg.DagsterInstance, accounts: Accounts) -> list[str]:
    """Make the partitions equal to the Plytix accounts of the accounts file and return these.

    An account that left the file keeps its partition while a run of it is unfinished.
    """
    return partitions.keep_partitions(instance, CONNECTOR, str(ACCOUNTS.name), accounts.plytix_accounts)


def in_flight(instance: dg.DagsterInstance, accounts: Collection[str]) -> set[str]:
    """Those of the accounts that an unfinished run of any job works on."""
    return partitions.in_flight(instance, CONNECTOR, accounts)


@dataclass(frozen=True)
class Waiting:
    """A run whose rest waits for the account's calls: the run that goes on with it, and from when it can."""

    goes_on_at: datetime
    run: JobRun


def waiting_run(instance: dg.DagsterInstance, account: str) -> Waiting | None:
    """What the account's newest run by itself left because the account's calls were used up; None when nothing.

    What a person started, a person goes on with.
    """
    tags = {partitions.PARTITION_TAG: account, **_BY_ITSELF}
    newest = instance.get_runs(dg.RunsFilter(job_name=SYNC_JOB, tags=tags), limit=1)
    moment = newest[0].tags.get(GOES_ON_TAG) if newest else None
    if moment is None:
        return None
    run = JobRun(SYNC_JOB, newest[0].run_config, {partitions.PARTITION_TAG: account})
    return Waiting(datetime.fromisoformat(moment), run)


def read_settings() -> tuple[Settings, PlytixSettings]:
    """The settings that the definitions themselves depend on: times, and whether there are accounts at all."""
    return load_settings(Settings), load_settings(PlytixSettings)


def chosen_account(accounts: Accounts, alias: str | None) -> str:
    """The account asked for, or the only one there is.

    Raises SettingsError when there is none or a choice is needed, AccountsError for a wrong alias.
    """
    if alias is not None:
        return accounts.plytix_account(alias).alias
    known = sorted(accounts.plytix_accounts)
    if not known:
        raise SettingsError(
            "IMAGESYNC_ACCOUNTS: there are no Plytix accounts; name a TOML file with a section "
            "[plytix.accounts.<alias>]."
        )
    if len(known) > 1:
        raise SettingsError(
            f"There are several Plytix accounts ({', '.join(known)}); say which: --plytix-account ALIAS"
        )
    return known[0]
