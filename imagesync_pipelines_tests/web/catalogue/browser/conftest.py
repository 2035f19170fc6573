"""A real browser on a real catalogue: a small installation, synchronised by Dagster, and Debian's Chromium."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.history import history
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.web.catalogue.state import open_catalogue
from imagesync_pipelines_tests import installations
from imagesync_pipelines_tests.web.catalogue.world import serving

# 130 records are about ninety products; a page of twelve makes the list several pages long.
RECORDS, PAGE_SIZE = 130, 12
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
WAIT_MILLISECONDS = 15_000

_SERIOUS = """async () => {
  const found = await axe.run();
  return found.violations.filter(one => ["serious", "critical"].includes(one.impact))
    .map(one => one.id + ": " + one.nodes.map(node => node.html.slice(0, 200)).join(" | "));
}"""


@dataclass(frozen=True)
class Place:
    """The installation, and the address of its catalogue."""

    world: installations.World
    address: str

    def sync(self, **options: Any) -> runs.RunOutcome:
        """Synchronise as every night."""
        return synchronised(self.world, **options)

    def value(self, query: str) -> Any:
        """The first value that a query on the database gives."""
        return self.world.rows(query)[0][0]


def synchronised(world: installations.World, **options: Any) -> runs.RunOutcome:
    """One synchronisation. In a thread: Playwright's event loop is running in this one, and Dagster makes its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(partial(world.sync, **options)).result()


@dataclass
class Watched:
    """Everything that a browser complained about, and whom else it asked."""

    address: str
    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Listen to a page from now on."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.complaints.append(f"another host was asked: {request.url}")


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Debian's Chromium. Where CI runs it must be there; elsewhere these tests are skipped without it."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        sentence = "no Chromium is installed, so no page was opened in a browser (Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    # Chromium's own sandbox does not start as root; the pages here are ours.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    return {**browser_type_launch_args, "executable_path": found, "args": flags}


@pytest.fixture(scope="package")
def place(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A synchronised installation and its catalogue; the media host stays up."""
    folder = tmp_path_factory.mktemp("catalogue")
    with installations.world(server, folder, records=RECORDS) as world:
        assert synchronised(world).status == runs.Status.COMPLETED
        with world.opened(CATALOGUE_PAGE_SIZE=str(PAGE_SIZE)) as (place, instance):
            opened = open_catalogue(place, partial(history, instance))
            with serving(opened) as site:
                yield Place(world, site.address)


@contextmanager
def opened(browser: Browser, place: Place, **options: Any) -> Iterator[Page]:
    """A page of a fresh browser profile; at the end it must have complained about nothing and asked nobody else."""
    context: BrowserContext = browser.new_context(base_url=place.address, **{"viewport": WIDE, **options})
    context.set_default_timeout(WAIT_MILLISECONDS)
    watched = Watched(place.address)
    context.on("page", watched.watch)
    yield context.new_page()
    context.close()
    assert watched.complaints == []


@pytest.fixture
def page(browser: Browser, place: Place) -> Iterator[Page]:
    """A wide screen."""
    with opened(browser, place) as page:
        yield page


def watch_for_findings(page: Page) -> None:
    """Let axe-core, which is kept with the tests, run on every page that is opened from now on.

    The page's profile must be opened with bypass_csp: no program but ours may run on our pages otherwise.
    """
    page.add_init_script(path=Path(__file__).parent.parent / "vendored" / "axe.min.js")


def findings_here(page: Page) -> list[str]:
    """What axe-core finds serious on the page that is open."""
    found: list[str] = page.evaluate(_SERIOUS)
    return found
