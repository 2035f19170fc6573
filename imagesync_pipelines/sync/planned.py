"""A plan that was made: judged, stored with what applying it needs, told. How it is carried out is in carry_out.py."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from imagesync_pipelines import languages
from imagesync_pipelines.languages import N_
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.memory import unread_since
from imagesync_pipelines.storage.plans import BATCH, DRY_RUN, ONLY_NAMED, NewPlan
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.acknowledging import WHOLE, is_whole
from imagesync_pipelines.sync.excluding import EXCLUDED, left_alone
from imagesync_pipelines.sync.guard import is_limited
from imagesync_pipelines.sync.model import EFFECTS, Change, DeletionLimits, Memory, PlanCost
from imagesync_pipelines.sync.steps import Number, RunContext, Shown, StepResult, Summary, Table

# Of each account: a plan holds a row per image, and there may be a hundred accounts.
KEPT_PLANS = 20
_COUNTED = {
    Change.ADD: N_("{number:d} add"),
    Change.UPDATE: N_("{number:d} update"),
    Change.REMOVE: N_("{number:d} remove"),
    Change.KEEP: N_("{number:d} keep"),
    Change.REJECT: N_("{number:d} reject"),
}
# The column of a stored plan with the digest of its row's group when the plan was made.
STATE = "state"
# In a plan's scope: the settings that decide what is written, name → value as a person knows them.
POLICY = "policy"
# In a plan's scope: when our database was restored, where the plan was made from all of a target that was read since.
READ_SINCE = "read_since_restored"
# In a plan's scope: when the run that made it began.
RUN_BEGAN = "run_began"
# In a plan's scope: it is of products that were chosen, so nothing is settled by it elsewhere.
OF_SOME = "of_some"


@dataclass(frozen=True)
class Planned:
    """A guarded plan with what applying it needs.

    plan: the engine's PLAN columns, the guard's RULING, and text columns for people. held: the rows that the guard held
    back. owned: key and group of all that we own in the target; None: nothing was judged. states: the digests of the
    groups that change or would if a person approved what is held (plan.group_states); None: the target compares rows
    itself. payload: frames with what these rows need, each a portion. scope: what else applying needs, as JSON.
    of_some: it is of products that were chosen. says: the groups of which it has all that the source wants, whatever it
    says of others. calls, received: of the run so far.
    """

    plan: pd.DataFrame
    held: pd.DataFrame
    cost: PlanCost
    owned: pd.DataFrame | None = None
    states: Mapping[str, str] | None = None
    payload: Iterable[pd.DataFrame] | None = None
    scope: Mapping[str, Any] = field(default_factory=dict)
    of_some: bool = False
    says: Collection[str] = ()
    warnings: tuple[str, ...] = ()
    scan_id: int | None = None
    calls: int = 0
    received: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Rows per change, all five of them."""
        found = self.plan["change"].value_counts()
        return {str(change): int(found.get(change, 0)) for change in Change}


def deletion_limits(settings: Settings, *, lifted: bool, memory: Memory | None = None) -> DeletionLimits:
    """The deletion limits as the settings have them; `lifted` for one run by a person. memory: of the target."""
    limits = {name: getattr(settings, f"deletion_limit_{name}") for name in ("share", "count", "bare", "floor")}
    replaced = {f"replaced_{name}": getattr(settings, f"replacement_limit_{name}") for name in ("share", "floor")}
    return DeletionLimits(**limits, **replaced, lifted=lifted, memory=memory or Memory())


def limits_of(context: RunContext[Any], *, lifted: bool) -> DeletionLimits:
    """The deletion limits of the context's account, with what went lately and what a person decided."""
    return deletion_limits(context.installation.settings, lifted=lifted, memory=held.memory_of(context))


def restored_note(context: RunContext[Any]) -> tuple[str, tuple[str, ...]]:
    """When our database was restored, if the account was not read whole since, and that in a sentence for people."""
    restored_at = unread_since(context.installation.engine, context.owner)
    if not restored_at:
        return "", ()
    what = languages.told(
        "its products and images, and what people decided (pins, what is held back), are those of the backup"
    )
    if context.account:
        what = languages.told(
            f"what it remembers of {context.account} is not believed, and what is there under our names and bytes is "
            "taken for ours again"
        )
    moment = restored_at[:16].replace("T", " ")
    told = languages.told(
        f"Our database was restored from a backup ({moment} UTC): {what}. A run that reads all of it ends this."
    )
    return restored_at, (told,)


def store_plan(
    context: RunContext[Any], planned: Planned, *, dry_run: bool = False, made_for: str = "", kept: Collection[str] = ()
) -> int:
    """Keep a plan for applying and for people; older ones of the account are forgotten. Returns its number.

    dry_run: nobody applies it without naming it; made_for: the same, for another reason, such as CLEAN_UP. What any
    other plan holds back is noted, and kept with the plan that shows it. Hand-overs of runs that are neither among the
    newest nor in `kept` nor have a stored plan are forgotten too.
    """
    rows, why_named, said = planned.plan, DRY_RUN if dry_run else made_for, left_alone(planned.plan)
    if planned.states is not None:
        rows = rows.assign(**{STATE: rows["group"].map(planned.states)})
    new = NewPlan(
        connector=context.connector,
        run_id=context.run_id,
        scope={
            **context.part,
            **planned.scope,
            **({ONLY_NAMED: why_named} if why_named else {}),
            **({EXCLUDED: said} if said else {}),
            **({OF_SOME: True} if planned.of_some else {}),
            "warnings": list(planned.warnings),
            "held_back": len(planned.held),
            "calls": planned.calls,
            "received": planned.received,
            RUN_BEGAN: context.started_at.isoformat(),
            WHOLE: is_whole(planned.plan, planned.owned),
        },
        counts=planned.counts,
        cost=asdict(planned.cost),
        scan_id=planned.scan_id,
    )
    plan_id = context.plans.save(rows, planned.payload, new)
    if not why_named and planned.owned is not None:
        held.settle(context, planned.plan, planned.held, planned.owned, plan_id, planned.says)
    shown = {one.plan_id for one in held.undecided(context.installation.engine, context.connector, context.account)}
    context.plans.prune(context.connector, KEPT_PLANS, context.part, but={one for one in shown if one is not None})
    stored = context.plans.all(context.connector, context.part)
    makers = {header.run_id for header in stored if header.run_id is not None} | set(context.lineage)
    batches = {str(header.scope[BATCH]) for header in stored if BATCH in header.scope}
    context.handovers.prune(used={*makers, *batches, *kept})
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
    counts, most = planned.counts, planned.cost.calls_if_approved
    if most > planned.cost.calls:
        cost = languages.told(f"{cost.removesuffix('.')}; with what the limits hold back {most} calls.")
    said = ", ".join(_COUNTED[Change(change)].format(number=number) for change, number in counts.items())
    owner = f"{context.account}: " if context.account else ""
    line = owner + languages.told(f"plan {plan_id}: {said}; {len(planned.held)} held back; {cost}")
    if staying := left_alone(planned.plan):
        line += f" {staying}"
    waiting = held.undecided(context.installation.engine, context.connector, context.account)
    # A plan that is only looked at is all that knows what it holds back.
    unnoted = len(set(planned.held["key"]) - {one.key for one in waiting})
    warnings = (*planned.warnings, *held.sentences(waiting))
    if unnoted and plan_id is not None and is_limited(planned.held):
        warnings += (languages.told(f"What the limits hold back is carried out by `imagesync apply {plan_id}`."),)
    named: dict[str, Shown] = {} if plan_id is None else {"plan_id": plan_id}
    return StepResult(
        rows=len(planned.plan),
        numbers={**{f"plan/{change}": number for change, number in counts.items()}, **(numbers or {})},
        shown={
            **named,
            "apply_it_with": languages.told("nothing to do") if plan_id is None else f"imagesync apply {plan_id}",
            "cost": cost,
            "changes": Table(changes),
            "held_back": Table(planned.held.loc[:, ["key", "reason"]]),
            **(shown or {}),
        },
        lines=(*lines, owner + languages.told("nothing is new and nothing waits.") if plan_id is None else line),
        warnings=warnings,
        summary=Summary(
            status="completed",
            started_at=context.started_at,
            completed_at=datetime.now(UTC),
            warnings=warnings,
            kept=counts[Change.KEEP],
            rejected=counts[Change.REJECT],
            held_back=len(waiting) + unnoted,
            api_calls=planned.calls,
            bytes_downloaded=planned.received,
        ),
    )


def rows_to_show(plan: pd.DataFrame) -> pd.DataFrame:
    """The rows of a plan (PLAN_COLUMNS and more) that change, of every kind some first: the head of it shows each."""
    changing = plan[plan["change"].isin(EFFECTS)]
    order = changing.groupby("change").cumcount()
    return changing.assign(order=order).sort_values(["order", "change"]).drop(columns="order")
