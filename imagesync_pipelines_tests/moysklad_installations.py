"""The МойСклад connector for tests: the stand-in with its accounts, an installation of them, and a synchronisation."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.moysklad.handle import AccountHandle, NewAccount
from imagesync_pipelines.sandbox.moysklad.making import MAIN, catalogue
from imagesync_pipelines.sandbox.moysklad.server import (
    MODES,
    MoyskladSandbox,
    accounts_of,
    moysklad_sandbox,
    secrets_of,
)
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines_tests.places import databases, entered, environment_of, opened, rows_of

Shown = dict[str, list[tuple[str, bytes]]]


@dataclass(frozen=True)
class MoyskladWorld:
    """One installation with one main account and its children; `environment` is all that a process needs to use it."""

    sandbox: MoyskladSandbox
    accounts_file: Path
    environment: dict[str, str] = field(repr=False)

    @property
    def main(self) -> AccountHandle:
        """The main account."""
        return self.sandbox.account(MAIN)

    def entered(self, **more: str) -> AbstractContextManager[None]:
        """This process uses the installation for the length of a `with` block; `more` are further variables."""
        return entered(self.environment, **more)

    def opened(self, **more: str) -> AbstractContextManager[tuple[Installation, dg.DagsterInstance]]:
        """The installation and its Dagster instance."""
        return opened(self.environment, **more)

    def sync(self, more: Mapping[str, str] | None = None, **options: Any) -> dict[str, runs.RunOutcome]:
        """Synchronise as `imagesync sync moysklad` does: the outcome by account; `more` are further variables."""
        with self.entered(**(more or {})):
            return dict(runs.sync("moysklad", **options))

    def write_accounts(self, modes: Mapping[str, str] = MODES, **keys: str) -> None:
        """Replace the accounts file; `keys` are further lines of every child, as TOML values."""
        lines = []
        for line in accounts_of(self.sandbox.api_url, modes):
            lines.append(line)
            if line.startswith("mode = "):
                lines += [f"{name} = {value}" for name, value in keys.items()]
        self.accounts_file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def shown(self, account: str) -> Shown:
        """Names and bytes of every entity's images in an account, in order, by external code."""
        handle = self.sandbox.account(account)
        return {
            entity.external_code: [(name, content) for name, content, _ in handle.images(entity.id)]
            for entity in handle.entities()
        }

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows that a query on our database gives."""
        return rows_of(self.environment["IMAGESYNC_DATABASE_URL"], query)

    def assert_converged(self, modes: Mapping[str, str] = MODES) -> None:
        """Every child shows what its mode says, in order: all images of the main account's entities, or the first."""
        wanted = self.shown(MAIN)
        for child, mode in modes.items():
            shown = self.shown(child)
            most = {"all": 10, "first": 1}[mode]
            for code, images in wanted.items():
                assert shown[code] == images[:most], f"{child} {code}"


@contextmanager
def moysklad_world(
    server: EmbeddedServer, folder: Path, accounts: Sequence[NewAccount] | None = None
) -> Iterator[MoyskladWorld]:
    """A main account with these entities (or the demo's), children that have them without images, an installation."""
    folder.mkdir(parents=True, exist_ok=True)
    made = catalogue() if accounts is None else accounts
    with moysklad_sandbox(accounts=made) as sandbox, databases(server) as (ours, dagsters):
        file = folder / "accounts.toml"
        environment = {
            **environment_of(folder, ours, dagsters),
            "IMAGESYNC_ACCOUNTS": str(file),
            "IMAGESYNC_LOCK_WAIT_SECONDS": "20",
            "IMAGESYNC_ALLOWED_IMAGE_HOSTS": "127.0.0.1",
            **secrets_of([new.name for new in made]),
        }
        world = MoyskladWorld(sandbox, file, environment)
        world.write_accounts()
        yield world
