"""The photos of a bucket into a store's BYTEA, proven, through the connector's functions: one way per process.

Runs under the tree before as well, which decodes a content each time it comes.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import sqlalchemy as sa
from pydantic import SecretStr

from benchmarks.edge_photos import read_photos
from benchmarks.measuring import Stopwatch, processor_seconds
from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.downloads import (
    Downloads,
    OpenPhoto,
    decode_whole,
    from_bucket,
    from_head_office,
)
from imagesync_pipelines.connectors.edge.model import Photo, fingerprint
from imagesync_pipelines.connectors.edge.planning import Payloads, PhotoPlan, payload_of, plan_photos
from imagesync_pipelines.connectors.edge.settings import EdgeSettings, HeadOfficeAccount
from imagesync_pipelines.connectors.edge.store import StoreDatabase, open_store, read_current
from imagesync_pipelines.connectors.edge.store_schema import create_or_check
from imagesync_pipelines.connectors.edge.target import PhotosApplied, apply_photos
from imagesync_pipelines.storage.database import create_database, open_database
from imagesync_pipelines.storage.embedded import ensure_server
from imagesync_pipelines.storage.objects import S3Place
from imagesync_pipelines.sync.model import DeletionLimits, Proof, Scope
from imagesync_pipelines.sync.targets import Quarantine

LIMITS = DeletionLimits(1, 10**9, 10**9, 10**9)


class NoQuarantine:
    """A quarantine for runs in which nothing fails; it says so when something does."""

    def put(self, items: Any) -> None:
        """Refuse: a benchmark with failures measures nothing."""
        raise RuntimeError(f"{len(items)} photos failed, the first: {items[0]}")

    def list(self) -> list[Any]:
        """Nothing."""
        return []

    def clear(self, keys: Any) -> None:
        """Nothing to do."""


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Plan and apply all photos into an empty table, hash them in SQL, plan again; `again`: and into another store."""
    settings = EdgeSettings(concurrency=arguments["concurrency"])
    photos = read_photos(Path(arguments["photos"]))
    home = Path(arguments["home"])
    database, mirror, payloads = new_store(home), mirror_of(photos), payloads_of(photos)
    ours = open_database(create_database(ensure_server(home).url("postgres", "psycopg"), "ours"))
    watch, beside = Stopwatch(), [ensure_server(home).pid]
    quarantine: Quarantine = NoQuarantine()

    def plan() -> PhotoPlan:
        return plan_photos(mirror, read_current(database), _whole(), LIMITS, max_bytes=settings.max_photo)

    def apply(name: str) -> PhotosApplied:
        made, (check, hooks) = plan(), _check(arguments["decode"], ours)
        servers.append([processor_seconds(beside), processor_seconds(arguments["servers"])])
        with watch.step(name):
            downloads = Downloads(open_photo, settings, check=check)
            payload = payload_of(made.written, payloads)
            done = apply_photos(made.plan, payload, database, downloads, quarantine, **hooks)
        after = [processor_seconds(beside), processor_seconds(arguments["servers"])]
        servers[-1] = [now - then for now, then in zip(after, servers[-1], strict=True)]
        return done

    servers: list[list[float]] = []
    with _source(arguments, settings) as open_photo:
        done = apply("apply")
        right, left = count_right(database), len(plan().written)
        if arguments.get("again"):
            with database.engine.begin() as connection:
                connection.execute(sa.text(f"TRUNCATE {database.table}"))
            done = apply("apply again")
            right = min(right, count_right(database))
    ours.dispose()
    return {
        "spans": watch.as_json(),
        "database_cpu": servers[0][0],
        "store_cpu": servers[0][1],
        "verified": done.verified,
        "right": right,
        "left": left,
    }


def _check(decode: bool, ours: sa.Engine) -> tuple[Callable[..., str], dict[str, Any]]:
    """How a photo is looked at, and what the run is told for it: with kept verdicts where the tree has them."""
    if not decode:
        return _no_look, {}
    try:
        from imagesync_pipelines.imaging.verdicts import Verdicts
    except ImportError:
        return decode_whole, {}
    known = Verdicts(ours)
    return (
        lambda body, photo: known.check(body, photo.checksum, photo.content_type),
        {"before_fetch": known.look_up, "on_written": lambda reports: known.save()},
    )


def new_store(home: Path) -> StoreDatabase:
    """An empty store on an embedded server of its own (fsync on)."""
    database = open_store(ensure_server(home).url("postgres", "psycopg"))
    create_or_check(database)
    return database


def mirror_of(photos: list[Photo]) -> pd.DataFrame:
    """The mirror's frame of these photos."""
    rows = [
        (
            *(one.photo_id, one.product_id, fingerprint(one), one.checksum, str(one.is_primary).lower()),
            *(one.updated_at.isoformat(), one.size, one.sort_order),
        )
        for one in photos
    ]
    texts = ["key", "group_key", "fingerprint", "checksum", "is_primary", "updated_at"]
    return pd.DataFrame(rows, columns=[*texts, "size", "sort_order"])


def payloads_of(photos: list[Photo]) -> Payloads:
    """Looks up these photos, as the mirror does."""
    texts = {one.photo_id: orjson.dumps(one._asdict()).decode() for one in photos}
    return lambda keys: pd.DataFrame({"key": list(keys), "payload": [texts[key] for key in keys]}, dtype="str")


def count_right(database: StoreDatabase) -> int:
    """How many stored pictures have the MD5 that was listed, hashed by PostgreSQL."""
    query = f"SELECT count(*) FROM {database.table} WHERE md5(image_binary) = checksum AND sync_status = 'synced'"
    with database.engine.connect() as connection:
        return int(connection.scalar(sa.text(query)) or 0)


def _whole() -> Scope:
    return Scope(None, Proof(1, complete=True, reason=""))


def _no_look(body: object, photo: Photo) -> str:
    """The checksum alone."""
    return ""


@contextmanager
def _source(arguments: dict[str, Any], settings: EdgeSettings) -> Iterator[OpenPhoto]:
    if arguments["source"] == "s3":
        yield from_bucket(place_of(arguments["s3"]), settings)
        return
    office = arguments["ho"]
    account = HeadOfficeAccount.model_construct(
        url=office["url"], username=office["username"], password=SecretStr(office["password"])
    )
    with closing(HeadOfficeApi(account, settings)) as api:
        yield from_head_office(api, office["store_id"])


def place_of(values: dict[str, str]) -> S3Place:
    """A bucket from plain values."""
    return S3Place(**{**values, "secret_key": SecretStr(values["secret_key"])})  # type: ignore[arg-type]


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
