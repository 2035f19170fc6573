"""A whole connector for tests: an installation, МойСклад's stand-in on one clock, runs of all steps without Dagster."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
from pydantic import SecretStr
from upath import UPath

from imagesync_pipelines.connectors.moysklad.accounts import MAIN, Mode, MoyskladAccount, MoyskladChild, TokenKind
from imagesync_pipelines.connectors.moysklad.apply_steps import apply_plan, fetch_content
from imagesync_pipelines.connectors.moysklad.child import ChildRun
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.counterparts import groups_by_sku
from imagesync_pipelines.connectors.moysklad.mapping import map_entities
from imagesync_pipelines.connectors.moysklad.model import NAME
from imagesync_pipelines.connectors.moysklad.plan_step import make_plan
from imagesync_pipelines.connectors.moysklad.reading import read_main_account
from imagesync_pipelines.connectors.moysklad.settings import ChildPlanOptions, ChosenEntities, MoyskladSettings
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.moysklad.handle import AccountHandle, NewAccount
from imagesync_pipelines.sandbox.moysklad.limits import PrincipalKind
from imagesync_pipelines.sandbox.moysklad.making import catalogue
from imagesync_pipelines.sandbox.moysklad.model import MoyskladSwitches, StockEntity
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox, moysklad_sandbox
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import Installation, Locations
from imagesync_pipelines.storage.plans import Lineage
from imagesync_pipelines.sync.model import Change
from imagesync_pipelines.sync.steps import RunContext, StepResult, Summary, Table
from imagesync_pipelines.upstream.retries import Timing

CHILD = "child-1"
EVERYTHING = ChosenEntities()
# Deletion limits that no small test meets; tests of the deletion limits say their own.
OPEN = {"deletion_limit_share": 1.0, "deletion_limit_count": 10_000, "deletion_limit_bare": 10_000}


@dataclass(frozen=True)
class Made:
    """What the step `plan` told, and the plan that it stored."""

    result: StepResult
    plan: pd.DataFrame

    @property
    def plan_id(self) -> int:
        """The number of the plan."""
        number = self.result.shown["plan_id"]
        assert isinstance(number, int)
        return number

    @property
    def counts(self) -> dict[str, int]:
        """Rows per change, as the step told them."""
        return {str(change): int(self.result.numbers[f"plan/{change}"]) for change in Change}

    @property
    def held(self) -> int:
        """How many removals were held back."""
        return int(self.result.numbers["plan/held_back"])


@dataclass(frozen=True)
class Done:
    """What the steps `child_images` and `content` told."""

    result: StepResult
    content: StepResult

    @property
    def summary(self) -> Summary:
        """The summary of the whole run."""
        assert self.result.summary is not None
        return self.result.summary

    @property
    def error_count(self) -> int:
        """How many rows were not written although the plan said so."""
        return self.summary.failed + self.summary.refused + self.summary.unknown

    @property
    def skipped(self) -> list[str]:
        """What is told of images that are not there."""
        table = self.result.shown["skipped"]
        assert isinstance(table, Table)
        return list(table.frame["why"])


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
        account = MoyskladAccount.model_construct(
            name=alias,
            url=self.sandbox.api_url,
            token=SecretStr(handle.token),
            token_kind=kind,
            permanent_links=handle.account.permanent_links,
        )
        timing = Timing(lambda: clock.now().timestamp(), clock.move, lambda: 0.5, lambda: clock.now().timestamp())
        hosts = frozenset({"127.0.0.1"})
        return closing(MoyskladApi(account, self.settings, self.place.engine, allowed_hosts=hosts, timing=timing))

    def context(self, run_id: str, *ancestors: str, account: str = CHILD) -> RunContext[MoyskladSettings]:
        """What the steps of a run of this account work with."""
        lineage = Lineage(run_id, ancestors)
        clock = self.sandbox.clock.now
        return RunContext(NAME, account, lineage, self.place, self.settings, clock=clock, groups_by_sku=groups_by_sku)

    def child_run(self, run_id: str, *ancestors: str, alias: str = CHILD, **child: Any) -> ChildRun:
        """A run of a child account; `child` are keys of its section in the accounts file."""
        account = MoyskladAccount.model_construct(name=alias, url=self.sandbox.api_url)
        made = MoyskladChild.model_construct(account=account, **{"mode": Mode.ALL, **child})
        return ChildRun(self.context(run_id, *ancestors, account=alias), made)

    def sync(
        self,
        alias: str = CHILD,
        *,
        full: bool = False,
        check_child: bool = False,
        allow_mass_delete: bool = False,
        chosen: ChosenEntities = EVERYTHING,
        **child: Any,
    ) -> Done:
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
        chosen: ChosenEntities = EVERYTHING,
        **child: Any,
    ) -> tuple[Made, Done]:
        """One whole run for a child account, with its plan."""
        run = self.child_run(f"run-{next(self.numbers)}", alias=alias, **child)
        with self.api(MAIN) as main, self.api(alias) as api:
            read_main_account(run.context, main, full=full)
            map_entities(run, api, chosen)
            asked = {**chosen.model_dump(), "check_child": check_child, "allow_mass_delete": allow_mass_delete}
            made = self.plan(run, api, main, **asked)
            content = fetch_content(run, main)
            return made, Done(apply_plan(run, api), content)

    def apply(self, plan_id: int, alias: str = CHILD, **child: Any) -> Done:
        """A person applies a plan by its number."""
        run = self.child_run(f"run-{next(self.numbers)}", alias=alias, **child)
        with self.api(MAIN) as main, self.api(alias) as api:
            content = fetch_content(run, main, plan_id)
            return Done(apply_plan(run, api, plan_id), content)

    def plan(self, run: ChildRun, api: MoyskladApi, main: MoyskladApi, **options: Any) -> Made:
        """The step `plan` of a run."""
        result = make_plan(run, api, main, ChildPlanOptions(**options))
        number = result.shown["plan_id"]
        assert isinstance(number, int)
        return Made(result, run.context.plans.load(number))

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
        yield World(sandbox, place, MoyskladSettings(**settings))


def run_of(engine: sa.Engine, child: MoyskladChild) -> ChildRun:
    """A run of a child account by its section alone, for what needs no files and no other account."""
    place = Installation(Settings(), Locations(Path(), Path(), UPath(), "", "", {}), engine)
    return ChildRun(RunContext(NAME, child.alias, Lineage("run"), place, MoyskladSettings()), child)


def entity(world: World, code: str) -> str:
    """The key of an entity of the main account by its external code."""
    found = world.main.by_code(code)
    return f"{found.type}:{found.id}"


def with_settings(world: World, **settings: Any) -> World:
    """The same accounts, with other settings of the connector."""
    return replace(world, settings=world.settings.model_copy(update=settings))
