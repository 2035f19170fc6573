"""The Plytix connector on the sandbox, counted: a first synchronisation of a mapping file, and the same again."""

import json
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from pydantic import SecretStr

from benchmarks.plytix_world import World, counted, state_of, world
from imagesync_pipelines.connectors.plytix import apply_steps, plan_steps, reading
from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.settings import (
    GalleryPlanOptions,
    ListingsOptions,
    PlytixAccount,
    PlytixSettings,
)
from imagesync_pipelines.sandbox.amazon.mapping import write_mapping
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import Installation, open_installation
from imagesync_pipelines.storage.plans import Lineage
from imagesync_pipelines.sync.carry_out import ApplyOptions
from imagesync_pipelines.sync.connector import NoOptions
from imagesync_pipelines.sync.steps import RunContext
from imagesync_pipelines.upstream.retries import Timing

ALIAS = "sandbox"
HOUR, DAY = 3600.0, 86400.0


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Two synchronisations, a day apart; one that an hour's calls are not enough for goes on an hour later."""
    runs: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="imagesync-bench-") as home,
        open_installation(Settings(home=Path(home))) as installation,
        world(arguments["products"]) as made,
    ):
        settings = PlytixSettings(strategy=arguments["strategy"])
        mapping = Path(home) / "mapping.json"
        write_mapping(made.mapping, mapping)
        for name in ("first", "second"):
            with counted(made, name, runs):
                needed = 1
                while _stopped(installation, settings, made, mapping, f"{name}-{needed}"):
                    made.sleep(HOUR)
                    needed += 1
            runs[-1]["runs"] = needed
            made.sleep(DAY)
        return {"runs": runs, "state": state_of(made.plytix), "pictures": made.pictures}


def _stopped(installation: Installation, settings: PlytixSettings, made: World, mapping: Path, run_id: str) -> str:
    """One run of all steps; why it left something to the next one, nothing when it did not."""
    timing = Timing(clock=made.now, sleep=made.sleep, wall=made.now, random=Random(run_id).random)
    context = RunContext("plytix", ALIAS, Lineage(run_id), installation, settings)
    with closing(PlytixApi(_account(made), settings, installation.engine, timing=timing)) as api:
        reading.listings(context, ListingsOptions(mapping=str(mapping)))
        reading.images(context, NoOptions())
        reading.products(context, NoOptions(), api)
        plan_steps.plan(context, GalleryPlanOptions(), api)
        apply_steps.assets(context, ApplyOptions(), api)
        stopped = str(apply_steps.product_images(context, ApplyOptions(), api).shown["stopped"])
        return "" if stopped == "-" else stopped


def _account(made: World) -> PlytixAccount:
    plytix = made.plytix
    return PlytixAccount.model_construct(
        alias=ALIAS,
        api_key=SecretStr(plytix.api_key),
        api_password=SecretStr(plytix.api_password),
        url=plytix.url,
        auth_url=plytix.auth_url,
    )


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
