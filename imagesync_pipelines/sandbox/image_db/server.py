"""The image database's stand-in, ready to use for tests, benchmarks and the command line."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from imagesync_pipelines.sandbox.answers import Values
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.control import steered
from imagesync_pipelines.sandbox.faults import WireFault
from imagesync_pipelines.sandbox.image_db.app import ImageDbSwitches, api_app, api_place, media_app, media_place
from imagesync_pipelines.sandbox.image_db.catalogue import RECORDS, ImageCatalogue, build_catalogue
from imagesync_pipelines.sandbox.image_db.mutation import Mutator, RecordMutation, pass_a_night
from imagesync_pipelines.sandbox.image_db.products import write_erp_csv
from imagesync_pipelines.sandbox.server import LOOPBACK, StandIn, bind, running, url_of

USERNAME, PASSWORD = "imagesync", "sandbox-only"
PORT, MEDIA_PORT = 8801, 8802
STEERED = (
    *("honour_page_size", "unstable_order", "stock_drift", "latency", "session_authentication_first", "link_origin"),
)


@dataclass(frozen=True, kw_only=True)
class Sandbox(StandIn):
    """A running stand-in. `url` is the API base for IMAGE_API_URL; `media_url` the media host; both are loopback."""

    url: str
    media_url: str
    username: str
    password: str
    catalogue: ImageCatalogue
    switches: ImageDbSwitches
    mutator: Mutator

    def mutate(self, operator: str, **arguments: Any) -> RecordMutation:
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
    catalogue: ImageCatalogue | None = None,
    *,
    seed: int = 1,
    records: int = RECORDS,
    faults: tuple[WireFault, ...] = (),
    clock: SandboxClock | None = None,
    username: str = USERNAME,
    password: str = PASSWORD,
    port: int = 0,
    media_port: int = 0,
    **switches: Any,
) -> Iterator[Sandbox]:
    """Run the stand-in on free ports of loopback.

    Without a catalogue one of `records` records is made from the seed. `switches` are the fields of ImageDbSwitches:
    honour_page_size, unstable_order, stock_drift, latency, session_authentication_first, link_origin.
    """
    catalogue = catalogue if catalogue is not None else build_catalogue(seed, records)
    clock = clock if clock is not None else SandboxClock()
    api_socket, media_socket = bind(port), bind(media_port)
    # Two host names, as in the contract: credentials for the API must not follow to the media host.
    media_url = f"{url_of(media_socket)}/media/"
    sandbox = Sandbox(
        clock=clock,
        url=f"{url_of(api_socket, 'localhost')}/api/",
        media_url=media_url,
        username=username,
        password=password,
        catalogue=catalogue,
        switches=ImageDbSwitches(username=username, password=password, media_root=media_url, **switches),
        mutator=Mutator(catalogue, clock),
    )
    sandbox.faults.add(*faults)
    api = sandbox.watched(api_app(catalogue, sandbox.mutator.page_served, sandbox.switches), api_place)
    media = sandbox.watched(media_app(catalogue), media_place)
    with running((_steered(api, sandbox), api_socket), (media, media_socket)):
        yield sandbox


def _steered(app: ASGIApp, sandbox: Sandbox) -> ASGIApp:
    catalogue = sandbox.catalogue

    def state() -> Values:
        return {
            "seed": catalogue.seed,
            "records": len(catalogue),
            "parents": len(catalogue.products.parents),
            "variants": len(catalogue.products.variants),
            "switches": {name: getattr(sandbox.switches, name) for name in STEERED},
        }

    def mutate(values: Values) -> Values:
        operator, after_pages = str(values.pop("operator", "")), values.pop("after_pages", None)
        if isinstance(after_pages, int):
            sandbox.after_pages(after_pages, operator, **values)
            return {"scripted": operator, "after_pages": after_pages}
        return asdict(sandbox.mutate(operator, **values))

    def night(_: Values) -> object:
        return [asdict(change) for change in demo_changes(sandbox)]

    return steered(app, sandbox, state, {"mutate": mutate, "night": night}, sandbox.switches, STEERED)


def demo_changes(sandbox: Sandbox) -> list[RecordMutation]:
    """Let a believable night pass at the image database and give what changed."""
    return pass_a_night(sandbox.mutator, sandbox.catalogue)


def lines_of(sandbox: Sandbox, *, nights: int = 0, erp_folder: Path | None = None) -> Iterator[str]:
    """What points to a sandbox, as lines for the terminal: URLs, credentials, ERP files.

    `nights` nights of changes pass before; the ERP's files are written to `erp_folder`. Fixed ports keep the media URLs
    the same after a restart.
    """
    for _ in range(nights):
        demo_changes(sandbox)
    yield f"IMAGE_API_URL={sandbox.url}"
    yield f"IMAGE_API_USERNAME={sandbox.username}"
    yield f"IMAGE_API_PASSWORD={sandbox.password}"
    yield f"# pictures: {sandbox.media_url}  control: {sandbox.url.removesuffix('api/')}__sandbox__/state"
    yield f"IMAGESYNC_ALLOWED_IMAGE_HOSTS={LOOPBACK}"
    if erp_folder is not None:
        parents, variants = sandbox.write_erp_csv(erp_folder)
        yield f"ERP_PARENTS_FILE={parents}"
        yield f"ERP_VARIANTS_FILE={variants}"
