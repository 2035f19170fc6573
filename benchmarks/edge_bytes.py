"""The photos of a bucket into a store's BYTEA, proven, through the connector's functions: one way per process."""

import json
import sys
from collections.abc import Iterator
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
from imagesync_pipelines.connectors.edge.planning import Payloads, payload_of, plan_photos
from imagesync_pipelines.connectors.edge.settings import EdgeSettings, HeadOfficeAccount
from imagesync_pipelines.connectors.edge.store import StoreDatabase, open_store, read_current
from imagesync_pipelines.connectors.edge.store_schema import create_or_check
from imagesync_pipelines.connectors.edge.target import apply_photos
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
    """Plan and apply all photos into an empty table, hash them in SQL, and plan again."""
    settings = EdgeSettings(concurrency=arguments["concurrency"])
    photos = read_photos(Path(arguments["photos"]))
    home = Path(arguments["home"])
    database = new_store(home)
    servers = [ensure_server(home).pid, *arguments["servers"]]
    mirror, payloads = mirror_of(photos), payloads_of(photos)
    watch = Stopwatch()
    quarantine: Quarantine = NoQuarantine()
    check = decode_whole if arguments["decode"] else _no_look
    with _source(arguments, settings) as open_photo:
        with watch.step("plan"):
            made = plan_photos(mirror, read_current(database), _whole(), LIMITS, max_bytes=settings.max_photo)
        before = processor_seconds(servers)
        with watch.step("apply"):
            downloads = Downloads(open_photo, settings, check=check)
            done = apply_photos(made.plan, payload_of(made.written, payloads), database, downloads, quarantine)
    beside = processor_seconds(servers) - before
    with watch.step("plan again"):
        again = plan_photos(mirror, read_current(database), _whole(), LIMITS, max_bytes=settings.max_photo)
    return {
        "spans": watch.as_json(),
        "servers_cpu": beside,
        "verified": done.verified,
        "bytes": done.bytes,
        "right": count_right(database),
        "left": len(again.written),
    }


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


def _no_look(body: bytes, photo: Photo) -> None:
    """The checksum alone."""


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
