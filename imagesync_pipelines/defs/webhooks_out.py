"""Webhooks out in Dagster: a sensor that looks for news, and the job that tells receivers.

What is to be told and how far each receiver is stand in our own database: a run that is killed loses nothing, and the
next one goes on. What receivers answer fails no run; it is in the delivery log.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import dagster as dg
import sqlalchemy as sa

from imagesync_pipelines.accounts.file import environment_variables
from imagesync_pipelines.defs import launching
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.languages import told
from imagesync_pipelines.settings import load_settings
from imagesync_pipelines.storage import subscriptions
from imagesync_pipelines.storage.errors import AccountBusyError
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.sync.health import Finding, Site, State
from imagesync_pipelines.web.webhooks_out.settings import WebhooksOutSettings

JOB = "webhooks_out__deliver"
# After this a run makes room for the next one, which reads the settings anew.
RUN_SECONDS = 600.0


def build_sensor() -> dg.SensorDefinition:
    """The sensor; it costs a query as long as there is no subscription."""

    @dg.sensor(
        name="webhooks_out__news",
        job_name=JOB,
        minimum_interval_seconds=load_settings(WebhooksOutSettings).sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts a run where a receiver of webhooks is to be told of changes, or tried again.",
    )
    def news(context: dg.SensorEvaluationContext, installation: InstallationResource) -> dg.RunRequest | dg.SkipReason:
        unfinished = dg.RunsFilter(job_name=JOB, statuses=list(launching.IN_FLIGHT))
        if context.instance.get_runs(unfinished, limit=1):
            return dg.SkipReason("A run is telling receivers.")
        with installation.open() as place:
            why = wanted(place)
        return dg.RunRequest(tags=launching.BY_ITSELF) if not why else dg.SkipReason(why)

    return news


def wanted(place: Installation) -> str:
    """Why no run is to be started now; '' where one is."""
    active = [one for one in subscriptions.every(place.engine) if one.state == subscriptions.State.ACTIVE]
    if not active:
        return told("Nobody wants to be told: `imagesync webhook add`.")
    if subscriptions.waiting(place.engine, datetime.now(UTC)):
        return ""
    # What loads the definitions needs no web server.
    from imagesync_pipelines.web.webhooks_out.collecting import has_news

    return "" if has_news(place.engine) else told("Every receiver has what it wants, or is tried again later.")


def unset_secrets(site: Site) -> Iterator[Finding]:
    """The receivers that are told nothing because the variable of their secret is not set."""
    known, found = environment_variables(), list[subscriptions.Subscription]()
    # Tables that cannot be read are told where our database is looked at.
    with suppress(sa.exc.DBAPIError):
        found = subscriptions.every(site.engine) if site.engine is not None else []
    for one in found:
        name = one.secret.removeprefix("env:")
        if not known.get(name):
            said = told(
                f"the variable {name} of its secret is not set here, and whoever runs without it tells it nothing"
            )
            todo = told(
                f"Set it in .env or in the environment of every host, or type: imagesync webhook remove {one.name}"
            )
            yield Finding(told(f"webhook {one.name}"), told("secret"), State.WARNING, said, todo)


@dg.op(name="deliver", description="Notes what changed, and tells every receiver in order.")
def deliver_op(context: dg.OpExecutionContext, installation: InstallationResource) -> None:
    """Tell, and say how much."""
    with installation.open() as place:
        try:
            context.log.info("%s.", deliver(place, RUN_SECONDS))
        except AccountBusyError as error:
            context.log.info("Somebody tells receivers already: %s", error)


def deliver(place: Installation, seconds: float) -> object:
    """Note what changed and tell receivers, for so long; gives what came of it. Raises AccountBusyError."""
    from imagesync_pipelines.web.webhooks_out import delivering, managing

    return delivering.deliver(managing.sender_of(place), seconds)


@dg.job(
    name=JOB,
    executor_def=dg.in_process_executor,
    description="Tells receivers of webhooks what changed, each in the order in which it was committed.",
)
def deliver_job() -> None:
    """One op; what a receiver refuses fails no run."""
    deliver_op()
