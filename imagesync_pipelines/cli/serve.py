"""`imagesync serve`: the catalogue of this installation, for people and for systems."""

import atexit
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import click
import dagster as dg
from starlette.types import ASGIApp

from imagesync_pipelines import logs
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.history import history
from imagesync_pipelines.defs.watching import silent_daemon, watched
from imagesync_pipelines.languages import told
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.web import service
from imagesync_pipelines.web.catalogue.app import build_app
from imagesync_pipelines.web.catalogue.metrics import counting_together
from imagesync_pipelines.web.catalogue.state import Opened, open_catalogue

_left_open = ExitStack()
atexit.register(_left_open.close)


@click.command("serve")
@click.option("--host", help="address to listen on; put a TLS proxy in front  [default: CATALOGUE_HOST]")
@click.option("--port", type=click.IntRange(1, 65535), help="[default: CATALOGUE_PORT]")
def serve(host: str | None, port: int | None) -> None:
    """Serve the catalogue until Ctrl-C: products, pictures, history, plans, API and exports.

    It needs the database and the storage of this installation, and no Dagster process; only starting a
    synchronisation from a page needs Dagster's webserver (IMAGESYNC_WEBSERVER_URL). While it serves it looks every
    minute whether Dagster's daemon works, and tells IMAGESYNC_ALERT_URLS when it stopped.
    """
    asked = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    with runs.opened() as (place, instance):
        opened = open_here(place, instance, asked)
        url = f"http://{opened.settings.host}:{opened.settings.port}"
        logs.say(told(f"Catalogue: {url}   (Ctrl-C stops it)"))
        where, processes = (opened.settings.host, opened.settings.port), opened.settings.processes
        proxies = opened.shared.trusted_proxies
        with watched(place, instance, logging.getLogger("imagesync")):
            if processes == 1:
                service.serve(build_app(opened), *where, trusted_proxies=proxies)
                return
            with counting_together():
                service.serve_in_processes(partial(_open_app, asked), *where, processes, trusted_proxies=proxies)


def _open_app(asked: Mapping[str, object]) -> ASGIApp:
    """The catalogue of this installation in a process of its own."""
    place, instance = _left_open.enter_context(runs.opened())
    return build_app(open_here(place, instance, asked))


def open_here(place: Installation, instance: dg.DagsterInstance, asked: Mapping[str, object]) -> Opened:
    """What the catalogue works with, of this installation and its Dagster; asked: settings of it that are others."""
    opened = open_catalogue(place, partial(history, instance), partial(silent_daemon, instance))
    return replace(opened, settings=opened.settings.model_copy(update=asked))
