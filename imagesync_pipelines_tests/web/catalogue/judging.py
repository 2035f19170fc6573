"""Main pictures that were measured and judged, for the tests of pages."""

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from imagesync_pipelines.quality.scores import judge_due
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.quality.storing import put_measures
from imagesync_pipelines.settings import load_settings
from imagesync_pipelines.storage.facts import Measures
from imagesync_pipelines.storage.schema_quality import channel_picture, picture_alike
from imagesync_pipelines_tests.web.catalogue.world import NOW

GOOD: dict[str, Any] = {
    "format": "JPEG",
    "width": 2000,
    "height": 2000,
    "white_background": 1.0,
    "fill": 0.88,
    "touched_sides": (),
    "sharpness": 0.9,
    "transparent": 0.0,
    "hash": 0,
    "words": (),
}
GREY = {**GOOD, "white_background": 0.4}
SMALL = {**GOOD, "width": 300, "height": 300}
BOTH = {**GREY, "width": 300, "height": 300}


def show(engine: sa.Engine, code: str, measures: dict[str, Any], **more: Any) -> None:
    """A main picture that Plytix shows, and what was measured of it."""
    content = sha256(f"{code} {more.get('key')} {measures}".encode()).hexdigest()
    row = {
        "connector": "plytix",
        "account": "main",
        "code": code,
        "key": code,
        "is_main": True,
        "product_id": None,
        "name": f"Engel {code}",
        "kind": "product",
        "picture": f"https://media.example.com/{code}.jpg",
        "version": "1",
        "sha256": content,
        "seen_at": NOW,
        "measured_at": NOW,
        **more,
    }
    with engine.begin() as connection:
        put_measures(connection, [Measures(sha256=content, **measures)], "1", "" if measures["words"] is None else "1")
        connection.execute(channel_picture.insert(), [row])


def judge(engine: sa.Engine, now: datetime = NOW) -> None:
    """Judge what is shown, on the day before as well, so that there is a trend."""
    settings = load_settings(QualitySettings)
    judge_due(engine, settings, now - timedelta(days=1))
    judge_due(engine, settings, now)


def pair(engine: sa.Engine, *kinds: str) -> tuple[str, str]:
    """Two contents that are shown, as a pair of the same picture; their SHA-256."""
    with engine.begin() as connection:
        one, other = sorted(connection.scalars(sa.select(channel_picture.c.sha256).limit(2)))
        row = {"sha256": one, "other_sha256": other, "distance": 2, "kinds": list(kinds)}
        connection.execute(picture_alike.insert(), [row])
    return one, other
