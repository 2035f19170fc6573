"""Which runs a run re-executes, as Dagster's tags tell it."""

import dagster as dg

from imagesync_pipelines.sync.handovers import Lineage

# Dagster writes both on a re-execution from the UI and on its own retry of a run whose worker died.
PARENT_TAG = "dagster/parent_run_id"
ROOT_TAG = "dagster/root_run_id"

RunContext = dg.AssetExecutionContext | dg.OpExecutionContext | dg.AssetCheckExecutionContext


def lineage_of(context: RunContext) -> Lineage:
    """The run of this step with those that it re-executes."""
    return Lineage(context.run.run_id, ancestors_of(context))


def ancestors_of(context: RunContext) -> tuple[str, ...]:
    """The runs that the run of this step re-executes, its parent first, its root last; none of a run of its own.

    A run in between that was deleted ends the way up; the root is known all the same.
    """
    found: list[str] = []
    parent = _parent(context.run)
    while parent is not None and parent not in found:
        found.append(parent)
        run = context.instance.get_run_by_id(parent)
        parent = _parent(run) if run is not None else None
    root = context.run.tags.get(ROOT_TAG) or context.run.root_run_id
    return (*found, *([root] if root is not None and root not in found else []))


def _parent(run: dg.DagsterRun) -> str | None:
    """The run that a run re-executes; Dagster's Python API leaves the tag out and fills the field alone."""
    return run.tags.get(PARENT_TAG) or run.parent_run_id
