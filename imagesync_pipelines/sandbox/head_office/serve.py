"""Running head office's stand-in for people: from the command line, until it is stopped.

What belongs here: the blocking call and what it tells the terminal. What does not: the server itself (server.py).
"""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

from upath import UPath

from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox, head_office_sandbox
from imagesync_pipelines.sandbox.steering import ROOT
from imagesync_pipelines.storage.files import write_whole

PORT = 8803
# The variable that the accounts of the sandbox name for the password.
PASSWORD_VARIABLE = "HEAD_OFFICE_PASSWORD"  # noqa: S105 - the name of a variable


def accounts_of(sandbox: HeadOfficeSandbox) -> list[str]:
    """The lines of an accounts file (IMAGESYNC_ACCOUNTS) with every open store of the sandbox."""
    lines = [
        "[edge.head_office]",
        f'url = "{sandbox.url}"',
        f'username = "{sandbox.username}"',
        f'password = "env:{PASSWORD_VARIABLE}"',
    ]
    for nth, store in enumerate(sandbox.stores, start=1):
        lines += [f"[edge.stores.store{nth}]", f'store_id = "{store}"', "capacity_gb = 5"]
    return lines


def write_accounts(sandbox: HeadOfficeSandbox, path: Path) -> None:
    """Write the accounts file; a reader sees all of it or nothing."""
    write_whole(UPath(path), "\n".join([*accounts_of(sandbox), ""]).encode())


def serve(
    announce: Callable[[str], None],
    *,
    database_url: str,
    folder: Path,
    port: int = PORT,
    photos: int = 150,
    stores: int = 2,
    seed: int = 1,
    original: bool = False,
    accounts_file: Path | None = None,
) -> None:
    """Run the stand-in until SIGINT or SIGTERM; to be called from the main thread.

    `announce` is given the lines for the terminal: the section for IMAGESYNC_ACCOUNTS, which is written to
    `accounts_file` too, and where to steer. The ids of the stores are the same after a restart. Raises ServingError
    when the port is taken.
    """
    stop = threading.Event()
    before = {kind: signal.signal(kind, lambda *_: stop.set()) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        with head_office_sandbox(
            database_url, photos=photos, stores=stores, seed=seed, original=original, folder=folder, port=port
        ) as sandbox:
            announce(
                f"# head office of the sandbox; its password: {sandbox.password}; control: {sandbox.url}{ROOT}state"
            )
            for line in accounts_of(sandbox):
                announce(line)
            if accounts_file is not None:
                write_accounts(sandbox, accounts_file)
            stop.wait()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
