"""`imagesync held …`: What is held back by the deletion limits or by a doubt, until somebody decides."""

import getpass
from collections.abc import Sequence

import click

from imagesync_pipelines.cli.output import print_table, retell
from imagesync_pipelines.defs import runs
from imagesync_pipelines.languages import _, pgettext, retold
from imagesync_pipelines.registry import CONNECTORS
from imagesync_pipelines.sync import held

_OF = click.option("--connector", type=click.Choice(list(CONNECTORS)), help="of this connector only")
_AT = click.option("--account", "--store", "account", metavar="ALIAS", help="of this account or store only")


@click.command("list")
@_OF
@_AT
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@click.pass_context
def list_held(context: click.Context, connector: str | None, account: str | None, limit: int) -> None:
    """Print what is held back and what was decided about it; the exit code is 3 while anything is undecided."""
    with runs.opened() as (installation, _instance):
        found = held.entries(installation.engine, connector, account)
    waiting = [one for one in found if one.decision is None]
    columns = (
        _("number"), pgettext("whose", "of"), pgettext("would be done", "would"), _("key"), _("group"), _("since"),
        _("decided"), _("reason"),
    )  # fmt: skip
    rows = [
        (
            one.id, one.owner, retold(held.would(one.kind, one.change)), one.key, one.group,
            f"{one.since:%Y-%m-%d %H:%M}", one.decision and retold(one.decision), retold(one.reason),
        )
        for one in found[:limit]
    ]  # fmt: skip
    title = _("{waiting} held back, {decided} decided").format(waiting=len(waiting), decided=len(found) - len(waiting))
    print_table(title, columns, rows)
    for sentence in held.sentences(waiting):
        retell(sentence)
    context.exit(3 if waiting else 0)


@click.command("allow")
@click.argument("numbers", type=int, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="all that is undecided")
@_OF
@_AT
def allow(numbers: tuple[int, ...], everything: bool, connector: str | None, account: str | None) -> None:
    """Let what is held go: the next run carries it out, if it is still as it was when it was held."""
    _decide(held.ALLOW, numbers, everything, connector, account)


@click.command("keep")
@click.argument("numbers", type=int, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="all that is undecided")
@_OF
@_AT
def keep(numbers: tuple[int, ...], everything: bool, connector: str | None, account: str | None) -> None:
    """Keep what is held as it is, without a word, until the source wants it again."""
    _decide(held.KEEP, numbers, everything, connector, account)


def _decide(
    decision: str, numbers: Sequence[int], everything: bool, connector: str | None, account: str | None
) -> None:
    """Write a person's word and say so; a number that is not held is an error that names it."""
    with runs.opened() as (installation, _instance):
        known = held.entries(installation.engine, connector, account)
        if missing := sorted(set(numbers) - {one.id for one in known}):
            raise click.ClickException(f"not held: {', '.join(map(str, missing))}; see `imagesync held list`")
        chosen = [one.id for one in known if one.id in numbers or (everything and one.decision is None)]
        if not chosen:
            raise click.ClickException("nothing was chosen; name numbers of `imagesync held list`, or --all")
        retell(
            held.DECIDED[decision].format(number=held.decide(installation.engine, chosen, decision, getpass.getuser()))
        )
