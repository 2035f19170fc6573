"""A whole room for tests: an installation, МойСклад's stand-in on one clock, and runs of all stages without Dagster."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr
from upath import UPath

from imagesync_pipelines.accounts.moysklad import MAIN, Mode, MoyskladAccount, MoyskladChild, TokenKind
from imagesync_pipelines.connectors.moysklad.api.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.apply_stages import PlanApplied, apply_plan, fetch_content
from imagesync_pipelines.connectors.moysklad.desk import Desk, MainDesk
from imagesync_pipelines.connectors.moysklad.plan_stages import PlanMade, make_plan
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.connectors.moysklad.stages import EVERYTHING, Chosen, map_entities, read_main
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.moysklad.handle import AccountHandle, NewAccount
from imagesync_pipelines.sandbox.moysklad.limits import PrincipalKind
from imagesync_pipelines.sandbox.moysklad.making import catalogue
from imagesync_pipelines.sandbox.moysklad.model import MoyskladSwitches, StockEntity
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox, moysklad_sandbox
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.home import Locations
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.upstream.retries import Timing

CHILD = "child-1"
# Deletion limits that no small test meets; tests of the deletion limits say their own.
OPEN = {"deletion_limit_share": 1.0, "deletion_limit_count": 10_000, "deletion_limit_bare": 10_000}


@dataclass(frozen=True)
class World:
    """A main account and its children in a sandbox, and what a run needs to work on them."""

    sandbox: MoyskladSandbox
    place: Installation
    settings: MoyskladSettings
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def main(self) -> AccountHandle:
        """The main account as a person sees it."""
        return self.sandbox.account(MAIN)

    def child(self, alias: str = CHILD) -> AccountHandle:
        """A child account as a person sees it."""
        return self.sandbox.account(alias)

    def api(self, alias: str) -> AbstractContextManager[MoyskladApi]:
        """A client of an account, on the sandbox's clock: waiting moves it."""
        clock, handle = self.sandbox.clock, self.sandbox.account(alias)
        kind = TokenKind.SOLUTION if handle.principal.kind is PrincipalKind.SOLUTION else TokenKind.USER
        account = MoyskladAccount(
            alias,
            url=self.sandbox.api_url,
            token=SecretStr(handle.token),
            token_kind=kind,
            permanent_links=handle.account.permanent_links,
        )
        timing = Timing(lambda: clock.now().timestamp(), clock.move, lambda: 0.5, lambda: clock.now().timestamp())
        hosts = frozenset({"127.0.0.1"})
        return closing(MoyskladApi(account, self.settings, self.place.engine, allowed_hosts=hosts, timing=timing))

    def desk(self, alias: str = CHILD, **child: Any) -> Desk:
        """The desk of a child account; `child` are keys of its section in the accounts file."""
        account = MoyskladAccount(alias, url=self.sandbox.api_url)
        made = MoyskladChild(account, **{"mode": Mode.ALL, **child})
        return Desk(self.place, self.settings, made, self.sandbox.clock.now)

    def sync(
        self,
        alias: str = CHILD,
        *,
        full: bool = False,
        check_child: bool = False,
        allow_mass_delete: bool = False,
        chosen: Chosen = EVERYTHING,
        **child: Any,
    ) -> PlanApplied:
        """One whole run for a child account."""
        return self.run(
            alias, full=full, check_child=check_child, allow_mass_delete=allow_mass_delete, chosen=chosen, **child
        )[1]

    def run(
        self,
        alias: str = CHILD,
        *,
        full: bool = False,
        check_child: bool = False,
        allow_mass_delete: bool = False,
        chosen: Chosen = EVERYTHING,
        **child: Any,
    ) -> tuple[PlanMade, PlanApplied]:
        """One whole run for a child account, with its plan."""
        run_id, desk = f"run-{next(self.numbers)}", self.desk(alias, **child)
        with self.api(MAIN) as main, self.api(alias) as api:
            read_main(MainDesk(self.place, self.settings, self.sandbox.clock.now), main, run_id, full=full)
            map_entities(desk, api, run_id, chosen=chosen)
            made = make_plan(
                desk, api, main, run_id, chosen=chosen, check_child=check_child, allow_mass_delete=allow_mass_delete
            )
            fetch_content(desk, main, run_id)
            return made, apply_plan(desk, api, run_id)

    def calls(self, account: str = "", door: str = "") -> int:
        """Calls that the API has seen since `count_anew`."""
        return self.sandbox.calls(account, door)

    def count_anew(self) -> None:
        """Forget the calls so far."""
        self.sandbox.ledger.clear()

    def names(self, entity: StockEntity | str, alias: str = CHILD) -> list[str]:
        """The file names that an entity shows in an account; `entity` is its external code, or the entity."""
        return [name for name, _, _ in self.pictures(entity, alias)]

    def pictures(self, entity: StockEntity | str, alias: str = CHILD) -> list[tuple[str, bytes, str]]:
        """Name, bytes and id of the images that an entity shows in an account."""
        code = entity if isinstance(entity, str) else entity.external_code
        handle = self.sandbox.account(alias)
        return handle.images(handle.by_code(code).id)

    def assert_same(self, alias: str = CHILD, *, first: bool = False) -> None:
        """Every entity of the child shows what the main account shows, name for name, byte for byte."""
        for entity in self.main.entities():
            wanted = [(name, body) for name, body, _ in self.pictures(entity, MAIN)][: 1 if first else 10]
            shown = [(name, body) for name, body, _ in self.pictures(entity, alias)]
            assert shown == wanted, f"{entity.external_code}: {[name for name, _ in shown]}"


@contextmanager
def open_world(
    engine: sa.Engine,
    folder: Path,
    *,
    accounts: Sequence[NewAccount] | None = None,
    switches: MoyskladSwitches | None = None,
    shared: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[World]:
    """A connector on a fresh sandbox: a small catalogue and two children without images, or these accounts."""
    clock = SandboxClock()
    made = catalogue(products=4, images=3, variants=2, bundles=1) if accounts is None else accounts
    with moysklad_sandbox(accounts=made, clock=clock, switches=switches) as sandbox:
        locations = Locations(folder, folder, UPath(folder), "", "", {})
        place = Installation(Settings(**{"lock_wait_seconds": 0, **OPEN, **(shared or {})}), locations, engine)
        yield World(sandbox, place, MoyskladSettings(**{"download_timeout": 5, **settings}))


def entity(world: World, code: str) -> str:
    """The key of an entity of the main account by its external code."""
    found = world.main.by_code(code)
    return f"{found.type}:{found.id}"


def with_settings(world: World, **settings: Any) -> World:
    """The same accounts, with other settings of the connector."""
    return replace(world, settings=world.settings.model_copy(update=settings))
