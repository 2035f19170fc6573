"""`imagesync dev`: Dagster UI, daemon, catalogue, stand-ins and photo server on one home, until Ctrl-C.

Catalogue, stand-ins and photo server are in this process. Webserver and daemon share one code server: each would start
one for itself, and the daemon another one every minute.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import dagster as dg
import psutil  # type: ignore[import-untyped]

from imagesync_pipelines import logs
from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.cli.edge import PHOTO_PORT, photo_app
from imagesync_pipelines.cli.output import retell
from imagesync_pipelines.cli.sandbox import stand_ins
from imagesync_pipelines.cli.serve import open_here
from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.defs import launching, pages, runs
from imagesync_pipelines.defs.watching import watched
from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.sandbox.server import LOOPBACK, ServingError, bind, running, stopping
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.sync.connector import Connector
from imagesync_pipelines.web.catalogue.app import build_app
from imagesync_pipelines.web.catalogue.state import CatalogueSettings

STOP_SECONDS = 20
SOCKET, WORKSPACE = "code.sock", "workspace.yaml"
# As in workspace.yaml at the top of the repository: schedules and past runs are known by it.
LOCATION = "imagesync_pipelines"
Started = list[tuple[str, "subprocess.Popen[bytes]"]]


@click.command("dev")
@click.option("--port", default=3000, show_default=True, help="of the Dagster UI; the next free one if it is taken")
@click.option("--real", is_flag=True, help="the sources of .env instead of the sandbox")
def dev(port: int, real: bool) -> None:
    """Dagster UI, daemon, catalogue, sandboxes and photo server on one home; stays up until Ctrl-C."""
    port = _free_port(port)
    with nullcontext() if real or stand_ins.is_configured() else stand_ins.environment() as place:
        os.environ["IMAGESYNC_WEBSERVER_URL"] = f"http://{LOOPBACK}:{port}"
        with runs.opened() as (installation, instance), ExitStack() as servers:
            # Dagster's many threads would each keep memory of their own otherwise.
            environment = {"MALLOC_ARENA_MAX": "2", **os.environ, **installation.locations.environment()}
            folder = Path(servers.enter_context(TemporaryDirectory(prefix="imagesync-dev-")))
            if place is not None:
                servers.enter_context(stand_ins.all_served(place))
            # It loads the code meanwhile.
            started = [*servers.enter_context(_running({N_("code server"): _code_server(folder)}, environment))]
            blocks = _blocks(instance, connector_named("image_db"))
            accounts = load_accounts(load_settings(Settings))
            stores = launching.keep_partitions(instance, connector_named(EDGE), accounts)
            children = launching.keep_partitions(instance, connector_named("moysklad"), accounts)
            logs.say(told(f"{len(blocks)} page partitions, {len(stores)} edge stores, {len(children)} child accounts"))
            photos, catalogue = _free_port(PHOTO_PORT), _free_port(load_settings(CatalogueSettings).port)
            _wait_for(folder / SOCKET, started)
            # The photo server of the first store, where there is one.
            for name in stores[:1]:
                app = servers.enter_context(photo_app(name))()
                servers.enter_context(running((app, bind(photos))))
                logs.say(told(f"Photos of {name}: http://{LOOPBACK}:{photos}"))
            started += servers.enter_context(_running(_dagster_commands(port, folder), environment))
            servers.enter_context(watched(installation, instance, logging.getLogger("imagesync")))
            opened = open_here(installation, instance, {"host": LOOPBACK, "port": catalogue})
            servers.enter_context(running((build_app(opened), bind(catalogue))))
            logs.say(told(f"Catalogue: http://{LOOPBACK}:{catalogue}"), bold=True)
            logs.say(told(f"Dagster UI: http://{LOOPBACK}:{port}   (Ctrl-C stops everything)"), bold=True)
            _wait(started)


def _blocks(instance: dg.DagsterInstance, connector: Connector) -> Sequence[str]:
    """The blocks of pages, as last known where something has to be put right first; the UI is opened all the same."""
    try:
        return pages.known_blocks(instance, connector, load_settings(Settings), retell)
    except ImagesyncError as error:
        retell(str(error))
        return instance.get_dynamic_partitions(connector.page_partitions)


def _code_server(folder: Path) -> list[str]:
    """The server of our definitions, on a socket in the folder; a workspace file there leads to it."""
    grpc_server = {"socket": str(folder / SOCKET), "location_name": LOCATION}
    (folder / WORKSPACE).write_text(json.dumps({"load_from": [{"grpc_server": grpc_server}]}))
    where = ["-m", "imagesync_pipelines.definitions", "-d", "."]
    return [
        _program("dagster"),
        "api",
        "grpc",
        "-s",
        str(folder / SOCKET),
        "--log-level",
        "warning",
        *_log_format(),
        *where,
    ]


def _dagster_commands(port: int, folder: Path) -> dict[str, list[str]]:
    """Webserver and daemon on the code server of the folder."""
    where = ["--log-level", "warning", *_log_format(), "-w", str(folder / WORKSPACE)]
    return {
        N_("webserver"): [_program("dagster-webserver"), "-h", LOOPBACK, "-p", str(port), *where],
        N_("daemon"): [_program("dagster-daemon"), "run", *where],
    }


def _log_format() -> list[str]:
    return ["--log-format", "json"] if logs.is_json() else []


def _program(name: str) -> str:
    """A program of Dagster's, which lies beside this environment's Python."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or name


@contextmanager
def _running(commands: Mapping[str, list[str]], environment: Mapping[str, str]) -> Iterator[Started]:
    """Start the commands, each in a process group of its own; stop these groups at the end, and nothing else."""
    started: Started = []
    try:
        for name, command in commands.items():
            process = subprocess.Popen(command, env=dict(environment), start_new_session=True)  # noqa: S603
            started.append((name, process))
        yield started
    finally:
        # Whole groups: a code server that is in the middle of a tick outlives the daemon that started it.
        members = _members(started)
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGINT)
        psutil.wait_procs(members, STOP_SECONDS)
        for member in _members(started):
            with suppress(psutil.NoSuchProcess):
                member.kill()
        for _name, process in started:
            process.wait()


def _members(started: Started) -> list[psutil.Process]:
    """Everybody who is in the process group of one of these commands."""
    groups, members = {process.pid for _, process in started}, []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) in groups:
                members.append(process)
    return members


def _wait_for(file: Path, processes: Started) -> None:
    """Return when the file is there; raise when one of the processes ends before."""
    while not file.exists():
        _look_at(processes)
        time.sleep(0.1)


def _look_at(processes: Started) -> None:
    for name, process in processes:
        if process.poll() is not None:
            raise click.ClickException(f"{name} ended with exit code {process.returncode}; see its lines above")


def _wait(processes: Started) -> None:
    """Return at Ctrl-C or SIGTERM; raise when one of the processes ends by itself."""
    with stopping() as stop:
        while not stop.wait(0.5):
            _look_at(processes)


def _free_port(wanted: int) -> int:
    """The wanted port, or the next one that nobody listens on."""
    for port in range(wanted, wanted + 50):
        with suppress(ServingError):
            bind(port).close()
            return port
    raise click.ClickException(f"no free port from {wanted} to {wanted + 49}")
