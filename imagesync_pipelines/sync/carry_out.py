"""A stored plan: found again, carried out, counted, told. How one is made is in planned.py."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from pydantic import BaseModel, Field

from imagesync_pipelines import languages
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.memory import note_read
from imagesync_pipelines.storage.plans import ONLY_NAMED, PART_OF, UNDOES, WHY, PlanHeader
from imagesync_pipelines.sync import excluding, held
from imagesync_pipelines.sync.acknowledging import WHOLE, acknowledge
from imagesync_pipelines.sync.frames import PLAN_COLUMNS
from imagesync_pipelines.sync.guard import RULING, approved
from imagesync_pipelines.sync.identity import move_installation_on
from imagesync_pipelines.sync.model import EFFECTS, Change
from imagesync_pipelines.sync.planned import OF_SOME, POLICY, READ_SINCE, RUN_BEGAN, STATE
from imagesync_pipelines.sync.remote import apply_remote
from imagesync_pipelines.sync.stale import SourceNow, stale_groups
from imagesync_pipelines.sync.steps import RunContext, Summary
from imagesync_pipelines.sync.tally import Applied
from imagesync_pipelines.sync.targets import BulkTarget, IntentLog, RemoteTarget

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

    rows: the engine's PLAN columns and the guard's RULING. states: the digests of its groups when it was made. own:
    made by this run or one that it re-executes at once. resumed: an application of it broke off. approved: a person
    named it, so what it shows as held back by the limits is carried out.
    """

    header: PlanHeader
    rows: pd.DataFrame
    states: Mapping[str, str]
    own: bool
    resumed: bool
    approved: bool = False

    @property
    def total(self) -> int:
        """How many rows change something."""
        return int(self.rows["change"].isin(EFFECTS).sum())

    @property
    def is_whole(self) -> bool:
        """Whether it is all that was planned, and not some groups of a stored plan."""
        return PART_OF not in self.scope

    @property
    def is_of_all(self) -> bool:
        """Whether it is whole, and of no products that somebody chose."""
        return self.is_whole and OF_SOME not in self.scope

    @property
    def scope(self) -> Mapping[str, Any]:
        """What the plan's maker left for applying it."""
        return self.header.scope


Known = Callable[[Loaded], Iterable[SourceNow]]
"""What the source of a plan is known to want now, of its groups: nothing where nothing is newer than the plan."""


def load_plan(context: RunContext[Any], plan_id: int | None, *, by_person: bool = True) -> Loaded:
    """The plan that is named, else that of this run's lineage. Raises PlanMissingError.

    by_person: whoever names a plan is a person and approves what it shows as held back by the limits, but what a person
    keeps; that its group has not moved is looked at when it is carried out.
    """
    header = context.plan_to_apply(plan_id)
    rows = context.plans.load(header.id)
    by_word = plan_id is not None and by_person
    if by_word:
        rows = approved(rows, held.memory_of(context).kept)
    if why := header.scope.get(WHY):
        rows = rows.assign(reason=rows["reason"].mask(rows["change"].isin(EFFECTS), str(why)))
    changing = rows[rows["change"].isin(EFFECTS)].drop_duplicates("group")
    states = (
        dict(zip(*map(pd.Series.tolist, (changing["group"], changing[STATE])), strict=True)) if STATE in rows else {}
    )
    return Loaded(
        header=header,
        rows=rows.loc[:, [*PLAN_COLUMNS, *([RULING] if RULING in rows else [])]],
        states={group: state for group, state in states.items() if isinstance(state, str)},
        own=header.run_id == context.run_id,
        resumed=header.begun_run is not None,
        approved=by_word,
    )


def fresh_part(context: RunContext[Any], loaded: Loaded, known: Known) -> tuple[Loaded, dict[str, str]]:
    """A loaded plan without the groups that are stale (sync/stale.py) or excluded since it was made, and why they are.

    See excluding.refused_groups.
    """
    rows = loaded.rows
    changing = rows.loc[rows["change"].isin(EFFECTS), "group"].unique().tolist()
    stale = excluding.refused_groups(loaded.scope, changing, excluding.excluded_now(context))
    stale |= stale_groups(rows, loaded.scope.get(POLICY, {}), known(loaded))
    if not stale:
        return loaded, stale
    return replace(loaded, rows=rows[~rows["group"].isin(list(stale)) | (rows["change"] == Change.REJECT)]), stale


Broke = Callable[[Applied], None]
"""Hears what an application did before the error that it raises."""


def carry_out(
    context: RunContext[Any],
    loaded: Loaded,
    known: Known,
    apply: Callable[[Loaded, Broke], Applied],
    *,
    before: Applied | None = None,
    spent: Callable[[], int] = lambda: 0,
) -> Applied:
    """Apply a loaded plan, noting when that begins and when it has ended; call it under the account's lock.

    known: what its source is known to want now; the groups that are stale by that, or excluded since, are refused,
    `apply` gets the others. What it takes away is noted first, where no person named it; what went is held back no
    more. An application that breaks off tells what it did until then. before: what this run applied already; spent:
    calls since that began. Raises IdentityRefusedError when the database is another installation's.
    """
    context.check_installation(record=True)
    if loaded.total:
        move_installation_on(context.installation)
    context.plans.mark_begun(loaded.header.id, context.run_id)
    fresh, stale = fresh_part(context, loaded, known)
    if not loaded.approved:
        held.note_leaving(context, fresh.rows)
    # Asked now: what breaks an application off may be the database itself.
    waiting = held.undecided(context.installation.engine, context.connector, context.account)

    def note(done: Applied) -> None:
        so_far = done if before is None else before.plus(done)
        context.note_summary(applied_summary(context, loaded, so_far, warnings=(), calls=spent(), waiting=waiting))

    applied = apply(fresh, note)
    if applied.gone:
        held.release(context.installation.engine, context.connector, context.account, applied.gone)
        waiting = held.undecided(context.installation.engine, context.connector, context.account)
    if stale:
        rows = loaded.rows[loaded.rows["group"].isin(list(stale))]
        applied = applied.refusing(rows[rows["change"].isin(EFFECTS)], stale)
    context.plans.mark_applied(loaded.header.id, context.run_id)
    # One that is only named (a look, an undo) is no work of a synchronisation.
    if loaded.is_of_all and not loaded.scope.get(ONLY_NAMED) and (began := loaded.scope.get(RUN_BEGAN)):
        excluding.forget_ended(context, datetime.fromisoformat(began))
    in_all = applied if before is None else before.plus(applied)
    whole, again = loaded.is_whole and bool(loaded.scope.get(WHOLE)), before is not None
    acknowledge(context, loaded.header, loaded.rows, in_all, whole=whole, again=again)
    if loaded.scope.get(READ_SINCE) and loaded.is_whole:
        note_read(context.installation.engine, context.owner, loaded.scope[READ_SINCE])
    # What fails after this (a report on a full disk) takes nothing of it back.
    note(applied)
    return applied


def carry_out_remotely(
    context: RunContext[Any],
    loaded: Loaded,
    known: Known,
    target: RemoteTarget,
    intents: IntentLog,
    *,
    payload: pd.DataFrame,
    what: str,
    fatal: tuple[type[BaseException], ...],
    states_read_at: datetime | None = None,
    bulk: BulkTarget | None = None,
    identify: Callable[[], None],
    spent: Callable[[], int],
) -> Applied:
    """As carry_out, into somebody else's system; see apply_remote. what: is written, as progress tells it.

    payload: the plan's; that of an earlier release has the digests of the groups too. The connector's settings say how
    many `workers` write at the same time.
    """
    earlier = zip(payload["group"], payload[_STATE_BEFORE], strict=True) if _STATE_BEFORE in payload else None
    return carry_out(
        context,
        loaded,
        known,
        lambda fresh, broke: apply_remote(
            fresh.rows,
            target,
            intents,
            context.quarantine,
            workers=context.settings.workers,
            states=loaded.states if earlier is None else dict(earlier),
            states_read_at=states_read_at,
            by=context.author(loaded.header.id, loaded.scope.get(UNDOES)),
            resumed=loaded.resumed,
            bulk=bulk,
            fatal=fatal,
            identify=identify,
            before_write=context.check_locks,
            clock=context.clock,
            on_progress=lambda number: context.progress(languages.told(f"{what} written"), number, loaded.total),
            broke=broke,
        ),
        spent=spent,
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
    again: str = N_("plan again"),
) -> list[str]:
    """What a person has to know of an application, in the words that all connectors share; `found` comes first.

    stopped: why the rest was left for the next run, '' when nothing was; then it was refused by us, not because it
    moved. again: what to do about groups that moved.
    """
    told, header = list(found), loaded.header
    if stopped:
        told.append(languages.told(f"Stopped with {applied.refused} images left; the next run goes on: {stopped}"))
    if header.applied_at is not None and header.applied_run != context.run_id:
        told.append(languages.told(f"Plan {header.id} had been applied before, by run {header.applied_run}."))
    if applied.refused and not stopped:
        number = len(applied.refused_in)
        told.append(
            languages.told(
                f"{applied.refused} {what} of {number} {groups} were refused, because they changed since the plan was "
                f"made ({applied.stale}); {again}."
                if applied.stale
                else f"{applied.refused} {what} of {number} {groups} were refused, because they changed since the plan "
                f"was made; {again}."
            )
        )
    if applied.failed:
        told.append(
            languages.told(
                f"{applied.failed} {what} failed and are in quarantine, see `imagesync quarantine list`; "
                "the next run tries them again."
            )
        )
    if applied.unknown:
        told.append(
            languages.told(f"The answer was lost for {applied.unknown} {what}; the next run looks and goes on.")
        )
    return told


def applied_summary(
    context: RunContext[Any],
    loaded: Loaded,
    applied: Applied,
    *,
    warnings: tuple[str, ...],
    calls: int,
    received: int = 0,
    waiting: Sequence[held.HeldEntry] | None = None,
) -> Summary:
    """The summary of a run that applied a plan; calls and bytes of making it count when this very run made it.

    waiting: what is held back, None: it is asked.
    """
    scope = loaded.scope
    if waiting is None:
        waiting = held.undecided(context.installation.engine, context.connector, context.account)
    # What a person approved is not held back any more.
    of_plan = [text for text in scope.get("warnings", ()) if not (loaded.approved and "are held back: " in text)]
    return Summary(
        status="completed",
        started_at=context.started_at,
        completed_at=datetime.now(UTC),
        images_added=applied.added,
        images_updated=applied.updated,
        images_deleted=applied.removed,
        products_affected=len(applied.affected),
        warnings=(*of_plan, *warnings, *held.sentences(waiting)),
        held_back=len(waiting),
        **{name: getattr(applied, name) for name in ("kept", "rejected", "failed", "refused", "unknown")},
        api_calls=(int(scope.get("calls", 0)) if loaded.own else 0) + calls,
        bytes_downloaded=(int(scope.get("received", 0)) if loaded.own else 0) + received,
    )
