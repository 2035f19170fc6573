"""Many products under Plytix's real limits on a moved clock: no refused call, and hardly one more than is needed."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa

from imagesync_pipelines.sandbox.amazon.listings import AmazonListing, ListedImage, demo_listings
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines_tests.connectors.plytix.accounts import assert_converged, open_connector

pytestmark = pytest.mark.slow

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
LIMITS = ((20, 10), (5000, 3600))
PICTURES = 12


def many(number: int, images: int) -> list[AmazonListing]:
    """So many products, each with so many of twelve pictures in an order of its own."""
    first, *_, last = demo_listings()[:16]
    pictures = [image.picture for image in (*first.images, *last.images)]
    chance = Random(4)
    slots = ["MAIN", *(f"PT{place:02d}" for place in range(1, images))]
    return [
        replace(first, asin=f"B0{place:08d}", images=tuple(map(ListedImage, slots, chance.sample(pictures, images))))
        for place in range(number)
    ]


def test_a_patch_per_product_within_the_limits_and_nothing_the_second_time(database: sa.Engine, tmp_path: Path) -> None:
    products = 150
    with open_connector(
        database, tmp_path, listings=many(products, 7), limits=LIMITS, clock=SandboxClock(MONDAY), strategy="patch"
    ) as connector:
        done = connector.sync()
        least = ceil(products / 100) + PICTURES + products
        assert done.stopped == ""
        assert least <= connector.calls() <= least * 1.05
        assert done.summary.api_calls == connector.calls()
        assert connector.plytix.ledger.count(status=429) == 0
        assert_converged(connector)
        before = connector.calls()
        assert connector.sync().summary.products_affected == 0
        assert connector.calls() - before == ceil(products / 100)
        assert connector.plytix.ledger.count(status=429) == 0


@pytest.mark.parametrize(
    ("products", "limits", "expected_runs"),
    [
        pytest.param(100, ((20, 10), (400, 3600)), 3, id="100, of which an hour takes a third"),
        pytest.param(650, LIMITS, 2, id="650, of which an hour takes nearly all"),
    ],
)
@pytest.mark.long
def test_links_are_made_within_the_limits_and_what_does_not_fit_in_the_next_runs(
    database: sa.Engine, tmp_path: Path, products: int, limits: Sequence[tuple[int, int]], expected_runs: int
) -> None:
    clock = SandboxClock(MONDAY)
    # One worker: several that wait move the clock together, and a call may then arrive in a later window than its turn.
    with open_connector(
        database, tmp_path, listings=many(products, 7), limits=limits, clock=clock, workers=1
    ) as connector:
        runs, stopped = 0, "not begun"
        while stopped:
            stopped = connector.sync().stopped
            runs += 1
            clock.move(4000)
        # Uploads, seven links and a thumbnail per product, and the searches of every run.
        least = PICTURES + 8 * products + runs * ceil(products / 100)
        assert runs == expected_runs
        assert least <= connector.calls() <= least * 1.05
        assert connector.plytix.ledger.count(status=429) == 0
        assert_converged(connector)
        before = connector.calls()
        assert connector.sync().summary.products_affected == 0
        assert connector.calls() - before == ceil(products / 100)
