"""The image database's stand-in, ready to use: one context manager for tests, one blocking call for the command line.

What belongs here: putting the parts together. What does not: the parts.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import Fault, FaultPlan
from imagesync_pipelines.sandbox.image_db.app import Switches, api_app, api_place
from imagesync_pipelines.sandbox.image_db.catalogue import RECORDS, Catalogue, build_catalogue
from imagesync_pipelines.sandbox.image_db.control import control_routes
from imagesync_pipelines.sandbox.image_db.media import media_app, media_place
from imagesync_pipelines.sandbox.image_db.mutation import Mutation, Mutator
from imagesync_pipelines.sandbox.image_db.night import demo_changes as night_of_changes
from imagesync_pipelines.sandbox.image_db.odd import odd_records
from imagesync_pipelines.sandbox.image_db.products import write_erp_csv
from imagesync_pipelines.sandbox.ledger import Ledger
from imagesync_pipelines.sandbox.serving import bind, running
from imagesync_pipelines.sandbox.wire import observed

USERNAME, PASSWORD = "imagesync", "sandbox-only"
PORT, MEDIA_PORT = 8801, 8802


@dataclass(frozen=True)
class Sandbox:
    """A running stand-in. `url` is the API base for IMAGE_API_URL; `media_url` the media host; both are loopback."""

    url: str
    media_url: str
    username: str
    password: str
    catalogue: Catalogue
    ledger: Ledger
    faults: FaultPlan
    clock: SandboxClock
    switches: Switches
    mutator: Mutator

    def mutate(self, operator: str, **arguments: Any) -> Mutation:
        """Change the catalogue now; operators and arguments as in Mutator.mutate."""
        return self.mutator.mutate(operator, **arguments)

    def after_pages(self, pages: int, operator: str, **arguments: Any) -> None:
        """Change the catalogue after so many more pages were served."""
        self.mutator.after_pages(pages, operator, **arguments)

    def write_erp_csv(self, folder: Path) -> tuple[Path, Path]:
        """Write the ERP's parents.csv and variants.csv and give their paths."""
        return write_erp_csv(self.catalogue.products, folder)


@contextmanager
def image_db_sandbox(
    catalogue: Catalogue | None = None,
    *,
    seed: int = 1,
    records: int = RECORDS,
    faults: tuple[Fault, ...] = (),
    clock: SandboxClock | None = None,
    username: str = USERNAME,
    password: str = PASSWORD,
    port: int = 0,
    media_port: int = 0,
    with_odd_records: bool = False,
    **switches: Any,
) -> Iterator[Sandbox]:
    """Run the stand-in on free ports of loopback.

    Without a catalogue one of `records` records is made from the seed. `with_odd_records` spreads one record of every
    odd way over the table; one repeats a file_id and some have none, so no walk of it is provable. `switches` are
    the fields of Switches: honour_page_size, unstable_order, stock_drift, latency, session_authentication_first,
    link_origin.
    """
    catalogue = catalogue if catalogue is not None else build_catalogue(seed, records)
    clock = clock if clock is not None else SandboxClock()
    plan, ledger, mutator = FaultPlan(), Ledger(), Mutator(catalogue, clock)
    plan.add(*faults)
    if with_odd_records:
        for nth, record in enumerate(odd_records(catalogue).values()):
            mutator.mutate("insert_record", record=record, position=nth * len(catalogue) // 60)
    api_socket, media_socket = bind(port), bind(media_port)
    # Two host names, as in the contract: credentials for the API must not follow to the media host.
    url = f"http://localhost:{api_socket.getsockname()[1]}/api/"
    media_url = f"http://127.0.0.1:{media_socket.getsockname()[1]}/media/"
    settings = Switches(username=username, password=password, media_root=media_url, **switches)
    routes = control_routes(catalogue, mutator, settings, plan, ledger, clock)
    api = observed(api_app(catalogue, mutator, settings, routes), api_place, plan, ledger, clock)
    media = observed(media_app(catalogue), media_place, plan, ledger, clock)
    with running((api, api_socket), (media, media_socket)):
        yield Sandbox(url, media_url, username, password, catalogue, ledger, plan, clock, settings, mutator)


def demo_changes(sandbox: Sandbox) -> list[Mutation]:
    """Let a believable night pass at the image database and give what changed; see night.py."""
    return night_of_changes(sandbox.mutator, sandbox.catalogue)


def serve(
    announce: Callable[[str], None],
    *,
    port: int = PORT,
    media_port: int = MEDIA_PORT,
    seed: int = 1,
    records: int = RECORDS,
    latency: float = 0.0,
    erp_folder: Path | None = None,
) -> None:
    """Run the stand-in until SIGINT or SIGTERM; to be called from the main thread.

    `announce` is given the lines for the terminal: URLs, credentials, ERP files. Fixed ports keep the media URLs the
    same after a restart. Raises ServingError when a port is taken.
    """
    stop = threading.Event()
    before = {kind: signal.signal(kind, lambda *_: stop.set()) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        with image_db_sandbox(seed=seed, records=records, port=port, media_port=media_port, latency=latency) as sandbox:
            announce(f"IMAGE_API_URL={sandbox.url}")
            announce(f"IMAGE_API_USERNAME={sandbox.username}")
            announce(f"IMAGE_API_PASSWORD={sandbox.password}")
            announce(f"# pictures: {sandbox.media_url}  control: {sandbox.url.removesuffix('api/')}__sandbox__/state")
            if erp_folder is not None:
                parents, variants = sandbox.write_erp_csv(erp_folder)
                announce(f"ERP_PARENTS_FILE={parents}")
                announce(f"ERP_VARIANTS_FILE={variants}")
            stop.wait()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
