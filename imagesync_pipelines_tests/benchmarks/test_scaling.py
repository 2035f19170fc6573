"""The simulation behind docs/scaling.md keeps to the formula that stands beside it."""

import pytest

from benchmarks.scaling import Costs, brake, simulate

COSTS = Costs(quiet=2.0, image=0.1, launch=0.5, at_once=4, slots=4)


@pytest.mark.parametrize(
    ("stores", "images", "workers", "waits_for"),
    [(10_000, 0, 2, "slots"), (10_000, 0, 40, "the daemon"), (600, 200, 5, "slots"), (60, 0, 2, "slots")],
)
def test_a_round_takes_what_its_brake_takes_and_a_little_more(
    stores: int, images: int, workers: int, waits_for: str
) -> None:
    each = COSTS.quiet + images * COSTS.image
    least = max(stores / COSTS.launches, stores * each / (workers * COSTS.slots))
    found = simulate(stores, images, workers, COSTS)
    assert brake(stores, images, workers, COSTS) == waits_for
    # Of a slot that becomes free the daemon learns at its next look, and needs its time.
    rounds = stores / (workers * COSTS.slots) + 1
    assert least <= found.seconds <= least + rounds * (1 + COSTS.launch) + each
    assert 0 < found.at_work <= 1


def test_more_workers_never_take_longer() -> None:
    seconds = [simulate(2_000, 10, workers, COSTS).seconds for workers in (1, 2, 5, 10, 20, 40)]
    assert seconds == sorted(seconds, reverse=True)
