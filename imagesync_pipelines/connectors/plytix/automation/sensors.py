"""What the Plytix connector watches: new mapping files, and runs whose rest waits for the account's calls.

What belongs here: the sensor and what it remembers. What does not: looking into the folder (watching.py).
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg

from imagesync_pipelines.connectors.plytix import watching
from imagesync_pipelines.connectors.plytix.automation.schedules import starts_by_itself
from imagesync_pipelines.connectors.plytix.automation.starting import (
    SYNC_JOB,
    SyncOptions,
    in_flight,
    keep_partitions,
    request_of,
    sync_run,
    waiting_run,
)
from imagesync_pipelines.connectors.plytix.resources import PlytixResource
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.defs.summaries import error_text
from imagesync_pipelines.settings import Settings, SettingsError


def build_new_mapping_sensor(shared: Settings, settings: PlytixSettings) -> dg.SensorDefinition:
    """Starts a run of an account when a mapping file is new or changed; one file at a time, the oldest first.

    A run that stopped because the account's calls were used up goes on before any file is begun, as soon as it can.
    """

    @dg.sensor(
        name="plytix__new_mapping",
        job_name=SYNC_JOB,
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING
        if starts_by_itself(shared, settings)
        else dg.DefaultSensorStatus.STOPPED,
        description="Synchronises a mapping file of PLYTIX_MAPPING_FOLDER that is new or changed; goes on with runs "
        "that stopped because the account's calls were used up.",
    )
    def new_mapping(
        context: dg.SensorEvaluationContext, installation: InstallationResource, plytix: PlytixResource
    ) -> dg.SensorResult | dg.SkipReason:
        folder = plytix.settings().mapping_folder
        if not folder:
            return dg.SkipReason("PLYTIX_MAPPING_FOLDER is not set.")
        accounts = keep_partitions(context.instance, plytix.accounts(installation.settings()))
        if not accounts:
            return dg.SkipReason("There are no Plytix accounts; IMAGESYNC_ACCOUNTS names the file that lists them.")
        try:
            files = watching.mapping_files(folder, installation.settings())
        except SettingsError as error:
            return dg.SkipReason(error_text(error))
        memory = Memory.of(context.cursor)
        busy = in_flight(context.instance, accounts)
        requests, said = [], []
        now = datetime.now(UTC)
        for alias in accounts:
            found = watching.news(files, memory.of_account(alias), now)
            waiting = waiting_run(context.instance, alias)
            if alias in busy:
                said.append(f"{alias}: a run is at work")
            elif waiting is not None and waiting.goes_on_at > now:
                said.append(f"{alias}: the account's calls are used up until {waiting.goes_on_at:%H:%M} UTC")
            elif waiting is not None:
                requests.append(request_of(waiting.run))
            elif not found:
                said.append(f"{alias}: none of {len(files)} mapping files is new")
            else:
                requests.append(request_of(sync_run(alias, SyncOptions(mapping=found[0].path))))
                memory.note(alias, found[0])
        memory.forget_others(accounts, {file.path for file in files})
        skipped = None if requests else "; ".join(said)
        return dg.SensorResult(run_requests=requests, skip_reason=skipped, cursor=memory.as_cursor())

    return new_mapping


@dataclass
class Memory:
    """What the sensor remembers between two looks: by account, the mark of every file that it started a run for."""

    seen: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, cursor: str | None) -> "Memory":
        """What a cursor says; one that cannot be read is an empty memory: at worst a run too many, which changes
        nothing."""
        try:
            value = json.loads(cursor or "{}")
            return cls(
                {
                    str(alias): {str(path): str(mark) for path, mark in files.items()}
                    for alias, files in value["seen"].items()
                }
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def of_account(self, alias: str) -> Mapping[str, str]:
        """The marks of the files that were synchronised into an account."""
        return self.seen.get(alias, {})

    def note(self, alias: str, file: watching.FoundFile) -> None:
        """Remember that a run was started for a file."""
        self.seen.setdefault(alias, {})[file.path] = file.mark

    def forget_others(self, accounts: Collection[str], paths: Collection[str]) -> None:
        """Keep what is said of these accounts and files only."""
        self.seen = {
            alias: {path: mark for path, mark in files.items() if path in paths}
            for alias, files in self.seen.items()
            if alias in accounts
        }

    def as_cursor(self) -> str:
        """The memory as the text that Dagster keeps."""
        return json.dumps({"seen": self.seen}, sort_keys=True)
