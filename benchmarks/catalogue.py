"""The web: pages of a large catalogue, before and now, and copies of pictures."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.before import HERE, NEW, OLD, alternate, before
from benchmarks.catalogue_thumbnails import HEIGHT, WIDTH
from benchmarks.catalogue_world import IMAGES, PRODUCTS
from benchmarks.measuring import in_own_process

TIMES = 3


def catalogue(console: Console, larger: int = 0) -> None:
    """Lists, counts and searches by the number of products, pages over HTTP, then thumbnails."""
    growth(console, [PRODUCTS // 2, *([larger] if larger else [])])
    console.print(_pages(console))
    console.print(_thumbnails(in_own_process("benchmarks.catalogue_thumbnails", times=TIMES)))


def growth(console: Console, sizes: Sequence[int]) -> None:
    """What lists, counts and searches cost with so many products, before and now."""
    script = HERE / "benchmarks" / "catalogue_growth.py"
    with before(console.print) as old:
        found = {size: alternate(script, old, rounds=1, products=size) for size in sizes}
    columns = [(size, tree) for size in sizes for tree in found[size]]
    title = "ms of processor time, PostgreSQL's included, by the number of products"
    table = _table(title, "what", *(f"{size:,} {tree}" for size, tree in columns))
    for name in found[sizes[0]][NEW].rounds[0].figures:
        table.add_row(name, *(f"{found[size][tree].median(name):.1f}" for size, tree in columns))
    console.print(table)


def _pages(console: Console) -> Table:
    with before(console.print) as old:
        found = alternate(HERE / "benchmarks" / "catalogue_whole.py", old, rounds=1, products=PRODUCTS)
    heads = (f"{tree}: {what}" for tree in found for what in ("server ms", "PostgreSQL ms", "p95 ms"))
    title = f"{PRODUCTS:,} products, {IMAGES:,} images: whole pages over HTTP, processor ms a page"
    table = _table(title, "page", "asked", *heads, "ratio")
    for nth, kind in enumerate(found[NEW].rounds[0].figures["pages"]):
        times = {
            tree: [one.median("pages", nth, what) * 1e3 for what in ("own", "database", "p95")]
            for tree, one in found.items()
            if nth < len(one.rounds[0].figures["pages"])  # the last kind is of this tree alone
        }
        both = {tree: own + database for tree, (own, database, _) in times.items()}
        cells = [f"{times[tree][at]:.1f}" if tree in times else "" for tree in found for at in range(3)]
        ratio = f"{both[OLD] / both[NEW]:.2f} ×" if OLD in both else ""
        table.add_row(kind["name"], str(kind["asked"]), *cells, ratio)
    peaks = (f"{tree} {one.median('peak_bytes') / 1e6:,.0f} MB" for tree, one in found.items())
    table.caption = f"the server's peak in memory: {', '.join(peaks)}"
    return table


def _thumbnails(found: dict[str, Any]) -> Table:
    title = (
        f"copies of a JPEG of {WIDTH} × {HEIGHT} pixels ({found['bytes'] // 1000:,} kB) per second of processor time"
    )
    table = _table(title, "copy", "ours", "plain Pillow", "ours is")
    for row in found["rows"]:
        ours, plain = row["ours"], row["plain"]
        table.add_row(row["what"], f"{ours:.1f}", f"{plain:.1f}", f"{ours / plain:.1f} ×")
    table.caption = (
        f"ours turns the picture upright and into sRGB; an original is also decoded whole, once, "
        f"before any copy of it is made ({found['checked']:.1f} per second)"
    )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    for nth, column in enumerate(columns):
        table.add_column(column, justify="right" if nth else "left")
    return table
