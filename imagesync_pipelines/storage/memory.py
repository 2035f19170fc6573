"""How far a target was brought, as both sides remember it: a number here, and the same one at the target.

A run that writes moves both on. Where they differ, one side was restored from a backup, and what this side remembers
of the target is not believed: the target and the source are read whole. A number that is missing means the same.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.schema import target_memory as table


def counter_of(engine: sa.Engine, target: str) -> int | None:
    """The number of the last run of ours that wrote to a target; None where none was noted."""
    with engine.connect() as connection:
        found: int | None = connection.scalar(sa.select(table.c.counter).where(table.c.target == target))
    return found


def note_counter(engine: sa.Engine, target: str, counter: int) -> None:
    """Note the number that the target has now."""
    values = {"counter": counter, "noted_at": sa.func.now()}
    statement = insert(table).values(target=target, **values)
    with engine.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=["target"], set_=values))


def restored(ours: int | None, there: int | None) -> str:
    """Which side is older than the other remembers, for people; '' when both agree.

    ours, there: None where nothing is remembered. A target that no run of this release wrote to proves nothing.
    """
    if (ours or 0) == (there or 0):
        return ""
    return "it is older than what we remember of it" if (there or 0) < (ours or 0) else "we remember less than it does"
