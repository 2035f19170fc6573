"""Locks: one run at a time writes a connector, on all hosts of an installation.

The lock is PostgreSQL's session advisory lock on a connection of its own: it ends with the process, however that
ends.
"""

import hashlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from imagesync_pipelines.storage.database import APPLICATION_NAME
from imagesync_pipelines.storage.errors import AccountBusyError

POLL_SECONDS = 0.2

_HOLDER = """
SELECT a.application_name, a.state_change
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND (l.classid::bigint << 32) | l.objid::bigint = :key
"""

logger = logging.getLogger("imagesync.storage")


@contextmanager
def account_lock(engine: sa.Engine, connector: str, wait_seconds: float) -> Iterator[None]:
    """Hold the connector's lock while the body runs; wait up to `wait_seconds` for another holder.

    Raises AccountBusyError naming the process that holds it and since when.
    """
    key = int.from_bytes(hashlib.blake2b(f"connector {connector}".encode(), digest_size=8).digest(), signed=True)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        name = f"{APPLICATION_NAME} {connector}: process {os.getpid()} on {socket.gethostname()}"[:63]
        connection.execute(sa.text("SELECT set_config('application_name', :name, false)"), {"name": name})
        _acquire(connection, key, connector, wait_seconds)
        try:
            yield
        finally:
            _release(connection, key, connector)


def _acquire(connection: sa.Connection, key: int, connector: str, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while not connection.execute(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar():
        if time.monotonic() >= deadline:
            holder = connection.execute(sa.text(_HOLDER), {"key": key}).first()
            who = "another run" if holder is None else f"{holder[0]}, since {holder[1]:%Y-%m-%d %H:%M:%S %Z}"
            raise AccountBusyError(
                f"{connector} is being synchronised already ({who}); waited {wait_seconds:.0f} s. "
                "Nothing was changed; try again when that run has ended."
            )
        time.sleep(POLL_SECONDS)


def _release(connection: sa.Connection, key: int, connector: str) -> None:
    """Give the lock back; when the connection is lost the server has done so, and the body's own error matters more."""
    try:
        held = connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": key}).scalar()
    except DBAPIError:
        held = False
    if not held:
        logger.warning("%s: the lock was lost while the run went on (was the database restarted?)", connector)
    # The connection bears the name of a holder: it must not go back into the pool.
    connection.invalidate()
