"""`imagesync quarantine …`: Items that were set aside with their reason; they are tried again at every run."""

import click

from imagesync_pipelines.cli.output import print_outcome, print_table, progress_bars, say
from imagesync_pipelines.defs import runs
from imagesync_pipelines.languages import _, ngettext, retold
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.settings import DEFAULT_SOURCE
from imagesync_pipelines.storage.quarantine import QuarantineEntry, QuarantineTable
from imagesync_pipelines.sync.choosing import asked_again


@click.command("list")
@click.option("--connector", "--room", "connector", default=DEFAULT_SOURCE, show_default=True)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
def list_items(connector: str, limit: int) -> None:
    """Print what is in quarantine."""
    with runs.opened() as (installation, _instance):
        entries = QuarantineTable(installation.engine, connector).list()
    columns = ("id", _("stage"), _("key"), _("attempts"), _("last seen"), _("reason"))
    rows = [
        (one.id, retold(one.stage), one.key, one.attempts, f"{one.last_seen:%Y-%m-%d %H:%M}", retold(one.reason))
        for one in entries[:limit]
    ]
    title = ngettext("{n} item of {connector} in quarantine", "{n} items of {connector} in quarantine", len(entries))
    print_table(title.format(n=len(entries), connector=connector), columns, rows)


@click.command("replay")
@click.argument("ids", type=int, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="all items of the connector")
@click.option(
    "--connector", "--room", "connector", type=click.Choice([DEFAULT_SOURCE]), default=DEFAULT_SOURCE, show_default=True
)
@click.pass_context
def replay(context: click.Context, ids: tuple[int, ...], everything: bool, connector: str) -> None:
    """Try items again now, from the stored pages."""
    with runs.opened() as (installation, _instance):
        entries = _chosen(QuarantineTable(installation.engine, connector), ids, everything)
    if not entries:
        say(_("nothing to replay"))
        return
    images = sorted({entry.key.rpartition("/")[2] for entry in entries})
    with progress_bars() as progress:
        outcome = runs.only(runs.sync(connector, progress=progress, external_ids=images))
    code = print_outcome(outcome)
    with runs.opened() as (installation, _instance):
        left = {entry.id for entry in QuarantineTable(installation.engine, connector).list()}
    _print_left(sum(entry.id not in left for entry in entries), len(entries))
    context.exit(code)


@click.command("retry")
@click.argument("ids", type=int, nargs=-1)
@click.option("--connector", "--room", "connector", required=True, help="with its account, e.g. moysklad/child-1")
@click.pass_context
def retry(context: click.Context, ids: tuple[int, ...], connector: str) -> None:
    """Synchronise again now; what the target refused is sent again too: these items of it, or all.

    Of a connector that knows products or entities only those of the items are synchronised, else the whole account.
    """
    name, _slash, account = connector.partition("/")
    with runs.opened() as (installation, _instance):
        table = QuarantineTable(installation.engine, connector)
        entries = _chosen(table, ids, everything=not ids)
        if not entries:
            say(_("{connector} has nothing in quarantine").format(connector=connector))
            return
        part = asked_again(connector_named(name), installation.engine, account, entries) if ids else {}
        asked = table.ask_again([entry.id for entry in entries])
    said = ngettext(
        "{n} items of {connector}; {refused} that were refused are sent again",
        "{n} items of {connector}; {refused} that were refused are sent again",
        len(entries),
    )
    say(said.format(n=len(entries), connector=connector, refused=asked))
    if name == DEFAULT_SOURCE:
        context.invoke(replay, ids=ids, everything=not ids, connector=name)
        return
    with progress_bars() as progress:
        outcome = runs.only(runs.sync(name, [account] if account else [], progress=progress, **part))
    code = print_outcome(outcome)
    with runs.opened() as (installation, _instance):
        left = {entry.key for entry in QuarantineTable(installation.engine, connector).list()}
    _print_left(sum(entry.key not in left for entry in entries), len(entries))
    context.exit(code)


@click.command("drop")
@click.argument("ids", type=int, nargs=-1, required=True)
@click.option("--connector", "--room", "connector", default=DEFAULT_SOURCE, show_default=True)
def drop(ids: tuple[int, ...], connector: str) -> None:
    """Forget items: they come back when they fail again."""
    with runs.opened() as (installation, _instance):
        table = QuarantineTable(installation.engine, connector)
        entries = _chosen(table, ids, everything=False)
        table.drop([entry.id for entry in entries])
    say(_("dropped {n} of {connector}").format(n=len(entries), connector=connector))


def _print_left(left: int, asked: int) -> None:
    """Say how many of the items asked for are not in quarantine any more."""
    say(
        "  "
        + ngettext("{left} of {n} left the quarantine", "{left} of {n} left the quarantine", asked).format(
            left=left, n=asked
        )
    )


def _chosen(table: QuarantineTable, ids: tuple[int, ...], everything: bool) -> list[QuarantineEntry]:
    """The entries asked for; an id that is not in the connector's quarantine is an error that names it."""
    known = {entry.id: entry for entry in table.list()}
    if missing := [str(number) for number in ids if number not in known and not everything]:
        raise click.ClickException(f"not in quarantine: {', '.join(missing)}; see `imagesync quarantine list`")
    return [known[number] for number in (known if everything else ids)]
