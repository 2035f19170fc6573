"""A command that is imported when it is called, and not to list it."""

from importlib import import_module
from typing import Any

import click


class LazyCommand(click.Command):
    """The name and the one line of a command that is in a module of its own.

    Lists, completion and suggestions need no more than that. As soon as the command gets arguments (its --help is
    one), the real one takes over.
    """

    def __init__(self, name: str, where: str, line: str) -> None:
        """Stand in for the command at `where` ("package.module:attribute"); `line` is the first line of its help."""
        super().__init__(name, help=line)
        self.where = where

    def load(self) -> click.Command:
        """The command itself, imported now; raises TypeError where something else has that name."""
        module, _, attribute = self.where.partition(":")
        found = getattr(import_module(module), attribute)
        if not isinstance(found, click.Command):
            raise TypeError(f"{self.where} is no command")
        return found

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of the real command, which is also what click then invokes."""
        return self.load().make_context(info_name, args, parent, **extra)


class SyncCommand(LazyCommand):
    """The command that synchronises with a connector, made from its declaration when it is called."""

    def __init__(self, connector: str, line: str) -> None:
        """Stand in for `imagesync sync CONNECTOR`."""
        super().__init__(connector.replace("_", "-"), "imagesync_pipelines.cli.sync:sync_command", line)
        self.connector = connector

    def load(self) -> click.Command:
        """The command itself, made now. Raises LookupError for a connector that there is not."""
        module, _, attribute = self.where.partition(":")
        made: click.Command = getattr(import_module(module), attribute)(self.connector)
        return made
