"""`make bench`: every measurement in a process of its own, printed as a table with the machine's data.

Name some to run only those (`make bench NAMES="small edge"`); all names, and what each measures, are in README.md here.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.before import HERE, NEW, OLD, Rounds, alternate, before, measured
from benchmarks.catalogue import catalogue
from benchmarks.edge import edge
from benchmarks.growth import growth
from benchmarks.history import history
from benchmarks.installing import install
from benchmarks.measuring import in_own_process, quiet_environment
from benchmarks.moysklad import moysklad
from benchmarks.pages import make_pages
from benchmarks.plytix import plytix
from benchmarks.serving import serving
from benchmarks.start import start
from benchmarks.unused import unused
from benchmarks.webhooks import webhooks

ALL = ("start", "small", "rivals", "engine", "edge", "serving", "plytix", "moysklad", "catalogue", "growth", "history",
       "webhooks")  # fmt: skip
# Part of another one, in need of a network, or of one commit before.
NAMED = ("large", "install", "unused")
SMALL, LARGE = 2_489, 100_000
ROW_AT_A_TIME, NESTED = 10_000, 10_000
PAGE_SIZES = (100, 20)
CONNECTOR_STEPS = ("records", "plan", "apply")
LARGE_ROUNDS = 3
Spans = list[dict[str, Any]]


def main(arguments: Sequence[str]) -> None:
    """Run the named measurements, or all of them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"{', '.join(ALL)}, or one of {', '.join(NAMED)}; nothing: the first"
    )
    parser.add_argument("--images", type=int, default=LARGE, help="images of the large catalogue")
    parser.add_argument("--products", type=int, default=0, help="so many products for `catalogue` beside 50,000")
    given = parser.parse_args(arguments)
    console = Console(width=130)
    for line in machine.describe():
        console.print(line, style="dim", highlight=False)
    available: dict[str, Callable[[Console], None]] = {
        "start": start,
        "small": small,
        "large": partial(large, images=given.images, rivals=False),
        "rivals": partial(large, images=given.images, rivals=True),
        "engine": engine,
        "edge": edge,
        "serving": serving,
        "plytix": plytix,
        "moysklad": moysklad,
        "catalogue": partial(catalogue, larger=given.products),
        "growth": growth,
        "history": history,
        "webhooks": webhooks,
        "install": install,
        "unused": partial(unused, images=given.images),
    }
    unknown = set(given.names) - available.keys()
    if unknown:
        parser.error(f"no measurement is called {', '.join(sorted(unknown))}")
    for name in given.names or ALL:
        available[name](console)


def small(console: Console) -> None:
    """The catalogue of real size: own time of two runs, and two whole Dagster runs."""
    with _folder() as folder:
        make_pages(folder / "pages", SMALL, 20)
        (folder / "dagster").mkdir()
        own = in_own_process("benchmarks.image_db_small", home=str(folder / "connector"), pages=str(folder / "pages"))
        whole = in_own_process("benchmarks.image_db_small", home=str(folder / "dagster"), images=SMALL)
    table = Table(title=f"{SMALL:,} images: own seconds after the HTTP answers", title_justify="left")
    steps = list(dict.fromkeys(span["name"].partition(" ")[2] for span in own["spans"]))
    for column in ("run", *steps, "own time", "rows written", "a whole Dagster run, HTTP included"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for at, run in enumerate(("first", "second")):
        seconds = [_seconds(own["spans"], f"{run} {step}") for step in steps]
        cells = [f"{value:.2f}" for value in seconds]
        dagster = whole["runs"][at]
        table.add_row(
            run,
            *cells,
            f"{sum(seconds):.2f}",
            str(own["written"][run]),
            f"{dagster['seconds']:.1f} s, {dagster['status']}",
        )
    console.print(table)


def large(console: Console, *, images: int, rivals: bool) -> None:
    """The large catalogue through the connector, before and now, and on the same pages through its rivals."""
    table = Table(title=f"{images:,} images: page bytes to committed rows", title_justify="left")
    heads = ("what", "images", "own seconds", "images/s", "connector is", "processor µs", "peak MB", "remarks")
    for column in heads:
        table.add_column(column, justify="left" if column in {"what", "remarks"} else "right")
    costs = Table(title=f"{images:,} images: processor time of everything, PostgreSQL included", title_justify="left")
    for column in ("what", f"{OLD}: µs per image", f"{NEW}: µs per image", "ratio"):
        costs.add_column(column, justify="left" if column == "what" else "right")
    with _folder() as folder, before(console.print) as old:
        rates = []
        for size in PAGE_SIZES:
            pages = folder / f"pages_{size}"
            made = make_pages(pages, images, size)
            found = alternate(HERE / "benchmarks" / "image_db_large.py", old, rounds=LARGE_ROUNDS, pages=str(pages))
            rates.append(_add_connector(table, found[NEW], images, size))
            _add_costs(costs, found, images, size)
        what = f"{made.bytes / images:,.0f} bytes, {made.exports / images:.1f} exports"
        console.print(f"An image on average: {what}, {made.links / images:.2f} links.")
        if rivals:
            _add_rivals(table, folder, images, rates[0])
    console.print(costs)
    console.print(table)


def engine(console: Console) -> None:
    """The engine alone, which prints its own lines."""
    console.print("The engine alone", style="bold")
    subprocess.run([sys.executable, "-m", "benchmarks.plan_million"], check=True, env=quiet_environment())


def _add_connector(table: Table, found: Rounds, images: int, size: int) -> float:
    seconds = [_median(found, f"first {step}", "seconds") for step in CONNECTOR_STEPS]
    own, last = sum(seconds), found.rounds[-1].figures
    parts = ", ".join(f"{step} {value:.1f} s" for step, value in zip(CONNECTOR_STEPS, seconds, strict=True))
    _add(
        table,
        f"connector, pages of {size}",
        images,
        own,
        "",
        _peak(last["spans"]),
        parts,
        _micro(found, "first", images),
    )
    again = sum(_median(found, f"second {step}", "seconds") for step in CONNECTOR_STEPS)
    written = sum(last["second"][name] for name in ("added", "updated", "removed"))
    remark = f"{written} rows written"
    _add(table, "  only stocks changed", images, again, "", None, remark, _micro(found, "second", images))
    memory = found.median("alone", "spans", 0, "above_bytes")
    _add(
        table, "  the plan's memory", images, None, "", memory, f"{memory / images:,.0f} bytes per image, fresh process"
    )
    return images / own


def _micro(found: Rounds, run: str, images: int) -> float:
    """Processor time of everything, PostgreSQL included, of a run of the connector: µs an image."""
    return sum(_median(found, f"{run} {step}", "processor") for step in CONNECTOR_STEPS) / images * 1e6


def _add_costs(table: Table, found: Mapping[str, Rounds], images: int, size: int) -> None:
    """A line per step of both runs, and one per run."""
    for run, told in (("first", "all is new"), ("second", "only stocks changed")):
        steps = {
            name: [_median(rounds, f"{run} {step}", "processor") / images * 1e6 for step in CONNECTOR_STEPS]
            for name, rounds in found.items()
        }
        for at, step in enumerate(CONNECTOR_STEPS):
            _add_cost(table, f"  {step}", {name: values[at] for name, values in steps.items()})
        whole = {name: sum(values) for name, values in steps.items()}
        _add_cost(table, f"pages of {size}, {told}", whole)
    memory = {name: rounds.median("alone", "spans", 0, "above_bytes") / images for name, rounds in found.items()}
    _add_cost(table, "  the plan's memory, bytes per image", memory)


def _add_cost(table: Table, what: str, costs: Mapping[str, float]) -> None:
    ratio = f"{costs[OLD] / costs[NEW]:.2f} ×" if OLD in costs else ""
    table.add_row(what, *(f"{costs[name]:,.1f}" if name in costs else "" for name in (OLD, NEW)), ratio)


def _median(found: Rounds, step: str, what: str) -> float:
    """The median of one figure of a step of benchmarks.image_db_large over the rounds."""
    names = [span["name"] for span in found.rounds[0].figures["spans"]]
    return found.median("spans", names.index(step), what)


def _add_rivals(table: Table, folder: Path, images: int, connector: float) -> None:
    pages, size = str(folder / f"pages_{PAGE_SIZES[0]}"), PAGE_SIZES[0]
    with _served(pages) as url:
        for nested, number in ((False, images), (True, min(images, NESTED))):
            rival = "benchmarks.rivals.dlt_rest"
            found = measured(rival, url=url, images=number, page_size=size, nested=nested).figures
            http = _seconds(found["spans"], "http")
            own, processor = (
                sum(_seconds(found["spans"], step, what) for step in ("extract", "normalize", "load"))
                - _seconds(found["spans"], "http", what)
                for what in ("seconds", "processor")
            )
            name = "dlt rest_api, merge, child tables" if nested else "dlt rest_api, merge, lists as JSON"
            sample = "" if number == images else f"a sample of {number:,}; "
            remark = f"{sample}{http:.1f} s of HTTP taken off"
            ratio, peak = f"{connector / (number / own):.1f} ×", _peak(found["spans"])
            _add(table, name, number, own, ratio, peak, remark, processor / number * 1e6)
    number = min(images, ROW_AT_A_TIME)
    found = measured("benchmarks.rivals.row_at_a_time", pages=pages, images=number).figures
    own = _seconds(found["spans"], "rows")
    ratio = f"{connector / (found['images'] / own):.1f} ×"
    _add(
        table,
        "row at a time",
        found["images"],
        own,
        ratio,
        _peak(found["spans"]),
        f"a sample of {number:,}; does less than the connector",
        _seconds(found["spans"], "rows", "processor") / found["images"] * 1e6,
    )


def _add(
    table: Table,
    name: str,
    images: int,
    seconds: float | None,
    ratio: str,
    peak: float | None,
    remark: str,
    processor: float | None = None,
) -> None:
    speed = ("", "") if seconds is None else (f"{seconds:.1f}", f"{images / seconds:,.0f}")
    micro, memory = "" if processor is None else f"{processor:,.0f}", "" if peak is None else f"{peak / 1e6:,.0f}"
    table.add_row(name, f"{images:,}", *speed, ratio, micro, memory, remark)


def _seconds(spans: Spans, name: str, what: str = "seconds") -> float:
    return float(next(span[what] for span in spans if span["name"] == name))


def _peak(spans: Spans) -> int:
    """The most memory that the measuring process had resident in any of its steps."""
    return max(span["peak_bytes"] for span in spans)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder for one measurement's pages and databases, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="imagesync-bench-") as name:
        yield Path(name)


@contextmanager
def _served(pages: str) -> Iterator[str]:
    """The URL of a local server with these pages, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.page_server", json.dumps({"pages": pages})]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quiet_environment()) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}/api/"
        finally:
            server.terminate()


if __name__ == "__main__":
    main(sys.argv[1:])
