"""The МойСклад connector on the sandbox, counted: a first synchronisation of child accounts, and the same again.

What belongs here: one measurement, run in a process of its own by moysklad.py. What does not: the way it replaces.
"""

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
from imagesync_pipelines.accounts.moysklad import Mode, MoyskladAccount, MoyskladChild, Ownership, TokenKind
from imagesync_pipelines.connectors.moysklad.api.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.apply_stages import apply_plan, fetch_content
from imagesync_pipelines.connectors.moysklad.desk import Desk, MainDesk
from imagesync_pipelines.connectors.moysklad.plan_stages import make_plan
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.connectors.moysklad.stages import map_entities, read_main
from imagesync_pipelines.sandbox.moysklad.limits import SECONDS, UNITS, PrincipalKind
from imagesync_pipelines.sandbox.moysklad.making import MAIN
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import Installation, open_installation
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
        desks = [_desk(place, made, child, kind, arguments) for child in made.children]
        for name in ("first", "second"):
            with counted(made, name, runs):
                matching, units = _sync(place, made, kind, desks, name)
            runs[-1] |= {"matching": matching, "floor_minutes": units / UNITS * SECONDS / 60}
            made.sleep(HOUR)
        return {"runs": runs, "same": same_images(made), "children": len(made.children)}


def _sync(place: Installation, made: World, kind: PrincipalKind, desks: Sequence[Desk], run_id: str) -> tuple[int, int]:
    """One run for all children: the calls that matching took, and the units that all accounts used."""
    with ExitStack() as stack:
        main = stack.enter_context(_api(place, made, kind, MAIN))
        apis = {desk.alias: stack.enter_context(_api(place, made, kind, desk.alias)) for desk in desks}
        read_main(MainDesk(place, MoyskladSettings(), made.box.clock.now), main, run_id)
        matching = 0
        for desk in desks:
            matching += map_entities(desk, apis[desk.alias], run_id).calls
            make_plan(desk, apis[desk.alias], main, run_id)
            fetch_content(desk, main, run_id)
            apply_plan(desk, apis[desk.alias], run_id)
        return matching, main.units + sum(api.units for api in apis.values())


def _desk(place: Installation, made: World, child: str, kind: PrincipalKind, arguments: dict[str, Any]) -> Desk:
    section = MoyskladChild(
        _account(made, child, kind),
        mode=Mode.ALL,
        ownership=Ownership(arguments.get("ownership", Ownership.MIRROR)),
        bulk_first_fill=arguments.get("bulk", False),
    )
    return Desk(place, MoyskladSettings(), section, made.box.clock.now)


def _api(place: Installation, made: World, kind: PrincipalKind, account: str) -> AbstractContextManager[MoyskladApi]:
    timing = Timing(clock=made.now, sleep=made.sleep, wall=made.now, random=Random(account).random)
    known = _account(made, account, kind)
    return closing(MoyskladApi(known, MoyskladSettings(), place.engine, allowed_hosts=LOOPBACK, timing=timing))


def _account(made: World, name: str, kind: PrincipalKind) -> MoyskladAccount:
    handle = made.box.account(name)
    return MoyskladAccount(
        name,
        url=made.box.api_url,
        token=SecretStr(handle.token),
        token_kind=TokenKind(kind),
        permanent_links=handle.account.permanent_links,
    )


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
