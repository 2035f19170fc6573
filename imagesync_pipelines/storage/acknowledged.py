"""What each target acknowledged last: its state when all of it was brought up, and what a plan left undone since."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.database import read_rows
from imagesync_pipelines.storage.plans import PlanHeader
from imagesync_pipelines.storage.schema import acknowledged as table
from imagesync_pipelines.storage.schema import plan


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


def note_whole(engine: sa.Engine, made: PlanHeader, run_id: str, state: str, images: int) -> None:
    """Note the state that a plan brought its target to; nothing of an earlier plan is undone any more.

    What another plan did there since it was made it does not know: then nothing is noted.
    """
    key = {"connector": made.connector, "account": str(made.scope.get("account", ""))}
    theirs = sa.func.coalesce(plan.c.scope["account"].astext, "")
    other = (plan.c.connector == key["connector"]) & (theirs == key["account"]) & (plan.c.id != made.id)
    since = (plan.c.applied_at > made.created_at) | ((plan.c.id > made.id) & plan.c.begun_run.is_not(None))
    values = {"plan_id": made.id, "run_id": run_id, "at": sa.func.now(), "state": state, "images": images}
    values |= {"left_plan": sa.null(), "left_rows": 0}
    row = [sa.cast(value, table.c[name].type) for name, value in (key | values).items()]
    statement = insert(table).from_select([*key, *values], sa.select(*row).where(~sa.exists().where(other & since)))
    with engine.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=values))


def note_left(engine: sa.Engine, connector: str, account: str, *, plan_id: int, rows: int) -> None:
    """Note that rows of a plan could not be carried out; the state that was acknowledged before stays the newest."""
    values = {"left_plan": plan_id, "left_rows": rows}
    statement = insert(table).values(connector=connector, account=account, **values)
    with engine.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=["connector", "account"], set_=values))


def every(engine: sa.Engine) -> dict[tuple[str, str], Acknowledged]:
    """What is known of each target, by connector and account."""
    return {(one.connector, one.account): one for one in read_rows(engine, sa.select(table), Acknowledged)}


def forget(connection: sa.Connection, connector: str, account: str) -> None:
    """Forget what an account acknowledged: another one has its name now."""
    connection.execute(table.delete().where(table.c.connector == connector, table.c.account == account))
