"""A small Amazon whose clock stands still, and a caller with an access token."""

from collections.abc import Iterator

import pytest

from imagesync_pipelines.sandbox.amazon.listings import make_listings
from imagesync_pipelines.sandbox.amazon.server import AmazonSandbox, amazon_sandbox
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines_tests.sandbox.amazon.callers import NOON, Caller


@pytest.fixture
def amazon() -> Iterator[AmazonSandbox]:
    """30 listings of the US with small pictures."""
    with amazon_sandbox(make_listings(30, seed=3, longest=1000), clock=SandboxClock(NOON)) as sandbox:
        yield sandbox


@pytest.fixture
def caller(amazon: AmazonSandbox) -> Caller:
    """Logged in."""
    caller = Caller(amazon)
    caller.log_in()
    return caller
