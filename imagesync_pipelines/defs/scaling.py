"""What runs on more than one host need, looked at by `imagesync doctor`: shared storage, slots, few connections."""

import time
from collections.abc import Callable
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from imagesync_pipelines.defs import launching
from imagesync_pipelines.languages import told
from imagesync_pipelines.settings import Settings

# Their runs see what this host has; those of every other launcher are elsewhere, if only in another container.
_HERE = (DefaultRunLauncher, SyncInMemoryRunLauncher)
# A host has some 28,000 ports for connections that it opens, and each stays taken for a minute after its end.
MOST_PER_SECOND = 50.0
_SESSIONS = sa.text("SELECT sessions FROM pg_stat_database WHERE datname = current_database()")


def refusals(instance: dg.DagsterInstance, settings: Settings) -> list[str]:
    """What keeps runs on other hosts than this one from working: a line each, with what to set; none where all is well.

    What is only on this host's disk, no run elsewhere finds.
    """
    kind = launching.launcher_kind(instance)
    if issubclass(kind, _HERE):
        return []
    name, found = kind.__name__, []
    if settings.database_url is None:
        found.append(
            told(f"IMAGESYNC_DATABASE_URL: {name} starts runs elsewhere; they cannot use the embedded database")
        )
    if settings.storage_url is None or settings.storage_url.partition("://")[0] in (
        settings.storage_url,
        "file",
        "local",
    ):
        where = settings.storage_url or settings.home
        found.append(
            told(
                f"IMAGESYNC_STORAGE_URL: {name} starts runs elsewhere, which do not see the folder "
                f"{where} of this host; set a bucket, e.g. s3://bucket/prefix"
            )
        )
    if issubclass(launching.class_of(instance.get_ref().compute_logs_data), LocalComputeLogManager):
        found.append(
            told(
                "compute_logs in dagster.yaml: what runs print would stay on the host of each; name "
                "imagesync_pipelines.defs.compute_logs, as deploy/dagster/celery.yaml does"
            )
        )
    return found


def slots_missing(instance: dg.DagsterInstance) -> str | None:
    """A line where more runs may be at work than Celery's workers have slots; who waits would count as not starting."""
    if not hasattr(launching.launcher_kind(instance), "slots"):
        return None
    launcher: Any = instance.run_launcher
    there, most = launcher.slots(), instance.get_concurrency_config().run_queue_config
    if most is None or 0 <= most.max_concurrent_runs <= there:
        return None
    return told(
        f"max_concurrent_runs in dagster.yaml is {most.max_concurrent_runs}, and the workers that answer have {there} "
        "slots; start more workers, or lower it"
    )


def connections_per_second(
    engine: sa.Engine, seconds: float = 5.0, sleep: Callable[[float], None] = time.sleep
) -> float:
    """How many new connections a database got in each of the next seconds, from whomever; our own is not counted.

    Above MOST_PER_SECOND hosts run out of ports: something connects anew for every statement.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        before = connection.scalar(_SESSIONS)
        sleep(seconds)
        # The server takes what it counts together once a second or less often.
        connection.execute(sa.text("SELECT pg_stat_clear_snapshot()"))
        return float(connection.scalar(_SESSIONS) - before) / seconds
