"""The image database's stand-in, ready to use: a context manager that tests, benchmarks and the command line share.

What belongs here: putting the parts together. What does not: the parts, and running it for good (serve.py).
"""

from collections.abc import Iterator
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
from imagesync_pipelines.sandbox.image_db.odd import odd_records
from imagesync_pipelines.sandbox.image_db.products import write_erp_csv
from imagesync_pipelines.sandbox.ledger import Ledger
from imagesync_pipelines.sandbox.serving import bind, running
from imagesync_pipelines.sandbox.steering import Steered
from imagesync_pipelines.sandbox.wire import observed

USERNAME, PASSWORD = "imagesync", "sandbox-only"


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
    routes = control_routes(catalogue, mutator, settings, Steered(plan, ledger, clock))
    api = observed(api_app(catalogue, mutator, settings, routes), api_place, plan, ledger, clock)
    media = observed(media_app(catalogue), media_place, plan, ledger, clock)
    with running((api, api_socket), (media, media_socket)):
        yield Sandbox(url, media_url, username, password, catalogue, ledger, plan, clock, settings, mutator)
