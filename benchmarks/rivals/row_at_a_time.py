"""The way of the systems that this project replaces: for every image select its product and its row, then insert or
update, each in a transaction of its own.
"""

import json
import sys
from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg.types.json import Jsonb

from benchmarks.measuring import Stopwatch
from benchmarks.pages import read_made
from imagesync_pipelines.connectors.image_db import pages, reading_steps
from imagesync_pipelines.connectors.image_db.settings import ErpOptions, ImageDbSettings
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.storage.plans import Lineage

# Sorted here: with ORDER BY and LIMIT PostgreSQL may scan all products in that order, which would flatter us.
PRODUCT = "SELECT kind, id, name FROM imagesync.product WHERE sku = %s"
SELECT = "SELECT id FROM imagesync.product_image WHERE product_id = %s AND external_id = %s FOR UPDATE"
INSERT = """
INSERT INTO imagesync.product_image (image_url, image_type, is_front, alt_text, metadata, product_id, external_id)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""
UPDATE = """
UPDATE imagesync.product_image
   SET image_url = %s, image_type = %s, is_front = %s, alt_text = %s, metadata = %s, last_synced = now()
 WHERE product_id = %s AND external_id = %s
"""


def measure(home: Path, folder: Path, images: int) -> dict[str, Any]:
    """The first `images` of the pages into product_image; the products are there before the clock starts."""
    made, watch, done, rows = read_made(folder), Stopwatch(), 0, 0
    with open_installation(Settings(home=home)) as place:
        settings = ImageDbSettings(erp_parents_file=made.parents, erp_variants_file=made.variants)
        context = pages.Run("image_db", "", Lineage("products"), place, settings)
        reading_steps.erp_products(context, ErpOptions())
        url = place.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection, watch.step("rows"):
            for body in made.bodies():
                for record in orjson.loads(body)["results"]:
                    rows += _write(connection, record)
                    done += 1
                if done >= images:
                    break
    return {"spans": watch.as_json(), "images": done, "rows": rows}


def _write(connection: psycopg.Connection[Any], record: dict[str, Any]) -> int:
    original, exports, rows = record["original_file"], record["exported_files"], 0
    url = next((export["image_url"] for export in exports if export["image_url"]), original["file_url"])
    for link in record["articles"]:
        found = connection.execute(PRODUCT, (link["number"],)).fetchall()
        if not found:
            continue
        _, product_id, name = max(found)  # a variant before a parent of the same number
        values = (url, original["type"] or "", bool(link["front"]), name, Jsonb(record))
        key = (product_id, str(original["file_id"]))
        with connection.transaction():
            there = connection.execute(SELECT, key).fetchone()
            connection.execute(UPDATE if there else INSERT, (*values, *key))
        rows += 1
    return rows


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(measure(Path(given["home"]), Path(given["pages"]), given["images"])))
