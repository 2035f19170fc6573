"""A stored plan carried out: found, applied under the account's lock, counted and told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import pandas as pd
from pydantic import BaseModel, Field

from imagesync_pipelines.storage.plans import PlanHeader
from imagesync_pipelines.sync.apply import Applied
from imagesync_pipelines.sync.frames import PLAN_COLUMNS
from imagesync_pipelines.sync.model import EFFECTS
from imagesync_pipelines.sync.planned import STATE
from imagesync_pipelines.sync.remote import apply_remote
from imagesync_pipelines.sync.steps import RunContext, Summary
from imagesync_pipelines.sync.targets import BulkTarget, IntentLog, RemoteTarget

R = TypeVar("R")

# In the payload of plans that releases before the connectors' declarations stored.
_STATE_BEFORE = "state_before"


class ApplyOptions(BaseModel):
    """Which plan to apply."""

    plan_id: int | None = Field(
        None, description="a stored plan by its number; empty: that of this run, or of the run that it re-executes"
    )


@dataclass(frozen=True)
class Loaded:
    """A stored plan that is about to be applied.

    rows: the engine's PLAN columns. labelled: the rows with the columns for people. states: the digests of its groups
    when it was made. own: made by this run or one that it re-executes at once. resumed: an application of it broke off.
    """

    header: PlanHeader
    rows: pd.DataFrame
    labelled: pd.DataFrame
    states: Mapping[str, str]
    own: bool
    resumed: bool

    @property
    def total(self) -> int:
        """How many rows change something."""
        return int(self.rows["change"].isin(EFFECTS).sum())

    @property
    def scope(self) -> Mapping[str, Any]:
        """What the plan's maker left for applying it."""
        return self.header.scope


def load_plan(context: RunContext[Any], plan_id: int | None) -> Loaded:
    """The plan that is named, else that of this run's lineage. Raises PlanMissingError."""
    header = context.plan_to_apply(plan_id)
    labelled = context.plans.load(header.id)
    changing = labelled[labelled["change"].isin(EFFECTS)]
    states = dict(zip(changing["group"], changing[STATE], strict=True)) if STATE in changing else {}
    return Loaded(
        header=header,
        rows=labelled.loc[:, list(PLAN_COLUMNS)],
        labelled=labelled,
        states={group: state for group, state in states.items() if isinstance(state, str)},
        own=header.run_id == context.run_id,
        resumed=header.applied_at is None and header.applied_run is not None,
    )


def carry_out(context: RunContext[Any], loaded: Loaded, apply: Callable[[], R]) -> R:
    """Apply a loaded plan, noting when that begins and when it has ended; call it under the account's lock."""
    context.plans.mark_begun(loaded.header.id, context.run_id)
    applied = apply()
    context.plans.mark_applied(loaded.header.id, context.run_id)
    return applied


def carry_out_remotely(
    context: RunContext[Any],
    loaded: Loaded,
    target: RemoteTarget,
    intents: IntentLog,
    *,
    payload: pd.DataFrame,
    what: str,
    fatal: tuple[type[BaseException], ...],
    states_read_at: datetime | None = None,
    bulk: BulkTarget | None = None,
) -> Applied:
    """As carry_out, into somebody else's system; see apply_remote. what: is written, as progress tells it.

    payload: the plan's; that of an earlier release has the digests of the groups too. The connector's settings say how
    many `workers` write at the same time.
    """
    earlier = zip(payload["group"], payload[_STATE_BEFORE], strict=True) if _STATE_BEFORE in payload else None
    return carry_out(
        context,
        loaded,
        lambda: apply_remote(
            loaded.rows,
            target,
            intents,
            context.quarantine,
            workers=context.settings.workers,
            states=loaded.states if earlier is None else dict(earlier),
            states_read_at=states_read_at,
            bulk=bulk,
            fatal=fatal,
            clock=context.clock,
            on_progress=lambda number: context.progress(f"{what} written", number, loaded.total),
        ),
    )


def applied_warnings(
    context: RunContext[Any],
    loaded: Loaded,
    applied: Applied,
    *,
    what: str = "images",
    groups: str = "products",
    found: Sequence[str] = (),
    stopped: str = "",
) -> list[str]:
    """What a person has to know of an application, in the words that all connectors share; `found` comes first.

    stopped: why the rest was left for the next run, '' when nothing was; then it was refused by us, not because it
    moved.
    """
    told, header = list(found), loaded.header
    if stopped:
        told.append(f"Stopped with {applied.refused} images left; the next run goes on: {stopped}")
    if header.applied_at is not None and header.applied_run != context.run_id:
        told.append(f"Plan {header.id} had been applied before, by run {header.applied_run}.")
    if applied.refused and not stopped:
        told.append(
            f"{applied.refused} {what} of {len(applied.refused_in)} {groups} were refused, because they changed since "
            "the plan was made; plan again."
        )
    if applied.failed:
        told.append(f"{applied.failed} {what} failed; the next run tries them again.")
    if applied.unknown:
        told.append(f"The answer was lost for {applied.unknown} {what}; the next run looks and goes on.")
    return told


def applied_summary(
    context: RunContext[Any],
    loaded: Loaded,
    applied: Applied,
    *,
    warnings: tuple[str, ...],
    calls: int,
    received: int = 0,
) -> Summary:
    """The summary of a run that applied a plan; calls and bytes of making it count when this very run made it."""
    scope = loaded.scope
    return Summary(
        status="completed",
        started_at=context.started_at,
        completed_at=datetime.now(UTC),
        images_added=applied.added,
        images_updated=applied.updated,
        images_deleted=applied.removed,
        products_affected=len(applied.affected),
        warnings=(*scope.get("warnings", ()), *warnings),
        kept=applied.kept,
        rejected=applied.rejected,
        held_back=int(scope.get("held_back", 0)),
        failed=applied.failed,
        refused=applied.refused,
        unknown=applied.unknown,
        api_calls=(int(scope.get("calls", 0)) if loaded.own else 0) + calls,
        bytes_downloaded=(int(scope.get("received", 0)) if loaded.own else 0) + received,
    )
