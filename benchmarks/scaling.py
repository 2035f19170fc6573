"""How many stores a number of workers keeps up with, simulated from what one run costs: `python -m benchmarks.scaling`.

Plain numbers, no Dagster: one daemon launches so many runs a second, a run takes a slot for so long. What a run costs
is measured by the test of two workers (imagesync_pipelines_tests/faults/test_workers_killed.py); docs/scaling.md has
the figures with their machine. Others are given: `--quiet 1.2 --image 0.05`.
"""

import argparse
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from sys import argv

from rich.console import Console
from rich.table import Table

STORES = (60, 600, 2_000, 10_000)
WORKERS = (2, 5, 10, 20, 40)
HOUR = 3_600.0


@dataclass(frozen=True)
class Costs:
    """Seconds that a slot is taken by a run of few images, and by each image besides; of a launch by the daemon, which
    does `at_once` of them.

    The defaults are processor times: a worker's two cores are shared by its four slots. slots: of a worker.
    slot_connections: to PostgreSQL, of a slot; other_connections: of all else.
    """

    quiet: float = 2.0
    image: float = 0.007
    launch: float = 0.083
    at_once: int = 1
    slots: int = 4
    slot_connections: int = 6
    other_connections: int = 15

    @property
    def launches(self) -> float:
        """How many runs the one daemon launches in a second at most."""
        return self.at_once / self.launch

    def connections(self, workers: int) -> int:
        """Connections to PostgreSQL while every slot is at work."""
        return workers * self.slots * self.slot_connections + self.other_connections


@dataclass(frozen=True)
class Round:
    """One run of every store: seconds until the last has ended, and the share of the time that slots were at work."""

    seconds: float
    at_work: float


def simulate(stores: int, images: int, workers: int, costs: Costs) -> Round:
    """Let the daemon launch a run for every store as slots become free, each with so many images."""
    slots = [0.0] * (workers * costs.slots)
    daemon = [0.0] * costs.at_once
    each, end = costs.quiet + images * costs.image, 0.0
    for _ in range(stores):
        # It looks once a second whether a slot is free.
        seen = max(float(-(-heapq.heappop(slots) // 1)), heapq.heappop(daemon))
        launched = seen + costs.launch
        heapq.heappush(daemon, launched)
        heapq.heappush(slots, launched + each)
        end = max(end, launched + each)
    return Round(end, stores * each / (end * workers * costs.slots))


def brake(stores: int, images: int, workers: int, costs: Costs) -> str:
    """What a round waits for most."""
    by_daemon = stores / costs.launches
    by_slots = stores * (costs.quiet + images * costs.image) / (workers * costs.slots)
    return "the daemon" if by_daemon > by_slots else "slots"


def table(costs: Costs, images: int, stores: Sequence[int] = STORES, workers: Sequence[int] = WORKERS) -> Table:
    """Minutes of a round by stores and workers."""
    made = Table(title=f"Minutes of one run of every store, {images} images each")
    for name in ("stores", "workers", "slots", "minutes", "slots at work", "waits for", "connections", "in an hour"):
        made.add_column(name, justify="right")
    for number in stores:
        for several in workers:
            found = simulate(number, images, several, costs)
            made.add_row(
                f"{number:,}", str(several), str(several * costs.slots), f"{found.seconds / 60:.1f}",
                f"{found.at_work:.0%}", brake(number, images, several, costs), str(costs.connections(several)),
                "yes" if found.seconds <= HOUR else "no",
            )  # fmt: skip
    return made


def main(arguments: Sequence[str]) -> None:
    """Print the tables of a quiet hour and of one with news."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    for name in ("quiet", "image", "launch"):
        parser.add_argument(f"--{name}", type=float, default=getattr(Costs, name), help="seconds")
    parser.add_argument("--slots", type=int, default=Costs.slots, help="of a worker")
    costs, console = Costs(**vars(parser.parse_args(arguments))), Console(width=110)
    for images in (0, 10, 200):
        console.print(table(costs, images))


if __name__ == "__main__":
    main(argv[1:])
