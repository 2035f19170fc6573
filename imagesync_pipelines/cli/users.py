"""`imagesync user …`: People who may log in to the catalogue.

A password is asked for or read from standard input; an argument would be in the shell's history and in the list of
processes.
"""

import sys

import click

from imagesync_pipelines.cli.output import print_table, say
from imagesync_pipelines.languages import _, ngettext, pgettext
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.web.catalogue import access
from imagesync_pipelines.web.catalogue.access import UserRole


@click.command("add")
@click.argument("name")
@click.option(
    "--role", type=click.Choice([role.value for role in UserRole]), default=UserRole.VIEWER.value, show_default=True
)
def add(name: str, role: str) -> None:
    """Add a person, or give one a new role and password; the password is asked for, or read from standard input."""
    if sys.stdin.isatty():
        again = _("Repeat for confirmation")
        password = click.prompt(_("Password"), hide_input=True, confirmation_prompt=again)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    with open_installation() as place:
        user = access.set_user(place.engine, name, UserRole(role), password)
    say(_("{name} may log in as {role}").format(name=user.name, role=user.role))


@click.command("list")
def list_people() -> None:
    """Print everybody: with a password of ours, or by which identity provider; and when they last came in."""
    with open_installation() as place:
        people = access.list_users(place.engine)
    columns = (pgettext("of a person", "name"), _("role"), _("comes in by"), _("may log in"), _("last login"))
    rows = [
        (one.name, one.role, one.issuer or _("password"), _("yes") if one.is_active else _("no"),
         _("never") if one.last_login_at is None else f"{one.last_login_at:%Y-%m-%d %H:%M %Z}")
        for one in people
    ]  # fmt: skip
    print_table(ngettext("{n} person", "{n} people", len(rows)).format(n=len(rows)), columns, rows)


@click.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Let a person in no more, at once; what they chose stays, with their name."""
    with open_installation() as place:
        access.disable_user(place.engine, name)
    say(_("{name} may not log in any more").format(name=name))
