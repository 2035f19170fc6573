"""The `imagesync` command: its groups, and how every error ends on a terminal.

What belongs here: the root command, exit codes, logging to the terminal. What does not: the commands, one file per
room. Exit codes: 0 success, 3 completed with warnings (see the summary), 1 failed, 2 wrong options (click's own).
"""

import logging
import sys
import warnings
from typing import Any

import click

from imagesync_pipelines.cli import (
    cleanup,
    demo,
    edge,
    export,
    head_office,
    history,
    house,
    image_db,
    key,
    moysklad,
    plans,
    plytix,
    quarantine,
    serve,
    servers,
    users,
)
from imagesync_pipelines.image_db.api import BadPageError
from imagesync_pipelines.operations.partitions import BadBlockError, PartitionOrderError
from imagesync_pipelines.sandbox.serving import ServingError
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.upstream.errors import UpstreamError

FAILED = 1
# Errors whose text is written for people; any other is a mistake of ours and shows its trace.
FOR_PEOPLE = (
    SettingsError, StorageError, UpstreamError, BadPageError, BadBlockError, PartitionOrderError, ServingError,
)  # fmt: skip


class TerminalHandler(logging.Handler):
    """Log lines on standard error as it is at that moment, so that they do not tear a progress bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        click.echo(self.format(record), err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="imagesync-pipelines")
@click.option("--debug", is_flag=True, help="one log line per image, and full error traces")
def root(debug: bool) -> None:
    """Keeps product images right in every system that shows them."""
    warnings.filterwarnings("ignore", module=r"dagster\..*")
    lines: Any = {"format": "%(asctime)s %(levelname)-7s %(message)s", "datefmt": "%H:%M:%S"}
    logging.basicConfig(**lines, level=logging.WARNING, handlers=[TerminalHandler()])
    logging.getLogger("imagesync").setLevel(logging.DEBUG if debug else logging.INFO)


@root.group()
def sync() -> None:
    """Synchronise one room now."""


sync.add_command(image_db.sync)
sync.add_command(edge.sync)
sync.add_command(plytix.sync)
sync.add_command(moysklad.sync)
root.add_command(image_db.group)
root.add_command(edge.group)
root.add_command(plytix.group)
root.add_command(moysklad.group)
root.add_command(head_office.group)
root.add_command(plans.plan)
root.add_command(plans.apply)
root.add_command(quarantine.group)
root.add_command(key.group)
root.add_command(history.history)
root.add_command(cleanup.cleanup)
root.add_command(export.export_images)
root.add_command(house.env)
root.add_command(house.clean)
root.add_command(serve.serve)
root.add_command(users.group)
root.add_command(servers.dev)
root.add_command(servers.sandbox)
root.add_command(servers.sandbox_head_office)
root.add_command(servers.sandbox_amazon)
root.add_command(servers.sandbox_plytix)
root.add_command(servers.sandbox_moysklad)
root.add_command(demo.demo)


def main() -> None:
    """Entry point of the console script: people get one clear line, not a trace."""
    try:
        root(standalone_mode=True)
    except FOR_PEOPLE as error:
        if "--debug" in sys.argv:
            raise
        click.secho(str(error), fg="red", err=True)
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
