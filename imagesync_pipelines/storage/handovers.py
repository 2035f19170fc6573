"""Hand-overs: what a step of a run leaves for the later steps of that run, as rows of one table.

A row is a run, a step and a partition with a small JSON document. A frame is a file below
<root>/handovers/<connector>/<run>/; it counts once its row is there, and one without a row is removed by pruning.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, ValidationError
from sqlalchemy.dialects.postgresql import insert
from upath import UPath

from imagesync_pipelines.storage.database import storable, write_rows
from imagesync_pipelines.storage.files import remove_folder
from imagesync_pipelines.storage.liveness import living
from imagesync_pipelines.storage.schema import handover

H = TypeVar("H", bound=BaseModel)
# As many runs of an account as may be between their first and their last step at once, and some to look at.
KEPT_RUNS = 20
STRAY_SECONDS = 24 * 3600
_NEXT = sa.func.nextval(sa.func.pg_get_serial_sequence(handover.fullname, "number"))
_NAME = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True)
class HandOvers:
    """The hand-overs of one account of a connector ('': it has no accounts). Used from several threads."""

    engine: sa.Engine
    root: UPath
    connector: str
    account: str = ""

    def keep(self, run_id: str, step: str, value: BaseModel) -> None:
        """Keep what a step of a run leaves; what it left before is replaced."""
        key = {"connector": self.connector, "account": self.account, "run_id": run_id, "step": step}
        values = {"value": storable(value.model_dump(mode="json")), "made_at": sa.func.clock_timestamp()}
        statement, values["number"] = insert(handover).values(**key, **values), _NEXT
        write_rows(self.engine, statement.on_conflict_do_update(index_elements=list(key), set_=values))

    def find(self, runs: Iterable[str], step: str, kind: type[H]) -> H | None:
        """What a step left of the first of these runs that has something; None when none has.

        A row that is no such document any more (an earlier release wrote it) counts as none.
        """
        wanted = list(runs)
        there = dict(self._rows(step, handover.c.run_id.in_(wanted)))
        return next((_read(kind, there[run_id]) for run_id in wanted if run_id in there), None)

    def newest(self, step: str, kind: type[H]) -> H | None:
        """What a step last left, in whatever run: only for looking back (what an account held after its last run)."""
        return next((_read(kind, value) for _, value in self._rows(step, limit=1)), None)

    def all(self, step: str, kind: type[H], after: datetime | None = None) -> list[H]:
        """What a step left of every run that is still kept, the newest first; for state that has a run's name.

        after: only what was left later than that.
        """
        later = () if after is None else (handover.c.made_at > after,)
        found = (_read(kind, value) for _, value in self._rows(step, *later))
        return [value for value in found if value is not None]

    def _rows(self, step: str, *which: sa.ColumnElement[bool], limit: int | None = None) -> list[tuple[str, Any]]:
        """Run and document of what a step left, the newest first."""
        query = sa.select(handover.c.run_id, handover.c.value).where(self._mine, handover.c.step == step, *which)
        with self.engine.connect() as connection:
            found = connection.execute(query.order_by(handover.c.number.desc()).limit(limit))
            return [(row.run_id, row.value) for row in found]

    def file(self, run_id: str, name: str) -> UPath:
        """Where a run keeps a large frame; write it whole, then keep the row that says so."""
        return self._folder / _NAME.sub("-", run_id) / name

    def prune(self, keep: int = KEPT_RUNS, used: Collection[str] = ()) -> None:
        """Forget all but the newest `keep` runs, those that are alive and those in `used`, with their files.

        The newest are those that the database numbered last, whatever clocks say. Files of runs that have no row go
        too, once they are old.
        """
        numbered = sa.select(handover.c.run_id).where(self._mine).group_by(handover.c.run_id)
        with self.engine.begin() as connection:
            runs = list(connection.scalars(numbered.order_by(sa.func.max(handover.c.number).desc())))
            stay = {*runs[:keep], *used, *living(connection, runs)}
            old = [run for run in runs if run not in stay]
            connection.execute(handover.delete().where(self._mine, handover.c.run_id.in_(old)))
        for run in old:
            remove_folder(self._folder / _NAME.sub("-", run))
        self._forget_strays({_NAME.sub("-", run) for run in {*runs, *used}})

    def forget(self, run_id: str, connection: sa.Connection) -> None:
        """Forget what one run left, with its files."""
        connection.execute(handover.delete().where(self._mine, handover.c.run_id == run_id))
        remove_folder(self._folder / _NAME.sub("-", run_id))

    def _forget_strays(self, known: Collection[str]) -> None:
        """Remove the files of runs that never got as far as a row, a day after the last of them; of no run alive."""
        if not self._folder.exists():
            return
        places = [place for place in self._folder.iterdir() if place.is_dir() and place.name not in known]
        with self.engine.connect() as connection:
            alive = living(connection, [place.name for place in places])
        before = datetime.now(UTC).timestamp() - STRAY_SECONDS
        for place in places:
            files = [file.stat().st_mtime for file in place.iterdir()]
            if place.name not in alive and max(files, default=place.stat().st_mtime) < before:
                remove_folder(place)

    @property
    def _folder(self) -> UPath:
        parts = [part for part in (self.connector, self.account) if part]
        return self.root.joinpath("handovers", *parts)

    @property
    def _mine(self) -> sa.ColumnElement[bool]:
        return (handover.c.connector == self.connector) & (handover.c.account == self.account)


def _read(kind: type[H], value: object) -> H | None:
    try:
        return kind.model_validate(value)
    except ValidationError:
        return None
