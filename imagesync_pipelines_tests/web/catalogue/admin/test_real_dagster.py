"""Against Dagster's own webserver: what the catalogue starts is taken, carries its tags, and its state is told."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import requests

from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.web.catalogue.admin import runs as launching
from imagesync_pipelines.web.catalogue.admin.dagster import Dagster, DagsterUnreachableError
from imagesync_pipelines_tests import installations
from imagesync_pipelines_tests.places import ended_well

pytestmark = pytest.mark.slow
WHO = "änna.b+1@example.com"
WORKSPACE = files("imagesync_pipelines").joinpath("root_files", "workspace.yaml")
WEBSERVER = str(Path(sys.executable).parent / "dagster-webserver")


@pytest.fixture(scope="module")
def dagster(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    """A webserver without a daemon on an installation that synchronised once: what is started stays in the queue."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with installations.world(server, tmp_path_factory.mktemp("webserver")) as place:
        ended_well(place.sync())
        with place.opened() as (_, instance):
            instance.add_dynamic_partitions("edge_stores", ["store1"])
            environment = dict(os.environ)
        command = [WEBSERVER, "-h", "127.0.0.1", "-p", str(port), "-w", str(WORKSPACE)]
        process = subprocess.Popen(command, env=environment, cwd=tmp_path_factory.mktemp("cwd"))
        try:
            wait_until_up(f"http://127.0.0.1:{port}/server_info", process)
            yield Dagster(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(60)


def wait_until_up(address: str, process: "subprocess.Popen[bytes]") -> None:
    pause = threading.Event()
    for _ in range(400):
        assert process.poll() is None, "the webserver ended"
        try:
            if requests.get(address, timeout=5).ok:
                return
        except requests.RequestException:
            pause.wait(0.3)
    pytest.fail("the webserver did not come up")


def test_every_run_of_the_catalogue_is_taken_by_dagster_itself(dagster: Dagster) -> None:
    jobs = ["image_db__sync", "edge__sync", "image_db__partial"]
    known = dagster.partitions(jobs)
    assert known["image_db__sync"] == (installations.FIRST, installations.SECOND)
    assert known["edge__sync"] == ("store1",)
    wanted = (
        launching.sync_of_connector("image_db", (), "", dry_run=True, skus=["100"]),
        launching.sync_of_connector("image_db", known["image_db__sync"], "", dry_run=False),
        launching.sync_of_connector("edge", known["edge__sync"], "store1", dry_run=True),
        launching.replay_of(["1"]),
    )
    for run in wanted:
        run_id = dagster.launch(run, {launching.STARTED_BY_TAG: WHO})
        found = dagster.run(run_id)
        assert found is not None
        assert (found.job, found.state, found.has_ended) == (run.job, "queued", False)
        shown = {key: value for key, value in run.tags.items() if not key.startswith(".dagster/")}
        assert {**shown, launching.STARTED_BY_TAG: WHO}.items() <= found.tags.items()
        assert not [key for key in found.tags if key.startswith(".dagster/")], "what is internal is hidden"


def test_what_dagster_does_not_know_is_told(dagster: Dagster) -> None:
    assert dagster.run("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee") is None
    with pytest.raises(DagsterUnreachableError, match="does not know the job nothing__sync"):
        dagster.partitions(["nothing__sync"])
    wrong = launching.sync_of_connector("image_db", (), "", dry_run=False, skus=["100"])
    config = {"ops": {"image_db__records": {"config": {"no_such_option": 1}}}}
    with pytest.raises(DagsterUnreachableError, match=r"Dagster refused: .*no_such_option"):
        dagster.launch(type(wrong)(wrong.job, config), {})


_OLDEST = """
query { runsOrError { ... on Runs { results {
  runId jobName status repositoryOrigin { repositoryLocationName repositoryName } tags { key }
} } } }
"""
_AGAIN = """
mutation Again($of: String!) {
  launchRunReexecution(reexecutionParams: {parentRunId: $of, strategy: ALL_STEPS}) {
    __typename
    ... on LaunchRunSuccess { run { runId jobName status rootRunId } }
    ... on PythonError { message }
  }
}
"""


def ask(dagster: Dagster, query: str, **variables: str) -> dict[str, Any]:
    answer = requests.post(f"{dagster.address}/graphql", json={"query": query, "variables": variables}, timeout=60)
    assert "errors" not in answer.json(), answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


def test_a_run_that_the_command_line_started_is_executed_again_by_the_buttons_of_dagsters_pages(
    dagster: Dagster,
) -> None:
    first = ask(dagster, _OLDEST)["runsOrError"]["results"][-1]
    assert (first["jobName"], first["status"]) == ("image_db__sync", "SUCCESS")
    origin = {"repositoryLocationName": "imagesync_pipelines", "repositoryName": "__repository__"}
    assert first["repositoryOrigin"] == origin, "by which it stands in the timeline"
    assert not [tag["key"] for tag in first["tags"] if tag["key"].startswith(".dagster/")]
    again = ask(dagster, _AGAIN, of=first["runId"])["launchRunReexecution"]
    assert again["__typename"] == "LaunchRunSuccess", again
    assert (again["run"]["jobName"], again["run"]["status"]) == ("image_db__sync", "QUEUED")
    assert again["run"]["rootRunId"] == first["runId"]
