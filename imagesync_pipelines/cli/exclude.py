"""`imagesync exclude`, `include` and `exclusions`: products of which nothing is done in a channel."""

import getpass
from collections.abc import Collection

import click

from imagesync_pipelines.cli.output import print_outcome, print_table, progress_bars
from imagesync_pipelines.defs import undo as undoing
from imagesync_pipelines.registry import CONNECTORS, connector_named
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.sync import excluding
from imagesync_pipelines.sync.excluding import EXCLUDE, INCLUDE, Channel
from imagesync_pipelines.upstream.canonical import canonical_text

_OF = click.option("--connector", type=click.Choice(list(CONNECTORS)), required=True, help="the channel's connector")
_AT = click.option("--account", "--store", "account", metavar="ALIAS", default="", help="its account or store")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="only show what would be done")


@click.command("exclude")
@click.argument("skus", metavar="SKU...", nargs=-1, required=True)
@_OF
@_AT
@click.option("--why", default="", help="kept with your name")
@click.option("--take-away", is_flag=True, help="plan to take away what is there of them; `imagesync apply` does it")
@_DRY_RUN
@click.pass_context
def exclude(
    context: click.Context,
    skus: tuple[str, ...],
    connector: str,
    account: str,
    why: str,
    take_away: bool,
    dry_run: bool,
) -> None:
    """Exclude products from a channel: nothing of them is added, changed or removed there from the next plan on.

    What is there stays, unless you ask for the plan that takes it away, and apply that. `imagesync include` is the way
    back.
    """
    asked = sorted(set(map(canonical_text, skus)))
    with open_installation() as installation:
        channel = connector_named(connector).channel(account, installation.settings)
        found = excluding.look_at(installation.engine, channel, asked, EXCLUDE)
        done = None if dry_run else excluding.exclude(installation.engine, channel, asked, getpass.getuser(), why)
    _tell(found, done, f"excluded from {channel.name}; what is there stays")
    if take_away and dry_run:
        click.echo("What is there of them would be planned to be taken away.")
    elif take_away:
        with progress_bars() as progress:
            outcome = undoing.take_away(connector, account, asked, person=getpass.getuser(), progress=progress)
        context.exit(print_outcome(outcome))


@click.command("include")
@click.argument("skus", metavar="SKU...", nargs=-1, required=True)
@_OF
@_AT
@_DRY_RUN
def include(skus: tuple[str, ...], connector: str, account: str, dry_run: bool) -> None:
    """End the exclusion of products from a channel: the next run does there what is wanted."""
    asked = sorted(set(map(canonical_text, skus)))
    with open_installation() as installation:
        # An account that is not set up any more has exclusions too.
        channel = Channel(connector, account, connector_named(connector).groups_by_sku)
        found = excluding.look_at(installation.engine, channel, asked, INCLUDE)
        done = None if dry_run else excluding.include(installation.engine, channel, asked, getpass.getuser())
    _tell(found, done, f"excluded from {channel.name} no longer; the next run does there what is wanted")


@click.command("exclusions")
def list_exclusions() -> None:
    """Print what is excluded from which channel, by whom, since when and why."""
    with open_installation() as installation:
        found = excluding.list_exclusions(installation.engine)
    rows = [(one.channel, one.sku, one.excluded_by, f"{one.excluded_at:%Y-%m-%d %H:%M}", one.why) for one in found]
    print_table(f"{len(rows)} exclusions", ("channel", "SKU", "by", "since", "why"), rows)


def _tell(found: dict[str, str], done: Collection[str] | None, said: str) -> None:
    """Print what becomes of each product; done: those of which it did, None: nothing was done."""
    for sku, stays in found.items():
        if stays and sku not in (done or ()):
            click.echo(f"{sku}: nothing to do: {stays}")
        else:
            click.echo(f"{sku}: {'would be ' if done is None else ''}{said}")
