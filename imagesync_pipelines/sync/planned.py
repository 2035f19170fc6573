"""A plan that was made: judged, stored with what applying it needs, and told."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.plans import DRY_RUN, ONLY_NAMED, NewPlan
from imagesync_pipelines.sync.model import EFFECTS, Change, DeletionLimits, PlanCost
from imagesync_pipelines.sync.steps import Number, RunContext, Shown, StepResult, Summary, Table

# Of each account: a plan holds a row per image, and there may be a hundred accounts.
KEPT_PLANS = 20
# The column of a stored plan with the digest of its row's group when the plan was made.
STATE = "state"
# In a plan's scope: the run whose hand-overs the plan was made from, where that may be another one than its own.
BATCH = "batch"


@dataclass(frozen=True)
class Planned:
    """A guarded plan with what applying it needs.

    plan: the engine's PLAN columns, and text columns for people. held: the rows that the guard held back. states: the
    digests of the groups that change (plan.group_states); None: the target compares rows itself. payload: frames with
    what the rows that change need, each a portion. scope: what else applying needs, as JSON. calls, received: of the
    run so far.
    """

    plan: pd.DataFrame
    held: pd.DataFrame
    cost: PlanCost
    states: Mapping[str, str] | None = None
    payload: Iterable[pd.DataFrame] | None = None
    scope: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    scan_id: int | None = None
    calls: int = 0
    received: int = 0
    rejected: int | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Rows per change, all five of them."""
        found = self.plan["change"].value_counts()
        return {str(change): int(found.get(change, 0)) for change in Change}


def deletion_limits(settings: Settings, *, lifted: bool) -> DeletionLimits:
    """The deletion limits as the settings have them; `lifted` for one run by a person."""
    return DeletionLimits(
        settings.deletion_limit_share,
        settings.deletion_limit_count,
        settings.deletion_limit_bare,
        settings.deletion_limit_floor,
        lifted,
    )


def store_plan(context: RunContext[Any], planned: Planned, *, dry_run: bool = False, made_for: str = "") -> int:
    """Keep a plan for applying and for people; older ones of the account are forgotten. Returns its number.

    dry_run: nobody applies it without naming it; made_for: the same, for another reason, such as CLEAN_UP. Hand-overs
    of runs that are neither among the newest nor have a stored plan are forgotten too.
    """
    rows, why_named = planned.plan, DRY_RUN if dry_run else made_for
    if planned.states is not None:
        rows = rows.assign(**{STATE: rows["group"].map(planned.states)})
    new = NewPlan(
        connector=context.connector,
        run_id=context.run_id,
        scope={
            **context.part,
            **planned.scope,
            **({ONLY_NAMED: why_named} if why_named else {}),
            "warnings": list(planned.warnings),
            "held_back": len(planned.held),
            "calls": planned.calls,
            "received": planned.received,
        },
        counts=planned.counts,
        cost={"calls": planned.cost.calls, "bytes": planned.cost.bytes, "minutes": planned.cost.minutes},
        scan_id=planned.scan_id,
    )
    plan_id = context.plans.save(rows, planned.payload, new)
    context.plans.prune(context.connector, KEPT_PLANS, context.part)
    stored = context.plans.all(context.connector, context.part)
    makers = {header.run_id for header in stored if header.run_id is not None}
    context.handovers.prune(used=makers | {str(header.scope[BATCH]) for header in stored if BATCH in header.scope})
    return plan_id


def plan_result(
    context: RunContext[Any],
    planned: Planned,
    plan_id: int | None,
    *,
    cost: str,
    changes: pd.DataFrame,
    shown: Mapping[str, Shown] | None = None,
    numbers: Mapping[str, Number] | None = None,
    lines: Sequence[str] = (),
) -> StepResult:
    """What a plan step tells. plan_id None: nothing was to be planned. changes: the rows that change, for people.

    The run may end here: nothing was changed yet, so its summary counts only what was found.
    """
    counts = planned.counts
    said = ", ".join(f"{number} {change}" for change, number in counts.items())
    owner = f"{context.account}: " if context.account else ""
    line = f"{owner}plan {plan_id}: {said}; {len(planned.held)} removals held back; {cost}"
    named: dict[str, Shown] = {} if plan_id is None else {"plan_id": plan_id}
    return StepResult(
        rows=len(planned.plan),
        numbers={**{f"plan/{change}": number for change, number in counts.items()}, **(numbers or {})},
        shown={
            **named,
            "apply_it_with": "nothing to do" if plan_id is None else f"imagesync apply {plan_id}",
            "cost": cost,
            "changes": Table(changes),
            "held_back": Table(planned.held.loc[:, ["key", "reason"]]),
            **(shown or {}),
        },
        lines=(*lines, f"{owner}nothing is new and nothing waits." if plan_id is None else line),
        warnings=planned.warnings,
        summary=Summary(
            status="completed",
            started_at=context.started_at,
            completed_at=datetime.now(UTC),
            warnings=planned.warnings,
            kept=counts[Change.KEEP],
            rejected=counts[Change.REJECT] if planned.rejected is None else planned.rejected,
            held_back=len(planned.held),
            api_calls=planned.calls,
            bytes_downloaded=planned.received,
        ),
    )


def rows_to_show(plan: pd.DataFrame) -> pd.DataFrame:
    """The rows of a plan (PLAN_COLUMNS and more) that change, of every kind some first: the head of it shows each."""
    changing = plan[plan["change"].isin(EFFECTS)]
    order = changing.groupby("change").cumcount()
    return changing.assign(order=order).sort_values(["order", "change"]).drop(columns="order")
