"""The catalogue's part of `imagesync demo`: its pages are asked for once, over real HTTP, and then it is stopped."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import click
import requests

from imagesync_pipelines.cli.output import print_table
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.history import history
from imagesync_pipelines.sandbox.server import LOOPBACK, bind, running
from imagesync_pipelines.settings import load_settings
from imagesync_pipelines.web.catalogue.app import build_app
from imagesync_pipelines.web.catalogue.settings import CatalogueSettings
from imagesync_pipelines.web.catalogue.state import open_catalogue

COLUMNS = ("page", "answer", "bytes", "ms")
SECONDS = 60
_PRODUCT = re.compile(r'href="(/products/\d+)"')
_PICTURE = re.compile(r'src="(/media/[^"]+)"')


@dataclass(frozen=True)
class DemoPage:
    """One page of the catalogue and what it answered."""

    path: str
    answer: str
    length: int
    milliseconds: float

    def cells(self) -> tuple[object, ...]:
        """The page as a row of the table."""
        return (self.path, self.answer, self.length, round(self.milliseconds))


def catalogue_pages() -> list[DemoPage]:
    """The list, a product with a picture of it, history and plans; to be called while the media host answers."""
    click.echo("The catalogue of all that …")
    with runs.opened() as (place, instance):
        listener = bind()
        address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        app = build_app(open_catalogue(place, partial(history, instance)))
        with running((app, listener)), requests.Session() as session:
            products, text = _ask(session, address, "/")
            found = _PRODUCT.search(text)
            pages = [products]
            if found is not None:
                product, text = _ask(session, address, found[1])
                pages += [product, *(_ask(session, address, path)[0] for path in _PICTURE.findall(text)[:1])]
            pages += [_ask(session, address, path)[0] for path in ("/history", "/plans")]
    return pages


def print_pages(pages: Sequence[DemoPage]) -> None:
    """Print what the pages answered."""
    print_table("the catalogue's pages", COLUMNS, [page.cells() for page in pages])


def all_answer(pages: Sequence[DemoPage]) -> bool:
    """Whether every page is there; a picture is one too, or the grey one where the source's cannot be had."""
    return all(page.answer.startswith("200 ") for page in pages)


def public_address() -> str:
    """Where `imagesync serve` and `make dev` show the catalogue, when the port is free."""
    settings = load_settings(CatalogueSettings)
    return f"http://{settings.host}:{settings.port}"


def _ask(session: requests.Session, address: str, path: str) -> tuple[DemoPage, str]:
    began = time.perf_counter()
    answer = session.get(address + path, timeout=SECONDS)
    seconds = time.perf_counter() - began
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    page = DemoPage(path, f"{answer.status_code} {kind}", len(answer.content), seconds * 1000)
    return page, answer.text if kind == "text/html" else ""
