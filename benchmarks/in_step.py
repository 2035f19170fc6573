"""Two trees at once, a piece of work each in turn: what the machine does to one of a pair it does to the other.

Whole rounds one after the other (`benchmarks.before`) tell nothing below a tenth on a machine whose speed changes by a
third within a minute; pairs that are seconds apart do.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.before import HERE, NEW, OLD, mixed
from benchmarks.measuring import quiet_environment

WARM = 2
"""Pairs that do not count: caches of either tree fill."""


@dataclass(frozen=True)
class Pairs:
    """What a step cost before and now, pair by pair, in seconds."""

    before: tuple[float, ...]
    now: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median of the ratios of the pairs."""
        return statistics.median(self._ratios)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Half of the ratios lie between these two."""
        first, _, third = statistics.quantiles(self._ratios, n=4)
        return first, third

    @property
    def _ratios(self) -> Sequence[float]:
        return [now / before for before, now in zip(self.before, self.now, strict=True)]


def in_step(script: Path, old: Path, pairs: int, **arguments: Any) -> dict[str, Pairs]:
    """Run the script of this tree's under both packages, and let each do a piece of work, `pairs` times in turn.

    The script prints a line when it is ready, then, for each line that it reads, JSON with the seconds of its steps.
    Who comes first changes from pair to pair. The answer is by step, with their sum as "all".
    """
    trees: Mapping[str, Path] = {OLD: old, NEW: HERE}
    done: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    with ExitStack() as stack:
        started = {name: _started(stack, script, tree, arguments) for name, tree in trees.items()}
        for process in started.values():
            _line_of(process)
        for pair in range(WARM + pairs):
            for name in (OLD, NEW) if pair % 2 else (NEW, OLD):
                done[name].append(_work(started[name]))
        for process in started.values():
            process.communicate()
    counted = {name: [{**one, "all": sum(one.values())} for one in of[WARM:]] for name, of in done.items()}
    return {
        step: Pairs(*(tuple(one[step] for one in counted[name]) for name in (OLD, NEW))) for step in counted[NEW][0]
    }


def _started(stack: ExitStack, script: Path, tree: Path, arguments: Mapping[str, Any]) -> "subprocess.Popen[str]":
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagesync-bench-")))
    home = folder / "home"
    home.mkdir()
    command = [sys.executable, "-P", str(script), json.dumps({"home": str(home), **arguments})]
    return stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.watched", str(mixed(folder / "path", tree)), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE,
            env=quiet_environment(),
        )
    )


def _work(process: "subprocess.Popen[str]") -> dict[str, float]:
    if process.stdin is None:
        raise OSError("the measurement takes no orders")
    with suppress(BrokenPipeError):  # its last line, which follows, says more
        process.stdin.write("\n")
        process.stdin.flush()
    found: dict[str, float] = json.loads(_line_of(process))
    if "peak_bytes" in found:  # what `benchmarks.watched` says at the end
        raise OSError(f"the measurement ended with {process.wait()}")
    return found


def _line_of(process: "subprocess.Popen[str]") -> str:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise OSError(f"the measurement ended with {process.wait()}")
    return line
