"""Which client fetches bytes with the least processor time: each gets the same objects, hashed, five at a time."""

import hashlib
import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
import urllib3

from benchmarks.edge_bytes import place_of
from benchmarks.edge_photos import read_photos
from benchmarks.measuring import Stopwatch
from imagesync_pipelines.connectors.edge.downloads import decode_whole, from_bucket
from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.storage.objects import s3_client

WORKERS = 5


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Seconds and processor time of each client, and of decoding what came."""
    photos, place = read_photos(Path(arguments["photos"]))[: arguments["number"]], place_of(arguments["s3"])
    client, open_photo, pool = (
        s3_client(place),
        from_bucket(place, EdgeSettings()),
        urllib3.PoolManager(maxsize=WORKERS),
    )
    local, bodies = threading.local(), {}

    def sign(photo: Photo) -> str:
        return str(
            client.generate_presigned_url("get_object", Params={"Bucket": place.bucket, "Key": photo.object_key})
        )

    def with_obstore(photo: Photo) -> bytes:
        with open_photo(photo, 0, "") as body:
            return b"".join(body.chunks())

    def with_boto3(photo: Photo) -> bytes:
        return bytes(client.get_object(Bucket=place.bucket, Key=photo.object_key)["Body"].read())

    def with_urllib3(photo: Photo) -> bytes:
        return pool.request("GET", sign(photo)).data

    def with_requests(photo: Photo) -> bytes:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        return bytes(local.session.get(sign(photo), timeout=30).content)

    watch = Stopwatch()
    clients: dict[str, Callable[[Photo], bytes]] = {
        "obstore": with_obstore,
        "urllib3, signed by boto3": with_urllib3,
        "requests, signed by boto3": with_requests,
        "boto3": with_boto3,
    }
    for name, fetch in clients.items():

        def hashed(photo: Photo, fetch: Callable[[Photo], bytes] = fetch) -> None:
            body = fetch(photo)
            if hashlib.md5(body).hexdigest() != photo.checksum:
                raise RuntimeError(f"photo {photo.photo_id} is not the listed one")
            bodies[photo.photo_id] = body

        with ThreadPoolExecutor(WORKERS) as workers:
            list(workers.map(hashed, photos[:WORKERS]))
            with watch.step(name):
                list(workers.map(hashed, photos))
    with ThreadPoolExecutor(2) as workers, watch.step("decode"):
        list(workers.map(lambda photo: decode_whole(bodies[photo.photo_id], photo), photos))
    return {"spans": watch.as_json()}


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
