"""`imagesync key …`: Keys of systems that call the catalogue's API."""

import click

from imagesync_pipelines.cli.output import print_table, say
from imagesync_pipelines.languages import _, ngettext
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.web.catalogue import access


@click.command("add")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in access.KeyScope]),
    multiple=True,
    default=[access.KeyScope.READ.value],
    show_default=True,
    help="what the key may do; may be repeated",
)
def add(name: str, scopes: tuple[str, ...]) -> None:
    """Make a key for a system and print it, this once."""
    with open_installation() as installation:
        key, _made = access.add_key(installation.engine, name, [access.KeyScope(scope) for scope in scopes])
    say(_("keep it now, it cannot be shown again:"), err=True)
    click.echo(key)


@click.command("list")
def list_keys() -> None:
    """Print every key, without its secret."""
    with open_installation() as installation:
        found = access.list_keys(installation.engine)
    columns = (_("name"), _("key"), _("scopes"), _("created"), _("last used"), _("revoked"))
    rows = [
        (
            one.name,
            f"{one.prefix}_…",
            ", ".join(scope for scope in access.KeyScope if scope in one.scopes),
            *(f"{at:%Y-%m-%d %H:%M %Z}" if at else "" for at in (one.created_at, one.last_used_at, one.revoked_at)),
        )
        for one in found
    ]
    print_table(ngettext("{n} key", "{n} keys", len(found)).format(n=len(found)), columns, rows)


@click.command("revoke")
@click.argument("name")
def revoke(name: str) -> None:
    """Let nobody call with the key of a system any more, from now on."""
    with open_installation() as installation:
        revoked = access.revoke_key(installation.engine, name)
    said = _("{name}: the key {key} is good for nothing now")
    say(said.format(name=revoked.name, key=f"{revoked.prefix}_…"))
