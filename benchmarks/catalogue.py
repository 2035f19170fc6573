"""The web: pages of a large catalogue, thumbnails, a store's photos."""

import tempfile
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.before import HERE, NEW, alternate, before
from benchmarks.catalogue_thumbnails import HEIGHT, WIDTH
from benchmarks.catalogue_whole import CONNECTIONS, PHOTO_BYTES, PHOTOS
from benchmarks.catalogue_world import IMAGES, PRODUCTS
from benchmarks.measuring import in_own_process

WANTED_SECONDS = 0.1
TIMES = 3


def catalogue(console: Console, larger: int = 0) -> None:
    """Lists, counts and searches by the number of products, pages and photos over HTTP, then thumbnails."""
    growth(console, [PRODUCTS // 2, *([larger] if larger else [])])
    with tempfile.TemporaryDirectory(prefix="imagesync-bench-") as home:
        found = in_own_process("benchmarks.catalogue_whole", home=home)
    console.print(_pages(found["pages"]))
    console.print(_photos(found))
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


def _pages(kinds: list[dict[str, Any]]) -> Table:
    title = f"{PRODUCTS:,} products, {IMAGES:,} images: pages over HTTP, one after the other, whole answers"
    table = _table(title, "page", "asked", "p50 ms", "p95 ms", "longest ms", "server CPU ms", "p95 below 100 ms")
    for kind in kinds:
        times = [f"{kind[name] * 1000:.0f}" for name in ("p50", "p95", "longest", "cpu")]
        table.add_row(kind["name"], str(kind["asked"]), *times, "met" if kind["p95"] < WANTED_SECONDS else "missed")
    return table


def _photos(found: dict[str, Any]) -> Table:
    title = f"a store's photo server, {PHOTOS} photos of {PHOTO_BYTES // 1000} kB in BYTEA, {CONNECTIONS} connections"
    table = _table(title, "what", "per second")
    table.add_row("bytes", f"{found['bytes_per_second'] / 1e6:,.0f} MB")
    table.add_row("photos", f"{found['photos_per_second']:,.0f}")
    table.add_row("answers 304 to who has them", f"{found['304s']:,.0f}")
    table.caption = "one server process, and the process that asks, which needs about as much processor time"
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
