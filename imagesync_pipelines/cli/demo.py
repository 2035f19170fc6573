"""`imagesync demo`: a real catalogue's size, synchronised three times, from nothing to a table.

What belongs here: the demonstration and its table. What does not: the sandbox, the synchronisation.
"""

import shutil
from dataclasses import dataclass

import click

from imagesync_pipelines import runs
from imagesync_pipelines.cli import sandboxed
from imagesync_pipelines.cli.output import EXIT_CODES, print_table, progress_bars
from imagesync_pipelines.sandbox.image_db import serve
from imagesync_pipelines.sandbox.image_db.server import image_db_sandbox
from imagesync_pipelines.storage.embedded import stop_server

COLUMNS = (
    "run", "added", "updated", "removed", "kept", "rejected", "products affected", "calls", "seconds", "status"
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One run of the demonstration."""

    name: str
    outcome: runs.Outcome

    def cells(self) -> tuple[object, ...]:
        """The run as a row of the table."""
        summary = self.outcome.summary
        names = ("images_added", "images_updated", "images_deleted", "kept", "rejected", "products_affected")
        numbers = [summary.get(name, 0) for name in (*names, "api_calls", "seconds")]
        return (self.name, *numbers, str(self.outcome.status))


@click.command()
@click.pass_context
def demo(context: click.Context) -> None:
    """Synchronise a made-up catalogue of real size: first run, unchanged, after a night of changes."""
    with sandboxed.environment() as place:
        _start_afresh(place)
        place.remember(0)
        click.echo(f"A made-up image database and ERP of real size, kept in {place.home}.")
        lines = []
        with image_db_sandbox(port=serve.PORT, media_port=serve.MEDIA_PORT) as sandbox:
            sandbox.write_erp_csv(place.folder)
            lines.append(_run("first run"))
            lines.append(_run("nothing changed"))
            changes = serve.demo_changes(sandbox)
            place.remember(1)
            lines.append(_run(f"after {len(changes)} changes"))
    print_table("image database → product_image", COLUMNS, [line.cells() for line in lines])
    for line in lines:
        for text in (*line.outcome.summary.get("warnings", ()), *([line.outcome.error] if line.outcome.error else [])):
            click.echo(f"  {line.name}: {text}")
    click.echo("\nLook at it in the Dagster UI:  make dev   (or: imagesync dev), then open the address it prints.")
    click.echo("Past runs:                     imagesync history")
    click.echo("The last plan:                 imagesync plan")
    context.exit(max(EXIT_CODES[line.outcome.status] for line in lines))


def _run(name: str) -> Line:
    click.echo(f"  {name} …")
    with progress_bars() as progress:
        return Line(name, runs.sync_image_db(progress=progress))


def _start_afresh(place: sandboxed.Place) -> None:
    """Empty the sandbox's home, so that the first run is a first run. Only a home that a sandbox made is emptied."""
    entries = {entry.name for entry in place.home.iterdir()}
    if entries - {"sandbox"} and not (place.folder / "nights").exists():
        raise click.ClickException(
            f"{place.home} holds something that the demo did not make. Set IMAGESYNC_HOME to another folder, "
            "or remove it with `imagesync clean`."
        )
    if entries - {"sandbox"}:
        stop_server(place.home)
        for entry in place.home.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    place.folder.mkdir(parents=True, exist_ok=True)
