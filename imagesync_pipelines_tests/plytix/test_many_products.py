"""Many products under Plytix's real limits on a moved clock: no refused call, and hardly one more than is needed."""

from dataclasses import replace
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa

from imagesync_pipelines.sandbox.amazon.listings import ListedImage, Listing
from imagesync_pipelines.sandbox.amazon.making import demo_listings
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines_tests.plytix.accounts import assert_converged, open_room

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
LIMITS = ((20, 10), (5000, 3600))
PICTURES = 12


def many(number: int, images: int) -> list[Listing]:
    """So many products, each with so many of twelve pictures in an order of its own."""
    first, *_, last = demo_listings()[:16]
    pictures = [image.picture for image in (*first.images, *last.images)]
    chance = Random(4)
    slots = ["MAIN", *(f"PT{place:02d}" for place in range(1, images))]
    return [
        replace(
            first,
            asin=f"B0{place:08d}",
            images=tuple(map(ListedImage, slots, chance.sample(pictures, images))),
        )
        for place in range(number)
    ]


@pytest.mark.parametrize(
    "products", [pytest.param(150, id="150"), pytest.param(1000, id="1000", marks=pytest.mark.slow)]
)
def test_a_patch_per_product_within_the_limits_and_nothing_the_second_time(
    database: sa.Engine, tmp_path: Path, products: int
) -> None:
    with open_room(
        database,
        tmp_path,
        listings=many(products, 7),
        limits=LIMITS,
        clock=SandboxClock(MONDAY),
        strategy="patch",
    ) as room:
        done = room.sync()
        least = ceil(products / 100) + PICTURES + products
        assert done.stopped == ""
        assert least <= room.calls() <= least * 1.05
        assert done.calls == room.calls()
        assert room.plytix.ledger.count(status=429) == 0
        assert_converged(room)
        before = room.calls()
        assert room.sync().applied.affected == frozenset()
        assert room.calls() - before == ceil(products / 100)
        assert room.plytix.ledger.count(status=429) == 0


@pytest.mark.slow
def test_links_that_do_not_fit_into_the_hour_are_made_in_the_next_runs(database: sa.Engine, tmp_path: Path) -> None:
    clock = SandboxClock(MONDAY)
    limits = ((20, 10), (400, 3600))
    with open_room(database, tmp_path, listings=many(100, 7), limits=limits, clock=clock) as room:
        runs, stopped = 0, "not begun"
        while stopped:
            stopped = room.sync().stopped
            runs += 1
            clock.move(4000)
        # 12 uploads, 700 links, 100 thumbnails and a search per run, 320 of them an hour.
        assert runs == 3
        assert room.calls() <= (12 + 700 + 100) * 1.05 + runs
        assert room.plytix.ledger.count(status=429) == 0
        assert_converged(room)
