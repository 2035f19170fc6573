"""A Plytix with three products, and the web it fetches from: one server per module, new again for every test."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.plytix.model import NewProduct, PlytixSwitches, new_account
from imagesync_pipelines.sandbox.plytix.server import ATTRIBUTES, PlytixSandbox, plytix_sandbox
from imagesync_pipelines_tests.sandbox.plytix.callers import NO_LIMITS, Caller, Web

PRODUCTS = (NewProduct("AMZN-US-B01"), NewProduct("AMZN-US-B02", label="Mule"), NewProduct("ERP-7", gtin="0400"))


@pytest.fixture(scope="module")
def shared_web() -> Web:
    return Web()


@pytest.fixture(scope="module")
def shared_sandbox(shared_web: Web) -> Iterator[PlytixSandbox]:
    """No limits that a test would meet, and a clock that stands; starting and stopping takes longer than most tests."""
    clock = SandboxClock(datetime(2026, 1, 5, 12, tzinfo=UTC))
    with plytix_sandbox(limits=NO_LIMITS, clock=clock, fetch=shared_web) as running:
        yield running


@pytest.fixture
def web(shared_web: Web) -> Web:
    shared_web.pages.clear()
    shared_web.asked.clear()
    return shared_web


@pytest.fixture
def sandbox(shared_sandbox: PlytixSandbox, web: Web) -> PlytixSandbox:
    """As it was at the start, but for the time: an hour later every window is over."""
    shared_sandbox.clock.move(3600)
    shared_sandbox.faults.clear()
    shared_sandbox.ledger.clear()
    shared_sandbox.token_ledger.clear()
    vars(shared_sandbox.switches).update(vars(PlytixSwitches()))
    fresh = new_account(shared_sandbox.clock, shared_sandbox.switches, ATTRIBUTES, PRODUCTS)
    vars(shared_sandbox.account).update(vars(fresh))
    return shared_sandbox


@pytest.fixture
def caller(sandbox: PlytixSandbox) -> Caller:
    return Caller(sandbox)


@pytest.fixture
def newer(sandbox: PlytixSandbox) -> Caller:
    """The same account through v2."""
    return Caller(sandbox, version=2)
