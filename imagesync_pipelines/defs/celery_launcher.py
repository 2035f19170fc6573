"""Runs on Celery's workers: Dagster's launcher, which also knows a run that is dead, and cancels one in order.

By itself it takes for running what Redis still calls started, for ever when its worker was killed; it takes for lost
what a Redis that was restarted has forgotten; and a run that a person cancels it lets fail, so that it is tried again.

Named by dagster.yaml (deploy/dagster/celery.yaml), so webserver, daemon and workers import it.
"""

import json
from collections.abc import Sequence
from typing import Any

from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from imagesync_pipelines.defs.launchers import AsksForLocks

# A worker answers between two tasks and during one, within milliseconds; one that was killed never.
ANSWER_SECONDS = 2.0
# What is not known to be over: it is at work, or Redis does not remember it.
_OPEN = frozenset({WorkerStatus.RUNNING, WorkerStatus.UNKNOWN})


class CheckedCeleryRunLauncher(AsksForLocks, CeleryRunLauncher):
    """A run is alive while it holds its lock in our database, or while a worker says that it has its task."""

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """What Dagster's monitoring asks of each run at work, every few seconds.

        Raises StorageError when our database does not answer: nothing is concluded then.
        """
        if DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            # Its worker was faster than who writes the tag, or that one died: the sensor dead_runs looks after it.
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        said: CheckRunHealthResult = super().check_run_worker_health(run)
        if said.status not in _OPEN:
            return said
        if self.holds_lock(run.run_id) or self._has_worker(run):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        # It may have ended while we asked.
        said = super().check_run_worker_health(run)
        if said.status not in _OPEN:
            return said
        why = "No worker has the task of this run any more: its worker was killed, or its host is gone."
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, why)

    def terminate(self, run_id: str) -> bool:
        """Cancel a run; one at work ends in order, one that waits for a worker never begins."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        task = self._task(run)
        if task is None and self.holds_lock(run_id):
            return self.refuse_to_end(run)
        # Without it the worker would take the end for a failure, and the run would be tried again.
        self._instance.report_run_canceling(run)
        if task is not None:
            task.revoke(terminate=True)
        if task is None or task.state == "PENDING":
            self._instance.report_run_canceled(run)
        return True

    def lost(self, runs: Sequence[DagsterRun]) -> set[str]:
        """The ids of those that were sent and will never begin: neither the queue nor a worker has their tasks.

        A worker had taken them, and was killed before they began; Redis may call such a one started for ever. Look
        twice: a task is nowhere while it is handed over.
        """
        sent = {str(run.tags.get(DAGSTER_CELERY_TASK_ID_TAG, "")): run.run_id for run in runs}
        sent = {task: run for task, run in sent.items() if task and not self.holds_lock(run)}
        if not sent:
            return set()
        inspected = self.celery.control.inspect(timeout=ANSWER_SECONDS)
        answers = [answer or {} for answer in (inspected.reserved(), inspected.active())]
        held = {one["id"] for answer in answers for tasks in answer.values() for one in tasks}
        return {run for task, run in sent.items() if task not in held | self._queued()}

    def slots(self) -> int:
        """How many runs the workers that answer now can do at once."""
        answers = self.celery.control.inspect(timeout=ANSWER_SECONDS).stats() or {}
        return sum(int(one["pool"]["max-concurrency"]) for one in answers.values())

    def _queued(self) -> set[str]:
        """The ids of the tasks that no worker has taken."""
        with self.celery.connection_for_read() as connection:
            channel = connection.default_channel
            keys = [channel._q_for_pri(self.default_queue, priority) for priority in channel.priority_steps]
            found = [message for key in keys for message in channel.client.lrange(key, 0, -1)]
        return {str(json.loads(message)["headers"]["id"]) for message in found}

    def _task(self, run: DagsterRun) -> Any:
        task_id = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        return None if task_id is None else self.celery.AsyncResult(task_id)

    def _has_worker(self, run: DagsterRun) -> bool:
        task = self._task(run)
        name = task.info.get("hostname") if isinstance(task.info, dict) else None
        # Who is named answers alone and at once; else all are asked, and waited for.
        inspected = self.celery.control.inspect([name] if name else None, timeout=ANSWER_SECONDS)
        return any(one["id"] == task.id for tasks in (inspected.active() or {}).values() for one in tasks)
