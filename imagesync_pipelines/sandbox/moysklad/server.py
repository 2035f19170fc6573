"""МойСклад's stand-in, ready to use: API, storage and public host (docs/contracts/moysklad.md)."""

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.types import ASGIApp

from imagesync_pipelines.sandbox.answers import Values
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.control import ROOT, steered
from imagesync_pipelines.sandbox.ledger import CallLedger
from imagesync_pipelines.sandbox.moysklad.app import PREFIX, Gate, api_app, api_place
from imagesync_pipelines.sandbox.moysklad.handle import FIRST_PRINCIPAL, AccountHandle, NewAccount, opened
from imagesync_pipelines.sandbox.moysklad.hosts import cdn_app, cdn_place, storage_app, storage_place
from imagesync_pipelines.sandbox.moysklad.limits import ACCOUNT_AT_ONCE, Bans, PrincipalKind, UnderWay
from imagesync_pipelines.sandbox.moysklad.making import MAIN
from imagesync_pipelines.sandbox.moysklad.model import MoyskladSwitches, account_id
from imagesync_pipelines.sandbox.moysklad.mutation import mutate, night
from imagesync_pipelines.sandbox.moysklad.office import Links, Office, Principals, first_token
from imagesync_pipelines.sandbox.moysklad.webhooks import Webhooks
from imagesync_pipelines.sandbox.mutation import MutationError
from imagesync_pipelines.sandbox.server import LOOPBACK, StandIn, bind, running, url_of

TWO_ACCOUNTS = (NewAccount(MAIN), NewAccount("child"))


@dataclass(frozen=True, kw_only=True, repr=False)
class MoyskladSandbox(StandIn):
    """A running МойСклад on loopback: three hosts, several accounts; the URLs have no path and no slash at their end.

    `ledger` has the calls to the API, as `<account> <door>` with the names of app.py; those to the other two hosts,
    `storage` and `cdn`, cost nothing and are in `storage_ledger` and `cdn_ledger`. `faults` are of all three, by these
    names. An action of `moments` may use handles, but not call the API.
    """

    url: str
    storage_url: str
    cdn_url: str
    accounts: Mapping[str, AccountHandle]
    office: Office
    storage_ledger: CallLedger
    cdn_ledger: CallLedger
    switches: MoyskladSwitches
    webhooks: Webhooks
    counters: Bans

    @property
    def api_url(self) -> str:
        """The address of the API with its path, as clients are given it; no slash at its end."""
        return self.office.root

    def account(self, name: str) -> AccountHandle:
        """The account of this name; raises KeyError."""
        return self.accounts[name]

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
    switches: MoyskladSwitches | None = None,
    port: int = 0,
    storage_port: int = 0,
    cdn_port: int = 0,
) -> Iterator[MoyskladSandbox]:
    """Run МойСклад on free ports of loopback; a restart begins anew from the same arguments.

    Names of accounts have no spaces. Raises ServingError when a port is taken.
    """
    clock = clock if clock is not None else SandboxClock()
    switches = switches if switches is not None else MoyskladSwitches()
    listeners = [bind(port), bind(storage_port), bind(cdn_port)]
    url, storage_url, cdn_url = map(url_of, listeners)
    root = url + PREFIX.rstrip("/")
    links = Links(storage_url, cdn_url, clock, secrets.token_bytes(16))
    office = Office(root, links, clock, switches, Principals(), Webhooks(root, clock))
    handles = {new.name: opened(new, office) for new in accounts}
    by_id = {handle.account.id: handle.account for handle in handles.values()}
    sandbox = MoyskladSandbox(
        clock=clock,
        url=url,
        storage_url=storage_url,
        cdn_url=cdn_url,
        accounts=handles,
        office=office,
        storage_ledger=CallLedger(),
        cdn_ledger=CallLedger(),
        switches=switches,
        webhooks=office.webhooks,
        counters=Bans(clock),
    )
    gate = Gate(office, sandbox.counters, sandbox.moments, {name: UnderWay(ACCOUNT_AT_ONCE) for name in handles})
    apps = (
        _steered(sandbox.watched(api_app(gate), api_place(office)), sandbox),
        sandbox.watched(storage_app(by_id, links, sandbox.moments), storage_place, sandbox.storage_ledger),
        sandbox.watched(cdn_app(by_id), cdn_place, sandbox.cdn_ledger),
    )
    with running(*zip(apps, listeners, strict=True)):
        office.webhooks.start()
        try:
            yield sandbox
        finally:
            office.webhooks.stop()


def _steered(app: ASGIApp, sandbox: MoyskladSandbox) -> ASGIApp:
    """Mutate, night and support name an `account`; mutate also an `operator` and its arguments, night a `seed`."""

    def named(values: Values) -> AccountHandle:
        name = str(values.pop("account", ""))
        if name not in sandbox.accounts:
            raise MutationError(f"no account is called {name}; there are {', '.join(sandbox.accounts)}")
        return sandbox.accounts[name]

    def bans() -> Values:
        return {"bans": [vars(ban) for ban in sandbox.counters.all()]}

    def state() -> Values:
        accounts = {}
        for name, handle in sandbox.accounts.items():
            entities = [
                {"id": one.id, "type": one.type, "name": one.name, "images": [image.filename for image in one.images]}
                for one in handle.entities()
            ]
            accounts[name] = {"id": handle.account.id, "used_bytes": handle.account.used, "entities": entities}
        return {"accounts": accounts, **bans()}

    def change(values: Values) -> Values:
        return {"done": mutate(named(values), str(values.pop("operator", "")), **values)}

    def pass_night(values: Values) -> Values:
        handle, seed = named(values), values.get("seed", 1)
        return {"done": night(handle, seed if isinstance(seed, int) else 1)}

    def support(values: Values) -> Values:
        sandbox.counters.lift(named(values).name)
        return bans()

    actions = {"mutate": change, "night": pass_night, "support": support}
    return steered(app, sandbox, state, actions, sandbox.switches)


PORT, STORAGE_PORT, CDN_PORT = 8811, 8812, 8813
MODES: Mapping[str, str] = {"child-1": "all", "child-2": "first"}


def address(port: int = PORT) -> str:
    """The address of the API of a stand-in at this port, as an accounts file names it."""
    return f"http://{LOOPBACK}:{port}{PREFIX.rstrip('/')}"


def accounts_of(
    url: str,
    modes: Mapping[str, str] = MODES,
    *,
    permanent_links: bool = False,
    kind: PrincipalKind = PrincipalKind.SOLUTION,
) -> list[str]:
    """The lines of an accounts file (IMAGESYNC_ACCOUNTS) for a sandbox with this address of the API.

    `modes` are the children by name, and which images they are to get; `kind` is that of the catalogue's principals.
    """

    def access(account: str) -> list[str]:
        return [f'url = "{url}"', f'token = "env:{variable(account)}"', f'token_kind = "{kind}"']

    lines = ["[moysklad.main]", *access(MAIN), f'account_id = "{account_id(MAIN)}"']
    if permanent_links:
        lines.append("permanent_links = true")
    for name, mode in modes.items():
        lines += ["", f"[moysklad.children.{name}]", *access(name), f'mode = "{mode}"']
    return lines


def variable(account: str) -> str:
    """The variable that the lines of `accounts_of` name for an account's token."""
    return f"MOYSKLAD_SANDBOX_{account.upper().replace('-', '_')}"


def secrets_of(names: Sequence[str] = (MAIN, *MODES)) -> dict[str, str]:
    """These variables with their values, which are the same at every start."""
    return {variable(name): first_token(name, FIRST_PRINCIPAL) for name in names}


def lines_of(sandbox: MoyskladSandbox) -> list[str]:
    """What points to a sandbox, as lines for the terminal: the section for IMAGESYNC_ACCOUNTS and its variables."""
    variables = [f"# {name}={value}" for name, value in secrets_of(list(sandbox.accounts)).items()]
    modes = {name: MODES.get(name, "off") for name in sandbox.accounts if name != MAIN}
    about = f"# МойСклад of the sandbox; control: {sandbox.url}{ROOT}state"
    return [about, *variables, *accounts_of(sandbox.api_url, modes)]
