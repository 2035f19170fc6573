"""What Plytix needs of Dagster beyond its declaration: the sensor of new mapping files and of runs that wait."""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.plytix import sources
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings, plytix_accounts
from imagesync_pipelines.defs import launching
from imagesync_pipelines.defs.assets import GOES_ON_TAG
from imagesync_pipelines.defs.launching import BY_ITSELF, BY_ITSELF_EARLIER
from imagesync_pipelines.defs.metadata import error_text
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines.sync.connector import Connector
from imagesync_pipelines.sync.job_runs import PARTITION_TAG, JobRun, job_name


def build_sensors(connector: Connector, shared: Settings) -> list[dg.SensorDefinition]:
    """The sensor that starts a run of an account when a mapping file is new or changed, the oldest first.

    A run that stopped because the account's calls were used up goes on before any file is begun, as soon as it can.
    """
    settings = load_settings(PlytixSettings)
    on = launching.is_set_up(connector, shared) and bool(settings.mapping_folder)

    @dg.sensor(
        name="plytix__new_mapping",
        job_name=job_name(connector, connector.job("sync")),
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        description="Synchronises a mapping file of PLYTIX_MAPPING_FOLDER that is new or changed; goes on with runs "
        "that stopped because the account's calls were used up.",
    )
    def new_mapping(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        shared = load_settings(Settings)
        folder = load_settings(PlytixSettings).mapping_folder
        if not folder:
            return dg.SkipReason("PLYTIX_MAPPING_FOLDER is not set.")
        accounts = launching.keep_partitions(context.instance, connector, load_accounts(shared))
        if not accounts:
            return dg.SkipReason("There are no Plytix accounts; IMAGESYNC_ACCOUNTS names the file that lists them.")
        try:
            files = sources.mapping_files(folder, shared)
        except SettingsError as error:
            return dg.SkipReason(error_text(error))
        paths, seen = {file.path for file in files}, FilesSeen.of(context.cursor).seen
        # What is said of other accounts and files is forgotten.
        memory = {
            alias: {path: mark for path, mark in seen.get(alias, {}).items() if path in paths} for alias in accounts
        }
        busy = launching.in_flight(context.instance, connector, accounts)
        requests, said = [], []
        now = datetime.now(UTC)
        wrong = plytix_accounts(load_accounts(shared)).wrong
        for alias in accounts:
            if alias in wrong:
                said.append(wrong[alias])
                continue
            found = sources.news(files, memory[alias], now)
            waiting = waiting_run(context.instance, connector, alias)
            if alias in busy:
                said.append(f"{alias}: a run is at work")
            elif waiting is not None and waiting[0] > now:
                said.append(f"{alias}: the account's calls are used up until {waiting[0]:%H:%M} UTC")
            elif waiting is not None:
                requests.append(launching.request_of(waiting[1], tags=BY_ITSELF))
            elif not found:
                said.append(f"{alias}: none of {len(files)} mapping files is new")
            else:
                run = job_runs.run_of(connector, alias, {"mapping": found[0].path})
                requests.append(launching.request_of(run, tags=BY_ITSELF))
                memory[alias][found[0].path] = found[0].mark
        skipped = None if requests else "; ".join(said)
        cursor = FilesSeen(seen=memory).model_dump_json()
        return dg.SensorResult(run_requests=requests, skip_reason=skipped, cursor=cursor)

    return [new_mapping]


def waiting_run(instance: dg.DagsterInstance, connector: Connector, account: str) -> tuple[datetime, JobRun] | None:
    """What the account's newest run by itself left because the account's calls were used up; None when nothing.

    The run that goes on with it, and from when it can. What a person started, a person goes on with.
    """
    job = job_name(connector, connector.job("sync"))
    newest: Sequence[dg.DagsterRun] = ()
    for mark in (BY_ITSELF, BY_ITSELF_EARLIER):
        tags = {PARTITION_TAG: account, **mark}
        newest = newest or instance.get_runs(dg.RunsFilter(job_name=job, tags=tags), limit=1)
    moment = newest[0].tags.get(GOES_ON_TAG) if newest else None
    if moment is None:
        return None
    return datetime.fromisoformat(moment), JobRun(job, newest[0].run_config, {PARTITION_TAG: account})


class FilesSeen(launching.Memory):
    """What the sensor remembers between two looks: by account, the mark of every file that it started a run for."""

    seen: dict[str, dict[str, str]] = Field(default_factory=dict)
