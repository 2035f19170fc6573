"""A real `imagesync sync moysklad`, killed with kill -9 at each kind of call; the next run, and what history says."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.faults import latency
from imagesync_pipelines.sandbox.moysklad.making import catalogue
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.faults.commands import command, killed_before
from imagesync_pipelines_tests.moysklad_installations import MoyskladWorld, moysklad_world

pytestmark = pytest.mark.slow

CHILD = "child-1"
MODES = {CHILD: "all"}
# Long enough that the call is still under way when its caller is killed; the stand-in carries it out all the same.
FOR_LONG = 6.0
# Endpoint, and how many calls of it are answered before.
KILLED_AT = {
    "reading the main account": ("main assortment", 0),
    "finding counterparts": (f"{CHILD} list", 0),
    "downloading": ("main download", 4),
    "writing": (f"{CHILD} images post", 2),
}


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path) -> Iterator[MoyskladWorld]:
    """Five entities of three images, and one child account that has none of them yet."""
    accounts = catalogue(products=3, images=3, variants=1, bundles=1, children=1, side=60)
    with moysklad_world(server, tmp_path / "place", accounts) as made:
        made.write_accounts(MODES)
        made.environment["MOYSKLAD_WORKERS"] = "1"
        yield made


@pytest.mark.parametrize("stage", KILLED_AT)
def test_a_run_killed_at_any_call_loses_nothing_and_doubles_nothing(
    place: MoyskladWorld, tmp_path: Path, stage: str
) -> None:
    endpoint, calls = KILLED_AT[stage]
    place.sandbox.faults.add(latency(FOR_LONG).at(endpoint).after(calls))
    ledger = place.sandbox.ledger
    with command(tmp_path, place.environment, "sync", "moysklad") as run:
        run.wait_until(lambda: ledger.under_way(endpoint) > 0 and ledger.count(endpoint) >= calls)
        run.kill()
    place.sandbox.faults.clear()

    # The stand-in still carries out the call whose caller was killed.
    while ledger.under_way(endpoint):
        time.sleep(0.05)
    second = place.sync()[CHILD]
    assert second.status is not runs.Status.FAILED, second.error
    place.assert_converged(MODES)
    with place.opened() as (_, instance):
        assert killed_before(instance, second.run_id).partition == CHILD

    ledger.clear()
    third = place.sync()[CHILD]
    assert (third.summary["images_added"], third.summary["images_updated"]) == (0, 0)
    assert place.sandbox.calls() == 1, "nothing is left to be done"


def test_two_runs_at_once_make_nothing_twice(place: MoyskladWorld, tmp_path: Path) -> None:
    endpoint = f"{CHILD} images post"
    place.sandbox.faults.add(latency(1.0).at(endpoint).for_good())
    with command(tmp_path, place.environment, "sync", "moysklad") as run:
        run.wait_until(lambda: place.sandbox.ledger.under_way(endpoint) > 0)
        beside = place.sync()[CHILD]
        run.assert_ends_well()
    assert beside.status is not runs.Status.FAILED, beside.error
    assert place.sandbox.calls(CHILD, "images post") == 5, "one call per entity"
    place.sandbox.faults.clear()
    place.sync()
    place.assert_converged(MODES)
