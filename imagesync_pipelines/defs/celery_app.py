"""The Celery application of run workers; each does as many runs at once as it has slots (`-c`):

celery -A imagesync_pipelines.defs.celery_app worker -n worker@%h -c 4 -Q dagster
"""

import logging
import os
import signal
from typing import Any

from celery import Celery, Task, signals
from dagster._utils.interrupts import capture_interrupts
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from imagesync_pipelines import logs
from imagesync_pipelines.settings import SettingsError

BROKER, BACKEND = "IMAGESYNC_CELERY_BROKER", "IMAGESYNC_CELERY_BACKEND"
# Longer than any run may take (max_runtime_seconds in deploy/dagster/celery.yaml): what a worker has and has not begun
# is given to another one after this.
VISIBLE_SECONDS = 5 * 3600


def configuration() -> dict[str, Any]:
    """How workers are set up. Raises SettingsError when it is not said where Redis is."""
    missing = [name for name in (BROKER, BACKEND) if not os.environ.get(name)]
    if missing:
        raise SettingsError(f"{' and '.join(missing)}: Redis for Celery, e.g. redis://redis:6379/0 and …/1")
    return {
        "broker_url": os.environ[BROKER],
        "result_backend": os.environ[BACKEND],
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {"visibility_timeout": VISIBLE_SECONDS},
        "result_expires": VISIBLE_SECONDS,
        # Which worker did a run stays known.
        "result_extended": True,
        # A worker holds nothing that another one could begin: it takes a run when it has a slot for it.
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        # A process does run after run, and gives back its memory at the end of so many.
        "worker_max_tasks_per_child": 100,
        # What a run prints is Dagster's to keep.
        "worker_redirect_stdouts": False,
        # Imported once, before the processes of the slots are forked.
        "imports": ("imagesync_pipelines.definitions",),
    }


class RunTask(Task):
    """A run as a task: an end that is asked for waits for the next moment at which the run can end in order."""

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Do the run."""
        before = signal.getsignal(signal.SIGTERM)
        try:
            with capture_interrupts():
                return super().__call__(*args, **named)
        finally:
            # Dagster leaves it as it finds SIGINT, which no process of Celery's hears.
            signal.signal(signal.SIGTERM, before)


def _clean_log(logger: logging.Logger, **_: Any) -> None:
    for handler in logger.handlers:
        logs.dress(handler)


def _begin_json(instance: Any, **_: Any) -> None:
    """No banner where JSON is read, and warnings as JSON too."""
    if logs.is_json():
        instance.quiet = True
        logs.take_over()


def build_app() -> Celery:
    """The application with the tasks that our launcher sends."""
    # Celery sets up the log of its processes by itself.
    signals.after_setup_logger.connect(_clean_log)
    signals.after_setup_task_logger.connect(_clean_log)
    signals.celeryd_init.connect(_begin_json)
    app = make_app()
    app.conf.update(configuration())
    create_execute_job_task(app, base=RunTask)
    create_resume_job_task(app, base=RunTask)
    return app


app = build_app()
