"""What the pages of a large catalogue cost, asked over HTTP by one process of another; of either tree."""

import http.client
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.catalogue_world import fill, judge, settings_of
from benchmarks.measuring import peak_of, processor_seconds, quiet_environment
from imagesync_pipelines.storage.embedded import ensure_server, stop_server
from imagesync_pipelines.storage.installation import open_installation

WORDS = ("Fuchs", "Müder", "10003", "zzz", "1", "P14", "Bär Schirm", "Gärtner Schnee", "1000345")
FILTERS = ("without_image", "without_front", "low_resolution", "unmatched")
TIMES = 15
_NEXT = re.compile(r'hx-get="([^"]*cursor=[^"]*)"')


def main(home: Path, products: int) -> None:
    """Fill a home, ask everything, and print what was measured as JSON."""
    try:
        with open_installation(settings_of(home)) as place:
            fill(place, products)
            judged = judge(place)
            database = ensure_server(home).pid
            with _served(home) as (port, server):
                print(
                    json.dumps(
                        {
                            "pages": _pages(port, [server, database], products, judged=judged),
                            "peak_bytes": peak_of(server),
                        }
                    )
                )
    finally:
        stop_server(home)


def _pages(port: int, servers: Sequence[int], products: int, *, judged: bool) -> list[dict[str, Any]]:
    """Every kind of page, asked again and again; the first answers, which warm everything up, do not count."""
    some = random.Random(1)
    later = _later_pages(port, TIMES * 3)
    kinds = {
        "product list": ["/"] * TIMES,
        "product list, later pages": later,
        "product list, other orders": [f"/?order={order}" for order in ("newest", "name", "sku")] * TIMES,
        "search": [f"/?q={word.replace(' ', '+')}" for word in WORDS] * (TIMES // 3),
        "filter": [f"/?{name}=1" for name in FILTERS] * TIMES,
        "product page": [f"/products/{some.randint(1, products)}" for _ in range(TIMES * 6)],
    }
    if judged:
        kinds["filter, main picture refused"] = [f"/?refused_by={one}" for one in ("own", "google")] * TIMES * 2
    return [{"name": name, **_timed(port, servers, _encoded(paths))} for name, paths in kinds.items()]


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


def _timed(port: int, servers: Sequence[int], paths: Sequence[str]) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for path in paths[:5]:
        _ask(connection, path)
    spent, times = [processor_seconds([one]) for one in servers], []
    for path in paths:
        began = time.perf_counter()
        status, _ = _ask(connection, path)
        times.append(time.perf_counter() - began)
        if status != http.HTTPStatus.OK:
            raise AssertionError(f"{path} answered {status}")
    used = [processor_seconds([one]) - before for one, before in zip(servers, spent, strict=True)]
    connection.close()
    times.sort()
    return {
        "asked": len(times),
        "p50": times[len(times) // 2],
        "p95": times[int(len(times) * 0.95)],
        "own": used[0] / len(times),
        "database": used[1] / len(times),
    }


def _ask(connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def _encoded(paths: Sequence[str]) -> list[str]:
    """As a browser writes them."""
    return ["".join(one if one.isascii() else "".join(f"%{byte:02X}" for byte in one.encode()) for one in path)
            for path in paths]  # fmt: skip


@contextmanager
def _served(home: Path) -> Iterator[tuple[int, int]]:
    """The port and the process id of a server."""
    program = str(Path(__file__).with_name("catalogue_server.py"))
    command = [sys.executable, "-P", program, json.dumps({"home": str(home)})]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quiet_environment()) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline()), server.pid
        finally:
            server.terminate()


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    main(Path(arguments["home"]), arguments["products"])
