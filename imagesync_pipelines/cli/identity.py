"""`imagesync identity …`: Whose account each name of the accounts file is, and accepting one that was moved."""

import click

from imagesync_pipelines.cli.output import print_table, say
from imagesync_pipelines.languages import _, retold
from imagesync_pipelines.registry import CONNECTORS, connector_named, connectors
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.identities import INSTALLATION
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.storage.locks import account_lock
from imagesync_pipelines.sync import identity as rule


@click.command("list")
def list_accounts() -> None:
    """Print which account each name opened when it was recorded; what does not tell is unproven."""
    shared = load_settings(Settings)
    declared = {one.name: one.declared(shared, load_settings(one.settings)) for one in connectors()}
    with open_installation(shared) as installation:
        lines = rule.overview(installation.engine, declared)
    rows = [
        (
            one.connector,
            one.account,
            retold(one.whose),
            "" if one.since is None else f"{one.since:%Y-%m-%d %H:%M}",
            _("{account} answered").format(account=one.refused) if one.refused else "",
        )
        for one in lines
    ]
    columns = (_("connector"), _("account"), _("whose"), _("recorded"), _("refused"))
    print_table(_("accounts"), columns, rows)


@click.command("accept")
@click.argument("connector", type=click.Choice([*CONNECTORS, INSTALLATION]))
@click.argument("account", default="")
@click.argument("identity", metavar="[ID]", default="")
def accept(connector: str, account: str, identity: str) -> None:
    """Take another account for the one that is meant: it was moved on purpose.

    ID is the account; without it the one that was refused last is taken. What is remembered of the account before is
    forgotten, so that the next run reads the new one afresh. `accept installation` puts our database and the storage
    root together.
    """
    with open_installation() as installation:
        if connector == INSTALLATION:
            accepted = rule.accept_installation(installation)
        else:
            owner = f"{connector}/{account}" if account else connector
            with account_lock(installation.engine, owner, installation.settings.lock_wait_seconds):
                accepted = rule.accept(
                    installation.engine, connector, account, identity, forget=connector_named(connector).forget
                )
    said = _("{account}: {identity} is accepted; the next run may write")
    say(said.format(account=f"{connector} {account}".rstrip(), identity=accepted))
