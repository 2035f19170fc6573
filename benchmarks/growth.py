"""What an item costs in catalogues and histories of several sizes: it should be the same in all of them.

`python -m benchmarks.growth --size 1000000` measures one size alone.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import dagster as dg
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from benchmarks import image_db_large
from benchmarks.before import HERE, OLD, before, measured
from benchmarks.edge_bytes import new_store
from benchmarks.edge_catalogue import STORE
from benchmarks.edge_first import PAGE, Office
from benchmarks.measuring import Stopwatch
from benchmarks.pages import make_pages
from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.connectors.edge.reading import StoreRun, make_plan, take_photos
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.connectors.image_db.checks import every_image_has_a_usable_url, every_product_has_one_primary
from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings
from imagesync_pipelines.defs import runs as of_dagster
from imagesync_pipelines.defs.history import history
from imagesync_pipelines.defs.launching import IN_FLIGHT
from imagesync_pipelines.defs.metadata import summary_metadata
from imagesync_pipelines.products.primaries import repair_primaries
from imagesync_pipelines.products.table import read_products
from imagesync_pipelines.products.target import read_current
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.storage.plans import Lineage
from imagesync_pipelines.sync.steps import RunContext, Summary

SIZES = (50_000, 200_000)
# As many runs as an installation with hourly ones has after seven months.
RUNS = (50, 500, 5_000)
# What is measured under the tree before as well: its plan of photos grew with their square.
OF_BEFORE = {"products": 200_000, "photos": 10_000}
SHOWN = 50
RARE = "folder"


def growth(console: Console, sizes: Sequence[int] = SIZES) -> None:
    """Images, products, photos and runs in several sizes, with what each costs in all of them, and before in one."""
    with before(console.print) as old:
        for part, counts in (("images", sizes), ("products", sizes), ("photos", sizes), ("runs", RUNS)):
            every, item = part in ("products", "runs"), part[:-1]
            columns = [(f"{size:,} {part}", size, _spans(HERE, part, size)) for size in counts]
            if old is not None and part in OF_BEFORE:
                columns.append((f"{OLD}: {OF_BEFORE[part]:,}", OF_BEFORE[part], _spans(old, part, OF_BEFORE[part])))
            what = "ms of processor time" if every else f"µs of processor time per {item}"
            table = Table(title=f"How it grows: {what}", title_justify="left")
            heads = (*(heading for heading, *_ in columns), "times as much", f"MB above at {counts[-1]:,}")
            for heading in ("what", *heads):
                table.add_column(heading, justify="left" if heading == "what" else "right")
            largest = columns[len(counts) - 1][2]
            for nth, span in enumerate(largest):
                cost = [spans[nth]["processor"] * (1e3 if every else 1e6 / size) for _, size, spans in columns]
                grown = f"{cost[len(counts) - 1] / cost[0]:.2f} ×" if cost[0] > 0 else ""
                above = f"{span['above_bytes'] / 1e6:,.0f}"
                table.add_row(span["name"], *(f"{one:,.1f}" for one in cost), grown, above)
            console.print(table)


def _spans(tree: Path, part: str, size: int) -> list[dict[str, Any]]:
    """What one size costs under a tree, step by step."""
    found = measured(HERE / "benchmarks" / "growth.py", tree, part=part, size=size).figures["spans"]
    return cast(list[dict[str, Any]], found)


def images(home: Path, number: int) -> dict[str, Any]:
    """The image database: a first run, and one in which nothing changed."""
    return image_db_large.measure(home / "home", make_pages(home / "pages", number, 100))


def photos(home: Path, number: int) -> dict[str, Any]:
    """The edge: the first listing and its plan at once, then a whole listing in which nothing changed, and a plan."""
    watch, settings, database = Stopwatch(), EdgeSettings(page_size=PAGE), new_store(home)
    office = cast(HeadOfficeApi, Office(number))
    with open_installation(Settings(home=home)) as place:
        for name in ("first", "second"):
            run = StoreRun(RunContext(EDGE, STORE.name, Lineage(name), place, settings), STORE, database, office)
            with watch.step(f"{name} listing"):
                take_photos(run, full=True, dry_run=False)
            with watch.step(f"{name} plan"):
                make_plan(run, allow_mass_delete=False)
    return {"spans": watch.as_json()}


def products(home: Path, number: int) -> dict[str, Any]:
    """What a run of product images reads of our own tables, whatever it is about; every product has one image."""
    watch = Stopwatch()
    with open_installation(Settings(home=home)) as place:
        with place.engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL session_replication_role = replica"))  # no triggers: it is all right
            for statement in _PRODUCTS:
                connection.execute(sa.text(statement), {"number": number})
        with watch.step("primaries of an apply in which nothing changed"):
            repair_primaries(place.engine)
        with watch.step("all products, for a plan"):
            read_products(place.engine)
        with watch.step("all product images, for a plan"):
            read_current(place.engine, "image_db")
        context = RunContext("image_db", "", Lineage("run"), place, ImageDbSettings())
        for check in (every_product_has_one_primary, every_image_has_a_usable_url):
            with watch.step(f"the check {check.__name__}"):
                check(context)
    return {"spans": watch.as_json()}


_PRODUCTS = (
    """
    INSERT INTO imagesync.product (kind, erp_id, sku, name)
    SELECT 'variant', n::text, 'SKU ' || n, 'Product ' || n FROM generate_series(1, :number) AS n
    """,
    """
    INSERT INTO imagesync.product_image
           (product_id, external_id, source, image_url, fingerprint, original_url, is_primary)
    SELECT id, erp_id, 'image_db', 'https://media.example.com/' || id || '.jpg', md5(erp_id), 'x', true
      FROM imagesync.product
    """,
    "ANALYZE imagesync.product, imagesync.product_image",
)


def runs(home: Path, number: int) -> dict[str, Any]:
    """Dagster's records of so many runs: the last ones, of all and of a connector that ran rarely, and what runs."""
    watch = Stopwatch()
    with of_dagster.opened(Settings(home=home)) as (_, instance):
        _many_runs(instance, number)
        for name, connector in (("the last 50 runs", None), (f"all runs of {RARE}, which ran twice", RARE)):
            with watch.step(name):
                history(instance, SHOWN, connector)
        with watch.step("what is running: asked by each start and look of a sensor"):
            instance.get_runs(dg.RunsFilter(statuses=list(IN_FLIGHT)))
    return {"spans": watch.as_json()}


def _many_runs(instance: dg.DagsterInstance, number: int) -> None:
    """Two runs of the rare connector, then copies of a run of another one, in Dagster's own tables."""
    now, run_id = datetime.now(UTC), ""

    def result() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata=summary_metadata(Summary("completed", now, now, kept=7)))

    for connector in (RARE, RARE, "image_db"):
        assets = [dg.asset(key=[connector, name])(result) for name in ("plan", "product_images", "export")]
        job = dg.define_asset_job(f"{connector}__sync", selection=dg.AssetSelection.all())
        resolved = dg.Definitions(assets=assets, jobs=[job], executor=dg.in_process_executor).resolve_job_def(job.name)
        run_id = resolved.execute_in_process(instance=instance).run_id
    with cast(Any, instance.run_storage).connect() as connection:
        for table, text in (("runs", "run_body"), ("event_logs", "event"), ("run_tags", "value")):
            found = connection.execute(sa.text(f"SELECT * FROM {table} LIMIT 0"))
            names = [column for column in found.keys() if column != "id"]  # noqa: SIM118 - an answer is no dict
            new = "md5(n::text)::uuid::text"
            values = {"run_id": new, text: f"replace({text}, :run_id, {new})"}
            copies = f"""
                INSERT INTO {table} ({", ".join(names)}) SELECT {", ".join(values.get(name, name) for name in names)}
                  FROM {table}, generate_series(1, :number) AS n WHERE run_id = :run_id ORDER BY n, {table}.id
            """
            connection.execute(sa.text(copies), {"run_id": run_id, "number": number - 3})


PARTS = {"images": images, "products": products, "photos": photos, "runs": runs}


if __name__ == "__main__":
    if sys.argv[1].startswith("{"):
        given = json.loads(sys.argv[1])
        print(json.dumps(PARTS[given["part"]](Path(given["home"]), given["size"])))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--size", type=int, action="append", help="of all but runs; may be given several times")
        growth(Console(width=130), parser.parse_args().size or SIZES)
