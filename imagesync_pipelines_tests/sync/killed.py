"""A run in a process of its own that kills itself with SIGKILL at a named stage; everything it knows is in PostgreSQL.

`python -m imagesync_pipelines_tests.sync.killed KIND URL STAGE`: KIND is `remote` or `database`, STAGE may be `none`.
"""

import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence

import pandas as pd
import psycopg

from imagesync_pipelines.storage.outbox import Intent
from imagesync_pipelines.sync.apply import apply_database, group_works, outcomes
from imagesync_pipelines.sync.guard import guard
from imagesync_pipelines.sync.model import Change, DeletionLimits, GroupWork, Outcome, PlanRow, Proof, RowResult, Scope
from imagesync_pipelines.sync.plan import build_plan, group_states
from imagesync_pipelines.sync.remote import apply_remote, recover
from imagesync_pipelines_tests.sync.fakes import FakeQuarantine, done, frame

TABLES = """
CREATE TABLE far (key text PRIMARY KEY, grp text, position int, fingerprint text, content text);
CREATE TABLE ledger (LIKE far INCLUDING ALL);
CREATE TABLE effect (key text, change text);
CREATE TABLE open_intent (grp text PRIMARY KEY, fingerprint text);
INSERT INTO far VALUES
    ('g1/old', 'g1', 1, 'f', 'same'), ('g2/gone', 'g2', 1, 'f', NULL), ('g2/kept', 'g2', 2, 'f', NULL);
INSERT INTO ledger SELECT * FROM far;
"""
WANTED = (
    ("g1/new", "g1", 1, "f", "same"),
    ("g1/more", "g1", 2, "f", None),
    ("g2/kept", "g2", 2, "f2", None),
    ("g3/one", "g3", 1, "f", None),
)
# What an uninterrupted run does, each once.
EFFECTS = (("g1/more", "add"), ("g1/new", "update"), ("g2/gone", "remove"), ("g2/kept", "update"), ("g3/one", "add"))
KILLED_IN = "g2"
LIMITS = DeletionLimits(1.0, 99, 99, 99)
SCOPE = Scope(None, Proof(1, True, ""))


class Process:
    """Dies, by the signal that cannot be caught, at its stage in one group."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def reaches(self, stage: str, groups: Collection[str]) -> None:
        if stage == self.stage and KILLED_IN in groups:
            os.kill(os.getpid(), signal.SIGKILL)


class Store:
    """The far side, our ledger and the open intents, each statement or block committed on its own."""

    def __init__(self, url: str, process: Process) -> None:
        self.url = url.replace("postgresql+psycopg://", "postgresql://")
        self.process = process

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url, autocommit=True)

    def rows(self, table: str) -> pd.DataFrame:
        with self.connect() as connection:
            return frame(*connection.execute(f"SELECT * FROM {table}").fetchall())

    def write(self, connection: psycopg.Connection, table: str, rows: Sequence[PlanRow]) -> None:
        wanted = {row[0]: row for row in WANTED}
        for row in rows:
            if row.change is not Change.ADD:
                connection.execute(f"DELETE FROM {table} WHERE key = %s", [row.key_before])
            if row.change is not Change.REMOVE:
                connection.execute(f"INSERT INTO {table} VALUES (%s, %s, %s, %s, %s)", wanted[row.key])


class Far(Store):
    """The engine's RemoteTarget: its effects are there although nobody was told."""

    stopped = ""

    def apply(self, work: GroupWork) -> Sequence[RowResult]:
        self.process.reaches("between intent and call", [work.group])
        with self.connect() as connection, connection.transaction():
            self.write(connection, "far", work.rows)
            for row in work.rows:
                connection.execute("INSERT INTO effect VALUES (%s, %s)", [row.key, row.change])
        self.process.reaches("between call and outcome", [work.group])
        return done(work)

    def read(self, groups: Sequence[str]) -> pd.DataFrame:
        rows = self.rows("far")
        return rows[rows["group"].isin(groups)]


class Intents(Store):
    """The engine's IntentLog."""

    def open_intents(self) -> Sequence[Intent]:
        with self.connect() as connection:
            return [Intent(*row) for row in connection.execute("SELECT grp, fingerprint FROM open_intent")]

    def begin(self, intent: Intent) -> None:
        self.process.reaches("before intent", [intent.group])
        with self.connect() as connection:
            connection.execute("INSERT INTO open_intent VALUES (%s, %s)", [intent.group, intent.fingerprint])

    def finish(self, work: GroupWork, results: Sequence[RowResult]) -> None:
        with self.connect() as connection, connection.transaction():
            self.write(connection, "ledger", work.rows)
            connection.execute("DELETE FROM open_intent WHERE grp = %s", [work.group])
        self.process.reaches("after outcome", [work.group])

    def settle(self, current: pd.DataFrame, groups: Collection[str]) -> None:
        with self.connect() as connection, connection.transaction():
            connection.execute("DELETE FROM ledger WHERE grp = ANY(%s)", [list(groups)])
            connection.execute("INSERT INTO ledger SELECT * FROM far WHERE key = ANY(%s)", [current["key"].tolist()])
            connection.execute("DELETE FROM open_intent WHERE grp = ANY(%s)", [list(groups)])


class OurDatabase(Store):
    """The engine's DatabaseTarget: effect and state in one transaction."""

    def apply_batch(self, rows: pd.DataFrame, digests: Mapping[str, str] | None) -> pd.DataFrame:
        works = list(group_works(rows, digests))
        groups = [work.group for work in works]
        with self.connect() as connection, connection.transaction():
            for work in works:
                self.write(connection, "ledger", work.rows)
                for row in work.rows:
                    connection.execute("INSERT INTO effect VALUES (%s, %s)", [row.key, row.change])
            self.process.reaches("before commit", groups)
        self.process.reaches("after commit", groups)
        return outcomes(rows, Outcome.DONE)


def run(kind: str, url: str, stage: str) -> None:
    """One run as a connector does it."""
    process = Process(stage)
    intents = Intents(url, process)
    if kind == "remote":
        recover(intents, Far(url, process))
    current = intents.rows("ledger")
    plan = guard(build_plan(frame(*WANTED), current, SCOPE), SCOPE, LIMITS).plan
    states = group_states(current)
    if kind == "remote":
        apply_remote(plan, Far(url, process), intents, FakeQuarantine(), workers=1, states=states)
    else:
        apply_database(plan, OurDatabase(url, process), FakeQuarantine(), states=states, rows_per_batch=2)


if __name__ == "__main__":
    run(*sys.argv[1:])
