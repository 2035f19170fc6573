"""The МойСклад connector: calls, minutes and memory, beside the earlier way, on the same sandbox."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import in_own_process

CONNECTOR, REPLACED = "benchmarks.moysklad_whole", "benchmarks.rivals.moysklad_earlier_way"
MEMORY = "benchmarks.moysklad_memory"
IMAGES, SIZE = 10, 100 * 1024
LARGE, LARGE_IMAGES, LARGE_CHILDREN = 1_000, 3, 5
FEW, MANY, PICTURES, PICTURE_BYTES = 4, 16, 10, 1_000_000
MEGABYTE = 1_000_000

Found = dict[str, Any]


@dataclass(frozen=True)
class _Way:
    """How the connector is set up, and the calls that are wanted by number of entities."""

    name: str
    setup: dict[str, Any]
    wanted: dict[int, int]


WAYS = (
    _Way("connector, mirror", {}, {1: 13, 100: 1_102}),
    _Way("connector, managed", {"ownership": "managed"}, {1: 13, 100: 1_102}),
    _Way("connector, mirror, bulk", {"bulk": True}, {1: 13, 100: 1_010}),
    _Way("connector, mirror, bulk, permanent links", {"bulk": True, "permanent_links": True}, {1: 3, 100: 10}),
    _Way("connector, mirror, bulk, two children", {"bulk": True, "children": 2}, {1: 15, 100: 1_019}),
)


def moysklad(console: Console) -> None:
    """Calls for one entity and for a hundred; minutes at the rate limit; memory."""
    for products in (1, 100):
        console.print(_calls(products))
    console.print(_limits())
    console.print(_memory())


def _calls(products: int) -> Table:
    table = _table(
        f"{products:,} × {IMAGES} images of {SIZE // 1024} KiB: calls to the API",
        "what",
        "matching, once",
        "first run",
        "wanted",
        "again, nothing changed",
        "wanted",
        "429s",
        "entities right",
    )
    earlier = in_own_process(REPLACED, products=products, images=IMAGES, size=SIZE)
    _add_calls(table, "the earlier way", earlier, products, "", "")
    for way in WAYS:
        found = in_own_process(CONNECTOR, products=products, images=IMAGES, size=SIZE, **way.setup)
        _add_calls(table, way.name, found, products, f"{way.wanted[products]:,}", "1")
    table.caption = "The earlier way needs one call per image less on its first run: there is nothing to delete yet."
    return table


def _add_calls(table: Table, name: str, found: Found, products: int, first: str, second: str) -> None:
    before, after = found["runs"]
    matching = before.get("matching")
    table.add_row(
        name,
        "" if matching is None else f"{matching:,}",
        f"{before['calls'] - (matching or 0):,}",
        first,
        f"{after['calls']:,}",
        second,
        f"{before['refused'] + after['refused']:,}",
        f"{found['same']:,} of {products * found['children']:,}",
    )


def _limits() -> Table:
    size = f"{LARGE:,} products × {LARGE_IMAGES} images × {LARGE_CHILDREN} children"
    table = _table(
        f"{size}, users' tokens at weight 3, on a moved clock",
        "run",
        "calls",
        "429s",
        "bans",
        "minutes",
        "the limit's floor",
        "above it",
        "wanted",
        "entities right",
    )
    found = in_own_process(CONNECTOR, products=LARGE, images=LARGE_IMAGES, children=LARGE_CHILDREN, kind="user")
    for run in found["runs"]:
        floor, is_first = run["floor_minutes"], run["name"] == "first"
        table.add_row(
            run["name"],
            f"{run['calls']:,}",
            f"{run['refused']:,}",
            f"{run['bans']:,}",
            f"{run['minutes']:,.1f}",
            f"{floor:,.1f}",
            f"{run['minutes'] / floor - 1:.0%}" if is_first else "",
            "≤ 10%" if is_first else "",
            "" if is_first else f"{found['same']:,} of {LARGE * LARGE_CHILDREN:,}",
        )
    return table


def _memory() -> Table:
    table = _table(
        f"Memory: {PICTURES} images of {PICTURE_BYTES / MEGABYTE:.0f} MB per product, requests below 20 MB",
        "step",
        *(f"{products} products, MB above the start" for products in (FEW, MANY)),
    )
    found = [in_own_process(MEMORY, products=products, images=PICTURES, size=PICTURE_BYTES) for products in (FEW, MANY)]
    for spans in zip(*(one["spans"] for one in found), strict=True):
        table.add_row(spans[0]["name"], *(f"{span['above_bytes'] / MEGABYTE:,.0f}" for span in spans))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in {"what", "run", "step"} else "right")
    return table
