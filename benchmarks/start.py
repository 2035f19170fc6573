"""How long a start takes and what a run costs in which nothing changed, before the speed was worked on and now."""

from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.before import HERE, NEW, OLD, Rounds, alternate, before

SCRIPT = HERE / "benchmarks" / "start_runs.py"
ROUNDS, IMAGES = 3, 2_489
STARTS = {
    "import": "import imagesync_pipelines.definitions",
    "definitions": "the same, and all connectors",
    "help": "imagesync --help",
}
RUNS = {"image_db": f"image_db, {IMAGES:,} images, nothing changed", "folder": "folder, 500 pictures, nothing changed"}


def start(console: Console) -> None:
    """Each in turn under both trees: processor time of everything, PostgreSQL included, connections and events."""
    table = Table(title="Starts, and runs in which nothing changed", title_justify="left")
    for name in ("what", f"{OLD}: s", f"{NEW}: s", "ratio", f"{OLD}: MB", f"{NEW}: MB", "connections", "events"):
        table.add_column(name, justify="left" if name == "what" else "right")
    with before(console.print) as old:
        for what, title in STARTS.items():
            found = alternate(SCRIPT, old, ROUNDS, what=what)
            _row(table, title, found, lambda rounds: rounds.processor)
        for what, title in RUNS.items():
            found = _of_run(what, old)
            figures = ("connections", "events")
            told = [" → ".join(f"{one.median(name):.0f}" for one in found.values()) for name in figures]
            _row(table, title, found, lambda rounds: rounds.median("spans", 0, "processor"), *told)
    console.print(table)


def _of_run(what: str, old: Path | None) -> dict[str, Rounds]:
    more = {"images": IMAGES} if what == "image_db" else {}
    return alternate(SCRIPT, old, ROUNDS, what=what, **more)


def _row(table: Table, title: str, found: Mapping[str, Rounds], seconds: Callable[[Rounds], float], *more: str) -> None:
    taken = {name: seconds(rounds) for name, rounds in found.items()}
    ratio = f"{taken[OLD] / taken[NEW]:.2f} ×" if OLD in taken else ""
    memory = {name: rounds.peak_bytes / 1e6 for name, rounds in found.items()}
    cells = [
        [f"{of[name]:{form}}" if name in of else "" for name in (OLD, NEW)]
        for of, form in ((taken, ".2f"), (memory, ",.0f"))
    ]
    table.add_row(title, *cells[0], ratio, *cells[1], *more)
