"""The МойСклад connector on the sandbox, counted: a first synchronisation of child accounts, and the same again."""

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from random import Random
from typing import Any

from pydantic import SecretStr

from benchmarks.moysklad_world import World, counted, same_images, world
from imagesync_pipelines.connectors.moysklad.accounts import Mode, MoyskladAccount, MoyskladChild, Ownership, TokenKind
from imagesync_pipelines.connectors.moysklad.apply_steps import apply_plan, fetch_content
from imagesync_pipelines.connectors.moysklad.child import ChildRun
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.mapping import map_entities
from imagesync_pipelines.connectors.moysklad.model import NAME
from imagesync_pipelines.connectors.moysklad.plan_step import make_plan
from imagesync_pipelines.connectors.moysklad.reading import read_main_account
from imagesync_pipelines.connectors.moysklad.settings import ChildPlanOptions, ChosenEntities, MoyskladSettings
from imagesync_pipelines.sandbox.moysklad.limits import SECONDS, UNITS, PrincipalKind
from imagesync_pipelines.sandbox.moysklad.making import MAIN
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import Installation, open_installation
from imagesync_pipelines.storage.plans import Lineage
from imagesync_pipelines.sync.steps import RunContext
from imagesync_pipelines.upstream.retries import Timing

LOOPBACK = frozenset({"127.0.0.1"})
HOUR = 3600.0


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Two synchronisations of all children, one after the other as the command does it, an hour apart."""
    kind = PrincipalKind(arguments.get("kind", PrincipalKind.SOLUTION))
    runs: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="imagesync-bench-") as home,
        open_installation(Settings(home=Path(home))) as place,
        world(
            arguments["products"],
            arguments["images"],
            size=arguments.get("size", 0),
            children=arguments.get("children", 1),
            kind=kind,
            permanent_links=arguments.get("permanent_links", False),
        ) as made,
    ):
        for name in ("first", "second"):
            children = [_child(place, made, child, kind, arguments, name) for child in made.children]
            with counted(made, name, runs):
                matching, units = _sync(place, made, kind, children)
            runs[-1] |= {"matching": matching, "floor_minutes": units / UNITS * SECONDS / 60}
            made.sleep(HOUR)
        return {"runs": runs, "same": same_images(made), "children": len(made.children)}


def _sync(place: Installation, made: World, kind: PrincipalKind, children: Sequence[ChildRun]) -> tuple[int, int]:
    """One run for all children: the calls that matching took, and the units that all accounts used."""
    with ExitStack() as stack:
        main = stack.enter_context(_api(place, made, kind, MAIN))
        apis = {child.alias: stack.enter_context(_api(place, made, kind, child.alias)) for child in children}
        read_main_account(children[0].context, main)
        matching = 0
        for child in children:
            matching += int(map_entities(child, apis[child.alias], ChosenEntities()).numbers["api/calls"])
            make_plan(child, apis[child.alias], main, ChildPlanOptions())
            fetch_content(child, main)
            apply_plan(child, apis[child.alias])
        return matching, main.limiter.units + sum(api.limiter.units for api in apis.values())


def _child(
    place: Installation, made: World, child: str, kind: PrincipalKind, arguments: dict[str, Any], run_id: str
) -> ChildRun:
    section = MoyskladChild.model_construct(
        account=_account(made, child, kind),
        mode=Mode.ALL,
        ownership=Ownership(arguments.get("ownership", Ownership.MIRROR)),
        bulk_first_fill=arguments.get("bulk", False),
    )
    clock = made.box.clock.now
    return ChildRun(RunContext(NAME, child, Lineage(run_id), place, MoyskladSettings(), clock=clock), section)


def _api(place: Installation, made: World, kind: PrincipalKind, account: str) -> AbstractContextManager[MoyskladApi]:
    timing = Timing(clock=made.now, sleep=made.sleep, wall=made.now, random=Random(account).random)
    known = _account(made, account, kind)
    return closing(MoyskladApi(known, MoyskladSettings(), place.engine, allowed_hosts=LOOPBACK, timing=timing))


def _account(made: World, name: str, kind: PrincipalKind) -> MoyskladAccount:
    handle = made.box.account(name)
    return MoyskladAccount.model_construct(
        name=name,
        url=made.box.api_url,
        token=SecretStr(handle.token),
        token_kind=TokenKind(kind),
        permanent_links=handle.account.permanent_links,
    )


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
