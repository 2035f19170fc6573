"""A catalogue of 100,000 products and 300,000 images, or as many as wanted, for the measurements of the web."""

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa

from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import Installation

PARENTS, VARIANTS, IMAGES, ARTICLES, FAMILIES = 29_600, 70_400, 300_000, 5_000, 25_000
PRODUCTS = PARENTS + VARIANTS

_PARENTS = """
INSERT INTO imagesync.product (kind, erp_id, sku, name)
SELECT 'parent', nth::text, 'P' || (100000 + nth * 7),
       (ARRAY['Kleiner', 'Großer', 'Müder', 'Fröhlicher', 'Alter'])[1 + nth % 5] || ' '
       || (ARRAY['Fuchs', 'Bär', 'Hase', 'Storch', 'Drache', 'Müller', 'Gärtner', 'Kapitän'])[1 + nth % 8] || ' '
       || (ARRAY['mit Stern', 'mit Schirm', 'im Schnee', 'auf Schlitten', 'unterm Baum', 'am Fenster'])[1 + nth % 6]
       || ' ' || nth
  FROM generate_series(1, :parents) nth
"""
_VARIANTS = """
INSERT INTO imagesync.product (kind, erp_id, sku, parent_id, variant_code, legacy_sku, base_sku, name)
SELECT 'variant', nth::text, (1000000 + nth * 3)::text, parent.id, code, parent.sku || '-' || nth % 9, parent.sku,
       parent.name || ' ' || code
  FROM (SELECT nth, (ARRAY['BE', 'BL', 'OX'])[1 + nth % 3] code FROM generate_series(1, :variants) nth) made
  JOIN imagesync.product parent ON parent.kind = 'parent' AND parent.erp_id = (1 + nth % :families)::text
"""
# One variant of twenty has no image; the others have one to eight.
_IMAGES = """
INSERT INTO imagesync.product_image
       (product_id, external_id, image_url, thumbnail_url, image_type, is_primary, is_front, priority, alt_text,
        metadata, matched_by, chosen_because, width, height, image_format, newest_export, last_synced, fingerprint)
SELECT product.id, (product.id * 10 + nth)::text, 'https://media.example.com/' || product.id || '/' || nth || '.jpg',
       'https://media.example.com/' || product.id || '/' || nth || '.png', 'Produktfoto', nth = 1,
       nth = 1 AND product.id % 17 <> 0, nth, product.name,
       jsonb_build_object('original_file', jsonb_build_object('uploaded_from', 'Desktop app')), 'variant sku',
       'the preferred file of at least 600 pixels height', 1500, CASE WHEN product.id % 101 = 0 THEN 400 ELSE 1280 END,
       'jpeg', now() - interval '1 day' * (product.id % 900), now() - interval '1 hour' * (product.id % 5000),
       md5(product.id::text || nth)
  FROM imagesync.product, generate_series(1, 8) nth
 WHERE product.kind = 'variant' AND product.id % 20 <> 0 AND nth <= 1 + product.id % 8
 ORDER BY product.id, nth
 LIMIT :images
"""
_ARTICLES = """
INSERT INTO imagesync.unmatched_article (number, external_id, reason, candidates)
SELECT nth::text, nth::text, 'the ERP has no product',
       jsonb_build_array(jsonb_build_object('sku', (1000000 + nth * 33)::text, 'why', 'one character differs'))
  FROM generate_series(1, :articles) nth
"""

# Of ten main pictures one has so few pixels that a rule refuses it.
_MEASURED = """
INSERT INTO imagesync.picture_measure (sha256, measured_by, width, height, format, white_background, fill,
                                       touched_sides, sharpness, transparent, hash)
SELECT encode(sha256(version::bytea), 'hex'), '1', size, size, 'JPEG', 1, 0.9, '', 1, 0, hashtext(version)
  FROM (SELECT version, CASE WHEN hashtext(version) % 10 = 0 THEN 400 ELSE 1600 END AS size
          FROM imagesync.channel_picture) made
    ON CONFLICT DO NOTHING;
UPDATE imagesync.channel_picture SET sha256 = encode(sha256(version::bytea), 'hex'), measured_at = now()
"""
_SHOWN = "SELECT imagesync.refresh_shown_images(array_agg(id), '{}') FROM imagesync.product"


def settings_of(home: Path) -> Settings:
    """The settings of an installation in `home`."""
    return Settings(home=home)


def fill(place: Installation, products: int = PRODUCTS) -> None:
    """Make the catalogue; PostgreSQL has looked at its tables afterwards, as it does by itself after a first run."""
    scale = products / PRODUCTS
    names = ("parents", "variants", "images", "families")
    numbers = {
        name: int(number * scale) for name, number in zip(names, (PARENTS, VARIANTS, IMAGES, FAMILIES), strict=True)
    }
    with place.engine.begin() as connection:
        # What triggers keep is made at once afterwards.
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        for statement in (_PARENTS, _VARIANTS, _IMAGES, _ARTICLES):
            connection.execute(sa.text(statement), {**numbers, "articles": ARTICLES})
    _analyze(place)
    with place.engine.begin() as connection:
        connection.execute(sa.text(_SHOWN))
        if connection.scalar(sa.text("SELECT to_regclass('imagesync.listed_product') IS NOT NULL")):
            connection.execute(sa.text("SELECT imagesync.rebuild_lists()"))
    _analyze(place)
    with place.engine.connect() as connection:
        made = [connection.execute(sa.text(f"SELECT count(*) FROM imagesync.{table}")).scalar_one()
                for table in ("product", "product_image")]  # fmt: skip
    if made != [products, numbers["images"]]:
        raise AssertionError(f"{made} products and images were made")


def judge(place: Installation) -> bool:
    """Every main picture has made-up measures and is judged by them; False where nothing judges pictures yet."""
    if find_spec("imagesync_pipelines.quality") is None:
        return False
    from imagesync_pipelines.quality.noting import note_pictures
    from imagesync_pipelines.quality.scores import judge_due
    from imagesync_pipelines.quality.settings import QualitySettings
    from imagesync_pipelines.registry import connector_named

    pictures = connector_named("image_db").channel_pictures
    note_pictures(place.engine, "image_db", "", pictures(place.engine, place.settings, ""))
    for statement in _MEASURED.split(";"):
        with place.engine.begin() as connection:
            connection.execute(sa.text(statement))
    _analyze(place)
    judge_due(place.engine, QualitySettings(), datetime.now(UTC))
    _analyze(place)
    return True


def _analyze(place: Installation) -> None:
    with place.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
