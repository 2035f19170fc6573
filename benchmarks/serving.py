"""Photos that are served: by a store's photo server and through the head office, before and now, taking turns.

Processor time a photo of the server and of PostgreSQL; all of one kind are asked by the same visitors, in one run.
"""

import hashlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.before import HERE, NEW, OLD, before
from benchmarks.edge_photos import keep_photos, make_photos
from benchmarks.measuring import peak_of, processor_seconds, quiet_environment
from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.connectors.edge.store import open_store, write_with_bytes
from imagesync_pipelines.connectors.edge.store_schema import create_or_check
from imagesync_pipelines.storage.embedded import ensure_server, stop_server
from imagesync_pipelines.storage.objects import embedded_s3

PHOTOS, SIZE, ASKED, ROUNDS, VISITORS = 200, 200_000, 1_000, 5, 5
BARE = "a bare function"


@dataclass(frozen=True)
class Served:
    """A server to ask: its process, its database server's, and how a photo of it is asked for."""

    port: int
    process: int
    database: int
    path: str
    headers: Mapping[str, str]


def serving(console: Console) -> None:
    """Both services."""
    with before(console.print) as old, tempfile.TemporaryDirectory(prefix="imagesync-bench-") as name:
        folder = Path(name)
        photos = make_photos(folder / "s3" / "product-images", PHOTOS, SIZE)
        keep_photos(photos, folder / "photos.json")
        trees = {OLD: old} if old else {}
        trees[NEW] = HERE
        with _photo_servers(folder, photos, trees) as servers:
            console.print(_table(f"a store's photo server, photos of {SIZE // 1000} kB", servers, photos, known=False))
            console.print(_table("the same, to visitors who have them (304)", servers, photos, known=True))
        with _offices(folder, trees) as servers:
            console.print(_table("a download through the head office", servers, photos, known=False))


def _table(title: str, servers: Mapping[str, Served], photos: Sequence[Photo], *, known: bool) -> Table:
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
    for nth in range(ROUNDS + 1):
        for name, server in servers.items():
            spent = [processor_seconds([one]) for one in (server.process, server.database)]
            _ask(server, photos, known)
            time.sleep(0.2)
            spent = [
                processor_seconds([one]) - before
                for one, before in zip((server.process, server.database), spent, strict=True)
            ]
            # The first round prepares connections and fills caches.
            if nth:
                rounds[name].append((spent[0] / ASKED * 1e3, spent[1] / ASKED * 1e3))
    table = Table(title=title, title_justify="left", caption_justify="left")
    for column in ("what", "server ms", "PostgreSQL ms", "together", f"{NEW} is", "peak MB"):
        table.add_column(column, justify="left" if column == "what" else "right")
    costs = {name: [statistics.median(column) for column in zip(*ones, strict=True)] for name, ones in rounds.items()}
    for name, (server_ms, database_ms) in costs.items():
        together = server_ms + database_ms
        ratio = "" if name == NEW else f"{together / sum(costs[NEW]):.2f} ×"
        peak = f"{peak_of(servers[name].process) / 1e6:,.0f}"
        table.add_row(name, f"{server_ms:.2f}", f"{database_ms:.2f}", f"{together:.2f}", ratio, peak)
    table.caption = f"processor time a photo, median of {ROUNDS} rounds of {ASKED:,}, {VISITORS} connections"
    return table


def _ask(server: Served, photos: Sequence[Photo], known: bool) -> None:
    def visit(nth: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for number in range(nth, ASKED, VISITORS):
            photo = photos[number % len(photos)]
            tag = {"If-None-Match": f'"{photo.checksum}"'} if known else {}
            connection.request("GET", server.path.format(id=photo.photo_id), headers={**server.headers, **tag})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != (304 if known else 200) or (not known and len(body) != photo.size):
                raise AssertionError(f"{answer.status} with {len(body)} bytes")
            if number < len(photos) and not known and hashlib.md5(body).hexdigest() != photo.checksum:
                raise AssertionError(f"photo {photo.photo_id} is not the listed one")
        connection.close()

    with ThreadPoolExecutor(VISITORS) as pool:
        list(pool.map(visit, range(VISITORS)))


@contextmanager
def _photo_servers(folder: Path, photos: Sequence[Photo], trees: Mapping[str, Path]) -> Iterator[dict[str, Served]]:
    home = folder / "store"
    place = ensure_server(home)
    url = place.url("postgres", "psycopg")
    store = open_store(url)
    create_or_check(store)
    bucket = folder / "s3" / "product-images"
    with store.engine.begin() as connection:
        pairs = [(photo, (bucket / photo.object_key).read_bytes()) for photo in photos]
        write_with_bytes(connection, store.table, pairs, photos[0].updated_at)
    store.engine.dispose()
    programs = {name: (HERE / "benchmarks" / "photo_server.py", tree) for name, tree in trees.items()}
    programs[BARE] = (HERE / "benchmarks" / "rivals" / "bare_photos.py", HERE)
    try:
        with ExitStack() as started:
            servers = {}
            for name, (program, tree) in programs.items():
                port = _free_port()
                process = started.enter_context(
                    _running([str(program), json.dumps({"url": url, "port": port})], tree, tree)
                )
                servers[name] = Served(port, process.pid, place.pid, "/photos/{id}", {})
            for server in servers.values():
                _wait(server.port)
            yield servers
    finally:
        stop_server(home)


@contextmanager
def _offices(folder: Path, trees: Mapping[str, Path]) -> Iterator[dict[str, Served]]:
    with embedded_s3(folder / "s3") as place, ExitStack() as started:
        s3 = {**asdict(place), "secret_key": place.secret_key.get_secret_value()}
        servers = {}
        for name, tree in trees.items():
            home = folder / f"office_{name}"
            started.callback(stop_server, home)
            arguments = {"s3": s3, "home": str(home), "photos": str(folder / "photos.json")}
            command = ["-m", "benchmarks.edge_office", json.dumps(arguments)]
            process = started.enter_context(_running(command, tree, tree))
            assert process.stdout is not None
            reach = json.loads(process.stdout.readline())
            port = int(reach["url"].rpartition(":")[2])
            _wait(port)
            login = json.dumps({"username": reach["username"], "password": reach["password"]})
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("POST", "/api/v1/token/", login, {"Content-Type": "application/json"})
            token = json.loads(connection.getresponse().read())["access"]
            path = f"/api/v1/sync/product-photos/{{id}}/download/?store_id={reach['store_id']}"
            database = ensure_server(home).pid
            servers[name] = Served(port, process.pid, database, path, {"Authorization": f"Bearer {token}"})
        yield servers


@contextmanager
def _running(command: Sequence[str], tree: Path, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    environment = {**quiet_environment(), "PYTHONPATH": os.pathsep.join([str(tree), str(HERE)])}
    program = [sys.executable, *command]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder) as process:
        try:
            yield process
        finally:
            process.terminate()


def _wait(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    serving(Console(width=130))
