"""МойСклад's stand-in, ready to use: API, storage and public host, with faults, a clock and ledgers around them.

What belongs here: putting the parts together. What does not: the parts, and running it for good (serve.py).
"""

import secrets
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import FaultPlan
from imagesync_pipelines.sandbox.ledger import Ledger
from imagesync_pipelines.sandbox.moysklad.app import Gate, api_app
from imagesync_pipelines.sandbox.moysklad.bans import Ban, Bans
from imagesync_pipelines.sandbox.moysklad.control import steered
from imagesync_pipelines.sandbox.moysklad.doors import PREFIX, api_place
from imagesync_pipelines.sandbox.moysklad.handle import AccountHandle, NewAccount, opened
from imagesync_pipelines.sandbox.moysklad.hosts import cdn_app, cdn_place, storage_app, storage_place
from imagesync_pipelines.sandbox.moysklad.limits import ACCOUNT_AT_ONCE, UnderWay
from imagesync_pipelines.sandbox.moysklad.links import Links
from imagesync_pipelines.sandbox.moysklad.making import MAIN
from imagesync_pipelines.sandbox.moysklad.office import Office
from imagesync_pipelines.sandbox.moysklad.principals import Principals
from imagesync_pipelines.sandbox.moysklad.switches import Switches
from imagesync_pipelines.sandbox.moysklad.webhooks import Webhooks
from imagesync_pipelines.sandbox.plytix.losing import LostAnswers, losing
from imagesync_pipelines.sandbox.plytix.moments import Moments
from imagesync_pipelines.sandbox.serving import LOOPBACK, bind, running
from imagesync_pipelines.sandbox.steering import Steered
from imagesync_pipelines.sandbox.wire import observed

TWO_ACCOUNTS = (NewAccount(MAIN), NewAccount("child"))


@dataclass(frozen=True, repr=False)
class MoyskladSandbox:
    """A running МойСклад on loopback: three hosts, several accounts; the URLs have no path and no slash at their end.

    `ledger` has the calls to the API, as `<account> <door>` with the names of doors.py; those to the other two hosts,
    `storage` and `cdn`, cost nothing and are in `storage_ledger` and `cdn_ledger`. `faults` are of all three, by these
    names; a call that meets one before it reaches МойСклад uses no units. `lost` loses answers after their work was
    done. `moments` does something just before a call has its effect; it may use handles, but not call the API.
    """

    url: str
    storage_url: str
    cdn_url: str
    accounts: Mapping[str, AccountHandle]
    office: Office
    faults: FaultPlan
    lost: LostAnswers
    moments: Moments
    ledger: Ledger
    storage_ledger: Ledger
    cdn_ledger: Ledger
    clock: SandboxClock
    switches: Switches
    webhooks: Webhooks
    counters: Bans

    @property
    def api_url(self) -> str:
        """The address of the API with its path, as clients are given it; no slash at its end."""
        return self.office.root

    def account(self, name: str) -> AccountHandle:
        """The account of this name; raises KeyError."""
        return self.accounts[name]

    @property
    def bans(self) -> tuple[Ban, ...]:
        """Who is locked out now."""
        return self.counters.all()

    def support_reset(self, account: str) -> None:
        """Support gives an account's principals their access back."""
        self.counters.lift(account)

    def calls(self, account: str = "", door: str = "") -> int:
        """How many calls the API got since the start or the last `ledger.clear`, of one account and door if named."""
        counted = self.calls_by_door(account)
        return counted[door] if door else counted.total()

    def calls_by_door(self, account: str = "") -> Counter[str]:
        """The same, by door."""
        counted: Counter[str] = Counter()
        for place, statuses in self.ledger.as_json().items():
            name, _, door = place.partition(" ")
            if account in ("", name):
                counted[door] += sum(statuses.values())
        return counted


@contextmanager
def moysklad_sandbox(
    *,
    accounts: Sequence[NewAccount] = TWO_ACCOUNTS,
    clock: SandboxClock | None = None,
    switches: Switches | None = None,
    port: int = 0,
    storage_port: int = 0,
    cdn_port: int = 0,
) -> Iterator[MoyskladSandbox]:
    """Run МойСклад on free ports of loopback; a restart begins anew from the same arguments.

    Names of accounts have no spaces. Raises ServingError when a port is taken.
    """
    clock = clock if clock is not None else SandboxClock()
    switches = switches if switches is not None else Switches()
    listeners = [bind(port), bind(storage_port), bind(cdn_port)]
    url, storage_url, cdn_url = (_url(listener) for listener in listeners)
    root = url + PREFIX.rstrip("/")
    links = Links(storage_url, cdn_url, clock, secrets.token_bytes(16))
    office = Office(root, links, clock, switches, Principals(), Webhooks(root, clock))
    handles = {new.name: opened(new, office) for new in accounts}
    by_id = {handle.account_id: handle.account for handle in handles.values()}
    sandbox = MoyskladSandbox(
        url=url,
        storage_url=storage_url,
        cdn_url=cdn_url,
        accounts=handles,
        office=office,
        faults=FaultPlan(),
        lost=LostAnswers(),
        moments=Moments(),
        ledger=Ledger(),
        storage_ledger=Ledger(),
        cdn_ledger=Ledger(),
        clock=clock,
        switches=switches,
        webhooks=office.webhooks,
        counters=Bans(clock),
    )
    gate = Gate(office, sandbox.counters, sandbox.moments, {name: UnderWay(ACCOUNT_AT_ONCE) for name in handles})
    place, faults = api_place(office), sandbox.faults
    api = losing(observed(api_app(gate), place, faults, sandbox.ledger, clock), place, sandbox.lost)
    storage = storage_app(by_id, links, sandbox.moments)
    others = (
        observed(storage, storage_place, faults, sandbox.storage_ledger, clock),
        observed(cdn_app(by_id), cdn_place, faults, sandbox.cdn_ledger, clock),
    )
    parts = Steered(faults, sandbox.ledger, clock)
    watched = (steered(api, handles, sandbox.counters, parts), *others)
    with running(*zip(watched, listeners, strict=True)):
        office.webhooks.start()
        try:
            yield sandbox
        finally:
            office.webhooks.stop()


def _url(listener: socket.socket) -> str:
    return f"http://{LOOPBACK}:{listener.getsockname()[1]}"
