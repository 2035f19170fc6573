"""A real `imagesync sync plytix`, killed with kill -9 at each kind of call; the next run, and what history says."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.amazon.listings import make_listings
from imagesync_pipelines.sandbox.faults import latency
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.faults.commands import Command, command, killed_before
from imagesync_pipelines_tests.plytix_installations import ALIAS, PlytixWorld, plytix_world

pytestmark = pytest.mark.slow

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


def synchronising(place: PlytixWorld, folder: Path) -> AbstractContextManager[Command]:
    """`imagesync sync plytix --execute` in a process of its own."""
    return command(folder, place.environment, "sync", "plytix", "--mapping", str(place.mapping), "--execute")


@pytest.mark.parametrize("stage", KILLED_AT)
def test_a_run_killed_at_any_call_loses_nothing_and_doubles_nothing(
    place: PlytixWorld, tmp_path: Path, stage: str
) -> None:
    strategy, endpoint, calls = KILLED_AT[stage]
    place.environment["PLYTIX_STRATEGY"] = strategy
    place.plytix.faults.add(latency(FOR_LONG).at(endpoint).after(calls))
    ledger = place.plytix.ledger
    with synchronising(place, tmp_path) as run:
        run.wait_until(lambda: ledger.under_way(endpoint) > 0 and ledger.count(endpoint) >= calls)
        run.kill()
    place.plytix.faults.clear()

    second = place.sync()
    assert second.status is not runs.Status.FAILED, second.error
    place.assert_converged(place.amazon.listings)
    with place.opened() as (_, instance):
        assert killed_before(instance, second.run_id).partition == ALIAS

    # The stand-in still carries out the call whose caller was killed.
    while ledger.under_way(endpoint):
        time.sleep(0.05)
    ledger.clear()
    third = place.sync()
    assert third.report["links_created"] == third.report["images_uploaded"] == 0
    assert place.calls() == 1, "nothing is left to be done"
    place.assert_converged(place.amazon.listings)


def test_two_runs_at_once_make_nothing_twice(place: PlytixWorld, tmp_path: Path) -> None:
    place.plytix.faults.add(latency(1.0).at("asset create").for_good())
    with synchronising(place, tmp_path) as run:
        run.wait_until(lambda: place.plytix.ledger.under_way("asset create") > 0)
        beside = place.sync()
        run.assert_ends_well()
    assert beside.status is not runs.Status.FAILED, beside.error
    place.plytix.faults.clear()
    place.sync()
    place.assert_converged(place.amazon.listings)
