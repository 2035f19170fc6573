"""A password that was corrected in `.env` holds from the next run on, through a daemon that was there all the time."""

import os
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from imagesync_pipelines.connectors.image_db.connector import CONNECTOR
from imagesync_pipelines.defs import launching
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines_tests.e2e.test_alerts_of_a_daemon import daemon
from imagesync_pipelines_tests.installations import world


def queue(instance: dg.DagsterInstance) -> Callable[[], dg.DagsterRunStatus]:
    """Put a run that reads one page into Dagster's queue, as its webserver does; gives what says how the run is."""
    request = job_runs.run_of(CONNECTOR, "", {"limit": 1})
    made = instance.create_run_for_job(
        build_definitions().resolve_job_def(request.job),
        run_config=request.run_config,
        tags={**request.tags},
        status=dg.DagsterRunStatus.QUEUED,
        remote_job_origin=launching.origin_of(request.job),
    )

    def status() -> dg.DagsterRunStatus:
        run = instance.get_run_by_id(made.run_id)
        assert run is not None
        return run.status

    return status


@pytest.mark.slow
def test_a_password_corrected_in_the_file_holds_at_the_next_run_of_a_living_daemon(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    with world(server, tmp_path) as place:
        file, right = tmp_path / "settings.env", place.environment.pop("IMAGE_API_PASSWORD")
        file.write_text("IMAGE_API_PASSWORD=not-this-one\n")
        place.environment["IMAGESYNC_ENV_FILE"] = str(file)
        with place.opened() as (installation, instance):
            kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
            environment = {**kept, **place.environment, **installation.locations.environment()}
            with daemon(environment, tmp_path) as wait_for:
                refused = queue(instance)
                wait_for(lambda: refused() is dg.DagsterRunStatus.FAILURE)
                file.write_text(f"IMAGE_API_PASSWORD={right}\n")
                taken = queue(instance)
                wait_for(lambda: taken() in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE))
                assert taken() is dg.DagsterRunStatus.SUCCESS
