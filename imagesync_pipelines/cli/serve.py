"""`imagesync serve`: the catalogue of this installation, for people and for systems."""

import logging
from dataclasses import replace
from functools import partial

import click

from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.history import history
from imagesync_pipelines.defs.watching import silent_daemon, watched
from imagesync_pipelines.web import service
from imagesync_pipelines.web.catalogue.app import build_app
from imagesync_pipelines.web.catalogue.state import open_catalogue


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
        opened = open_catalogue(place, partial(history, instance), partial(silent_daemon, instance))
        opened = replace(opened, settings=opened.settings.model_copy(update=asked))
        click.echo(f"Catalogue: http://{opened.settings.host}:{opened.settings.port}   (Ctrl-C stops it)")
        with watched(place, instance, logging.getLogger("imagesync")):
            proxies = opened.shared.trusted_proxies
            service.serve(build_app(opened), opened.settings.host, opened.settings.port, trusted_proxies=proxies)
