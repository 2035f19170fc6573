"""The locks of accounts: one run at a time writes an account, on all hosts of an installation.

A lock is PostgreSQL's session advisory lock on a connection of its own: it ends with the process, however that ends,
and with the connection. So whoever holds one asks before each write whether that connection still stands.
"""

import hashlib
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from imagesync_pipelines.languages import told
from imagesync_pipelines.storage.database import APPLICATION_NAME
from imagesync_pipelines.storage.errors import AccountBusyError, LockLostError

# Of the server's end of a connection: a host that went without a word (a power cut) holds its locks no longer than a
# minute. Ours has the same (database.engine_of).
_SESSION = """
SELECT set_config('application_name', :name, false), set_config('tcp_keepalives_idle', '30', false),
       set_config('tcp_keepalives_interval', '10', false), set_config('tcp_keepalives_count', '3', false)
"""
_HOLDER = """
SELECT a.application_name, a.state_change
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND (l.classid::bigint << 32) | l.objid::bigint = :key
"""

logger = logging.getLogger("imagesync.storage")


def lock_key(what: str) -> int:
    """The number of an advisory lock for this text."""
    return int.from_bytes(hashlib.blake2b(what.encode(), digest_size=8).digest(), signed=True)


class HeldLock:
    """A lock that is held by a connection of its own. Used from several threads."""

    def __init__(self, connection: sa.Connection, name: str) -> None:
        self.lost = False
        self._connection, self._name = connection, name
        self._guard = threading.Lock()

    def check(self) -> None:
        """Raise LockLostError when the connection was cut: somebody else may hold the lock by now.

        Asks the server only when it has said something: from a session that waits nothing comes but its end.
        """
        with self._guard:
            self.lost = self.lost or not self._stands()
        if self.lost:
            raise LockLostError(
                f"{self._name}: the connection to the database was cut that held the lock of this run (was the "
                "database restarted?). Another run may be at work by now, so this one stops; what it wrote is kept, "
                "and the next run goes on."
            )

    def _stands(self) -> bool:
        try:
            session = self._connection.connection.driver_connection
            poll = select.poll()
            poll.register(session.fileno())  # type: ignore[union-attr]
            if any(event & ~select.POLLOUT for _, event in poll.poll(0)):
                self._connection.execute(sa.text("SELECT 1"))
        except (DBAPIError, psycopg.Error, sa.exc.InvalidRequestError):
            return False
        return True


@contextmanager
def own_session(engine: sa.Engine, name: str) -> Iterator[sa.Connection]:
    """A connection for locks, whose statements commit themselves; the server shows it under this name."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(_SESSION), {"name": name[:63]})
        try:
            yield connection
        finally:
            # It bears the name of a holder: it must not go back into the pool.
            connection.invalidate()


@contextmanager
def account_lock(engine: sa.Engine, connector: str, wait_seconds: float) -> Iterator[HeldLock]:
    """Hold the connector's lock while the body runs: one run at a time writes it, on all hosts of an installation.

    Waits up to `wait_seconds` for another holder. Raises AccountBusyError naming who holds it and since when.
    """
    key = lock_key(f"connector {connector}")
    with own_session(engine, f"{APPLICATION_NAME} {connector}: process {os.getpid()} on {socket.gethostname()}") as own:
        deadline = time.monotonic() + wait_seconds
        while not own.execute(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar():
            if time.monotonic() >= deadline:
                holder = own.execute(sa.text(_HOLDER), {"key": key}).first()
                who = told("another run") if holder is None else f"{holder[0]}, since {holder[1]:%Y-%m-%d %H:%M:%S %Z}"
                raise AccountBusyError(
                    f"{connector} is being synchronised already ({who}); waited {wait_seconds:.0f} s. "
                    "Nothing was changed; try again when that run has ended."
                )
            time.sleep(0.2)
        held = HeldLock(own, connector)
        try:
            yield held
        finally:
            _release(own, key, held, connector)


def _release(own: sa.Connection, key: int, held: HeldLock, connector: str) -> None:
    """Give the lock back; when the connection is lost the server has done so, and the body's own error matters more."""
    try:
        held.lost = not own.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": key}).scalar()
    except (DBAPIError, sa.exc.InvalidRequestError):
        held.lost = True
    if held.lost:
        logger.warning("%s: the lock was lost while the run went on (was the database restarted?)", connector)
