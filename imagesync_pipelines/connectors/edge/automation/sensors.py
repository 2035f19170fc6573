"""What the edge connector watches: news at the head office, and runs that take too long.

What belongs here: the sensors and what they remember. What does not: looking for news (watching.py), the check that a
late run fails (checks.py), sending alerts (operations/check_alerts.py).
"""

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

from imagesync_pipelines.connectors.edge import watching
from imagesync_pipelines.connectors.edge.assets import BINARIES
from imagesync_pipelines.connectors.edge.automation.starting import (
    SYNC_JOB,
    SyncOptions,
    in_flight,
    keep_partitions,
    sync_run,
)
from imagesync_pipelines.connectors.edge.checks import IN_TIME
from imagesync_pipelines.connectors.edge.resources import EdgeResource
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.defs import partitions
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.defs.run_requests import request_of
from imagesync_pipelines.defs.summaries import error_text
from imagesync_pipelines.settings import Settings

# A tick of a sensor may take 60 seconds; the rest of the stores is asked at the next one.
LOOKING_SECONDS = 40.0
OVERDUE_SECONDS = 300
REASON_CHARACTERS = 1000


def build_new_photos_sensor(shared: Settings, settings: EdgeSettings) -> dg.SensorDefinition:
    """Asks the head office, one cheap call a store, and starts an incremental run where something changed."""

    @dg.sensor(
        name="edge__new_photos",
        job_name=SYNC_JOB,
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if shared.accounts else dg.DefaultSensorStatus.STOPPED,
        description="Asks the head office whether a store has news (one row), and starts its run only then.",
    )
    def new_photos(
        context: dg.SensorEvaluationContext, installation: InstallationResource, edge: EdgeResource
    ) -> dg.SensorResult | dg.SkipReason:
        accounts = edge.accounts(installation.settings())
        stores = keep_partitions(context.instance, accounts)
        if not stores:
            return dg.SkipReason("There are no edge stores; IMAGESYNC_ACCOUNTS names the file that lists them.")
        busy = in_flight(context.instance, stores)
        memory = Memory.of(context.cursor)
        found: dict[str, watching.Look] = {}
        said: list[str] = []
        until = time.monotonic() + LOOKING_SECONDS
        with installation.open() as place:
            for name in memory.in_turn(stores):
                if time.monotonic() > until:
                    said.append("the others at the next look")
                    break
                memory.asked_last = name
                if name in busy:
                    said.append(f"{name}: a run is at work")
                    continue
                try:
                    with edge.head_office(place.settings, name) as api:
                        found[name] = watching.look(place.engine, accounts.edge_store(name), api, settings)
                except Exception as error:  # noqa: BLE001 - one store that cannot be asked keeps no other from it
                    context.log.warning("%s could not be asked: %s", name, error_text(error))
                    said.append(f"{name}: could not be asked")
        news = [name for name, look in found.items() if look.changed and memory.seen.get(name) != look.mark]
        said += [f"{name}: {look.why}" for name, look in found.items() if name not in news]
        memory.remember({name: found[name].mark for name in news}, stores)
        if not news:
            return dg.SensorResult(skip_reason="; ".join(said)[:REASON_CHARACTERS], cursor=memory.as_cursor())
        requests = [request_of(sync_run(name, SyncOptions())) for name in news]
        return dg.SensorResult(run_requests=requests, cursor=memory.as_cursor())

    return new_photos


def build_overdue_sensor(shared: Settings, settings: EdgeSettings) -> dg.SensorDefinition:
    """Tells, while it is still at work, that a run takes longer than it should: its check fails, an alert follows."""

    @dg.sensor(
        name="edge__overdue_runs",
        minimum_interval_seconds=OVERDUE_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING if shared.accounts else dg.DefaultSensorStatus.STOPPED,
        description="Fails the check of a run that is at work for longer than EDGE_MAX_RUN_MINUTES, once per run.",
    )
    def overdue(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        running = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED], job_name=SYNC_JOB)
        told = set(json.loads(context.cursor)) if context.cursor else set()
        late = {
            record.dagster_run.run_id: record
            for record in context.instance.get_run_records(running)
            if record.start_time is not None
            and datetime.now(UTC) - datetime.fromtimestamp(record.start_time, UTC)
            > timedelta(minutes=settings.max_run_minutes)
        }
        events = [
            dg.AssetCheckEvaluation(
                asset_key=BINARIES,
                check_name=IN_TIME,
                passed=False,
                severity=dg.AssetCheckSeverity.ERROR,
                description=f"run {run_id} is at work for more than {settings.max_run_minutes:g} minutes",
                partition=record.dagster_run.tags.get(partitions.PARTITION_TAG),
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


@dataclass
class Memory:
    """What the sensor remembers between two looks: the news it started a run for, and where the last look ended."""

    seen: dict[str, str] = field(default_factory=dict)
    asked_last: str = ""

    @classmethod
    def of(cls, cursor: str | None) -> "Memory":
        """What a cursor says; a cursor that cannot be read is an empty memory: at worst a run too many starts."""
        try:
            value = json.loads(cursor or "{}")
            return cls({str(name): str(mark) for name, mark in value["seen"].items()}, str(value["asked_last"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def in_turn(self, stores: Collection[str]) -> list[str]:
        """The stores, beginning after the one that was asked last."""
        ordered = sorted(stores)
        later = [name for name in ordered if name > self.asked_last]
        return later + [name for name in ordered if name <= self.asked_last]

    def remember(self, marks: Mapping[str, str], stores: Collection[str]) -> None:
        """Keep the marks of news, and forget stores that there are no more."""
        self.seen = {name: mark for name, mark in {**self.seen, **marks}.items() if name in stores}

    def as_cursor(self) -> str:
        """The memory as the text that Dagster keeps."""
        return json.dumps({"seen": self.seen, "asked_last": self.asked_last}, sort_keys=True)
