"""What the pages of a large catalogue and a store's photos cost, asked over HTTP by one process of another."""

import http.client
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.catalogue_world import PRODUCTS, fill, fill_photos, open_photos, settings_of
from benchmarks.measuring import processor_seconds, quiet_environment
from imagesync_pipelines.storage.embedded import stop_server
from imagesync_pipelines.storage.installation import open_installation

WORDS = ("Fuchs", "Müder", "10003", "zzz", "1", "P14", "Bär Schirm", "Gärtner Schnee", "1000345")
FILTERS = ("without_image", "without_front", "low_resolution", "unmatched")
TIMES = 15
PHOTOS, PHOTO_BYTES, CONNECTIONS, ROUNDS = 300, 200_000, 4, 5
_NEXT = re.compile(r'hx-get="([^"]*cursor=[^"]*)"')


def main(home: str) -> None:
    """Fill a home, ask everything, and print what was measured as JSON."""
    try:
        with open_installation(settings_of(home)) as place:
            fill(place)
            ids = [str(one) for one in fill_photos(open_photos(place), Path(home) / "photos", PHOTOS, PHOTO_BYTES)]
            with _served(home, photos=False) as (port, server):
                pages = _pages(port, server)
            with _served(home, photos=True) as (port, _):
                photos = _photos(port, ids)
    finally:
        stop_server(Path(home))
    print(json.dumps({"pages": pages, **photos}))


def _pages(port: int, server: int) -> list[dict[str, Any]]:
    """Every kind of page, asked again and again; the first answers, which warm everything up, do not count."""
    some = random.Random(1)
    later = _later_pages(port, TIMES * 3)
    kinds = {
        "product list": ["/"] * TIMES,
        "product list, later pages": later,
        "search": [f"/?q={word.replace(' ', '+')}" for word in WORDS] * (TIMES // 3),
        "filter": [f"/?{name}=1" for name in FILTERS] * TIMES,
        "product page": [f"/products/{some.randint(1, PRODUCTS)}" for _ in range(TIMES * 6)],
    }
    return [{"name": name, **_timed(port, server, _encoded(paths))} for name, paths in kinds.items()]


def _later_pages(port: int, number: int) -> list[str]:
    """The addresses behind "Show more products", one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    paths, path = [], "/"
    for _ in range(number):
        status, body = _ask(connection, path)
        if status != http.HTTPStatus.OK:
            raise AssertionError(f"{path} answered {status}: {body[-500:]!r}")
        path = _NEXT.findall(body.decode())[0].replace("&amp;", "&")
        paths.append(path)
    connection.close()
    return paths


def _timed(port: int, server: int, paths: Sequence[str]) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for path in paths[:5]:
        _ask(connection, path)
    before, times = processor_seconds([server]), []
    for path in paths:
        began = time.perf_counter()
        status, _ = _ask(connection, path)
        times.append(time.perf_counter() - began)
        if status != http.HTTPStatus.OK:
            raise AssertionError(f"{path} answered {status}")
    used = processor_seconds([server]) - before
    connection.close()
    times.sort()
    return {
        "asked": len(times),
        "p50": times[len(times) // 2],
        "p95": times[int(len(times) * 0.95)],
        "longest": times[-1],
        "cpu": used / len(times),
    }


def _photos(port: int, ids: Sequence[str]) -> dict[str, Any]:
    """Every photo over a few connections at once, whole; then again by somebody who has them all."""
    tags: dict[str, str] = {}
    moved, seconds = _round(port, ids, tags, http.HTTPStatus.OK)
    _, unchanged = _round(port, ids, tags, http.HTTPStatus.NOT_MODIFIED)
    asked = len(ids) * ROUNDS
    return {"bytes_per_second": moved / seconds, "photos_per_second": asked / seconds, "304s": asked / unchanged}


def _round(port: int, ids: Sequence[str], tags: dict[str, str], wanted: int) -> tuple[int, float]:
    """All photos, several times; the bytes that came and the seconds it took."""

    def share(nth: int) -> int:
        connection, moved = http.client.HTTPConnection("127.0.0.1", port), 0
        for _ in range(ROUNDS):
            for one in ids[nth::CONNECTIONS]:
                path = f"/photos/{one}"
                headers = {"If-None-Match": tags[path]} if wanted == http.HTTPStatus.NOT_MODIFIED else {}
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                moved += len(answer.read())
                if answer.status != wanted:
                    raise AssertionError(f"{path} answered {answer.status}")
                tags[path] = answer.headers["ETag"]
        connection.close()
        return moved

    began = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        moved = sum(pool.map(share, range(CONNECTIONS)))
    return moved, time.perf_counter() - began


def _ask(connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def _encoded(paths: Sequence[str]) -> list[str]:
    """As a browser writes them."""
    return ["".join(one if one.isascii() else "".join(f"%{byte:02X}" for byte in one.encode()) for one in path)
            for path in paths]  # fmt: skip


@contextmanager
def _served(home: str, *, photos: bool) -> Iterator[tuple[int, int]]:
    """The port and the process id of a server."""
    command = [sys.executable, "-m", "benchmarks.catalogue_server", json.dumps({"home": home, "photos": photos})]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quiet_environment()) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline()), server.pid
        finally:
            server.terminate()


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
