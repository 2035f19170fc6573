"""Every command of `imagesync`, listed without importing it: its name and its help are read from the source.

`imagesync --help` is made from this file alone, so nothing heavy may be imported here.
"""

import ast
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from imagesync_pipelines.collector import collector_paused
from imagesync_pipelines.registry import CONNECTORS

PACKAGE = "imagesync_pipelines.cli"
# The first line of a module whose commands are a group: its name, and what lists say of it.
_GROUP = re.compile(r"`imagesync ([\w-]+)(?: ([\w-]+))? …`: (.+)")


class LazyCommand(click.Command):
    """The name and the help of a command that is in a module of its own, and imported when it is called.

    Lists, completion and suggestions need no more than that. As soon as the command gets arguments (its --help is
    one), the real one takes over.
    """

    def __init__(self, name: str, where: str, text: str, connector: str = "") -> None:
        """Stand in for the command at `where` ("package.module:attribute"), or for what that makes for a connector."""
        super().__init__(name, help=text)
        self.where, self.connector = where, connector

    def load(self) -> click.Command:
        """The command itself, imported now; raises TypeError where something else has that name."""
        module, _, attribute = self.where.partition(":")
        with collector_paused():
            found = getattr(import_module(module), attribute)
        command = found(self.connector) if self.connector else found
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.where} is no command")
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of the real command, which is also what click then invokes; from now on it writes its log."""
        # It reads a setting, which lists of commands do not need.
        from imagesync_pipelines import logs
        from imagesync_pipelines.languages import speak
        from imagesync_pipelines.languages.current import of_terminal
        from imagesync_pipelines.settings import LanguageSettings, load_settings

        speak(of_terminal(os.environ, load_settings(LanguageSettings).language))
        logs.begin(debug=parent is not None and bool(parent.find_root().params.get("debug")))
        return self.load().make_context(info_name, args, parent, **extra)


def all_commands() -> list[click.Command]:
    """The groups and the commands that stand alone; a command called like its group is that connector's `sync`."""
    syncs: dict[str, click.Command] = {}
    for connector, text in CONNECTORS.items():
        name = connector.replace("_", "-")
        syncs[name] = LazyCommand(name, f"{PACKAGE}.sync:sync_command", text, connector)
    found: list[click.Command] = [click.Group("sync", help="Synchronise one connector now.", commands=syncs)]
    groups: dict[str, click.Group] = {}
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        commands = _written_in(tree, ".".join((PACKAGE, *path.relative_to(folder).with_suffix("").parts)))
        if group := _GROUP.match(ast.get_docstring(tree) or ""):
            name, inner, text = group.groups()
            if inner:
                # The module of the outer group has a shorter name, so it came before.
                groups[name].add_command(click.Group(inner, help=text, commands=commands))
                continue
            if name in commands:
                syncs[name] = commands.pop(name)
            groups[name] = click.Group(name, help=text, commands=commands)
            found.append(groups[name])
        else:
            found += commands.values()
    return found


def _written_in(tree: ast.Module, module: str) -> dict[str, click.Command]:
    """The functions of a module that are commands by `@click.command("NAME")`; their help is their docstring."""
    found: dict[str, click.Command] = {}
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        for decorator in function.decorator_list:
            match decorator:
                case ast.Call(func=ast.Attribute(attr="command"), args=[ast.Constant(value=str(name))]):
                    where = f"{module}:{function.name}"
                    found[name] = LazyCommand(name, where, ast.get_docstring(function) or "")
    return found
