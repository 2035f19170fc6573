"""What our run launchers share: a run is alive while it holds its lock in our database, whoever started it.

A command runs its own runs, which no launcher has sent anywhere. Dagster's monitoring asks the launcher for each run at
work, and would mark as failed what the launcher does not know.
"""

import time
from functools import cached_property

import sqlalchemy as sa
from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, RunLauncher, WorkerStatus

from imagesync_pipelines.defs.liveness import AGAIN_SECONDS
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.database import engine_of
from imagesync_pipelines.storage.installation import open_locations
from imagesync_pipelines.storage.liveness import living

_WELL = frozenset({WorkerStatus.RUNNING, WorkerStatus.SUCCESS})
# The launcher has sent it nowhere, or does not find where.
_UNKNOWN = frozenset({WorkerStatus.UNKNOWN, WorkerStatus.NOT_FOUND})


class AsksForLocks(RunLauncher):
    """A launcher that sees in our database which runs are alive."""

    def holds_lock(self, run_id: str) -> bool:
        """Whether a run holds its lock. Raises StorageError when our database does not answer."""
        with self._engine.connect() as connection:
            return run_id in living(connection, [run_id])

    def refuse_to_end(self, run: DagsterRun) -> bool:
        """Say in the run's log that nothing is known that could be told to end: it goes on, and is not canceled."""
        self._instance.report_engine_event(
            "Not canceled: this run is at work where a command was started. End it there, with Ctrl-C.",
            run,
            cls=type(self),
        )
        return False

    @cached_property
    def _engine(self) -> sa.Engine:
        return engine_of(open_locations(load_settings(Settings)).database_url)


class CheckedByLock(AsksForLocks):
    """Before Dagster's launcher for containers or jobs: what that one does not know may be alive all the same."""

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """What Dagster's monitoring asks of each run at work.

        Raises StorageError when our database does not answer: nothing is concluded then.
        """
        said: CheckRunHealthResult = super().check_run_worker_health(run)
        if said.status in _WELL:
            return said
        if not self.holds_lock(run.run_id):
            # One that ends lets go before it is marked as ended, which the monitoring looks for after this.
            time.sleep(AGAIN_SECONDS)
            if not self.holds_lock(run.run_id):
                return said
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def terminate(self, run_id: str) -> bool:
        """Cancel a run; one that goes on elsewhere is not called canceled."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if super().check_run_worker_health(run).status in _UNKNOWN and self.holds_lock(run_id):
            return self.refuse_to_end(run)
        # That of Kubernetes gives nothing where it fails; only Dagster's base class has no terminate.
        return bool(super().terminate(run_id))  # type: ignore[safe-super]
