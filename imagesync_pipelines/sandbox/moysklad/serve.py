"""Running МойСклад's stand-in for people: from the command line, until it is stopped.

What belongs here: the blocking call and what it tells the terminal. What does not: the server itself (server.py).
"""

import signal
import threading
from collections.abc import Callable, Mapping, Sequence

from imagesync_pipelines.sandbox.moysklad.doors import PREFIX
from imagesync_pipelines.sandbox.moysklad.handle import FIRST_PRINCIPAL, NewAccount
from imagesync_pipelines.sandbox.moysklad.limits import Kind
from imagesync_pipelines.sandbox.moysklad.making import MAIN, catalogue
from imagesync_pipelines.sandbox.moysklad.principals import first_token
from imagesync_pipelines.sandbox.moysklad.server import moysklad_sandbox
from imagesync_pipelines.sandbox.serving import LOOPBACK
from imagesync_pipelines.sandbox.steering import ROOT

PORT, STORAGE_PORT, CDN_PORT = 8811, 8812, 8813
MODES: Mapping[str, str] = {"child-1": "all", "child-2": "first"}


def address(port: int = PORT) -> str:
    """The address of the API of a stand-in at this port, as an accounts file names it."""
    return f"http://{LOOPBACK}:{port}{PREFIX.rstrip('/')}"


def accounts_of(
    url: str, modes: Mapping[str, str] = MODES, *, permanent_links: bool = False, kind: Kind = Kind.SOLUTION
) -> list[str]:
    """The lines of an accounts file (IMAGESYNC_ACCOUNTS) for a sandbox with this address of the API.

    `modes` are the children by name, and which images they are to get; `kind` is that of the catalogue's principals.
    """

    def access(account: str) -> list[str]:
        return [f'url = "{url}"', f'token = "env:{variable(account)}"', f'token_kind = "{kind}"']

    lines = ["[moysklad.main]", *access(MAIN)]
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


def serve(
    announce: Callable[[str], None],
    *,
    accounts: Sequence[NewAccount] | None = None,
    port: int = PORT,
    storage_port: int = STORAGE_PORT,
    cdn_port: int = CDN_PORT,
) -> None:
    """Run the stand-in until SIGINT or SIGTERM; to be called from the main thread.

    `announce` is given the lines for the terminal: the section for IMAGESYNC_ACCOUNTS, its variables, and where to
    steer. Everything is in memory: a restart begins anew. Raises ServingError when a port is taken.
    """
    accounts = catalogue() if accounts is None else accounts
    stop = threading.Event()
    before = {kind: signal.signal(kind, lambda *_: stop.set()) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        with moysklad_sandbox(accounts=accounts, port=port, storage_port=storage_port, cdn_port=cdn_port) as sandbox:
            names = list(sandbox.accounts)
            announce(f"# МойСклад of the sandbox; control: {sandbox.url}{ROOT}state")
            for name, value in secrets_of(names).items():
                announce(f"# {name}={value}")
            modes = {name: MODES.get(name, "off") for name in names if name != MAIN}
            for line in accounts_of(sandbox.api_url, modes):
                announce(line)
            stop.wait()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
