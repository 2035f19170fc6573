"""The same measurement under two trees in turn: the commit before the speed was worked on, and this one.

    with before(console.print) as old:
        for name, rounds in alternate("benchmarks.edge_first", old, photos=5_000).items():
            print(name, rounds.processor, rounds.peak_bytes, rounds.median("plan", "seconds"))

A module is named as `benchmarks.x`: each tree runs its own one. What only this tree has, or what must be the same
under both, is given as a path (`HERE / "benchmarks" / "x.py"`): it runs with this tree's `benchmarks` and either
tree's package.
Both print JSON as their last line and get JSON as their argument: what was given, and `home`, a new empty folder.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.measuring import quiet_environment

BEFORE = "7cee310ae9c1a6f1268bfe5a89474f7072a5bae6"
HERE = Path(__file__).resolve().parent.parent
OLD, NEW = "before", "now"
PACKAGE = "imagesync_pipelines"


@dataclass(frozen=True)
class Measured:
    """One process with all that it started, the database server included; `figures` is what the module printed.

    peak_bytes: the most that one process had resident, that of the database server's not counted.
    """

    processor: float
    seconds: float
    peak_bytes: int
    figures: dict[str, Any]


@dataclass(frozen=True)
class Rounds:
    """What several rounds of one tree measured."""

    rounds: tuple[Measured, ...]

    @property
    def processor(self) -> float:
        """The median of the processor time, in seconds."""
        return statistics.median(one.processor for one in self.rounds)

    @property
    def seconds(self) -> float:
        """The median of the time on the clock."""
        return statistics.median(one.seconds for one in self.rounds)

    @property
    def peak_bytes(self) -> int:
        """The median of the peak in memory."""
        return int(statistics.median(one.peak_bytes for one in self.rounds))

    def median(self, *path: str | int) -> float:
        """The median of one of the module's own figures, by the keys that lead to it."""
        return statistics.median(_at(one.figures, path) for one in self.rounds)


@contextmanager
def before(say: Callable[[str], object] = print, commit: str = BEFORE) -> Iterator[Path | None]:
    """A git worktree of the commit before, removed afterwards; None, and a line that says why, where there is none."""
    if _git("cat-file", "-e", f"{commit}^{{commit}}") is not None:
        say(f"No column '{OLD}': this copy has no commit {commit[:7]}. `git fetch --unshallow` in a clone brings it.")
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="imagesync-before-") as folder:
        tree = Path(folder) / "tree"
        refused = _git("worktree", "add", "--detach", "--quiet", str(tree), commit)
        if refused is not None:
            raise OSError(f"git made no worktree of {commit[:7]}: {refused}")
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def alternate(module: str | Path, old: Path | None, rounds: int = 3, **arguments: Any) -> dict[str, Rounds]:
    """Measure `now`, and `before` where there is an old tree, in turn, the old one first; a new folder each round."""
    trees = {OLD: old} if old else {}
    trees[NEW] = HERE
    for tree in trees.values():  # nobody's first round pays for compiling
        subprocess.run([sys.executable, "-m", "compileall", "-q", PACKAGE, "benchmarks"], cwd=tree, check=False)
    found: dict[str, list[Measured]] = {name: [] for name in trees}
    for _ in range(rounds):
        for name, tree in trees.items():
            found[name].append(measured(module, tree, **arguments))
    return {name: Rounds(tuple(ones)) for name, ones in found.items()}


def measured(module: str | Path, tree: Path = HERE, **arguments: Any) -> Measured:
    """Run it once with this tree first on the path, in a process, a folder and an environment of its own."""
    with tempfile.TemporaryDirectory(prefix="imagesync-bench-") as folder:
        home, path, program = Path(folder) / "home", tree, ["-m", str(module)]
        home.mkdir()
        if isinstance(module, Path):
            path, program = mixed(Path(folder) / "path", tree), [str(module)]
        command = [sys.executable, "-P", *program, json.dumps({"home": str(home), **arguments})]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.watched", str(path), *command],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE,
            env=quiet_environment(),
        )
    *_, figures, cost = done.stdout.strip().splitlines()
    return Measured(**json.loads(cost), figures=json.loads(figures))


def headings(table: Table, item: str) -> None:
    """The columns that `row` fills, of a measurement by so many of an item."""
    for column in ("what", f"{OLD}: µs per {item}", f"{NEW}: µs per {item}", "ratio", f"MB {OLD}", f"MB {NEW}"):
        table.add_column(column, justify="left" if column == "what" else "right")


def row(table: Table, what: str, found: Mapping[str, Rounds], items: int) -> None:
    """A line of processor time of everything, database server included, and of the peak in memory."""
    ones = [found.get(name) for name in (OLD, NEW)]
    micro = [f"{one.processor / items * 1e6:,.1f}" if one else "" for one in ones]
    memory = [f"{one.peak_bytes / 1e6:,.0f}" if one else "" for one in ones]
    ratio = f"{found[OLD].processor / found[NEW].processor:.2f} ×" if OLD in found else ""
    table.add_row(what, *micro, ratio, *memory)


def mixed(folder: Path, tree: Path) -> Path:
    """A folder for the path with this tree's measurements and the other tree's package."""
    folder.mkdir()
    (folder / PACKAGE).symlink_to(tree / PACKAGE)
    (folder / "benchmarks").symlink_to(HERE / "benchmarks")
    return folder


def _at(figures: Any, path: tuple[str | int, ...]) -> float:
    for key in path:
        figures = figures[key]
    return float(figures)


def _git(*arguments: str) -> str | None:
    """What git said against it; None when it did as told."""
    try:
        done = subprocess.run(["git", "-C", str(HERE), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "git is not installed"
    return None if done.returncode == 0 else done.stderr.strip() or "refused"
