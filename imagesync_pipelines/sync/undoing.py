"""What every undo shares: what it refuses, what its plan keeps for applying and tells, and the marks that it leaves.

Taking away what is there of products that a person excluded is the same, with another wish: not what was there before
a run, but nothing of ours. It needs no marks, for no plan does anything about what is excluded.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa
from pydantic import BaseModel, Field

from imagesync_pipelines import languages
from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.storage.database import among as among_values
from imagesync_pipelines.storage.effects import (
    NOBODY,
    TAKEN_AWAY,
    Author,
    Effect,
    changed_after,
    effects_after,
    effects_of_run,
    effects_to_undo,
    plan_of,
    took_away,
    undone_by,
)
from imagesync_pipelines.storage.liveness import living
from imagesync_pipelines.storage.plans import TAKES_AWAY, UNDOES, WHY
from imagesync_pipelines.storage.schema_accounts import exclusion
from imagesync_pipelines.sync import excluding, held
from imagesync_pipelines.sync.carry_out import Loaded
from imagesync_pipelines.sync.connector import TAKE_AWAY, UNDO, Job, Step
from imagesync_pipelines.sync.frames import among
from imagesync_pipelines.sync.model import EFFECTS, DeletionLimits
from imagesync_pipelines.sync.planned import Planned, limits_of, plan_result, rows_to_show, store_plan
from imagesync_pipelines.sync.steps import RunContext, StepResult, Texts
from imagesync_pipelines.sync.undo import Reversal, left_by, marks_of, reverse, rows_of_effects, run_words, taken_away


class UndoOptions(BaseModel):
    """What is to be taken back."""

    run: str = Field(description="the run whose changes are taken back")
    skus: list[str] = Field([], description="of these products only")


class TakeAwayOptions(BaseModel):
    """Of which products everything of ours is to be taken away."""

    skus: list[str] = Field(description="these products, which are excluded from the account")


Asked = UndoOptions | TakeAwayOptions

# In the scope of an undo's plan: who asked for it.
ASKED_BY = "asked_by"
SOMEBODY = "somebody"

Marking = Callable[[sa.Connection, pd.DataFrame], None]
"""Hears in a transaction which rows of a plan it carries out."""


class UndoRefusedError(ImagesyncError):
    """What was asked for cannot be taken back; the message says why."""

    retryable = False


@dataclass(frozen=True)
class Undoing:
    """What is to be taken back: the effects of a run on an account, the newest last.

    After them what undos of it did last: of one that was killed a group may be half done, and what is taken back with
    that is whole. since: by group, who changed it after the run, as far as it is known. excluded: instead of a run, the
    groups of which everything of ours is to be taken away.
    """

    run: str = ""
    effects: Sequence[Effect] = ()
    since: Mapping[str, Author] = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()

    @property
    def groups(self) -> set[str]:
        """The groups that it is about."""
        return {one.group for one in self.effects} | self.excluded

    @property
    def reason(self) -> str:
        """Why its rows change."""
        return languages.told(f"undo of {run_words(self.run)}") if self.run else TAKEN_AWAY

    @property
    def made_for(self) -> str:
        """What its plan is made for, as ONLY_NAMED has it."""
        return (
            languages.told(f"the undo of {run_words(self.run)}")
            if self.run
            else languages.told("taking away what is there of excluded products")
        )

    @property
    def scope(self) -> dict[str, Any]:
        """What its plan's scope says of it."""
        return {**({UNDOES: self.run} if self.run else {TAKES_AWAY: True}), WHY: self.reason}

    def reversal(
        self,
        current: pd.DataFrame,
        as_kept: Callable[[Sequence[Effect]], Sequence[Effect]] = lambda effects: effects,
        *,
        theirs: pd.Series | None = None,
        listed: bool = False,
    ) -> Reversal:
        """What is to be written, by what is there now; see undo.reverse and undo.taken_away.

        as_kept: the effects as the target can take them back.
        """
        if not self.run:
            return taken_away(current, theirs)
        return reverse(as_kept(self.effects), current, self.since, listed=listed)

    @property
    def begun(self) -> set[str]:
        """The groups that an undo of the run changed last: one that was killed, or of chosen products."""
        return {group for group in self.groups if self.since.get(group, NOBODY).undoes_run == self.run}


def groups_asked(context: RunContext[Any], options: Asked) -> list[str]:
    """The groups that an undo may be about, before anything was settled. Raises UndoRefusedError."""
    if isinstance(options, TakeAwayOptions):
        return sorted(_excluded(context, options.skus))
    mine, done = (context.connector, context.account), effects_of_run(context.installation.engine, options.run)
    return list(dict.fromkeys(one.group for one in done if (one.connector, one.account) == mine))


def what_to_undo(
    context: RunContext[Any], options: Asked, groups_of: Callable[[Sequence[str]], Collection[str]]
) -> Undoing:
    """What a run did to the context's account, of the products asked for; groups_of: the groups about these SKUs.

    Raises UndoRefusedError where there is nothing or the run has not ended, and what groups_of raises. Where everything
    of excluded products is to be taken away, for one that is not excluded.
    """
    if isinstance(options, TakeAwayOptions):
        return Undoing(excluded=_excluded(context, options.skus))
    engine, run = context.installation.engine, options.run
    mine = (context.connector, context.account)
    with engine.connect() as connection:
        if living(connection, [run]):
            raise still_writing(run)
    effects = [one for one in effects_to_undo(engine, run, context.connector) if one.account == context.account]
    if options.skus:
        asked = groups_of(options.skus)
        effects = [one for one in effects if one.group in asked]
    effects = [one for one in effects if any(row.change in EFFECTS for row in one.rows)]
    if not effects:
        raise nothing_known(run, context.installation.settings.undo_days)
    with engine.connect() as connection:
        last = effects[-1].id
        found = Undoing(run, effects, changed_after(connection, *mine, run, last))
        later = effects_after(connection, *mine, found.begun, last)
    return replace(found, effects=[*effects, *_last_undos(later, run)])


def _excluded(context: RunContext[Any], skus: Collection[str]) -> frozenset[str]:
    """The groups about these SKUs, all of which are excluded. Raises UndoRefusedError."""
    engine = context.installation.engine
    channel = excluding.Channel(context.connector, context.account, context.groups_by_sku)
    known = {one.sku for one in excluding.list_exclusions(engine, excluding.in_channel(*channel.owner))}
    if not skus or (missing := sorted(set(skus) - known)):
        what = (
            languages.told(f"{missing[0]} is not excluded from {channel.name}")
            if skus
            else languages.told("No product is named")
        )
        raise UndoRefusedError(f"{what}; only what is there of excluded products is taken away. Nothing was planned.")
    return frozenset(excluding.excluded_groups(engine, channel, among_values(exclusion.c.sku, sorted(skus))))


def _last_undos(later: Sequence[Effect], run: str) -> list[Effect]:
    """Of effects, the newest last, those by which a run was taken back and which nothing else came after."""
    found, over = list[Effect](), set[str]()
    for one in reversed(later):
        if one.by.undoes_run != run and any(row.change in EFFECTS for row in one.rows):
            over.add(one.group)
        elif one.by.undoes_run == run and one.group not in over:
            found.append(one)
    return found[::-1]


def limits_of_undo(context: RunContext[Any]) -> DeletionLimits:
    """The deletion limits of a plan that undoes something: what stays undone or is excluded is no matter to it."""
    limits = limits_of(context, lifted=False)
    return replace(limits, memory=replace(limits.memory, undone={}, excluded={}))


def undo_result(
    context: RunContext[Any],
    planned: Planned,
    undoing: Undoing,
    found: Reversal,
    *,
    names: Mapping[str, str],
    groups: str,
    cost: str,
    told: Sequence[str] = (),
    kept: Collection[str] = (),
) -> StepResult:
    """Store the plan of what takes back or away, which is carried out only by its number, and tell of it.

    names: what people call the groups, by group; groups: all of them in a word. told: what else a person has to know.
    kept: runs of which no hand-over is forgotten.
    """
    rows = planned.plan
    rows = rows.assign(reason=rows["reason"].mask(rows["change"].isin(EFFECTS), undoing.reason))
    changing = rows.loc[rows["change"].isin(EFFECTS) | among(rows["key"], planned.held["key"]), "group"]
    already = undoing.begun - found.refused.keys() - set(changing)
    left = [f"{names.get(group, group)}: {why}" for group, why in sorted(found.refused.items())]
    lost = [f"{key}: {why}" for key, why in sorted(found.lost.items())]
    planned = replace(
        planned,
        plan=rows,
        scope={**planned.scope, **undoing.scope, ASKED_BY: context.person or ""},
        warnings=(*planned.warnings, *warnings(left, lost, groups), *told),
    )
    changes = rows_to_show(rows[["change", "product", "key", "reason"]])
    nothing = changes.empty and planned.held.empty
    return plan_result(
        context,
        planned,
        None if nothing else store_plan(context, planned, made_for=undoing.made_for, kept=kept),
        cost=cost,
        changes=changes,
        shown={
            **({"undoes_run": undoing.run} if undoing.run else {}),
            "refused": Texts(left),
            "lost": Texts(lost),
            "taken_back_before": len(already),
        },
    )


def undo_jobs(
    connector: str, run: Callable[[RunContext[Any], Any], StepResult], groups: str, **step: Any
) -> tuple[Job, Job]:
    """The jobs of a connector that plan to take back what a run changed, and to take away what is excluded.

    run: takes what is Asked. groups: what is taken back as one; step: fields of their Steps.
    """
    back, away = "take back what a run changed", "take away what is there of products that are excluded"
    # Dagster has one op of a name.
    steps = (
        Step(f"{connector}__plan_{name}", f"Plans to {what}, {groups} by {groups}.", run, options=options, **step)
        for name, what, options in (("undo", back, UndoOptions), ("taking_away", away, TakeAwayOptions))
    )
    undoes, takes_away = (
        Job(name, f"Plans to {what}; `imagesync apply` does it then.", alone=alone, about="plan")
        for name, what, alone in zip((UNDO, TAKE_AWAY), (back, away), steps, strict=True)
    )
    return undoes, takes_away


def nothing_known(run: str, days: int) -> UndoRefusedError:
    """Nothing of a run can be taken back."""
    return UndoRefusedError(
        languages.told(
            f"Nothing is known of what run {run} changed here: it changed nothing, or it was more than {days} days ago "
            "(IMAGESYNC_UNDO_DAYS). Nothing was planned."
        )
    )


def still_writing(run: str) -> UndoRefusedError:
    """A run has not ended, so what is known of it is a part."""
    return UndoRefusedError(
        languages.told(
            f"Run {run} has not ended, and what it changes from now on could not be taken back with the "
            "rest. Wait until it has, or stop it, then undo it. Nothing was planned."
        )
    )


def warnings(refused: Sequence[str], lost: Sequence[str], groups: str) -> list[str]:
    """What a person has to know of groups that are left alone, and of pictures that cannot be brought back."""
    one = "entity" if groups == "entities" else groups.removesuffix("s")
    said = []
    if len(refused) == 1:
        said.append(languages.told(f"1 {one} is left as it is: {refused[0]}."))
    elif refused:
        said.append(languages.told(f"{len(refused)} {groups} are left as they are: {refused[0]}."))
    if lost:
        said.append(
            languages.told_n(
                f"{len(lost)} image cannot be brought back: {lost[0]}.",
                f"{len(lost)} images cannot be brought back: {lost[0]}.",
                len(lost),
            )
        )
    return said


def marking(context: RunContext[Any], loaded: Loaded) -> Marking | None:
    """Note what a plan undoes, so that no synchronisation does it again; None for a plan that undoes nothing.

    The undo of an undo does again what was undone, so it takes the marks away. So does any that leaves a row as its
    source wants it.
    """
    run, owner = loaded.scope.get(UNDOES), (context.connector, context.account)
    if not run:
        return None
    by = loaded.scope.get(ASKED_BY) or context.person or SOMEBODY
    with context.installation.engine.connect() as connection:
        root = _root_of(connection, run)
    return lambda connection, rows: _mark(connection, owner, rows, by, loaded.header.id, root)


def mark_effects(connection: sa.Connection, effects: Iterable[Effect]) -> None:
    """The same for effects that were just noted, in their transaction; those of a run that undoes nothing are passed.

    What is noted of a call before it is made has all of this, so that it is marked too whose answer nobody heard.
    """
    by_author: defaultdict[tuple[str, str, Author], list[Effect]] = defaultdict(list)
    for one in effects:
        if one.by.undoes_run:
            by_author[one.connector, one.account, one.by].append(one)
    for (connector, account, by), some in by_author.items():
        root = _root_of(connection, str(by.undoes_run))
        _mark(connection, (connector, account), rows_of_effects(some), by.person or SOMEBODY, by.plan_id, root)


def _root_of(connection: sa.Connection, run: str) -> "_Root":
    """Of the run that is taken back, or done again by taking back its undo, and so on."""
    while before := undone_by(connection, run):
        run = before
    return _Root(plan_of(connection, run), took_away(connection, run))


class _Root(NamedTuple):
    """What an undo is of in the end: the plan that was carried out, and whether it took away what is excluded."""

    plan_id: int | None
    took_away: bool


def _mark(
    connection: sa.Connection, owner: tuple[str, str], rows: pd.DataFrame, by: str, plan_id: int | None, root: _Root
) -> None:
    # What was taken away by a person's word alone, no source wanted to go.
    if not root.took_away:
        held.mark_undone(
            connection, *owner, marks_of(rows, languages.told(f"undone by {by}")), by, plan_id, root.plan_id
        )
    held.unmark_undone(connection, *owner, left_by(rows))
