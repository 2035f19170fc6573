"""A catalogue of real size: the connector's own time after the HTTP answers, and whole Dagster runs beside it."""

import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from benchmarks.measuring import Stopwatch
from benchmarks.pages import MadePages, read_made
from imagesync_pipelines.connectors.image_db import pages, plan_steps, reading_steps
from imagesync_pipelines.connectors.image_db.settings import (
    ErpOptions,
    ImageDbSettings,
    ProductImageOptions,
    ProductImagePlanOptions,
    RecordsOptions,
)
from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.image_db.server import image_db_sandbox
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import Installation, open_installation
from imagesync_pipelines.storage.plans import Lineage
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines.sync.connector import NoOptions
from imagesync_pipelines.upstream.answers import Answer, load_json
from imagesync_pipelines.upstream.session import ApiRequest, UpstreamSession


@dataclass
class Instant:
    """Stands in for the session: every answer is there at once, so that only our own time is left."""

    bodies: list[bytes]
    calls: int = 0
    bytes: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def call(self, request: ApiRequest) -> Answer:
        """The page asked for, parsed as the session does it."""
        body = self.bodies[int(str(request.params["page"])) - 1]
        self.calls += 1
        self.bytes += len(body)
        return Answer(200, request.path, self.headers, body, load_json(body))


def by_functions(home: Path, made: MadePages) -> dict[str, Any]:
    """Two runs of the stage functions, without HTTP and without Dagster; the second has nothing to write."""
    watch, written = Stopwatch(), {}
    session = cast(UpstreamSession, Instant(list(made.bodies())))
    with open_installation(Settings(home=home)) as place:
        settings = ImageDbSettings(
            image_api_page_size=20, erp_parents_file=made.parents, erp_variants_file=made.variants
        )
        for run_id in ("first", "second"):
            before = _clock(place)
            _run(watch, place, settings, session, run_id)
            written[run_id] = _rows_since(place, before)
    return {"spans": watch.as_json(), "written": written}


def by_dagster(home: Path, images: int) -> dict[str, Any]:
    """Two whole runs against the sandbox over HTTP on loopback, each with all that Dagster adds."""
    answers = []
    with image_db_sandbox(records=images) as sandbox:
        parents, variants = sandbox.write_erp_csv(home)
        os.environ.update(
            {
                "IMAGESYNC_HOME": str(home),
                "IMAGE_API_URL": sandbox.url,
                "IMAGE_API_USERNAME": sandbox.username,
                "IMAGE_API_PASSWORD": sandbox.password,
                "ERP_PARENTS_FILE": str(parents),
                "ERP_VARIANTS_FILE": str(variants),
            }
        )
        for _ in range(2):
            start = time.perf_counter()
            outcome = runs.only(runs.sync("image_db"))
            answers.append(
                {
                    "seconds": time.perf_counter() - start,
                    "status": str(outcome.status),
                    "added": outcome.summary.get("images_added"),
                    "updated": outcome.summary.get("images_updated"),
                }
            )
    return {"runs": answers}


def _run(
    watch: Stopwatch, place: Installation, settings: ImageDbSettings, session: UpstreamSession, run_id: str
) -> None:
    context = pages.Run("image_db", "", Lineage(run_id), place, settings)
    with watch.step(f"{run_id} products"):
        reading_steps.erp_products(context, ErpOptions())
    with watch.step(f"{run_id} keep pages"):
        pages.read_all(context, session)
    with watch.step(f"{run_id} records"):
        reading_steps.records(context, RecordsOptions(), _no_session)
    with watch.step(f"{run_id} plan"):
        plan_steps.plan(context, ProductImagePlanOptions())
    with watch.step(f"{run_id} apply"):
        plan_steps.product_images(context, ProductImageOptions())
    with watch.step(f"{run_id} unmatched"):
        plan_steps.unmatched_articles(context, NoOptions())


def _no_session(context: pages.Run) -> Any:
    raise AssertionError("the pages are stored; no call is needed")


def _clock(place: Installation) -> Any:
    with place.engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.clock_timestamp()))


def _rows_since(place: Installation, moment: Any) -> int:
    """Rows of product_image that were written after this moment."""
    query = sa.select(sa.func.count()).select_from(product_image).where(product_image.c.last_synced >= moment)
    with place.engine.connect() as connection:
        return int(connection.scalar(query) or 0)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    place_of_it = Path(given["home"])
    if "pages" in given:
        print(json.dumps(by_functions(place_of_it, read_made(Path(given["pages"])))))
    else:
        print(json.dumps(by_dagster(place_of_it, given["images"])))
