"""A МойСклад with two accounts: one server per module; limits, switches and entities are new for every test."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.moysklad.handle import NewAccount
from imagesync_pipelines.sandbox.moysklad.limits import PrincipalKind
from imagesync_pipelines.sandbox.moysklad.model import MoyskladSwitches
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox, moysklad_sandbox
from imagesync_pipelines_tests.sandbox.moysklad.callers import Caller

NOON = datetime(2026, 10, 5, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def shared() -> Iterator[MoyskladSandbox]:
    accounts = (NewAccount("main", kind=PrincipalKind.SOLUTION), NewAccount("child", kind=PrincipalKind.SOLUTION))
    with moysklad_sandbox(accounts=accounts, clock=SandboxClock(NOON)) as running:
        yield running


@pytest.fixture
def box(shared: MoyskladSandbox) -> MoyskladSandbox:
    """Two minutes later every window is over, and no entity of the test before is there."""
    shared.clock.move(120)
    vars(shared.switches).update(vars(MoyskladSwitches()))
    shared.faults.clear()
    for ledger in (shared.ledger, shared.storage_ledger, shared.cdn_ledger):
        ledger.clear()
    for handle in shared.accounts.values():
        shared.counters.lift(handle.name)
        handle.account.quota = None
        handle.account.permanent_links = False
        for entity in handle.entities():
            if entity.id in handle.account.entities:
                handle.delete(entity.id)
    return shared


@pytest.fixture
def caller(box: MoyskladSandbox) -> Caller:
    return Caller(box)


@pytest.fixture
def product(caller: Caller) -> str:
    """A product without images."""
    return caller.account.add_product("Подушка", "p-1")
