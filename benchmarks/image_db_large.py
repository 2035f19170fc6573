"""A large catalogue through the connector's functions: from page bytes to committed rows in product_image.

It runs with the package of the commit before as well, which takes nothing over from the reading before.
"""

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.measuring import Stopwatch
from benchmarks.pages import MadePages, read_made
from imagesync_pipelines.connectors.image_db import pages, plan_steps, reading_steps
from imagesync_pipelines.connectors.image_db.columns import RawPage
from imagesync_pipelines.connectors.image_db.parsing import parse
from imagesync_pipelines.connectors.image_db.record_store import STEP, About, Batches, write_chunks
from imagesync_pipelines.connectors.image_db.settings import (
    ErpOptions,
    ImageDbSettings,
    ProductImageOptions,
    ProductImagePlanOptions,
)
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import Installation, open_installation
from imagesync_pipelines.storage.plans import Lineage

TAKES_OVER = find_spec("imagesync_pipelines.connectors.image_db.taken_over") is not None
# As much of the stock changes from one day to the next.
DRIFT = 0.2
STEPS = ("records", "plan", "apply")


def measure(home: Path, made: MadePages) -> dict[str, Any]:
    """A first run that adds everything, and one of the next day, when only stocks have changed: it writes nothing."""
    watch = Stopwatch()
    with open_installation(Settings(home=home)) as place:
        settings = ImageDbSettings(erp_parents_file=made.parents, erp_variants_file=made.variants)
        with watch.step("products"):
            reading_steps.erp_products(context_of(place, settings, "products"), ErpOptions())
        first = run_stages(watch, place, settings, made, "first")
        second = run_stages(watch, place, settings, next_day(made, home), "second")
    alone = [sys.executable, "-P", __file__, json.dumps({"home": str(home), "plan_alone": True})]
    found = subprocess.run(alone, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
    return {"spans": watch.as_json(), "first": first, "second": second, "alone": json.loads(found)}


def plan_alone(home: Path) -> dict[str, Any]:
    """The plan of the newest records once more, in a fresh process: its memory, not its time, is what counts."""
    watch = Stopwatch()
    with open_installation(Settings(home=home)) as place, watch.step("plan"):
        plan_steps.plan(context_of(place, ImageDbSettings(), "alone"), ProductImagePlanOptions(force=True))
    return {"spans": watch.as_json()}


def run_stages(
    watch: Stopwatch, place: Installation, settings: ImageDbSettings, made: MadePages, run_id: str
) -> dict[str, int]:
    """Records, plan and apply of these pages, each a step of the watch that is called after the run; what they did."""
    context = context_of(place, settings, run_id)
    now = datetime.now(UTC)
    with watch.step(f"{run_id} records"), ExitStack() as stack:
        batches, min_height, known, about = Batches(context.handovers), settings.image_db_detail_min_height, [], {}
        if TAKES_OVER:
            from imagesync_pipelines.connectors.image_db.taken_over import reading_key

            about["read_as"] = reading_key(min_height, "")
            known.append(stack.enter_context(batches.known(about["read_as"])))
        chunks = parse(_read(made, now), min_height, made.bytes, *(file.records for file in known))
        stored = write_chunks(batches.records(run_id), chunks, *known)
        about |= {"sha256": stored.sha256} if TAKES_OVER else {}
        whole = {"scan_id": 1, "scope": "all", "complete": True, "reason": "", "records": stored.records}
        context.keep(STEP, About.model_validate({"run_id": run_id, "made_at": now, **whole, **about}))
    with watch.step(f"{run_id} plan"):
        plan_steps.plan(context, ProductImagePlanOptions())
    with watch.step(f"{run_id} apply"):
        done = plan_steps.product_images(context, ProductImageOptions())
    summary = done.summary
    if summary is None or done.rows is None:
        raise ValueError("the step product_images gave no summary")
    return {
        "records": stored.records,
        "rows": done.rows,
        "added": summary.images_added,
        "updated": summary.images_updated,
        "removed": summary.images_deleted,
        "failed": summary.failed,
    }


def context_of(place: Installation, settings: ImageDbSettings, run_id: str) -> pages.Run:
    """A run of the connector without Dagster."""
    return pages.Run("image_db", "", Lineage(run_id), place, settings)


def next_day(made: MadePages, folder: Path) -> MadePages:
    """The same pages with other stocks."""
    drawn, later = random.Random(1), folder / "next_day.jsonl"

    def stock(found: re.Match[bytes]) -> bytes:
        return b'"stock":%d' % (int(found[1]) + (drawn.random() < DRIFT))

    with later.open("wb") as file:
        for body in made.bodies():
            file.write(re.sub(rb'"stock":(-?\d+)', stock, body))
    return replace(made, path=later, bytes=later.stat().st_size)


def _read(made: MadePages, now: datetime) -> Iterator[RawPage]:
    for page, body in enumerate(made.bodies(), 1):
        yield RawPage(page, now, body)


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    folder = Path(arguments["home"])
    result = plan_alone(folder) if arguments.get("plan_alone") else measure(folder, read_made(Path(arguments["pages"])))
    print(json.dumps(result))
