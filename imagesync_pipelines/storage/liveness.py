"""Which runs are alive: each holds a lock in our database as long as it lives, whoever started it.

A lock ends with its process, however that ends, and is seen from every host and container; a process id means nothing
in another container, and the moment a process started moves with the clock.
"""

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from imagesync_pipelines.languages import told
from imagesync_pipelines.storage.database import APPLICATION_NAME, answering, engine_of
from imagesync_pipelines.storage.errors import LockLostError
from imagesync_pipelines.storage.locks import HeldLock, lock_key, own_session
from imagesync_pipelines.storage.sessions import refuse_pooler_of_transactions

# How soon a lock is taken again whose connection was cut: the run itself goes on living.
WATCH_SECONDS = 0.5
# Shared: a run may have several processes.
_TAKE, _GIVE_BACK = (sa.text(f"SELECT pg_advisory_{what}_shared(:key)") for what in ("lock", "unlock"))
_HELD = sa.text("""
SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
 WHERE locktype = 'advisory' AND granted AND objsubid = 1
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")


@contextmanager
def alive(url: str, run_id: str) -> Iterator[None]:
    """Hold the lock of a run for the length of a `with` block; one whose connection is cut is taken again.

    Raises DatabaseUnreachableError, and TransactionPoolerError where no lock would last.
    """
    engine = engine_of(url, max_overflow=-1)
    done = threading.Event()
    with ExitStack() as first:
        first.callback(engine.dispose)
        with answering():
            refuse_pooler_of_transactions(engine, "IMAGESYNC_DATABASE_URL")
            held = _hold(engine, run_id, first)
        watch = threading.Thread(target=_watch, args=(engine, run_id, held, done), name=f"alive-{run_id}", daemon=True)
        watch.start()
        try:
            yield
        finally:
            done.set()
            watch.join()


def living(connection: sa.Connection, runs: Collection[str]) -> set[str]:
    """Those of the runs whose lock somebody holds."""
    held = set(connection.scalars(_HELD))
    return {run for run in runs if lock_key(_name(run)) in held}


def _hold(engine: sa.Engine, run_id: str, stack: ExitStack) -> HeldLock:
    own = stack.enter_context(own_session(engine, f"{APPLICATION_NAME} {_name(run_id)}"))
    key = {"key": lock_key(_name(run_id))}
    own.execute(_TAKE, key)
    stack.callback(_give_back, own, key)
    return HeldLock(own, run_id)


def _give_back(own: sa.Connection, key: Mapping[str, int]) -> None:
    """Unlock: PostgreSQL ends a session, and its locks, some time after it was closed."""
    with suppress(DBAPIError):
        if not own.invalidated:
            own.execute(_GIVE_BACK, key)


def _watch(engine: sa.Engine, run_id: str, held: HeldLock, done: threading.Event) -> None:
    with ExitStack() as later:
        while not done.wait(WATCH_SECONDS):
            try:
                held.check()
            except LockLostError:
                try:
                    held = _hold(engine, run_id, later)
                except DBAPIError:
                    continue  # the database is not there yet


def _name(run_id: str) -> str:
    return told(f"run {run_id}")
