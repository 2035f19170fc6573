"""What each target acknowledged last: its state when all of it was brought up, and what a plan left undone since."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.database import read_rows
from imagesync_pipelines.storage.schema import acknowledged as table


@dataclass(frozen=True)
class Acknowledged:
    """Of one target. plan_id, run_id, at, state, images: of its newest whole state, None where none is known.

    left_plan, left_rows: the newest plan of which so many rows could not be carried out; 0 rows: they were since.
    """

    connector: str
    account: str
    plan_id: int | None = None
    run_id: str | None = None
    at: datetime | None = None
    state: str | None = None
    images: int | None = None
    left_plan: int | None = None
    left_rows: int = 0


def note_whole(
    engine: sa.Engine, connector: str, account: str, *, plan_id: int, run_id: str, state: str, images: int
) -> None:
    """Note the state that a target was brought to; nothing of an earlier plan is undone any more."""
    values = {"plan_id": plan_id, "run_id": run_id, "at": sa.func.now(), "state": state, "images": images}
    _note(engine, connector, account, {**values, "left_plan": None, "left_rows": 0})


def note_left(engine: sa.Engine, connector: str, account: str, *, plan_id: int, rows: int) -> None:
    """Note that rows of a plan could not be carried out; the state that was acknowledged before stays the newest."""
    _note(engine, connector, account, {"left_plan": plan_id, "left_rows": rows})


def every(engine: sa.Engine) -> dict[tuple[str, str], Acknowledged]:
    """What is known of each target, by connector and account."""
    return {(one.connector, one.account): one for one in read_rows(engine, sa.select(table), Acknowledged)}


def forget(connection: sa.Connection, connector: str, account: str) -> None:
    """Forget what an account acknowledged: another one has its name now."""
    connection.execute(table.delete().where(table.c.connector == connector, table.c.account == account))


def _note(engine: sa.Engine, connector: str, account: str, values: dict[str, object]) -> None:
    statement = insert(table).values(connector=connector, account=account, **values)
    with engine.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=["connector", "account"], set_=values))
