"""`imagesync sync NAME`: made from what a connector declares, its options and its accounts."""

from types import NoneType
from typing import Any, Literal, get_args, get_origin

import click
from annotated_types import Ge
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from imagesync_pipelines.cli.output import print_outcome, print_outcomes, progress_bars
from imagesync_pipelines.defs import runs
from imagesync_pipelines.registry import CONNECTORS, connector_named

# What an option was called before; both are understood.
FORMER_NAMES = {"allow_mass_delete": "--lift-brake"}
# What an option asks for, where its own name does not say it.
_ASKED_FOR = {"mapping": "FILE", "missing_from": "FILE"}


def sync_command(name: str) -> click.Command:
    """The command that synchronises with a connector. Raises LookupError when there is none of this name."""
    connector = connector_named(name)

    @click.pass_context
    def sync(context: click.Context, /, accounts: tuple[str, ...] = (), **options: Any) -> None:
        asked = {field: value for field, value in options.items() if value is not None}
        with progress_bars() as progress:
            outcomes = runs.sync(name, accounts, progress=progress, **asked)
            code = print_outcomes(word, outcomes) if word else print_outcome(runs.only(outcomes))
        context.exit(code)

    options = options_of(connector.options)
    word = ""
    if connector.accounts is not None:
        option, metavar = connector.accounts.option.split()
        word = option.removeprefix("--")
        text = f"this {word} only; may be given several times (default: all)"
        options.insert(0, click.Option([option, "accounts"], multiple=True, metavar=metavar, help=text))
    return click.Command(name.replace("_", "-"), params=[*options], callback=sync, help=CONNECTORS[name])


def options_of(model: type[BaseModel], *without: str) -> list[click.Option]:
    """The options of a command that asks for the fields of a model, all but those in `without`."""
    fields = model.model_fields.items()
    return [_option(name, info, info.description) for name, info in fields if info.description and name not in without]


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
    return click.Option(
        words, metavar=_ASKED_FOR.get(name, name.upper()), required=field.is_required(), help=description
    )
