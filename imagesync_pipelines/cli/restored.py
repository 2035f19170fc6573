"""The command that a person types after our database was restored from a backup."""

import click

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.cli.output import print_table, say
from imagesync_pipelines.languages import _
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.sync.identity import take_as_restored


@click.command("restored")
def restored() -> None:
    """Say that our database was restored from a backup: the next runs read every account before they write it.

    What is found there under names and bytes that we once made is ours again: nothing is sent a second time, and what
    left in the meantime leaves through the deletion limits. Nothing else has to be typed, and typing it again does no
    harm.
    """
    shared = load_settings(Settings)
    with open_installation(shared) as installation:
        moment = take_as_restored(installation)
    accounts = load_accounts(shared)
    names = {one.name: sorted(one.accounts.known(accounts).names) if one.accounts else [""] for one in connectors()}
    rows = [(connector, account) for connector, known in names.items() for account in known]
    print_table(_("what is read before it is written"), (_("connector"), _("account")), rows)
    said = _("restored at {at}: what the database remembers of these is not believed until then")
    say(said.format(at=f"{moment:%Y-%m-%d %H:%M:%S}"))
