"""A Plytix of every test's own, with three products, and the web it fetches from."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.plytix.model import NewProduct
from imagesync_pipelines.sandbox.plytix.server import PlytixSandbox, plytix_sandbox
from imagesync_pipelines_tests.sandbox.plytix.callers import NO_LIMITS, Caller, Web

PRODUCTS = (NewProduct("AMZN-US-B01"), NewProduct("AMZN-US-B02", label="Mule"), NewProduct("ERP-7", gtin="0400"))


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
def sandbox(web: Web) -> Iterator[PlytixSandbox]:
    """No limits that a test would meet, and a clock that stands."""
    clock = SandboxClock(datetime(2026, 1, 5, 12, tzinfo=UTC))
    with plytix_sandbox(products=PRODUCTS, limits=NO_LIMITS, clock=clock, fetch=web) as running:
        yield running


@pytest.fixture
def caller(sandbox: PlytixSandbox) -> Caller:
    return Caller(sandbox)


@pytest.fixture
def newer(sandbox: PlytixSandbox) -> Caller:
    """The same account through v2."""
    return Caller(sandbox, version=2)
