"""The edge connector measured: photos from a bucket into BYTEA beside other programs, and a large catalogue at rest."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import requests
from rich.console import Console
from rich.table import Table

from benchmarks import edge_tools
from benchmarks.edge_photos import keep_photos, make_photos
from benchmarks.measuring import in_own_process, quiet_environment
from imagesync_pipelines.storage.objects import S3Place, embedded_s3

PHOTOS, SIZE, CATALOGUE = 2_000, 200_000, 100_000
ONE_AT_A_TIME, CLIENTS = 500, 500
CONCURRENCY = 5
CORES = 2


@dataclass(frozen=True)
class Bench:
    """What all measurements of bytes share: a folder, an object store, and the listing of what is in it."""

    folder: Path
    place: S3Place
    number: int

    @property
    def arguments(self) -> dict[str, Any]:
        """What a measuring process is told."""
        s3 = {**asdict(self.place), "secret_key": self.place.secret_key.get_secret_value()}
        store = [one.pid for one in psutil.Process().children(recursive=True) if one.name() == "rclone"]
        return {"photos": str(self.folder / "photos.json"), "s3": s3, "servers": store}

    def home(self, name: str) -> str:
        """A folder of a measurement's own."""
        return str(self.folder / name)


def edge(console: Console, *, photos: int = PHOTOS, catalogue: int = CATALOGUE) -> None:
    """Everything about the edge connector."""
    with tempfile.TemporaryDirectory(prefix="imagesync-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        made = make_photos(folder / "s3" / "product-images", photos, SIZE)
        keep_photos(made, folder / "photos.json")
        with embedded_s3(folder / "s3") as place:
            bench = Bench(folder, place, photos)
            clients, decoding = _clients_table(bench)
            console.print(_bytes_table(bench, decoding))
            console.print(clients)
    with tempfile.TemporaryDirectory(prefix="imagesync-bench-", ignore_cleanup_errors=True) as name:
        console.print(_catalogue_table(Path(name), catalogue))
    with tempfile.TemporaryDirectory(prefix="imagesync-bench-", ignore_cleanup_errors=True) as name:
        console.print(_first_table(Path(name), catalogue))


def _bytes_table(bench: Bench, decoding: float) -> Table:
    """All ways of moving the photos; `decoding`: processor seconds that the decode of one costs."""
    table = Table(title=f"{bench.number:,} photos of {SIZE // 1000} kB out of one object store", title_justify="left")
    for column in ("what", "photos", "seconds", "photos/s", "MB/s", "processor ms", "peak MB above", "remarks"):
        table.add_column(column, justify="left" if column in {"what", "remarks"} else "right")
    # Each rival runs directly before the connector's way, so that both meet the machine in much the same state.
    tools = {
        "s5cmd cp": bench.number / edge_tools.s5cmd(bench.place, bench.folder / "s5cmd"),
        "rclone copy": bench.number / edge_tools.rclone(bench.place, bench.folder / "rclone"),
    }
    for name, rate in tools.items():
        _add(table, name, bench.number, rate, None, "to plain files, nothing looked at")
    md5, moving = _connector(bench, table, "connector, S3, MD5", "md5", source="s3", decode=False)
    against = ", ".join(f"{md5 / rate:.2f} × {name}" for name, rate in tools.items())
    whole, _ = _connector(bench, table, "connector, S3, MD5 and decode", "decode", source="s3", decode=True)
    with _office(bench) as reach:
        api, _ = _connector(
            bench, table, "connector, HO's API, MD5 and decode", "api", source="ho", decode=True, ho=reach
        )
    old = in_own_process(
        "benchmarks.rivals.photo_at_a_time", **bench.arguments, home=bench.home("old"), number=ONE_AT_A_TIME
    )
    rate = ONE_AT_A_TIME / old["spans"][0]["seconds"]
    _add(table, "the replaced way, S3", ONE_AT_A_TIME, rate, old["spans"][0], "one session, text, a commit per photo")
    bound = CORES / (moving + decoding)
    table.caption = (
        f"MD5: {against}. With decode {whole / bound:.0%} of what {CORES} cores allow: {moving * 1000:.2f} ms of all "
        f"processes to move a photo and {decoding * 1000:.2f} ms to decode it, {bound:,.0f} photos/s. "
        f"The API costs {1 - api / whole:.0%} of the rate. {whole / rate:.1f} × the replaced way."
    )
    return table


def _connector(bench: Bench, table: Table, name: str, home: str, **arguments: Any) -> tuple[float, float]:
    """Photos per second, and processor seconds a photo of all that took part: this process, database, object store."""
    found = in_own_process(
        "benchmarks.edge_bytes", **bench.arguments, **arguments, home=bench.home(home), concurrency=CONCURRENCY
    )
    span = next(span for span in found["spans"] if span["name"] == "apply")
    rate = bench.number / span["seconds"]
    remark = f"{found['right']:,} right by md5() in SQL, {found['left']} left to do"
    _add(table, name, bench.number, rate, span, remark)
    return rate, (span["cpu"] + found["servers_cpu"]) / bench.number


def _clients_table(bench: Bench) -> tuple[Table, float]:
    """What fetching costs by client, and the processor seconds that decoding a photo costs."""
    table = Table(title=f"Fetching and hashing, {CONCURRENCY} at a time, no database", title_justify="left")
    for column in ("client", "photos/s", "processor ms a photo"):
        table.add_column(column, justify="left" if column == "client" else "right")
    number = min(CLIENTS, bench.number)
    spans = in_own_process("benchmarks.edge_clients", **bench.arguments, number=number)["spans"]
    for span in spans:
        table.add_row(span["name"], f"{number / span['seconds']:,.0f}", f"{span['cpu'] / number * 1000:.2f}")
    cost = spans[-1]["cpu"] / number
    table.caption = f"By the cost of decoding alone, {CORES} cores allow {CORES / cost:,.0f} photos/s."
    return table, cost


def _catalogue_table(folder: Path, number: int) -> Table:
    table = Table(title=f"{number:,} photos at the store", title_justify="left")
    for column in ("what", "seconds", "peak MB above", "remarks"):
        table.add_column(column, justify="left" if column in {"what", "remarks"} else "right")
    found = in_own_process("benchmarks.edge_catalogue", home=str(folder), photos=number)
    nothing = found["nothing"]
    remarks = {
        "nothing changed": f"{nothing['calls']} request, {nothing['rows']} rows written",
        "1 % changed: apply": f"{found['downloads']:,} downloads, {found['bytes']:,} bytes",
    }
    for span in found["spans"]:
        above = f"{span['above_bytes'] / 1e6:,.0f}"
        table.add_row(span["name"], f"{span['seconds']:.2f}", above, remarks.get(span["name"], ""))
    return table


def _first_table(folder: Path, number: int) -> Table:
    table = Table(title=f"{number:,} photos into an empty store", title_justify="left")
    for column in ("what", "seconds", "peak MB above the imports"):
        table.add_column(column, justify="left" if column == "what" else "right")
    spans = in_own_process("benchmarks.edge_first", home=str(folder), photos=number)["spans"]
    start = spans[0]["peak_bytes"] - spans[0]["above_bytes"]
    for span in spans:
        table.add_row(span["name"], f"{span['seconds']:.1f}", f"{(span['peak_bytes'] - start) / 1e6:,.0f}")
    table.caption = "Photos of a few hundred bytes: what the catalogue costs, without the bytes in flight."
    return table


def _add(table: Table, name: str, number: int, rate: float, span: dict[str, Any] | None, remark: str) -> None:
    cells = [f"{number:,}", f"{number / rate:.1f}", f"{rate:,.0f}", f"{rate * SIZE / 1e6:,.0f}"]
    own = ["", ""] if span is None else [f"{span['cpu'] / number * 1000:.2f}", f"{span['above_bytes'] / 1e6:,.0f}"]
    table.add_row(name, *cells, *own, remark)


@contextmanager
def _office(bench: Bench) -> Iterator[dict[str, str]]:
    """The head-office service over the same bucket, in a process of its own."""
    arguments = json.dumps({**bench.arguments, "home": bench.home("office")})
    command = [sys.executable, "-m", "benchmarks.edge_office", arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quiet_environment()) as server:
        try:
            assert server.stdout is not None
            reach: dict[str, str] = json.loads(server.stdout.readline())
            _wait_until_up(reach["url"])
            yield reach
        finally:
            server.terminate()


def _wait_until_up(url: str) -> None:
    for _ in range(200):
        try:
            requests.get(url, timeout=5)
        except requests.ConnectionError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the head office did not start")
