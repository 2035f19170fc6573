"""What people said of stored plans: approved, dismissed, applied, a part applied; who, when, and their comment."""

from collections.abc import Collection
from datetime import datetime
from typing import Final, Literal

import sqlalchemy as sa
from pydantic import BaseModel

from imagesync_pipelines.storage.database import among, read_rows, storable, write_rows
from imagesync_pipelines.storage.schema import plan_word as table

Word = Literal["approve", "dismiss", "apply", "part"]
APPROVE: Final = "approve"
DISMISS: Final = "dismiss"
APPLY: Final = "apply"
PART: Final = "part"
LONGEST_COMMENT = 1000


class PlanWord(BaseModel):
    """One word of a person about a plan."""

    word: Word
    said_by: str
    said_at: datetime
    comment: str


def say(engine: sa.Engine, plan_id: int, word: Word, said_by: str, comment: str = "") -> None:
    """Write a person's word about a stored plan."""
    values = {"plan_id": plan_id, "word": word, "said_by": said_by, "comment": storable(comment.strip())}
    write_rows(engine, table.insert().values(**values))


def words_of(engine: sa.Engine, plan_id: int) -> list[PlanWord]:
    """What was said of a plan, in order."""
    query = sa.select(table).where(table.c.plan_id == plan_id).order_by(table.c.id)
    return read_rows(engine, query, PlanWord)


def dismissal(engine: sa.Engine, plan_id: int) -> PlanWord | None:
    """The word that dismissed a plan, unless it was approved afterwards."""
    judged = [one for one in words_of(engine, plan_id) if one.word in (APPROVE, DISMISS)]
    return judged[-1] if judged and judged[-1].word == DISMISS else None


def dismissed_of(engine: sa.Engine, plan_ids: Collection[int]) -> set[int]:
    """Those of plans that are dismissed."""
    last = sa.select(table.c.plan_id, table.c.word).where(among(table.c.plan_id, plan_ids))
    last = last.where(table.c.word.in_((APPROVE, DISMISS))).order_by(table.c.id)
    with engine.connect() as connection:
        words = {row.plan_id: row.word for row in connection.execute(last)}
    return {plan_id for plan_id, word in words.items() if word == DISMISS}
