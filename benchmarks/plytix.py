"""The Plytix connector: how many calls a mapping file costs, beside the workflow that is replaced,
on the same sandbox.
"""

from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import in_own_process

CONNECTOR, REPLACED = "benchmarks.plytix_whole", "benchmarks.rivals.call_at_a_time"
LARGE = 1_000
MOST_FIRST = {"patch": 29, "link": 137}
PER_SEARCH = 100
COLUMNS = ("what", "run", "calls", "wanted", "429s", "token calls", "effects", "minutes", "shown afterwards")

Found = dict[str, Any]


def plytix(console: Console, *, products: int = LARGE) -> None:
    """The demo's mapping file, and a large one."""
    console.print(_demo())
    console.print(_large(products))


def _demo() -> Table:
    table = _table("16 products, 108 references, 12 pictures; limits 20 per 10 s and 5,000 per hour")
    _add(table, "the replaced workflow", in_own_process(REPLACED, products=None), {})
    for strategy, most in MOST_FIRST.items():
        found = in_own_process(CONNECTOR, products=None, strategy=strategy)
        _add(table, f"connector, {strategy}", found, {"first": f"≤ {most}", "second": "1"})
    return table


def _large(products: int) -> Table:
    table = _table(f"{products:,} products × 7 images; the same limits")
    _add(table, "the replaced workflow", in_own_process(REPLACED, products=products), {})
    found = in_own_process(CONNECTOR, products=products, strategy="patch")
    searches = -(-products // PER_SEARCH)
    fewest = searches + found["pictures"] + products
    _add(table, "connector, patch", found, {"first": f"≤ {int(fewest * 1.05):,}", "second": f"{searches}"})
    calls, needed = found["runs"][0]["calls"], found["runs"][0]["runs"]
    going_on = f", in {needed} runs: our share of the hour's calls is 4,000" if needed > 1 else ""
    table.caption = (
        f"The fewest: {searches} searches, {found['pictures']:,} uploads, {products:,} patches, that is {fewest:,}; "
        f"the connector needs {calls / fewest - 1:.1%} more{going_on}."
    )
    return table


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in {"what", "run", "shown afterwards"} else "right")
    return table


def _add(table: Table, name: str, found: Found, wanted: dict[str, str]) -> None:
    """One line per run. What was refused is among the calls; minutes are those of the account's clock."""
    state = found["state"]
    shown = f"{state['assets']:,} assets, {state['shown']:,} images, {state['thumbnails']:,} MAIN"
    for run in found["runs"]:
        table.add_row(
            name,
            run["name"],
            f"{run['calls']:,}",
            wanted.get(run["name"], ""),
            f"{run['refused']:,}",
            f"{run['token_calls']:,}",
            f"{run['effects']:,}",
            f"{run['minutes']:,.1f}",
            shown if run is found["runs"][-1] else "",
        )
        name = ""
    table.add_section()
