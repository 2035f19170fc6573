"""Plans: what was about to change, kept so that it can be looked at and applied later."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from types import MappingProxyType
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.storage.database import read_rows
from imagesync_pipelines.storage.errors import PlanDamagedError, PlanMissingError
from imagesync_pipelines.storage.files import remove_folder, write_whole
from imagesync_pipelines.storage.schema import plan

ROWS, PAYLOAD = "rows.parquet", "payload.parquet"
# All plans of a connector; a connector of several accounts names one of them as its plans' scope does, {"account":
# "harbour"}.
WHOLE_CONNECTOR: Mapping[str, str] = MappingProxyType({})
_NEWEST_FIRST = sa.select(plan).order_by(plan.c.id.desc())


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
class PlanHeader:
    """A stored plan without its rows; `path` is its folder below the storage root, `files` the SHA-256 by file."""

    id: int
    connector: str
    created_at: datetime
    run_id: str | None
    path: str
    files: Mapping[str, str]
    scope: Mapping[str, Any]
    counts: Mapping[str, int]
    cost: Mapping[str, float]
    scan_id: int | None
    applied_at: datetime | None
    applied_run: str | None


@dataclass(frozen=True)
class Plans:
    """The stored plans of all connectors below the storage root."""

    engine: sa.Engine
    root: UPath

    def save(self, rows: pd.DataFrame, payload: Iterable[pd.DataFrame] | None, new: NewPlan) -> int:
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
                body = _parquet(portions)
                files[name] = hashlib.sha256(body).hexdigest()
                write_whole(self.root / path / name, body)
        # The row comes last: a plan that can be found is whole.
        with self.engine.begin() as connection:
            connection.execute(plan.insert().values(id=plan_id, path=path, files=files, **vars(new)))
        return plan_id

    def header(self, plan_id: int) -> PlanHeader:
        """A plan without its rows. Raises PlanMissingError."""
        for found in read_rows(self.engine, sa.select(plan).where(plan.c.id == plan_id), PlanHeader):
            return found
        raise PlanMissingError(f"There is no plan {plan_id}; `imagesync plan` prints the last one.")

    def latest(self, connector: str) -> PlanHeader | None:
        """The newest plan of a connector without its rows; None when there is none."""
        return next(iter(self.newest(1, connector)), None)

    def all(self, connector: str, part: Mapping[str, str] = WHOLE_CONNECTOR) -> list[PlanHeader]:
        """The stored plans of a connector without rows, the newest first; `part`: those with this in their scope."""
        return read_rows(self.engine, _NEWEST_FIRST.where(_among(connector, part)), PlanHeader)

    def newest(self, limit: int, connector: str | None = None) -> list[PlanHeader]:
        """The newest plans of a connector or of all, the newest first."""
        mine = sa.true() if connector is None else plan.c.connector == connector
        return read_rows(self.engine, _NEWEST_FIRST.where(mine).limit(limit), PlanHeader)

    def asked(self, connector: str, plan_id: int, part: Mapping[str, str] = WHOLE_CONNECTOR) -> PlanHeader:
        """The plan that somebody named; of this part of the connector, never another's. Raises PlanMissingError."""
        found = self.header(plan_id)
        if found.connector != connector or any(found.scope.get(word) != value for word, value in part.items()):
            name = "/".join((connector, *part.values()))
            raise PlanMissingError(f"Plan {plan_id} is none of {name}; `imagesync plan {plan_id}` shows it.")
        return found

    def load(self, plan_id: int) -> pd.DataFrame:
        """The rows of a plan as they were saved. Raises PlanMissingError, PlanDamagedError."""
        return pd.read_parquet(self._read(self.header(plan_id), ROWS))

    def load_payload(self, plan_id: int) -> pd.DataFrame | None:
        """The whole payload of a plan; None when it was saved without. Raises PlanMissingError, PlanDamagedError."""
        header = self.header(plan_id)
        return pd.read_parquet(self._read(header, PAYLOAD)) if PAYLOAD in header.files else None

    def need_payload(self, plan_id: int) -> pd.DataFrame:
        """The whole payload of a plan that is to be applied. Raises PlanMissingError, PlanDamagedError."""
        payload = self.load_payload(plan_id)
        if payload is None:
            raise PlanMissingError(f"plan {plan_id} was stored without what applying needs; plan again")
        return payload

    def payload_portions(self, plan_id: int) -> Iterator[pd.DataFrame]:
        """The payload of a plan that is to be applied, in the portions in which it was saved.

        The file is proven before the first portion. Raises PlanMissingError, PlanDamagedError.
        """
        header = self.header(plan_id)
        if PAYLOAD not in header.files:
            raise PlanMissingError(f"plan {plan_id} was stored without the rows it needs; plan again")
        return _portions(pq.ParquetFile(self._read(header, PAYLOAD)))

    def mark_begun(self, plan_id: int, run_id: str) -> None:
        """Note that a run begins to apply a plan; broken off when no mark_applied follows. Raises PlanMissingError."""
        self._mark(plan_id, applied_at=None, applied_run=run_id)

    def mark_applied(self, plan_id: int, run_id: str) -> None:
        """Note that a run applied a plan; the newest application counts. Raises PlanMissingError."""
        self._mark(plan_id, applied_at=sa.func.now(), applied_run=run_id)

    def _mark(self, plan_id: int, **values: object) -> None:
        with self.engine.begin() as connection:
            if connection.execute(plan.update().where(plan.c.id == plan_id).values(**values)).rowcount == 0:
                raise PlanMissingError(f"There is no plan {plan_id} (any more), so it cannot be marked as applied.")

    def prune(self, connector: str, keep: int, part: Mapping[str, str] = WHOLE_CONNECTOR) -> int:
        """Forget all plans of a connector or a part of it but the newest `keep`, with their files; returns how many."""
        with self.engine.begin() as connection:
            newest = sa.select(plan.c.id).where(_among(connector, part)).order_by(plan.c.id.desc())
            old = connection.execute(newest.offset(keep)).scalars().all()
            connection.execute(plan.delete().where(plan.c.id.in_(old)))
            kept = set(connection.execute(sa.select(plan.c.id).where(plan.c.connector == connector)).scalars())
        # Files after rows, and by number: so those that an earlier prune or save left when it was killed go too.
        folder = self.root / "plans" / connector
        if old and folder.exists():
            for place in list(folder.iterdir()):
                if place.name.isdigit() and int(place.name) <= max(old) and int(place.name) not in kept:
                    remove_folder(place)
        return len(old)

    def _read(self, header: PlanHeader, name: str) -> io.BytesIO:
        try:
            body = (self.root / header.path / name).read_bytes()
        except FileNotFoundError:
            raise PlanMissingError(f"{header.path}/{name} of plan {header.id} is gone; plan again.") from None
        if hashlib.sha256(body).hexdigest() != header.files[name]:
            raise PlanDamagedError(
                f"{header.path}/{name} is not what was written; plan {header.id} is damaged, plan again."
            )
        return io.BytesIO(body)


def _among(connector: str, part: Mapping[str, str]) -> sa.ColumnElement[bool]:
    return sa.and_(plan.c.connector == connector, plan.c.scope.contains(dict(part)))


def _parquet(portions: Iterable[pd.DataFrame]) -> bytes:
    """A Parquet file of these frames, each a group of rows."""
    tables = (pa.Table.from_pandas(frame, preserve_index=False) for frame in portions)
    buffer, first = io.BytesIO(), next(tables)
    with pq.ParquetWriter(buffer, first.schema, compression="zstd") as writer:
        for table in chain([first], tables):
            writer.write_table(table)
    return buffer.getvalue()


def _portions(file: pq.ParquetFile) -> Iterator[pd.DataFrame]:
    for number in range(file.num_row_groups):
        yield file.read_row_group(number).to_pandas()
