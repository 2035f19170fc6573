"""What is special to МойСклад in Dagster: the sensor that looks for requests in its queue."""

from datetime import UTC, datetime

import dagster as dg

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.moysklad.accounts import moysklad_accounts
from imagesync_pipelines.connectors.moysklad.queue import Queue
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.defs import launching
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.languages import N_
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines.sync.connector import Connector

# A run that broke before it took its requests leaves them as they were; it is started again after so many minutes.
AGAIN_MINUTES = 10
_LEFT = N_(
    "the accounts file has no child account {name} any more; add it there and send the request again, or leave it"
)


def build_sensors(connector: Connector, shared: Settings) -> list[dg.SensorDefinition]:
    """Starts a run of a child account for the entities that requests in the queue name, and for nothing else."""
    settings, on = load_settings(MoyskladSettings), launching.is_set_up(connector, shared)

    @dg.sensor(
        name="moysklad__requests",
        job_name="moysklad__entities",
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        description="Looks into the queue and synchronises the entities that are asked for, the most urgent first.",
    )
    def requests(
        context: dg.SensorEvaluationContext, installation: InstallationResource
    ) -> dg.SensorResult | dg.SkipReason:
        accounts = load_accounts(load_settings(Settings))
        children = launching.keep_partitions(context.instance, connector, accounts)
        if not children:
            return dg.SkipReason("There are no child accounts of МойСклад; IMAGESYNC_ACCOUNTS names their file.")
        now = datetime.now(UTC)
        with installation.open() as place:
            queue = Queue(place.engine)
            for run_id in queue.runs():
                run = context.instance.get_run_by_id(run_id)
                if run is None or run.status not in launching.IN_FLIGHT:
                    queue.release(run_id, now)
            due = queue.due(now)
            for child in due.keys() - set(children):
                queue.dismiss(child, _LEFT.format(name=child), now)
        busy = launching.in_flight(context.instance, connector, children)
        on, wrong = launching.active_accounts(connector, accounts), moysklad_accounts(accounts).wrong
        for child in due.keys() & wrong.keys():
            context.log.warning("%s: %s", child, wrong[child])
        free = [child for child in due if child in on and child not in busy and child not in wrong]
        if not free:
            waiting = sum(one.requests for child, one in due.items() if child in children)
            said = f"{waiting} requests wait for an account that is at work, or wrong, or whose mode is off."
            return dg.SkipReason(said if waiting else "No request waits.")
        tenth = f"{now:%Y-%m-%d %H}:{now.minute // AGAIN_MINUTES}"
        runs = [(child, job_runs.run_of(connector, child, {"requests": True})) for child in free]
        asked = [launching.request_of(run, f"{due[child].mark} {tenth}", launching.BY_ITSELF) for child, run in runs]
        return dg.SensorResult(asked)

    return [requests]
