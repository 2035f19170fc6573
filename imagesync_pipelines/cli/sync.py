"""`imagesync sync NAME`: made from what a connector declares, its options and its accounts."""

from types import NoneType
from typing import Any, Literal, get_args, get_origin

import click
from annotated_types import Ge
from pydantic.fields import FieldInfo

from imagesync_pipelines.cli.output import print_outcome, print_outcomes, progress_bars
from imagesync_pipelines.defs import runs
from imagesync_pipelines.registry import CONNECTORS, connector_named
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.sync.connector import AccountSet, Connector

# What an option was called before; both are understood.
FORMER_NAMES = {"allow_mass_delete": "--lift-brake"}


def sync_command(name: str) -> click.Command:
    """The command that synchronises with a connector. Raises LookupError when there is none of this name."""
    connector = connector_named(name)

    @click.pass_context
    def sync(context: click.Context, /, accounts: tuple[str, ...] = (), **options: Any) -> None:
        asked = {field: value for field, value in options.items() if value is not None}
        settings = load_settings(Settings)
        with progress_bars() as progress:
            outcomes = runs.sync(name, accounts, settings=settings, progress=progress, **asked)
            if connector.accounts is None:
                code = print_outcome(runs.only(outcomes), settings.webserver_url)
            else:
                code = print_outcomes(_word(connector.accounts), outcomes, settings.webserver_url)
        context.exit(code)

    own: list[click.Parameter] = [] if connector.accounts is None else [_account_option(connector.accounts)]
    return click.Command(
        name.replace("_", "-"), params=[*own, *options_of(connector)], callback=sync, help=CONNECTORS[name]
    )


def options_of(connector: Connector) -> list[click.Parameter]:
    """The fields of a connector's options that have a description, as options of a command."""
    fields = connector.options.model_fields.items()
    return [_option(name, field, field.description) for name, field in fields if field.description]


def _option(name: str, field: FieldInfo, description: str) -> click.Option:
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    former = [FORMER_NAMES[name]] if name in FORMER_NAMES else []
    words = [f"--{name.replace('_', '-')}", *former, name]
    if field.annotation is bool:
        return click.Option(words, is_flag=True, help=description)
    if get_origin(field.annotation) is list:
        word = name.removesuffix("s")
        return click.Option([f"--{word}", name], multiple=True, metavar=word.upper(), help=description)
    if get_origin(field.annotation) is Literal:
        return click.Option(words, type=click.Choice([kind for kind in kinds if kind]), help=description)
    if int in (field.annotation, *kinds):
        least = next((int(str(rule.ge)) for rule in field.metadata if isinstance(rule, Ge)), None)
        return click.Option(words, type=click.IntRange(min=least), metavar="N", help=description)
    return click.Option(words, metavar=name.upper(), help=description)


def _account_option(accounts: AccountSet) -> click.Option:
    word, metavar = accounts.option.split()
    text = f"this {_word(accounts)} only; may be given several times (default: all)"
    return click.Option([word, "accounts"], multiple=True, metavar=metavar, help=text)


def _word(accounts: AccountSet) -> str:
    return accounts.option.split()[0].removeprefix("--")
