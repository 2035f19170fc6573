"""Plans: what was about to change, kept so that it can be looked at and applied later, and whose plan a run applies.

What a step leaves (a plan, the chosen records, counts, a report) belongs to its run. A run that re-executes another
one, or that Dagster starts again after a dead worker, goes on with what that run left; nobody goes on with what a
stranger left, least of all with a plan that somebody only looked at.

Whoever loads the definitions passes here: pandas and pyarrow are loaded by what reads or writes a plan's rows.
"""

import hashlib
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines import languages
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.database import read_rows, write_rows
from imagesync_pipelines.storage.errors import NoPlanOfThisRunError, PlanMissingError
from imagesync_pipelines.storage.files import remove_folder, write_whole
from imagesync_pipelines.storage.plan_words import dismissal
from imagesync_pipelines.storage.schema import plan

if TYPE_CHECKING:
    import pandas as pd

ROWS, PAYLOAD = "rows.parquet", "payload.parquet"
# So many rows are made ready to be written at a time, which takes as much memory again as they have.
_ROWS_AT_A_TIME = 5_000
# All plans of a connector; a connector of several accounts names one of them as its plans' scope does, {"account":
# "harbour"}.
WHOLE_CONNECTOR: Mapping[str, str] = MappingProxyType({})
# In a plan's scope. Why the plan is carried out only when somebody names it, in words that fit "it was made for …".
ONLY_NAMED = "only_named"
DRY_RUN, CLEAN_UP = N_("a dry run"), N_("a clean-up")
# In a plan's scope: the stored plan of which it is some groups. Carried out it settles no more than these.
PART_OF = "part_of"
# In a plan's scope: what it was made of. PAGES: some pages, so of a group it may know one picture only.
KIND, PAGES = "kind", "pages"
# In a plan's scope: made while another plan was being applied, for groups that had moved; that other one is the run's.
PIECE = "piece"
# In a plan's scope: the run whose hand-overs the plan was made from, where that may be another one than its own.
BATCH = "batch"
# In a plan's scope: the run whose effects it takes back.
UNDOES = "undoes_run"
# In a plan's scope: it takes away what is there of products that a person excluded.
TAKES_AWAY = "takes_away"
# In a plan's scope: why whatever it changes is changed, also what a person approves of what the limits hold back.
WHY = "why"
_NEWEST_FIRST = sa.select(plan).order_by(plan.c.id.desc())


def is_reversal(scope: Mapping[str, Any]) -> bool:
    """Whether a plan takes something back or away as a person said: it rests on nothing that a source wants."""
    return bool(scope.get(UNDOES) or scope.get(TAKES_AWAY))


@dataclass(frozen=True)
class NewPlan:
    """What a plan is filed under: scope, counts and cost are JSON; `scan_id` is the scan it was made from."""

    connector: str
    run_id: str | None
    scope: dict[str, Any]
    counts: dict[str, int]
    cost: dict[str, float]
    scan_id: int | None


@dataclass(frozen=True)
class PlanHeader(NewPlan):
    """A stored plan without its rows; `path` is its folder below the storage root, `files` the SHA-256 by file.

    applied_at, applied_run: of the newest application that ended. begun_run: whose application began and did not end.
    """

    id: int
    created_at: datetime
    path: str
    files: Mapping[str, str]
    applied_at: datetime | None
    applied_run: str | None
    begun_run: str | None = None


@dataclass(frozen=True)
class Lineage:
    """A run and those that it re-executes, its parent first, its root last; iterating gives all of them in order."""

    run_id: str
    ancestors: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        return iter((self.run_id, *self.ancestors))

    def first_of(self, there: Collection[str]) -> str | None:
        """The run whose hand-over is taken: this run's, else its parent's, and so on to its root's; None: nobody's.

        there: the runs that left one.
        """
        return next((run for run in self if run in there), None)


@dataclass(frozen=True)
class Plans:
    """The stored plans of all connectors below the storage root."""

    engine: sa.Engine
    root: UPath

    def save(self, rows: "pd.DataFrame", payload: "Iterable[pd.DataFrame] | None", new: NewPlan) -> int:
        """Keep a plan (the engine's PLAN columns) with the payload of the rows that change; returns its id.

        payload: one frame or more with the same columns, each kept as a portion that can be loaded alone.
        """
        with self.engine.begin() as connection:
            sequence = sa.func.pg_get_serial_sequence(plan.fullname, "id")
            plan_id = int(connection.execute(sa.select(sa.func.nextval(sequence))).scalar_one())
        path = f"plans/{new.connector}/{plan_id}"
        files: dict[str, str] = {}
        for name, portions in ((ROWS, [rows]), (PAYLOAD, payload)):
            if portions is not None:
                body = _parquet(portions, _ROWS_AT_A_TIME if name == ROWS else None)
                files[name] = hashlib.sha256(body).hexdigest()
                write_whole(self.root / path / name, body)
        # The row comes last: a plan that can be found is whole.
        write_rows(self.engine, plan.insert().values(id=plan_id, path=path, files=files, **vars(new)))
        return plan_id

    def header(self, plan_id: int) -> PlanHeader:
        """A plan without its rows. Raises PlanMissingError."""
        for found in read_rows(self.engine, sa.select(plan).where(plan.c.id == plan_id), PlanHeader):
            return found
        raise PlanMissingError(f"There is no plan {plan_id}; `imagesync plan` prints the last one.")

    def all(self, connector: str, part: Mapping[str, str] = WHOLE_CONNECTOR) -> list[PlanHeader]:
        """The stored plans of a connector without rows, the newest first; `part`: those with this in their scope."""
        return read_rows(self.engine, _NEWEST_FIRST.where(_among(connector, part)), PlanHeader)

    def newest(self, limit: int, connector: str | None = None) -> list[PlanHeader]:
        """The newest plans of a connector or of all, the newest first."""
        mine = sa.true() if connector is None else plan.c.connector == connector
        return read_rows(self.engine, _NEWEST_FIRST.where(mine).limit(limit), PlanHeader)

    def to_apply(
        self, connector: str, lineage: Lineage, plan_id: int | None, part: Mapping[str, str] = WHOLE_CONNECTOR
    ) -> PlanHeader:
        """The plan that is named, else the one that a run's lineage made, of this part of the connector and no other.

        The plan of a dry run or of a clean-up must be named; one that was dismissed is nobody's. Raises
        PlanMissingError, NoPlanOfThisRunError.
        """
        name = "/".join((connector, *part.values()))
        if plan_id is not None:
            named = self.header(plan_id)
            if named.connector != connector or any(named.scope.get(word) != value for word, value in part.items()):
                raise PlanMissingError(f"Plan {plan_id} is none of {name}; `imagesync plan {plan_id}` shows it.")
            self._refuse_dismissed(plan_id)
            return named
        stored = self.all(connector, part)
        found = _of_lineage(stored, lineage)
        if found is None:
            none = languages.told(
                "No plan belongs to this run: it made none itself and re-executes no run that made one, so nothing was "
                "changed."
            )
            if not stored:
                raise NoPlanOfThisRunError(f"{none} Start the job {connector}__sync, which plans first.")
            raise NoPlanOfThisRunError(
                f"{none} Start the job {connector}__sync, which plans first, or apply a stored plan by its number: "
                f"`imagesync apply N`. The newest of {name} is plan {stored[0].id}, which `imagesync plan "
                f"{stored[0].id}` shows."
            )
        if why := found.scope.get(ONLY_NAMED):
            raise NoPlanOfThisRunError(
                f"Plan {found.id} was made for {why}, so it is carried out only by its number: `imagesync apply "
                f"{found.id}` does it (`imagesync plan {found.id}` shows it first). Nothing was changed."
            )
        self._refuse_dismissed(found.id)
        return found

    def _refuse_dismissed(self, plan_id: int) -> None:
        if (dismissed := dismissal(self.engine, plan_id)) is not None:
            by = f"{dismissed.said_by} ({dismissed.comment})" if dismissed.comment else dismissed.said_by
            raise NoPlanOfThisRunError(
                f"Plan {plan_id} was dismissed by {by}, so nothing was changed. Plan again, or approve it on its page."
            )

    def to_look_at(self, connector: str, lineage: Lineage) -> PlanHeader | None:
        """What a check looks at: the plan of its run's lineage, else, run by itself, the newest; None without any."""
        stored = self.all(connector)
        return _of_lineage(stored, lineage) or next(iter(stored), None)

    def load(
        self, plan_id: int, keys: Collection[str] | None = None, columns: Sequence[str] | None = None
    ) -> "pd.DataFrame":
        """The rows of a plan as they were saved; keys: those with these; columns: these. Raises PlanMissingError."""
        import pandas as pd

        filters = None if keys is None else [("key", "in", sorted(keys))]
        return pd.read_parquet(
            self._read(plan_id, ROWS), filters=filters, columns=None if columns is None else list(columns)
        )

    def need_payload(self, plan_id: int) -> "pd.DataFrame":
        """The whole payload of a plan that is to be applied. Raises PlanMissingError."""
        import pandas as pd

        return pd.read_parquet(self._read(plan_id, PAYLOAD))

    def payload_portions(self, plan_id: int) -> "Iterator[pd.DataFrame]":
        """The same in the portions in which it was saved; the file is proven before the first."""
        import pyarrow.parquet as pq

        file = pq.ParquetFile(self._read(plan_id, PAYLOAD))
        return (file.read_row_group(number).to_pandas() for number in range(file.num_row_groups))

    def mark_begun(self, plan_id: int, run_id: str) -> None:
        """Note that a run begins to apply a plan; broken off when no mark_applied follows. Raises PlanMissingError."""
        self._mark(plan_id, begun_run=run_id)

    def mark_applied(self, plan_id: int, run_id: str) -> None:
        """Note that a run applied a plan; the newest application counts. Raises PlanMissingError."""
        self._mark(plan_id, applied_at=sa.func.now(), applied_run=run_id, begun_run=None)

    def _mark(self, plan_id: int, **values: object) -> None:
        if not write_rows(self.engine, plan.update().where(plan.c.id == plan_id).values(**values)):
            raise PlanMissingError(f"There is no plan {plan_id} (any more), so it cannot be marked as applied.")

    def prune(
        self, connector: str, keep: int, part: Mapping[str, str] = WHOLE_CONNECTOR, *, but: Collection[int] = ()
    ) -> int:
        """Forget all plans of a connector or a part of it but the newest `keep`, with their files; returns how many.

        but: plans that are kept although they are old, by their numbers.
        """
        with self.engine.begin() as connection:
            newest = sa.select(plan.c.id).where(_among(connector, part)).order_by(plan.c.id.desc())
            old = [plan_id for plan_id in connection.execute(newest.offset(keep)).scalars() if plan_id not in but]
            connection.execute(plan.delete().where(plan.c.id.in_(old)))
            kept = set(connection.execute(sa.select(plan.c.id).where(plan.c.connector == connector)).scalars())
        # Files after rows, and by number: so those that an earlier prune or save left when it was killed go too.
        folder = self.root / "plans" / connector
        if old and folder.exists():
            for place in list(folder.iterdir()):
                if place.name.isdigit() and int(place.name) <= max(old) and int(place.name) not in kept:
                    remove_folder(place)
        return len(old)

    def _read(self, plan_id: int, name: str) -> io.BytesIO:
        header = self.header(plan_id)
        if name not in header.files:
            raise PlanMissingError(f"plan {plan_id} was stored without what applying needs; plan again")
        path = f"{header.path}/{name}"
        try:
            body = (self.root / path).read_bytes()
        except FileNotFoundError:
            raise PlanMissingError(f"{path} of plan {plan_id} is gone; plan again.") from None
        if hashlib.sha256(body).hexdigest() != header.files[name]:
            raise PlanMissingError(f"{path} is not what was written; plan {plan_id} is damaged, plan again.")
        return io.BytesIO(body)


def _of_lineage(stored: Sequence[PlanHeader], lineage: Lineage) -> PlanHeader | None:
    """Of these plans, the newest first, the one that a run's lineage made; pieces of another's application apart."""
    by_run = {one.run_id: one for one in reversed(stored) if one.run_id is not None and not one.scope.get(PIECE)}
    run = lineage.first_of(by_run)
    return None if run is None else by_run[run]


def _among(connector: str, part: Mapping[str, str]) -> sa.ColumnElement[bool]:
    return sa.and_(plan.c.connector == connector, plan.c.scope.contains(dict(part)))


def _parquet(portions: "Iterable[pd.DataFrame]", most: int | None) -> bytes:
    """A Parquet file of these frames, each a group of rows, or several of at most so many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = (pa.Table.from_pandas(frame, preserve_index=False) for frame in portions)
    buffer, first = io.BytesIO(), next(tables)
    # Dictionaries cost more than they save beside zstd: nearly all texts of a plan differ.
    with pq.ParquetWriter(buffer, first.schema, compression="zstd", use_dictionary=False) as writer:
        for table in chain([first], tables):
            writer.write_table(table, row_group_size=most)
    return buffer.getvalue()
