"""The lineage of a run: whose hand-over a step takes.

A hand-over is what one step of a run leaves for the next: a plan, the chosen records, counts, a report. It belongs to
its run. A run that re-executes another one, or that Dagster starts again after a dead worker, goes on with what that
run left; nobody goes on with what a stranger left, least of all with a plan that somebody only looked at.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Lineage:
    """A run and those that it re-executes, its parent first, its root last; iterating gives all of them in order."""

    run_id: str
    ancestors: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        return iter((self.run_id, *self.ancestors))


def of_lineage(run_id: str, ancestors: Sequence[str], there: Collection[str]) -> str | None:
    """The run whose hand-over is taken: this run's, else its parent's, and so on to its root's; None: nobody's.

    ancestors: the runs that this one re-executes, its parent first, its root last. there: the runs that left one.
    """
    return next((run for run in (run_id, *ancestors) if run in there), None)
