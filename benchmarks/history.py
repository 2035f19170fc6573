"""What the history costs where many rows are written: noting them, by the processor time of everything."""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks.before import Rounds, measured
from benchmarks.measuring import Stopwatch

IMAGES, PER_BATCH, ROUNDS = 100_000, 5_000, 3
# As large as a row of product_image is with its record.
BEFORE = json.dumps({"image_url": "https://media.example.com/930363_g.jpg", "metadata": {"record": "x" * 1_200}})
STEPS = {"additions": "noting an addition", "updates": "noting an update, with the row as it was"}


def history(console: Console) -> None:
    """Print what noting a row costs."""
    found = Rounds(tuple(measured("benchmarks.history", images=IMAGES) for _ in range(ROUNDS)))
    table = Table(title=f"The history: {IMAGES:,} rows of as many products, PostgreSQL included", title_justify="left")
    table.add_column("what")
    table.add_column("processor µs a row", justify="right")
    for at, name in enumerate(STEPS.values()):
        table.add_row(name, f"{found.median('spans', at, 'processor') / IMAGES * 1e6:,.1f}")
    console.print(table)


def measure(home: Path, images: int) -> dict[str, Any]:
    """Note so many additions, then as many updates, in batches as a synchronisation has them."""
    from imagesync_pipelines.settings import Settings
    from imagesync_pipelines.storage.effect_frames import note_rows
    from imagesync_pipelines.storage.effects import Author
    from imagesync_pipelines.storage.installation import open_installation

    watch, by = Stopwatch(), Author("0f0e0d0c-0000-4000-8000-000000000000", None, 7)
    with open_installation(Settings(home=home)) as place:
        for step in STEPS:
            with watch.step(step):
                for start in range(0, images, PER_BATCH):
                    rows = _rows(range(start, min(start + PER_BATCH, images)), is_update=step == "updates")
                    with place.engine.begin() as connection:
                        note_rows(connection, "image_db", "", by, rows)
    return {"spans": watch.as_json()}


def _rows(numbers: range, *, is_update: bool) -> pd.DataFrame:
    groups = pd.Series([str(number) for number in numbers], dtype="str")
    rows = pd.DataFrame({"group": groups, "key": groups + "/930363", "change": "add", "reason": "new"})
    rows["fingerprint_after"] = "0123456789abcdef" * 4
    if is_update:
        rows = rows.assign(change="update", reason="changed", key_before=rows["key"], before=BEFORE)
        rows["fingerprint_before"] = "fedcba9876543210" * 4
    return rows


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(measure(Path(given["home"]), given["images"])))
