"""What issue 16 costs whoever uses nothing of it: synchronisations before it and now, in turn."""

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.before import HERE, NEW, OLD, Rounds, alternate, before
from benchmarks.in_step import in_step
from benchmarks.pages import make_pages

# The commit before quality, languages, logins at a provider and assistants.
COMMIT = "626001f93ccddc197d0d269418ce1caeac7a0d8d"
SCRIPT = HERE / "benchmarks" / "unused_runs.py"
DAYS = HERE / "benchmarks" / "image_db_days.py"
ROUNDS, PAIRS, IMAGES, PHOTOS, PRODUCTS = 3, 30, 100_000, 20_000, 60


def unused(console: Console, *, images: int = IMAGES) -> None:
    """Processor time of everything, PostgreSQL included, the peak of the largest process, and imported modules."""
    table = Table(title="Before quality, languages, logins and assistants, and now", title_justify="left")
    for name in ("what", f"{OLD}: s", f"{NEW}: s", "ratio", "rounds", "MB", "modules"):
        table.add_column(name, justify="left" if name == "what" else "right")
    with tempfile.TemporaryDirectory(prefix="imagesync-bench-") as folder, before(console.print, COMMIT) as old:
        made = Path(folder) / "pages"
        make_pages(made, images, 100)
        for what, title, given in (
            ("definitions", "all connectors loaded", {}),
            ("runs", "image_db, 2,489 images, three Dagster runs", {"images": 2_489}),
            ("folder", "folder, 500 pictures, three Dagster runs", {}),
            ("image_db", f"image_db, {images:,} images, first and next day", {"pages": str(made)}),
            ("edge", f"edge, {PHOTOS:,} tiny photos, first", {"photos": PHOTOS}),
            ("edge_again", f"edge, {PHOTOS:,} photos, nothing and 1 % changed", {"photos": PHOTOS}),
            ("plytix", "Plytix, 16 products, first and again", {}),
            ("moysklad", f"МойСклад, {PRODUCTS} products, first and again", {"products": PRODUCTS}),
        ):
            _row(table, title, alternate(SCRIPT, old, ROUNDS, what=what, **given))
        console.print(table)
        if old:
            console.print(_days(old, made, images))


def _days(old: Path, pages: Path, images: int) -> Table:
    table = Table(title=f"image_db, {images:,} images, the next day, {PAIRS} pairs", title_justify="left")
    for name in ("step", f"{OLD}: s", f"{NEW}: s", "ratio", "half of the ratios"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for step, pairs in in_step(DAYS, old, PAIRS, pages=str(pages)).items():
        seconds = [f"{statistics.median(of):.2f}" for of in (pairs.before, pairs.now)]
        first, third = pairs.quartiles
        table.add_row(step, *seconds, f"{pairs.ratio:.3f} ×", f"{first:.2f} to {third:.2f}")
    return table


def _row(table: Table, title: str, found: Mapping[str, Rounds]) -> None:
    both = [found.get(name) for name in (OLD, NEW)]
    ratio = f"{found[NEW].processor / found[OLD].processor:.2f} ×" if OLD in found else ""
    rounds = "; ".join(", ".join(f"{one.processor:.2f}" for one in of.rounds) for of in both if of)
    memory = " → ".join(f"{of.peak_bytes / 1e6:,.0f}" for of in both if of)
    modules = " → ".join(f"{of.median('modules'):,.0f}" for of in both if of)
    table.add_row(title, *(f"{of.processor:.2f}" if of else "" for of in both), ratio, rounds, memory, modules)
