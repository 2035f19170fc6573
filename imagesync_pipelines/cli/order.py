"""`imagesync order`: the pictures of products put in order, in your name."""

import getpass
from collections.abc import Iterable, Sequence

import click

from imagesync_pipelines.cli.output import confirm, say
from imagesync_pipelines.languages import _, ngettext, retold
from imagesync_pipelines.products import ordering
from imagesync_pipelines.products.pins_by_rule import Picture
from imagesync_pipelines.products.primaries import name_of
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.web.catalogue.queries import products_of_skus


@click.command("order")
@click.argument("skus", metavar="SKU...", nargs=-1, required=True)
@click.option("--by", type=click.Choice(list(ordering.RULES)), help="a rule; `rules` ends the order that a person gave")
@click.option("--types", metavar="A,B,…", help="with --by types: the types in their order, front is every front view")
@click.option(
    "--images", metavar="ID,ID,…", help="of one SKU: by the pictures' numbers at the source, the others behind"
)
@click.option("--dry-run", is_flag=True, help="only show it")
@click.option("--yes", is_flag=True, help="do not ask; for scripts")
@click.pass_context
def order(
    context: click.Context,
    skus: tuple[str, ...],
    by: str | None,
    types: str | None,
    images: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Show the pictures of products in another order, now → then, and keep it after asking.

    No synchronisation undoes it: new pictures come behind, one that is gone is left out. A pinned primary picture stays
    first. `imagesync undo --choice SKU` takes it back, `--by rules` ends it.
    """
    if (by is None) is (images is None) or (images is not None and len(skus) > 1) or (types and by != "types"):
        raise click.UsageError("Name a rule with --by, or the pictures of one SKU with --images.", context)
    with open_installation() as installation:
        engine = installation.engine
        found = products_of_skus(engine, skus, with_left=True)
        if missing := [sku for sku in skus if sku not in found]:
            raise click.ClickException(f"No product has the SKU {missing[0]}; nothing was changed.")
        arrange = ordering.by_rule(by, types.split(",") if types else ordering.TYPES) if by else _named(images or "")
        with engine.connect() as connection:
            plan = ordering.plan_orders(connection, found.values(), arrange)
        changing = [one for one in plan if not one.why]
        for one in plan:
            then = f"{_listed(one.before)} → {_listed(one.after)}"
            if one.why:
                then = _("stay as they are: {why}").format(why=retold(one.why))
            say(f"{one.sku} {one.name}".rstrip() + f": {then}")
        if dry_run or not changing:
            return
        if not yes:
            question = ngettext(
                "Put the pictures of {n} products in order", "Put the pictures of {n} products in order", len(changing)
            )
            confirm(question.format(n=len(changing)))
        looked_at = ((one.product_id, one.stamp) for one in changing)
        done, moved = ordering.carry_out(engine, looked_at, arrange, getpass.getuser())
    say(_("{n} put in order").format(n=done))
    if moved:
        raise click.ClickException(f"{moved} changed since they were shown and were left alone; show them again.")


def _named(images: str) -> ordering.Arrange:
    """By the pictures' own numbers; where two sources have the same one, with the source: folder/1.

    The order raises ClickException for a picture that the product does not have.
    """
    names = [one.strip() for one in images.split(",") if one.strip()]

    def arrange(pictures: Sequence[Picture]) -> Sequence[Picture]:
        ids = [_one_of(pictures, name) for name in names]
        return ordering.by_hand(ids)(pictures)

    return arrange


def _one_of(pictures: Iterable[Picture], name: str) -> int:
    found = [one.id for one in pictures if name in (one.external_id, name_of(one.source, one.external_id))]
    if len(found) != 1:
        raise click.ClickException(
            f"The product has several pictures {name}; nothing was changed."
            if found
            else f"The product has no picture {name}; nothing was changed."
        )
    return found[0]


def _listed(pictures: Iterable[Picture]) -> str:
    return ", ".join(one.external_id for one in pictures)
