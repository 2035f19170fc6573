"""`imagesync exclude`, `include` and `exclusions`: products of which nothing is done in a channel."""

import getpass
from collections.abc import Collection

import click

from imagesync_pipelines.cli.output import print_outcome, print_table, progress_bars, say
from imagesync_pipelines.defs import undo as undoing
from imagesync_pipelines.languages import _, ngettext, pgettext, retold
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
    would, did = (
        _("{sku}: would be excluded from {channel}; what is there stays"),
        _("{sku}: excluded from {channel}; what is there stays"),
    )
    _tell(found, done, (would if dry_run else did), channel)
    if take_away and dry_run:
        say(_("What is there of them would be planned to be taken away."))
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
    would = _("{sku}: would be excluded from {channel} no longer; the next run does there what is wanted")
    did = _("{sku}: excluded from {channel} no longer; the next run does there what is wanted")
    _tell(found, done, would if dry_run else did, channel)


@click.command("exclusions")
def list_exclusions() -> None:
    """Print what is excluded from which channel, by whom, since when and why."""
    with open_installation() as installation:
        found = excluding.list_exclusions(installation.engine)
    rows = [(one.channel, one.sku, one.excluded_by, f"{one.excluded_at:%Y-%m-%d %H:%M}", one.why) for one in found]
    columns = (_("channel"), "SKU", pgettext("who", "by"), _("since"), _("why"))
    print_table(ngettext("{n} exclusion", "{n} exclusions", len(rows)).format(n=len(rows)), columns, rows)


def _tell(found: dict[str, str], done: Collection[str] | None, said: str, channel: Channel) -> None:
    """Print what becomes of each product; done: those of which it did, None: nothing was done."""
    for sku, stays in found.items():
        if stays and sku not in (done or ()):
            say(_("{sku}: nothing to do: {why}").format(sku=sku, why=retold(stays)))
        else:
            say(said.format(sku=sku, channel=channel.name))
