"""What quality costs beside the synchronisations: many pictures noted, and looked through when nothing changed.

python -m benchmarks.quality [300000]: made-up products of three images each, in an embedded PostgreSQL.
"""

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from upath import UPath

from benchmarks.measuring import Stopwatch, processor_seconds
from imagesync_pipelines.quality.measuring import Bounds, Tools, measure_due
from imagesync_pipelines.quality.noting import note_pictures
from imagesync_pipelines.quality.scores import judge_due
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.contents import Contents
from imagesync_pipelines.storage.database import create_database, open_database
from imagesync_pipelines.storage.embedded import ensure_server, stop_server
from imagesync_pipelines.storage.facts import Measures

IMAGES_OF_A_PRODUCT, CHANGED_SHARE, MEGABYTE = 3, 100, 1_000_000
_PRODUCTS = """
INSERT INTO imagesync.product (kind, erp_id, sku, name)
SELECT 'variant', n, 'SKU-' || lpad(n::text, 8, '0'), 'Product number ' || n FROM generate_series(1, :products) AS n
"""
_IMAGES = """
INSERT INTO imagesync.product_image (product_id, external_id, image_url, is_primary, newest_export, fingerprint)
SELECT p.id, p.id || '-' || n, 'https://media.example.com/exports/' || p.sku || '/' || n || '_large.jpg', n = 1,
       timestamptz '2026-01-01' + n * interval '1 day', md5(p.id || ' ' || n)
  FROM imagesync.product p, generate_series(1, :each) AS n
"""
_CHANGED = "UPDATE imagesync.product_image SET newest_export = now() WHERE is_primary AND product_id % :share = 0"
_MEASURED = """
INSERT INTO imagesync.picture_measure (sha256, measured_by, width, height, format, white_background, fill,
                                       touched_sides, sharpness, transparent, hash)
SELECT encode(sha256(version::bytea), 'hex'), '1', 1000, 1000, 'JPEG', 1, 0.9, '', 1, 0, hashtext(version)
  FROM imagesync.channel_picture
    ON CONFLICT DO NOTHING;
UPDATE imagesync.channel_picture SET sha256 = encode(sha256(version::bytea), 'hex'), measured_at = now();
ANALYZE imagesync.channel_picture;
ANALYZE imagesync.picture_measure
"""


def main() -> None:
    """Make the rows, and print each step: wall time, processor with the database server's, peak of this process."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    home = Path(tempfile.mkdtemp(prefix="quality-"))
    server = ensure_server(home)
    try:
        engine = open_database(create_database(server.url("postgres", "psycopg"), "ours"))
        _measure(engine, server.pid, images, UPath(home))
        engine.dispose()
    finally:
        stop_server(home)


def _measure(engine: sa.Engine, server: int, images: int, root: UPath) -> None:
    watch, servers = Stopwatch(), list[float]()
    listed, now = connector_named("image_db").channel_pictures, datetime.now(UTC)
    tools, bounds = Tools(_nothing_is_fetched, _nothing_is_measured, "1"), Bounds(now, None, 4, timedelta(days=1))
    _execute(engine, _PRODUCTS, products=images // IMAGES_OF_A_PRODUCT)
    _execute(engine, _IMAGES, each=IMAGES_OF_A_PRODUCT)
    _execute(engine, "ANALYZE imagesync.product")
    _execute(engine, "ANALYZE imagesync.product_image")

    def note() -> None:
        print(note_pictures(engine, "image_db", "", listed(engine, Settings(), "")))

    def look() -> None:
        print(measure_due(engine, Contents(engine, root), tools, bounds))

    def judge() -> None:
        print(judge_due(engine, QualitySettings(), now))

    def change() -> None:
        _execute(engine, _CHANGED, share=CHANGED_SHARE)
        note()

    def known() -> None:
        for one in _MEASURED.split(";"):
            _execute(engine, one)

    steps = {
        "noted for the first time": note,
        "noted again, nothing changed": note,
        "(made-up measures written)": known,
        "looked for what is due, nothing is": look,
        "judged for the first time": judge,
        "judged again, nothing changed": judge,
        "noted, 1 % of the main pictures changed": change,
    }
    for name, step in steps.items():
        before = processor_seconds([server])
        with watch.step(name):
            step()
        servers.append(processor_seconds([server]) - before)
    for span, of_server in zip(watch.spans, servers, strict=True):
        memory = f"{span.above_bytes / MEGABYTE:.0f} MB above, peak {span.peak_bytes / MEGABYTE:.0f} MB"
        print(f"{span.name}: {span.seconds:.1f} s, processor {span.cpu:.1f} + {of_server:.1f} s, {memory}")


def _execute(engine: sa.Engine, statement: str, **values: object) -> None:
    with engine.begin() as connection:
        # Rows are made without what the catalogue's triggers do for each of them.
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        connection.execute(sa.text(statement), values)


def _nothing_is_fetched(picture: str) -> bytes:
    raise AssertionError(picture)


def _nothing_is_measured(body: bytes) -> Measures:
    raise AssertionError(len(body))


if __name__ == "__main__":
    main()
