"""Running Plytix's stand-in for people: from the command line, until it is stopped.

What belongs here: the blocking call and what it tells the terminal. What does not: the server itself (server.py).
"""

import signal
import threading
from collections.abc import Callable, Sequence

from imagesync_pipelines.sandbox.plytix.fetching import Fetch, fetch_over_http
from imagesync_pipelines.sandbox.plytix.model import NewProduct
from imagesync_pipelines.sandbox.plytix.server import PlytixSandbox, plytix_sandbox
from imagesync_pipelines.sandbox.steering import ROOT

PORT, AUTH_PORT = 8805, 8806
ALIAS = "sandbox"
# The variables that the accounts of the sandbox name for its secrets.
KEY_VARIABLE, PASSWORD_VARIABLE = "PLYTIX_SANDBOX_KEY", "PLYTIX_SANDBOX_PASSWORD"


def accounts_of(url: str, auth_url: str, alias: str = ALIAS) -> list[str]:
    """The lines of an accounts file (IMAGESYNC_ACCOUNTS) with the account of a sandbox at these URLs."""
    return [
        f"[plytix.accounts.{alias}]",
        f'url = "{url}"',
        f'auth_url = "{auth_url}"',
        f'api_key = "env:{KEY_VARIABLE}"',
        f'api_password = "env:{PASSWORD_VARIABLE}"',
    ]


def secrets_of(sandbox: PlytixSandbox) -> dict[str, str]:
    """The variables that the lines of `accounts_of` name, with their values."""
    return {KEY_VARIABLE: sandbox.api_key, PASSWORD_VARIABLE: sandbox.api_password}


def serve(
    announce: Callable[[str], None],
    *,
    products: Sequence[NewProduct] = (),
    fetch: Fetch = fetch_over_http,
    port: int = PORT,
    auth_port: int = AUTH_PORT,
) -> None:
    """Run the stand-in until SIGINT or SIGTERM; to be called from the main thread.

    `announce` is given the lines for the terminal: the section for IMAGESYNC_ACCOUNTS, its variables, and where to
    steer. Everything is in memory: a restart begins anew. Raises ServingError when a port is taken.
    """
    stop = threading.Event()
    before = {kind: signal.signal(kind, lambda *_: stop.set()) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        with plytix_sandbox(products=products, fetch=fetch, port=port, auth_port=auth_port) as sandbox:
            announce(f"# Plytix of the sandbox; control: {sandbox.url}{ROOT}state")
            for name, value in secrets_of(sandbox).items():
                announce(f"# {name}={value}")
            for line in accounts_of(sandbox.url, sandbox.auth_url):
                announce(line)
            stop.wait()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
