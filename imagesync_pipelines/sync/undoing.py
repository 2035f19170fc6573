"""What every undo shares: what it refuses, what its plan keeps for applying and tells, and the marks that it leaves."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import sqlalchemy as sa
from pydantic import BaseModel, Field

from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.storage.effects import (
    NOBODY,
    Author,
    Effect,
    changed_after,
    effects_after,
    effects_to_undo,
    plan_of,
    undone_by,
)
from imagesync_pipelines.storage.liveness import living
from imagesync_pipelines.storage.plans import UNDOES
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.carry_out import Loaded
from imagesync_pipelines.sync.connector import UNDO, Job, Step
from imagesync_pipelines.sync.frames import among
from imagesync_pipelines.sync.model import EFFECTS, DeletionLimits
from imagesync_pipelines.sync.planned import Planned, limits_of, plan_result, rows_to_show, store_plan
from imagesync_pipelines.sync.steps import RunContext, StepResult, Texts
from imagesync_pipelines.sync.undo import Reversal, left_by, marks_of, rows_of_effects, run_words


class UndoOptions(BaseModel):
    """What is to be taken back."""

    run: str = Field(description="the run whose changes are taken back")
    skus: list[str] = Field([], description="of these products only")


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
    that is whole. since: by group, who changed it after the run, as far as it is known.
    """

    run: str
    effects: Sequence[Effect]
    since: Mapping[str, Author]

    @property
    def groups(self) -> set[str]:
        """The groups that the run changed."""
        return {one.group for one in self.effects}

    @property
    def begun(self) -> set[str]:
        """The groups that an undo of the run changed last: one that was killed, or of chosen products."""
        return {group for group in self.groups if self.since.get(group, NOBODY).undoes_run == self.run}


def what_to_undo(
    context: RunContext[Any], options: UndoOptions, groups_of: Callable[[Sequence[str]], Collection[str]]
) -> Undoing:
    """What a run did to the context's account, of the products asked for; groups_of: the groups about these SKUs.

    Raises UndoRefusedError where there is nothing or the run has not ended, and what groups_of raises.
    """
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
    """Store the plan of an undo, which is carried out only by its number, and tell of it.

    names: what people call the groups, by group; groups: all of them in a word. told: what else a person has to know.
    kept: runs of which no hand-over is forgotten.
    """
    rows, said = planned.plan, f"undo of {run_words(undoing.run)}"
    rows = rows.assign(reason=rows["reason"].mask(rows["change"].isin(EFFECTS), said))
    changing = rows.loc[rows["change"].isin(EFFECTS) | among(rows["key"], planned.held["key"]), "group"]
    already = undoing.begun - found.refused.keys() - set(changing)
    left = [f"{names.get(group, group)}: {why}" for group, why in sorted(found.refused.items())]
    lost = [f"{key}: {why}" for key, why in sorted(found.lost.items())]
    planned = replace(
        planned,
        plan=rows,
        scope={**planned.scope, UNDOES: undoing.run, ASKED_BY: context.person or ""},
        warnings=(*planned.warnings, *warnings(left, lost, groups), *told),
    )
    changes = rows_to_show(rows[["change", "product", "key", "reason"]])
    nothing = changes.empty and planned.held.empty
    return plan_result(
        context,
        planned,
        None if nothing else store_plan(context, planned, made_for=f"the {said}", kept=kept),
        cost=cost,
        changes=changes,
        shown={
            "undoes_run": undoing.run,
            "refused": Texts(left),
            "lost": Texts(lost),
            "taken_back_before": len(already),
        },
    )


def undo_job(
    connector: str, run: Callable[[RunContext[Any], UndoOptions], StepResult], groups: str, **step: Any
) -> Job:
    """The job of a connector that plans undos. groups: what is taken back as one; step: fields of its Step."""
    return Job(
        UNDO,
        "Plans to take back what a run changed; `imagesync apply` does it then.",
        alone=Step(
            f"{connector}__plan_undo",  # Dagster has one op of a name
            f"Plans to take back what a run changed, {groups} by {groups}.",
            run,
            options=UndoOptions,
            **step,
        ),
        about="plan",
    )


def nothing_known(run: str, days: int) -> UndoRefusedError:
    """Nothing of a run can be taken back."""
    return UndoRefusedError(
        f"Nothing is known of what run {run} changed here: it changed nothing, or it was more than {days} days ago "
        "(IMAGESYNC_UNDO_DAYS). Nothing was planned."
    )


def still_writing(run: str) -> UndoRefusedError:
    """A run has not ended, so what is known of it is a part."""
    return UndoRefusedError(
        f"Run {run} has not ended, and what it changes from now on could not be taken back with the rest. Wait until "
        "it has, or stop it, then undo it. Nothing was planned."
    )


def warnings(refused: Sequence[str], lost: Sequence[str], groups: str) -> list[str]:
    """What a person has to know of groups that are left alone, and of pictures that cannot be brought back."""
    told = [f"{len(refused)} {groups} are left as they are: {refused[0]}."] if refused else []
    return [*told, *([f"{len(lost)} images cannot be brought back: {lost[0]}."] if lost else [])]


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
        done_by = _done_by(connection, run)
    return lambda connection, rows: _mark(connection, owner, rows, by, loaded.header.id, done_by)


def mark_effects(connection: sa.Connection, effects: Iterable[Effect]) -> None:
    """The same for effects that were just noted, in their transaction; those of a run that undoes nothing are passed.

    What is noted of a call before it is made has all of this, so that it is marked too whose answer nobody heard.
    """
    by_author: defaultdict[tuple[str, str, Author], list[Effect]] = defaultdict(list)
    for one in effects:
        if one.by.undoes_run:
            by_author[one.connector, one.account, one.by].append(one)
    for (connector, account, by), some in by_author.items():
        done_by = _done_by(connection, str(by.undoes_run))
        _mark(connection, (connector, account), rows_of_effects(some), by.person or SOMEBODY, by.plan_id, done_by)


def _done_by(connection: sa.Connection, run: str) -> int | None:
    """The plan of the run that is taken back, or done again by taking back its undo, and so on."""
    while before := undone_by(connection, run):
        run = before
    return plan_of(connection, run)


def _mark(
    connection: sa.Connection,
    owner: tuple[str, str],
    rows: pd.DataFrame,
    by: str,
    plan_id: int | None,
    done_by: int | None,
) -> None:
    held.mark_undone(connection, *owner, marks_of(rows, f"undone by {by}"), by, plan_id, done_by)
    held.unmark_undone(connection, *owner, left_by(rows))
