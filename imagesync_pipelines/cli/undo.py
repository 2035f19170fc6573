"""`imagesync undo`: taking back what a run changed."""

import getpass
from collections.abc import Sequence

import click

from imagesync_pipelines.cli.output import print_outcome, progress_bars, retell, worst
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs import undo as undoing
from imagesync_pipelines.products.undoing import undo_choice
from imagesync_pipelines.storage.errors import PinRefusedError
from imagesync_pipelines.sync.undoing import UndoRefusedError


@click.command("undo")
@click.argument("run", metavar="RUN", required=False)
@click.option("--sku", "skus", metavar="SKU", multiple=True, help="of this product only; may be given several times")
@click.option(
    "--choice",
    "choices",
    metavar="SKU",
    multiple=True,
    help="the last choice of this product's primary picture, or order, instead; may be given several times",
)
@click.option("--dry-run", is_flag=True, help="only plan it; `imagesync apply` carries it out later")
@click.pass_context
def undo(
    context: click.Context, run: str | None, skus: tuple[str, ...], choices: tuple[str, ...], dry_run: bool
) -> None:
    """Take back what the run RUN changed: its id, or how that begins (`imagesync history` lists runs).

    Products that somebody changed since are left as they are, and told. No synchronisation does again what was undone:
    `imagesync held list` shows it, `imagesync held allow` releases it, and an undo is undone like any other run.
    """
    if (run is None) is not bool(choices) or (choices and (skus or dry_run)):
        raise click.UsageError("Name a run, or alone --choice SKU.", context)
    who = getpass.getuser()
    if run is None:
        context.exit(_undo_choices(choices, who))
    with progress_bars() as progress:
        outcomes = undoing.undo(run, skus, dry_run=dry_run, person=who, progress=progress)
        context.exit(worst(map(print_outcome, outcomes)))


def _undo_choices(skus: Sequence[str], who: str) -> int:
    """Take the last choice of each product back; what is refused is told and keeps no other. Returns the exit code."""
    refused = 0
    with runs.opened() as (installation, _instance):
        for sku in dict.fromkeys(skus):
            try:
                retell(undo_choice(installation.engine, sku, who))
            except (UndoRefusedError, PinRefusedError) as error:
                refused = 1
                retell(str(error), fg="red", err=True)
    return refused
