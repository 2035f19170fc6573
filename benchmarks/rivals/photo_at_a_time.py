"""The way of the system that is replaced: one session, one photo after the other, bytes as text, a commit per photo."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import psycopg
import requests

from benchmarks.edge_bytes import count_right, new_store, place_of
from benchmarks.edge_photos import read_photos
from benchmarks.measuring import Stopwatch
from imagesync_pipelines.storage.objects import s3_client

_UPSERT = """
INSERT INTO product_photo (id, product_id, object_key, filename, size, content_type, checksum, image_binary,
                           last_sync_at, sync_status)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now(), 'synced')
    ON CONFLICT (id) DO UPDATE SET image_binary = EXCLUDED.image_binary, checksum = EXCLUDED.checksum
"""


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Fetch and write the first photos of the listing from the same bucket."""
    photos = read_photos(Path(arguments["photos"]))[: arguments["number"]]
    place = place_of(arguments["s3"])
    sign = s3_client(place).generate_presigned_url
    urls = [sign("get_object", Params={"Bucket": place.bucket, "Key": one.object_key}) for one in photos]
    database = new_store(Path(arguments["home"]))
    url = database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    watch = Stopwatch()
    # A client-side cursor sends values as text in the statement, as the replaced program's driver did.
    with (
        requests.Session() as session,
        psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection,
        watch.step("photos"),
    ):
        for photo, address in zip(photos, urls, strict=True):
            body = session.get(address, timeout=30).content
            if hashlib.md5(body).hexdigest() != photo.checksum:
                raise RuntimeError(f"photo {photo.photo_id} is not the listed one")
            values = (photo.photo_id, photo.product_id, photo.object_key, photo.filename, photo.size)
            connection.execute(_UPSERT, (*values, photo.content_type, photo.checksum, body))
            connection.commit()
    return {"spans": watch.as_json(), "right": count_right(database)}


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
