"""What every undo shares: what it refuses, what its plan keeps for applying, and the marks that it leaves."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sa
from pydantic import BaseModel, Field

from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.storage.effects import ended_at, undone_by
from imagesync_pipelines.storage.plans import UNDOES
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.carry_out import Loaded
from imagesync_pipelines.sync.steps import RunContext
from imagesync_pipelines.sync.undo import left_by, marks_of


class UndoOptions(BaseModel):
    """What is to be taken back."""

    run: str = Field(description="the run whose changes are taken back")
    skus: list[str] = Field([], description="of these products only")


# In the scope of an undo's plan: who asked for it.
ASKED_BY = "asked_by"

Marking = Callable[[sa.Connection, pd.DataFrame], None]
"""Hears in a transaction which rows of a plan it carries out."""


class UndoRefusedError(ImagesyncError):
    """What was asked for cannot be taken back; the message says why."""

    retryable = False


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
    by = loaded.scope.get(ASKED_BY) or context.person or "somebody"
    with context.installation.engine.connect() as connection:
        while before := undone_by(connection, run):
            run = before
        done_at = ended_at(connection, run)

    def mark(connection: sa.Connection, rows: pd.DataFrame) -> None:
        held.mark_undone(connection, *owner, marks_of(rows, f"undone by {by}"), by, loaded.header.id, done_at)
        held.unmark_undone(connection, *owner, left_by(rows))

    return mark
