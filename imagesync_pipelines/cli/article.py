"""`imagesync article …`: Article numbers that pictures name: which product each is, by a person's word."""

import getpass

import click

from imagesync_pipelines.cli.output import print_table, say
from imagesync_pipelines.languages import _, ngettext, pgettext
from imagesync_pipelines.products import article_rules
from imagesync_pipelines.storage.installation import open_installation

_CODE = click.option("--variant", default="", metavar="CODE", help="only where a picture names it with this code")


@click.command("list")
def list_rules() -> None:
    """Print every rule: number, product, who made it and when."""
    with open_installation() as installation:
        found = article_rules.list_rules(installation.engine)
    rows = [
        (one.number, one.variant, one.sku, one.name, one.made_by, f"{one.made_at:%Y-%m-%d %H:%M}", remark(one))
        for one in found
    ]
    columns = (
        _("number"), _("variant"), pgettext("an article number is a product", "is"), _("name"), pgettext("who", "by"),
        _("since"), _("remark"),
    )  # fmt: skip
    print_table(ngettext("{n} rule", "{n} rules", len(rows)).format(n=len(rows)), columns, rows)


@click.command("is")
@click.argument("number")
@click.argument("sku")
@_CODE
def is_product(number: str, sku: str, variant: str) -> None:
    """Keep that an article NUMBER is the product SKU; the next run gives it the pictures."""
    with open_installation() as installation:
        made = article_rules.add_rule(installation.engine, number, variant, sku, getpass.getuser())
    product = f"{made.sku} {made.name}".rstrip()
    say(_("{number} is {product}; the next run follows it").format(number=made.words, product=product))


@click.command("forget")
@click.argument("number")
@_CODE
def forget(number: str, variant: str) -> None:
    """Forget a rule; the next run matches the NUMBER without it, within the deletion limits."""
    with open_installation() as installation:
        article_rules.remove_rule(installation.engine, number, variant, getpass.getuser())
    named = f"{number} {variant}".rstrip()
    say(_("{number} is matched without a rule by the next run").format(number=named))


def remark(rule: article_rules.ArticleRule) -> str:
    """What a person has to know of a rule, '' for nothing."""
    if not rule.in_erp:
        return _("the product left the ERP; the rule rests")
    return _("the ERP has a product of this number now; the rule goes before it") if rule.taken else ""
