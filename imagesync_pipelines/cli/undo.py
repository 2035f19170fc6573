"""`imagesync undo`: taking back what a run changed."""

import getpass

import click

from imagesync_pipelines.cli.output import print_outcome, progress_bars, worst
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs import undo as undoing
from imagesync_pipelines.products.undoing import undo_choice


@click.command("undo")
@click.argument("run", metavar="RUN", required=False)
@click.option("--sku", "skus", metavar="SKU", multiple=True, help="of this product only; may be given several times")
@click.option(
    "--choice", "choice", metavar="SKU", help="the last choice of this product's primary picture, or order, instead"
)
@click.option("--dry-run", is_flag=True, help="only plan it; `imagesync apply` carries it out later")
@click.pass_context
def undo(context: click.Context, run: str | None, skus: tuple[str, ...], choice: str | None, dry_run: bool) -> None:
    """Take back what the run RUN changed: its id, or how that begins (`imagesync history` lists runs).

    Products that somebody changed since are left as they are, and told. No synchronisation does again what was undone:
    `imagesync held list` shows it, `imagesync held allow` releases it, and an undo is undone like any other run.
    """
    if (run is None) is (choice is None) or (choice is not None and (skus or dry_run)):
        raise click.UsageError("Name a run, or alone --choice SKU.", context)
    who = getpass.getuser()
    if run is None:
        with runs.opened() as (installation, _):
            click.echo(undo_choice(installation.engine, choice or "", who))
        return
    with progress_bars() as progress:
        outcomes = undoing.undo(run, skus, dry_run=dry_run, person=who, progress=progress)
        context.exit(worst(map(print_outcome, outcomes)))
