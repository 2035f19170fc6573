"""`imagesync head-office …`: The head office: the service that stores read their photos from."""

from pathlib import Path

import click
import sqlalchemy as sa

from imagesync_pipelines import logs
from imagesync_pipelines.cli.output import print_table, say
from imagesync_pipelines.languages import _, ngettext, retold, told
from imagesync_pipelines.telemetry import spans
from imagesync_pipelines.web.head_office import accounts, catalogue
from imagesync_pipelines.web.head_office import app as server
from imagesync_pipelines.web.head_office.office import open_head_office
from imagesync_pipelines.web.head_office.reports import store_health
from imagesync_pipelines.web.head_office.tokens import hash_password

WARNINGS = 3


@click.command("serve")
@click.option("--host", default=server.HOST, show_default=True, help="address to listen on; put a TLS proxy in front")
@click.option("--port", default=server.PORT, show_default=True)
def serve(host: str, port: int) -> None:
    """Answer requests until Ctrl-C."""
    spans.begin()
    with open_head_office() as office:
        url = f"http://{host}:{port}"
        logs.say(told(f"Head office: {url}   documentation: {url}/docs   (Ctrl-C stops it)"))
        server.serve(office, host=host, port=port)


@click.command("add-account")
@click.argument("username")
@click.option("--all-stores", is_flag=True, help="the account reads every store, without grants")
@click.password_option(envvar="HO_ACCOUNT_PASSWORD", help="asked for when it is not in HO_ACCOUNT_PASSWORD")
def add_account(username: str, all_stores: bool, password: str) -> None:
    """Add an account, or give an existing one a new password, which ends its tokens and lets it in again."""
    with open_head_office() as office:
        accounts.add_account(office, username, hash_password(password), all_stores=all_stores)
    say(_("account {name} may log in").format(name=username))


@click.command("add-store")
@click.argument("code")
@click.argument("name")
@click.option("--company", required=True, help="made when it is not there")
@click.option("--brand", "brands", multiple=True, required=True, help="what the store sells; made when it is not there")
def add_store(code: str, name: str, company: str, brands: tuple[str, ...]) -> None:
    """Add a store to a company and let it see brands; prints the id that edges need."""
    with open_head_office() as office:
        company_id = catalogue.add_company(office, company)
        store_id = catalogue.add_store(office, company_id, code, name)
        for brand in brands:
            catalogue.link_brand(office, store_id, catalogue.add_brand(office, company_id, brand))
    say(_("store {code}: store_id {id}").format(code=code, id=store_id))


@click.command("grant")
@click.argument("username")
@click.argument("codes", nargs=-1, required=True)
def grant(username: str, codes: tuple[str, ...]) -> None:
    """Let an account read stores, named by their codes."""
    with open_head_office() as office:
        for code in codes:
            accounts.grant(office, username, catalogue.find_store(office, code))
    say(_("{name} may read {stores}").format(name=username, stores=", ".join(codes)))


@click.command("from-bucket")
@click.argument("codes", nargs=-1, required=True)
@click.option("--off", is_flag=True, help="their photos go through this service again")
def from_bucket(codes: tuple[str, ...], off: bool) -> None:
    """Send stores that can reach the bucket there for the bytes of photos, once their token was checked."""
    with open_head_office() as office:
        for code in codes:
            catalogue.set_from_bucket(office, catalogue.find_store(office, code), from_bucket=not off)
    said = _("{stores}: photos through this service") if off else _("{stores}: photos out of the bucket")
    say(said.format(stores=", ".join(codes)))


@click.command("import-folder")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--company", required=True, help="made when it is not there")
@click.option("--brand", required=True, help="made when it is not there")
@click.option("--hide-doubles", is_flag=True, help="hide products that are there twice, once the right one has a photo")
@click.pass_context
def import_pictures(context: click.Context, folder: Path, company: str, brand: str, hide_doubles: bool) -> None:
    """Make each picture named <sku>.jpg, .png, .webp or .gif the photo of its product."""
    with open_head_office() as office:
        brand_id = catalogue.add_brand(office, catalogue.add_company(office, company), brand)
        imported = catalogue.import_folder(office, brand_id, folder, hide_doubles=hide_doubles)
    numbers = {"written": imported.written, "unchanged": imported.unchanged, "refused": len(imported.refused)}
    say(_("{written} written, {unchanged} unchanged, {refused} refused").format(**numbers))
    for name, reason in imported.refused:
        say(f"  {name}: {retold(reason)}", fg="yellow")
    hidden = _("{sku} is product {id}, and also {others}: stores do not see them any more")
    seen = _(
        "{sku} is product {id}, and also {others}: stores see them all; --hide-doubles hides the others once this one "
        "has a photo"
    )
    for one in imported.doubled:
        said = (hidden if one.is_hidden else seen).format(
            sku=one.sku, id=one.counts, others=", ".join(map(str, one.others))
        )
        say(f"  {said}", fg="yellow")
    doubled = [one for one in imported.doubled if not one.is_hidden]
    context.exit(WARNINGS if imported.refused or doubled else 0)


@click.command("health")
def health() -> None:
    """Print how far every store is."""
    with open_head_office() as office:
        stores = store_health(office, sa.true()).stores
    columns = (
        _("store"), _("name"), _("photos"), _("synced"), _("failed"), _("waiting"), _("lag minutes"), _("last report"),
        "store_id",
    )  # fmt: skip
    rows = [
        (
            one.code, one.name if one.is_active else _("{name} (inactive)").format(name=one.name), one.photos,
            one.synced, one.failed, one.waiting, round(one.lag_seconds / 60),
            _("never") if one.last_report_at is None else f"{one.last_report_at:%Y-%m-%d %H:%M %Z}", str(one.store_id),
        )
        for one in stores
    ]  # fmt: skip
    print_table(ngettext("{n} store", "{n} stores", len(rows)).format(n=len(rows)), columns, rows)
