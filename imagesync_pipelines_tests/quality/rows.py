"""Pictures of channels and what was measured of them, as the tables have them."""

from typing import Any

import sqlalchemy as sa

from imagesync_pipelines.products.channel_pictures import version_of
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines.storage.schema_quality import channel_picture, picture_measure

FINE = {
    "measured_by": "1", "format": "JPEG", "width": 1500, "height": 1500, "white_background": 1.0, "fill": 0.88,
    "touched_sides": "", "sharpness": 0.9, "transparent": 0.0, "hash": 7, "words": None, "words_by": "",
}  # fmt: skip


def show(engine: sa.Engine, code: str, sha256: str = "", **more: Any) -> None:
    """Let a channel show a picture; what `more` does not say: the main one of a product in Plytix's account."""
    row = {
        "connector": "plytix", "account": "default", "code": code, "key": "1", "is_main": True,
        "name": f"Name of {code}", "kind": "product", "picture": f"https://img.example/{code}.jpg", "version": "1",
        "sha256": sha256, "seen_at": sa.func.now(), **more,
    }  # fmt: skip
    with engine.begin() as connection:
        connection.execute(channel_picture.insert().values(row))


def measure(engine: sa.Engine, sha256: str, **values: Any) -> None:
    """Measure a content: a fine picture but for these values."""
    with engine.begin() as connection:
        connection.execute(picture_measure.insert().values(sha256=sha256, **(FINE | values)))


def listed_now(engine: sa.Engine) -> None:
    """Let the pictures of our products that are shown be the ones that are there now."""
    shown, image = channel_picture.c, product_image.c
    is_image = (shown.product_id == image.product_id) & (shown.key == image.external_id)
    with engine.begin() as connection:
        connection.execute(channel_picture.update().where(is_image).values(version=version_of(product_image)))
