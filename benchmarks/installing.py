"""`make demo` on a fresh machine, before and now: a new virtual environment, everything downloaded, the core demo.

Needs whatever pip is configured to ask for packages, so it runs only when it is named.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import imagesync_pipelines
from benchmarks.before import HERE, alternate, before
from benchmarks.measuring import Stopwatch

STEPS = ("install", "demo")


def install(console: Console) -> None:
    """Both ways in turn, each in a folder of its own."""
    with before(console.print) as old:
        found = alternate(HERE / "benchmarks" / "installing.py", old, rounds=1)
    table = Table(title="make demo on a fresh machine, downloads included", title_justify="left")
    for column in ("what", *(f"{name}: {unit}" for name in found for unit in ("s of processor", "s of the clock"))):
        table.add_column(column, justify="left" if column == "what" else "right")
    for at, step in enumerate(STEPS):
        cells = [one.median("spans", at, kind) for one in found.values() for kind in ("processor", "seconds")]
        table.add_row(step, *(f"{cell:.1f}" for cell in cells))
    console.print(table)


def measure(home: Path) -> dict[str, Any]:
    """Install and show what the tree has, as its Makefile does it, without anything that was downloaded earlier."""
    watch, tree = Stopwatch(), Path(imagesync_pipelines.__file__).resolve().parent.parent
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    environment |= {"PIP_NO_CACHE_DIR": "1", "IMAGESYNC_HOME": str(home / "demo")}
    for step, target in zip(STEPS, (f"{home}/venv/.installed", "demo"), strict=True):
        with watch.step(step):
            command = ["make", "-C", str(tree), f"VENV={home}/venv", target]
            subprocess.run(command, env=environment, check=True, stdout=sys.stderr)
    return {"spans": watch.as_json()}


if __name__ == "__main__":
    print(json.dumps(measure(Path(json.loads(sys.argv[1])["home"]))))
