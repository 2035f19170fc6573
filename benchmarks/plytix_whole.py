"""The Plytix connector on the sandbox, counted: a first synchronisation of a mapping file, and the same again.

What belongs here: one measurement, run in a process of its own by plytix.py. What does not: the workflow it replaces.
"""

import json
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from pydantic import SecretStr

from benchmarks.plytix_world import World, counted, state_of, world
from imagesync_pipelines.accounts.file import PlytixAccount
from imagesync_pipelines.connectors.plytix import apply_stages, plan_stages, stages
from imagesync_pipelines.connectors.plytix.api.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.desk import Desk
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.sandbox.amazon.mapping import write_mapping
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.sync.progress import silent
from imagesync_pipelines.upstream.retries import Timing

ALIAS = "sandbox"
HOUR, DAY = 3600.0, 86400.0


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Two synchronisations, a day apart; one that an hour's calls are not enough for goes on an hour later."""
    runs: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="imagesync-bench-") as home,
        open_installation(Settings(home=Path(home))) as place,
        world(arguments["products"]) as made,
    ):
        desk = Desk(place, PlytixSettings(strategy=arguments["strategy"]), ALIAS)
        mapping = Path(home) / "mapping.json"
        write_mapping(made.mapping, mapping)
        for name in ("first", "second"):
            with counted(made, name, runs):
                needed = 1
                while _stopped(desk, made, mapping, f"{name}-{needed}"):
                    made.sleep(HOUR)
                    needed += 1
            runs[-1]["runs"] = needed
            made.sleep(DAY)
        return {"runs": runs, "state": state_of(made.plytix), "pictures": made.pictures}


def _stopped(desk: Desk, made: World, mapping: Path, run_id: str) -> str:
    """One run of all stages; why it left something to the next one, nothing when it did not."""
    timing = Timing(clock=made.now, sleep=made.sleep, wall=made.now, random=Random(run_id).random)
    with closing(PlytixApi(_account(made), desk.settings, desk.place.engine, timing=timing)) as api:
        stages.take_listings(desk, run_id, mapping=str(mapping), live=False, marketplace="")
        stages.choose_images(desk, run_id)
        stages.read_products(desk, api, run_id)
        plan_stages.make_plan(desk, api, run_id)
        apply_stages.upload_assets(desk, api, run_id, progress=silent)
        return apply_stages.apply_plan(desk, api, run_id, progress=silent).stopped


def _account(made: World) -> PlytixAccount:
    plytix = made.plytix
    return PlytixAccount(
        ALIAS, SecretStr(plytix.api_key), SecretStr(plytix.api_password), url=plytix.url, auth_url=plytix.auth_url
    )


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
