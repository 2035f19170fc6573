"""A real `imagesync sync plytix`, killed with kill -9 at each kind of call; the next run, and what history says."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagesync_pipelines import runs
from imagesync_pipelines.operations.history import history
from imagesync_pipelines.sandbox.amazon.making import make_listings
from imagesync_pipelines.sandbox.faults import latency
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.cli.terminals import COMMAND, environment_of
from imagesync_pipelines_tests.plytix_installations import ALIAS, PlytixWorld, plytix_world

PATIENCE = 240
# Long enough that the call is still under way when its caller is killed; the stand-in carries it out all the same.
FOR_LONG = 6.0
# Endpoint, and how many calls of it are answered before.
KILLED_AT = {
    "reading products": ("link", "product search", 0),
    "uploading": ("link", "asset create", 3),
    "linking": ("link", "link", 4),
    "setting a thumbnail": ("link", "product patch", 0),
    "patching": ("patch", "product patch", 1),
}


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path) -> Iterator[PlytixWorld]:
    """Four listings of three images and a Plytix that has none of them yet."""
    with plytix_world(server, tmp_path / "place", make_listings(4, images=3, longest=300)) as made:
        made.write_mapping(made.amazon.listings, "list")
        made.environment.update({"PLYTIX_WORKERS": "1", "PLYTIX_QUALITY_SAMPLE": "0"})
        yield made


@contextmanager
def command(place: PlytixWorld, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`imagesync sync plytix --execute` in a process of its own, killed at the latest when the context ends."""
    words = [*COMMAND, "sync", "plytix", "--mapping", str(place.mapping), "--execute"]
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            words, stdout=output, stderr=output, env={**environment_of(None, {}), **place.environment}, cwd=folder
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)


def wait_until(reached: Callable[[], bool], process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Wait for a moment of the run; a run that ends before it is an error."""
    end = time.monotonic() + PATIENCE
    while not reached():
        assert process.poll() is None, (folder / "output.txt").read_text()
        assert time.monotonic() < end, "the run did not come so far"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("stage", KILLED_AT)
def test_a_run_killed_at_any_call_loses_nothing_and_doubles_nothing(
    place: PlytixWorld, tmp_path: Path, stage: str
) -> None:
    strategy, endpoint, calls = KILLED_AT[stage]
    place.environment["PLYTIX_STRATEGY"] = strategy
    place.plytix.faults.add(latency(FOR_LONG).at(endpoint).after(calls))
    ledger = place.plytix.ledger
    with command(place, tmp_path) as process:
        wait_until(lambda: ledger.under_way(endpoint) > 0 and ledger.count(endpoint) >= calls, process, tmp_path)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    place.plytix.faults.clear()

    second = place.sync()
    assert second.status is not runs.Status.FAILED, second.error
    place.assert_converged(place.amazon.listings)
    with place.opened() as (_, instance):
        newest, killed = history(instance, 2)
    assert newest.run_id == second.run_id
    assert (killed.status, killed.partition) == ("failed", ALIAS)
    assert "killed" in killed.error

    # The stand-in still carries out the call whose caller was killed.
    while ledger.under_way(endpoint):
        time.sleep(0.05)
    ledger.clear()
    third = place.sync()
    assert third.report["links_created"] == third.report["images_uploaded"] == 0
    assert place.calls() == 1, "nothing is left to be done"
    place.assert_converged(place.amazon.listings)


@pytest.mark.slow
def test_two_runs_at_once_make_nothing_twice(place: PlytixWorld, tmp_path: Path) -> None:
    place.plytix.faults.add(latency(1.0).at("asset create").for_good())
    with command(place, tmp_path) as process:
        wait_until(lambda: place.plytix.ledger.under_way("asset create") > 0, process, tmp_path)
        beside = place.sync()
        process.wait(PATIENCE)
    assert beside.status is not runs.Status.FAILED, beside.error
    assert process.returncode in (0, 3), (tmp_path / "output.txt").read_text()
    place.plytix.faults.clear()
    place.sync()
    place.assert_converged(place.amazon.listings)
