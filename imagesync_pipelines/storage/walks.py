"""Walks: one reading of a source from its first page to its last, with its count and its proof.

What belongs here: the `walk` table. What does not: judging whether a walk proves anything (the room), its pages
(raw_pages.py). A walk is open until it is finished; then it is proven or unproven, and a proof can only be lost.
All times are the database's, so that hosts with different clocks agree.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from imagesync_pipelines.storage.errors import WalkMissing
from imagesync_pipelines.storage.schema import raw_page, walk

OPEN = "open"
PROVEN = "proven"
UNPROVEN = "unproven"


@dataclass(frozen=True)
class Walk:
    """One walk: `page_size` was asked, `page_length` seen; `block_size`: pages per partition."""

    id: int
    room: str
    started_at: datetime
    ended_at: datetime | None
    page_size: int
    page_length: int | None
    block_size: int
    first_count: int | None
    last_count: int | None
    pages: int | None
    calls: int
    bytes: int
    state: str
    reason: str


def start_walk(engine: sa.Engine, room: str, *, page_size: int, block_size: int) -> int:
    """Begin a walk and return its id."""
    insert = walk.insert().values(room=room, page_size=page_size, block_size=block_size).returning(walk.c.id)
    with engine.begin() as connection:
        return int(connection.execute(insert).scalar_one())


def finish_walk(
    engine: sa.Engine,
    walk_id: int,
    *,
    state: str,
    reason: str = "",
    page_length: int | None,
    first_count: int | None,
    last_count: int | None,
    pages: int | None,
    calls: int = 0,
    received: int = 0,
) -> Walk:
    """End a walk as PROVEN or UNPROVEN and return it as it is now; it ended when its last page came.

    A walk that was voided while it was open stays unproven, with the reason it was voided for. Raises WalkMissing.
    """
    if state not in {PROVEN, UNPROVEN}:
        raise ValueError(f"a finished walk is {PROVEN} or {UNPROVEN}, not {state!r}")
    last_page = sa.select(sa.func.max(raw_page.c.fetched_at)).where(raw_page.c.walk_id == walk_id).scalar_subquery()
    voided = walk.c.state == UNPROVEN
    return _update(
        engine,
        walk_id,
        state=sa.case((voided, walk.c.state), else_=state),
        reason=sa.case((voided & (walk.c.reason != ""), walk.c.reason), else_=reason),
        ended_at=sa.func.coalesce(last_page, sa.func.now()),
        page_length=page_length,
        first_count=first_count,
        last_count=last_count,
        pages=pages,
        calls=calls,
        bytes=received,
    )


def void_walk(engine: sa.Engine, walk_id: int, reason: str) -> Walk:
    """Take a walk's proof away, open or finished: some of its pages were read at another time. Raises WalkMissing.

    The first reason stays.
    """
    voided = walk.c.state == UNPROVEN
    kept = sa.case((voided & (walk.c.reason != ""), walk.c.reason), else_=reason)
    return _update(engine, walk_id, state=UNPROVEN, reason=kept)


def get_walk(engine: sa.Engine, walk_id: int) -> Walk:
    """The walk with this id. Raises WalkMissing."""
    with engine.connect() as connection:
        row = connection.execute(sa.select(walk).where(walk.c.id == walk_id)).one_or_none()
    return _walk(row, walk_id)


def latest_walk(engine: sa.Engine, room: str) -> Walk | None:
    """The newest walk of a room that came to its end, proven or not; None when there is none.

    One that is under way in another run, or was broken off, holds a part of the source only.
    """
    ended = sa.select(walk).where(walk.c.room == room, walk.c.ended_at.is_not(None))
    with engine.connect() as connection:
        row = connection.execute(ended.order_by(walk.c.id.desc()).limit(1)).first()
    return None if row is None else Walk(**row._mapping)


def _update(engine: sa.Engine, walk_id: int, **values: object) -> Walk:
    with engine.begin() as connection:
        update = walk.update().where(walk.c.id == walk_id).values(**values).returning(walk)
        return _walk(connection.execute(update).one_or_none(), walk_id)


def _walk(row: sa.Row | None, walk_id: int) -> Walk:
    if row is None:
        raise WalkMissing(f"There is no walk {walk_id}; it was pruned, or the pages were reset. Start a new walk.")
    return Walk(**row._mapping)
