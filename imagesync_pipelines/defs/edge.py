"""What is special to the edge connector in Dagster: what it watches, which is news at the head office and late runs."""

import json
import time
from collections.abc import Collection, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from imagesync_pipelines import languages
from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.edge import probe
from imagesync_pipelines.connectors.edge.applying import IN_TIME
from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.model import BINARIES
from imagesync_pipelines.connectors.edge.settings import EdgeSettings, edge_stores
from imagesync_pipelines.defs import launching
from imagesync_pipelines.defs.metadata import error_text
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines.sync.connector import Connector
from imagesync_pipelines.sync.job_runs import PARTITION_TAG, job_name

# A tick of a sensor may take 60 seconds; the rest of the stores is asked at the next one.
LOOKING_SECONDS = 40.0
OVERDUE_SECONDS = 300
REASON_CHARACTERS = 1000


def build_sensors(connector: Connector, shared: Settings) -> list[dg.SensorDefinition]:
    """The sensors, at work as soon as there is a store."""
    on = launching.is_set_up(connector, shared)
    status = dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED
    return [_new_photos(connector, status), _overdue_runs(connector, status)]


def _new_photos(connector: Connector, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Asks the head office, one cheap call a store, and starts an incremental run where something changed."""

    @dg.sensor(
        name="edge__new_photos",
        job_name=job_name(connector, connector.job("sync")),
        minimum_interval_seconds=load_settings(EdgeSettings).sensor_seconds,
        default_status=status,
        description="Asks the head office whether a store has news (one row), and starts its run only then.",
    )
    def new_photos(
        context: dg.SensorEvaluationContext, installation: InstallationResource
    ) -> dg.SensorResult | dg.SkipReason:
        accounts, settings = load_accounts(load_settings(Settings)), load_settings(EdgeSettings)
        stores = launching.keep_partitions(context.instance, connector, accounts)
        if not stores:
            return dg.SkipReason("There are no edge stores; IMAGESYNC_ACCOUNTS names the file that lists them.")
        busy = launching.in_flight(context.instance, connector, stores)
        memory = NewsSeen.of(context.cursor)
        found: dict[str, probe.Look] = {}
        said: list[str] = []
        until = time.monotonic() + LOOKING_SECONDS
        with installation.open() as opened:
            for name in memory.in_turn(stores):
                if time.monotonic() > until:
                    said.append("the others at the next look")
                    break
                memory.asked_last = name
                if name in busy:
                    said.append(f"{name}: a run is at work")
                    continue
                try:
                    store = edge_stores(accounts).named(name)
                    with closing(HeadOfficeApi(store.head_office, settings)) as api:
                        found[name] = probe.look(opened.engine, store, api, settings)
                except Exception as error:  # noqa: BLE001 - one store that cannot be asked keeps no other from it
                    context.log.warning("%s could not be asked: %s", name, error_text(error))
                    said.append(f"{name}: could not be asked")
        news = [name for name, look in found.items() if look.changed and memory.seen.get(name) != look.mark]
        said += [f"{name}: {look.why}" for name, look in found.items() if name not in news]
        memory.remember({name: found[name].mark for name in news}, stores)
        runs = [job_runs.run_of(connector, name, {}) for name in news]
        return dg.SensorResult(
            run_requests=[launching.request_of(run, tags=launching.BY_ITSELF) for run in runs],
            skip_reason=None if runs else "; ".join(said)[:REASON_CHARACTERS],
            cursor=memory.model_dump_json(),
        )

    return new_photos


def _overdue_runs(connector: Connector, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Tells, while it is still at work, that a run takes longer than it should: its check fails, an alert follows."""

    @dg.sensor(
        name="edge__overdue_runs",
        minimum_interval_seconds=OVERDUE_SECONDS,
        default_status=status,
        description="Fails the check of a run that is at work for longer than EDGE_MAX_RUN_MINUTES, once per run.",
    )
    def overdue(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        job, allowed = job_name(connector, connector.job("sync")), load_settings(EdgeSettings).max_run_minutes
        running = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED], job_name=job)
        before = (datetime.now(UTC) - timedelta(minutes=allowed)).timestamp()
        told = set(json.loads(context.cursor)) if context.cursor else set()
        late = {
            record.dagster_run.run_id: record
            for record in context.instance.get_run_records(running)
            if record.start_time is not None and record.start_time < before
        }
        events = [
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey([connector.name, BINARIES]),
                check_name=IN_TIME,
                passed=False,
                severity=dg.AssetCheckSeverity.ERROR,
                description=languages.told(f"run {run_id} is at work for more than {allowed:g} minutes"),
                partition=record.dagster_run.tags.get(PARTITION_TAG),
            )
            for run_id, record in late.items()
            if run_id not in told
        ]
        return dg.SensorResult(
            asset_events=events,
            cursor=json.dumps(sorted(late)),
            skip_reason=None if events else f"{len(late)} runs are late; all of them were told.",
        )

    return overdue


class NewsSeen(launching.Memory):
    """What the sensor remembers between two looks: the news it started a run for, and where the last look ended."""

    seen: dict[str, str] = Field(default_factory=dict)
    asked_last: str = ""

    def in_turn(self, stores: Collection[str]) -> list[str]:
        """The stores, beginning after the one that was asked last."""
        return sorted(stores, key=lambda name: (name <= self.asked_last, name))

    def remember(self, marks: Mapping[str, str], stores: Collection[str]) -> None:
        """Keep the marks of news, and forget stores that there are no more."""
        self.seen = {name: mark for name, mark in {**self.seen, **marks}.items() if name in stores}
