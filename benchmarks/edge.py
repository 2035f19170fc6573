"""The edge connector measured: photos from a bucket into BYTEA beside other programs, and a large catalogue at rest."""

import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

from benchmarks import edge_tools
from benchmarks.before import HERE, NEW, OLD, alternate, before, measured
from benchmarks.edge_photos import keep_photos, make_photos
from benchmarks.measuring import in_own_process, processor_seconds
from imagesync_pipelines.storage.objects import S3Place, embedded_s3

PHOTOS, SIZE, CATALOGUE, ROUNDS = 2_000, 200_000, 100_000, 5
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


@dataclass(frozen=True)
class Moved:
    """One round of one way: seconds and processor seconds, all per photo.

    own: of the program itself; database, store: of PostgreSQL and of the object store. again: seconds when the same
    contents come into another store.
    """

    seconds: float
    own: float
    database: float
    store: float
    above: float = 0.0
    again: float = 0.0


def edge(console: Console, *, photos: int = PHOTOS, catalogue: int = CATALOGUE, rounds: int = ROUNDS) -> None:
    """Everything about the edge connector."""
    with before(console.print) as old:
        with tempfile.TemporaryDirectory(prefix="imagesync-bench-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            made = make_photos(folder / "s3" / "product-images", photos, SIZE)
            keep_photos(made, folder / "photos.json")
            with embedded_s3(folder / "s3") as place:
                bench = Bench(folder, place, photos)
                clients, decoding = _clients_table(bench)
                console.print(_bytes_table(bench, old, decoding, rounds))
                console.print(clients)
        with tempfile.TemporaryDirectory(prefix="imagesync-bench-", ignore_cleanup_errors=True) as name:
            console.print(_catalogue_table(Path(name), catalogue))
        console.print(_first_table(old, catalogue))


def _bytes_table(bench: Bench, old: Path | None, decoding: float, rounds: int) -> Table:
    """All ways of moving the photos in turn, round by round; `decoding`: processor seconds that one decode costs."""
    trees = {**({OLD: old} if old else {}), NEW: HERE}
    ways: dict[str, Callable[[], Moved]] = {
        "s5cmd cp": partial(_tool, bench, edge_tools.s5cmd),
        "rclone copy": partial(_tool, bench, edge_tools.rclone),
        **{f"MD5, {name}": partial(_connector, bench, tree, decode=False) for name, tree in trees.items()},
        **{f"MD5 and decode, {name}": partial(_connector, bench, tree, decode=True) for name, tree in trees.items()},
        "the replaced way": partial(_replaced, bench),
    }
    found: dict[str, list[Moved]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            os.sync()  # nobody waits for the disk because of what another one wrote
            found[name].append(way())

    def of(name: str, value: Callable[[Moved], float]) -> float:
        return statistics.median(map(value, found[name]))

    table = Table(
        title=f"{bench.number:,} photos of {SIZE // 1000} kB out of one object store, medians of {rounds} rounds",
        title_justify="left",
    )
    heads = ("photos/s", "x s5cmd", "x rclone", "own", "PostgreSQL", "store", "without store", "again/s", "MB above")
    for column in ("what", *heads):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name in ways:
        rate = 1 / of(name, attrgetter("seconds"))
        ratios = [
            statistics.median(
                theirs.seconds / one.seconds for theirs, one in zip(found[rival], found[name], strict=True)
            )
            for rival in ("s5cmd cp", "rclone copy")
        ]
        own, database, store = (of(name, attrgetter(value)) * 1e3 for value in ("own", "database", "store"))
        cells = [f"{rate:,.0f}", *(f"{ratio:.2f}" for ratio in ratios)]
        cells += [f"{value:.2f}" if value else "" for value in (own, database, store, own + database)]
        cells += [
            f"{1 / of(name, lambda one: one.again or one.seconds):,.0f}",
            f"{of(name, attrgetter('above')) / 1e6:,.0f}",
        ]
        table.add_row(name, *cells)
    moving = of(f"MD5, {NEW}", lambda one: one.own + one.database + one.store)
    alone = of(f"MD5, {NEW}", lambda one: one.own + one.database)
    bound, whole = CORES / (moving + decoding), 1 / of(f"MD5 and decode, {NEW}", attrgetter("seconds"))
    table.caption = (
        f"Processor ms a photo. {CORES} cores allow {CORES / moving:,.0f} photos/s with MD5, {CORES / alone:,.0f} with "
        f"the object store elsewhere, and with {decoding * 1e3:.2f} ms for a decode {bound:,.0f}: of that we have "
        f"{whole / bound:.0%}. Again: the same contents for another store. "
        "Each stored picture was right by md5() in SQL."
    )
    return table


def _tool(bench: Bench, tool: Callable[[S3Place, Path], tuple[float, float]]) -> Moved:
    servers = bench.arguments["servers"]
    before = processor_seconds(servers)
    seconds, own = tool(bench.place, bench.folder / "copied")
    store = processor_seconds(servers) - before
    return Moved(seconds / bench.number, own / bench.number, 0.0, store / bench.number)


def _connector(bench: Bench, tree: Path, *, decode: bool) -> Moved:
    """The connector of a tree; every picture that it stored is hashed again in SQL."""
    found = measured(
        HERE / "benchmarks" / "edge_bytes.py",
        tree,
        **bench.arguments,
        concurrency=CONCURRENCY,
        source="s3",
        decode=decode,
        again=decode,
    ).figures
    if found["right"] != bench.number or found["left"]:
        raise RuntimeError(f"{found['right']} of {bench.number} pictures are right, {found['left']} are left to do")
    first, *again = found["spans"]
    return Moved(
        first["seconds"] / bench.number,
        first["cpu"] / bench.number,
        found["database_cpu"] / bench.number,
        found["store_cpu"] / bench.number,
        above=first["above_bytes"],
        again=again[0]["seconds"] / bench.number if again else 0.0,
    )


def _replaced(bench: Bench) -> Moved:
    """One session, one photo after the other, bytes as text, a commit per photo; the first of the photos."""
    found = measured("benchmarks.rivals.photo_at_a_time", HERE, **bench.arguments, number=ONE_AT_A_TIME).figures
    (span,) = found["spans"]
    return Moved(span["seconds"] / ONE_AT_A_TIME, span["cpu"] / ONE_AT_A_TIME, 0.0, 0.0)


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


def _first_table(old: Path | None, number: int) -> Table:
    table = Table(
        title=f"{number:,} photos into an empty store: processor µs a photo, all together", title_justify="left"
    )
    for column in ("what", OLD, NEW, "ratio", f"seconds {OLD}", f"seconds {NEW}", "MB above the imports"):
        table.add_column(column, justify="left" if column == "what" else "right")
    found = alternate(HERE / "benchmarks" / "edge_first.py", old, rounds=1, photos=number)
    names = [span["name"] for span in found[NEW].rounds[0].figures["spans"]]
    start = found[NEW].median("spans", 0, "peak_bytes") - found[NEW].median("spans", 0, "above_bytes")
    for nth, name in enumerate(names):
        ones = [found.get(tree) for tree in (OLD, NEW)]
        used = [one.median("spans", nth, "processor") / number * 1e6 if one else 0.0 for one in ones]
        seconds = [f"{one.median('spans', nth, 'seconds'):.1f}" if one else "" for one in ones]
        above = f"{(found[NEW].median('spans', nth, 'peak_bytes') - start) / 1e6:,.0f}"
        micro = [f"{value:,.0f}" if value else "" for value in used]
        table.add_row(name, *micro, f"{used[0] / used[1]:.1f} x" if used[0] else "", *seconds, above)
    table.caption = (
        "Photos of a few hundred bytes, all the same picture: what the catalogue costs, without bytes and decodes."
    )
    return table
