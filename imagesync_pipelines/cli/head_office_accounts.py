"""`imagesync head-office account …`: The accounts that stores log in with, and what each may read."""

import click

from imagesync_pipelines.cli.output import print_table, say
from imagesync_pipelines.languages import _, ngettext
from imagesync_pipelines.web.head_office import accounts, catalogue
from imagesync_pipelines.web.head_office.office import open_head_office


@click.command("list")
def list_accounts() -> None:
    """Print every account and the stores that it may read."""
    with open_head_office() as office:
        known = accounts.list_accounts(office)
    rows = [
        (
            one.username,
            _("yes") if one.is_active else _("no"),
            _("all") if one.all_stores else ", ".join(one.stores) or _("none"),
        )
        for one in known
    ]
    title = ngettext("{n} account", "{n} accounts", len(rows)).format(n=len(rows))
    print_table(title, (_("account"), _("may log in"), _("stores")), rows)


@click.command("disable")
@click.argument("username")
def disable(username: str) -> None:
    """Let an account in no more; the tokens that it holds are worth nothing from now on."""
    with open_head_office() as office:
        accounts.set_active(office, username, active=False)
    say(_("account {name} may not log in any more, and its tokens are over").format(name=username))


@click.command("enable")
@click.argument("username")
def enable(username: str) -> None:
    """Let an account in again, with the password and the grants that it had; it has to log in anew."""
    with open_head_office() as office:
        accounts.set_active(office, username, active=True)
    say(_("account {name} may log in").format(name=username))


@click.command("revoke")
@click.argument("username")
@click.argument("codes", nargs=-1, required=True)
def revoke(username: str, codes: tuple[str, ...]) -> None:
    """Take grants back: the account may not read these stores any more, named by their codes."""
    with open_head_office() as office:
        for code in codes:
            accounts.revoke(office, username, catalogue.find_store(office, code))
    say(_("{name} may not read {stores}").format(name=username, stores=", ".join(codes)))
