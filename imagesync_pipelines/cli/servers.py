"""`imagesync dev` and `imagesync sandbox`: the processes that stay up."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import click

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.cli import sandboxed
from imagesync_pipelines.cli.edge import PHOTO_PORT
from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.defs import launching, pages, runs
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.sandbox.amazon import server as amazon_server
from imagesync_pipelines.sandbox.head_office import server as head_office_server
from imagesync_pipelines.sandbox.image_db import server as sandbox_server
from imagesync_pipelines.sandbox.moysklad import server as moysklad_server
from imagesync_pipelines.sandbox.plytix import server as plytix_server
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.home import open_locations
from imagesync_pipelines.web.catalogue.settings import CatalogueSettings

STOP_SECONDS = 20
PROGRAM = (sys.executable, "-m", "imagesync_pipelines.cli.main")


@click.command("sandbox")
@click.option("--port", default=sandbox_server.PORT, show_default=True)
@click.option("--media-port", default=sandbox_server.MEDIA_PORT, show_default=True)
@click.option("--latency", default=0.0, help="seconds that every answer takes")
@click.option("--nights", default=0, help="how many nights of changes have passed")
@click.option("--erp-folder", type=click.Path(path_type=Path), help="write the ERP's two files here")
def sandbox(port: int, media_port: int, latency: float, nights: int, erp_folder: Path | None) -> None:
    """Run the image database's stand-in until Ctrl-C and print the variables that point to it."""
    sandbox_server.serve(
        click.echo, port=port, media_port=media_port, latency=latency, nights=nights, erp_folder=erp_folder
    )


@click.command("sandbox-head-office")
@click.option("--port", default=head_office_server.PORT, show_default=True)
@click.option("--photos", default=150, show_default=True, help="how many there are at the start")
@click.option("--stores", default=2, show_default=True)
@click.option("--original", is_flag=True, help="answer as the first head office did, with its limits and errors")
@click.option("--folder", type=click.Path(path_type=Path), help="where its objects are kept (default: in the home)")
@click.option("--accounts-file", type=click.Path(path_type=Path), help="write the accounts file of its stores here")
def sandbox_head_office(
    port: int, photos: int, stores: int, original: bool, folder: Path | None, accounts_file: Path | None
) -> None:
    """Run the head office's stand-in until Ctrl-C and print the accounts that point to it."""
    locations = open_locations(load_settings(Settings))
    head_office_server.serve(
        click.echo,
        database_url=sandboxed.head_office_database(locations),
        folder=folder or locations.home / "sandbox" / "head_office",
        port=port,
        photos=photos,
        stores=stores,
        original=original,
        accounts_file=accounts_file,
    )


@click.command("sandbox-amazon")
@click.option("--mapping", type=click.Path(dir_okay=False, path_type=Path), help="write the demo's mapping file here")
def sandbox_amazon(mapping: Path | None) -> None:
    """Run Amazon's stand-in (catalogue, images) until Ctrl-C and print where it is."""
    amazon_server.serve(click.echo, mapping=mapping)


@click.command("sandbox-plytix")
def sandbox_plytix() -> None:
    """Run Plytix's stand-in until Ctrl-C; it knows the demo's products and fetches images from sandbox-amazon."""
    plytix_server.serve(click.echo, products=sandboxed.plytix_products(), fetch=sandboxed.fetch_image)


@click.command("sandbox-moysklad")
def sandbox_moysklad() -> None:
    """Run МойСклад's stand-in (one main account, two child accounts) until Ctrl-C and print where it is."""
    moysklad_server.serve(click.echo)


@click.command("dev")
@click.option("--port", default=3000, show_default=True, help="of the Dagster UI; the next free one if it is taken")
@click.option("--real", is_flag=True, help="the sources of .env instead of the sandbox")
def dev(port: int, real: bool) -> None:
    """Dagster UI, daemon, catalogue, sandboxes and photo server on one home; stays up until Ctrl-C."""
    port = _free_port(port)
    with nullcontext() if real or sandboxed.is_configured() else sandboxed.environment() as place:
        os.environ["IMAGESYNC_WEBSERVER_URL"] = f"http://127.0.0.1:{port}"
        with runs.opened() as (installation, instance), ExitStack() as servers:
            environment = {**os.environ, **installation.locations.environment()}
            started = []
            if place is not None:
                started += servers.enter_context(_running(sandboxed.server_commands(place), environment))
                sandboxed.wait_until_up(place)
            blocks = pages.known_blocks(instance, connector_named("image_db"), load_settings(Settings), click.echo)
            accounts = load_accounts(load_settings(Settings))
            stores = launching.keep_partitions(instance, connector_named(EDGE), accounts)
            children = launching.keep_partitions(instance, connector_named("moysklad"), accounts)
            click.echo(f"{len(blocks)} page partitions, {len(stores)} edge stores, {len(children)} child accounts")
            photos, catalogue = _free_port(PHOTO_PORT), _free_port(load_settings(CatalogueSettings).port)
            commands = {**_dagster_commands(port), **_catalogue(catalogue), **_photo_server(stores, photos)}
            started += servers.enter_context(_running(commands, environment))
            for name in stores[:1]:
                click.echo(f"Photos of {name}: http://127.0.0.1:{photos}")
            click.secho(f"Catalogue: http://127.0.0.1:{catalogue}", bold=True)
            click.secho(f"Dagster UI: http://127.0.0.1:{port}   (Ctrl-C stops everything)", bold=True)
            _wait(started)


def _dagster_commands(port: int) -> dict[str, list[str]]:
    """Webserver and daemon on the code location of workspace.yaml, or of the package when there is none here."""
    where = ["-w", "workspace.yaml"] if Path("workspace.yaml").exists() else ["-m", "imagesync_pipelines.definitions"]
    scripts = Path(sys.executable).parent
    webserver = shutil.which("dagster-webserver", path=str(scripts)) or "dagster-webserver"
    daemon = shutil.which("dagster-daemon", path=str(scripts)) or "dagster-daemon"
    return {
        "webserver": [webserver, "-h", "127.0.0.1", "-p", str(port), "--log-level", "warning", *where],
        "daemon": [daemon, "run", "--log-level", "warning", *where],
    }


def _catalogue(port: int) -> dict[str, list[str]]:
    """The catalogue, over the same home."""
    return {"catalogue": [*PROGRAM, "serve", "--host", "127.0.0.1", "--port", str(port)]}


def _photo_server(stores: Sequence[str], port: int) -> dict[str, list[str]]:
    """The photo server of the first store; none where there is no store."""
    return {
        f"photos of {name}": [*PROGRAM, "edge", "serve", "--store", name, "--port", str(port)] for name in stores[:1]
    }


@contextmanager
def _running(
    commands: Mapping[str, list[str]], environment: Mapping[str, str]
) -> Iterator[list[tuple[str, "subprocess.Popen[bytes]"]]]:
    """Start the commands, each in a process group of its own; stop exactly these at the end."""
    started: list[tuple[str, subprocess.Popen[bytes]]] = []
    try:
        for name, command in commands.items():
            process = subprocess.Popen(command, env=dict(environment), start_new_session=True)  # noqa: S603
            started.append((name, process))
        yield started
    finally:
        for _, process in reversed(started):
            _signal(process, signal.SIGINT)
        for _, process in reversed(started):
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)
                process.wait()


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)


def _wait(processes: list[tuple[str, "subprocess.Popen[bytes]"]]) -> None:
    """Return at Ctrl-C or SIGTERM; raise when one of the processes ends by itself."""
    stop = threading.Event()
    before = {kind: signal.signal(kind, lambda *_: stop.set()) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not stop.wait(0.5):
            for name, process in processes:
                if process.poll() is not None:
                    raise click.ClickException(f"{name} ended with exit code {process.returncode}; see its lines above")
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _free_port(wanted: int) -> int:
    """The wanted port, or the next one that nobody listens on."""
    for port in range(wanted, wanted + 50):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise click.ClickException(f"no free port from {wanted} to {wanted + 49}")
