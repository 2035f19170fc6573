"""Whose hand-over a step takes: the plan that a run carries out is the one that is named, else that of its lineage.

A hand-over (a plan, the chosen records, counts, a report) belongs to its run. A run that re-executes another one, or
that Dagster starts again after a dead worker, goes on with what that run left; nobody goes on with what a stranger
left, least of all with a plan that somebody only looked at.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from imagesync_pipelines.storage.errors import NoPlanOfThisRunError
from imagesync_pipelines.storage.plans import WHOLE_CONNECTOR, PlanHeader, Plans

# In a plan's scope. Why the plan is carried out only when somebody names it, in words that fit "it was made for …".
ONLY_NAMED = "only_named"
DRY_RUN, CLEAN_UP = "a dry run", "a clean-up"
# In a plan's scope: made while another plan was being applied, for groups that had moved; that other one is the run's.
PIECE = "piece"


@dataclass(frozen=True)
class Lineage:
    """A run and those that it re-executes, its parent first, its root last; iterating gives all of them in order."""

    run_id: str
    ancestors: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        return iter((self.run_id, *self.ancestors))

    def first_of(self, there: Collection[str]) -> str | None:
        """The run whose hand-over is taken: this run's, else its parent's, and so on to its root's; None: nobody's.

        there: the runs that left one.
        """
        return next((run for run in self if run in there), None)


def plan_to_apply(
    plans: Plans, connector: str, lineage: Lineage, plan_id: int | None, part: Mapping[str, str] = WHOLE_CONNECTOR
) -> PlanHeader:
    """The plan that is named, else the one that this run's lineage made, of this part of the connector.

    The plan of a dry run or of a clean-up must be named. Raises PlanMissingError, NoPlanOfThisRunError.
    """
    if plan_id is not None:
        return plans.asked(connector, plan_id, part)
    stored = plans.all(connector, part)
    found = _of_lineage(stored, lineage)
    if found is None:
        raise NoPlanOfThisRunError(_refusal(connector, part, stored))
    if why := found.scope.get(ONLY_NAMED):
        raise NoPlanOfThisRunError(
            f"Plan {found.id} was made for {why}, so it is carried out only by its number: `imagesync apply {found.id}`"
            f" does it (`imagesync plan {found.id}` shows it first). Nothing was changed."
        )
    return found


def plan_to_look_at(plans: Plans, connector: str, lineage: Lineage) -> PlanHeader | None:
    """What a check looks at: the plan of its run's lineage, else, run by itself, the newest. None: there is no plan."""
    stored = plans.all(connector)
    return _of_lineage(stored, lineage) or next(iter(stored), None)


def _of_lineage(stored: Sequence[PlanHeader], lineage: Lineage) -> PlanHeader | None:
    """Of these plans, the newest first, the one that a run's lineage made; pieces of another's application apart."""
    by_run = {one.run_id: one for one in reversed(stored) if one.run_id is not None and not one.scope.get(PIECE)}
    run = lineage.first_of(by_run)
    return None if run is None else by_run[run]


def _refusal(connector: str, part: Mapping[str, str], stored: Sequence[PlanHeader]) -> str:
    told = (
        "No plan belongs to this run: it made none itself and re-executes no run that made one, so nothing was changed."
        f" Start the job {connector}__sync, which plans first"
    )
    if not stored:
        return f"{told}."
    newest, name = stored[0].id, "/".join((connector, *part.values()))
    return (
        f"{told}, or apply a stored plan by its number: `imagesync apply N`. The newest of {name} is plan {newest}, "
        f"which `imagesync plan {newest}` shows."
    )
