"""Whether a session of ours is one session of the server: what stands between may give us another one each time.

Session locks, prepared statements and settings end with the server's session. A pooler of transactions hands them to
whoever comes next, so it is refused before anything is written; a pooler of sessions, and what only passes bytes on,
are as good as the server itself.
"""

import sqlalchemy as sa

from imagesync_pipelines.storage.errors import TransactionPoolerError

# How often it is looked at whether a pooler changes the server's session under us: others may use it at this moment.
LOOKS = 8


def refuse_pooler_of_transactions(engine: sa.Engine, variable: str) -> None:
    """Raise TransactionPoolerError, naming the variable, where an engine's sessions are not the server's own.

    One statement where PostgreSQL itself answers: the number of its process is the one that it told at the log-in, and
    no pooler tells that one. Else two sessions of ours must keep a process of the server each, also while the other is
    in a transaction. Raises sqlalchemy's errors when the database does not answer.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as ours:
        told = ours.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
        if _server(ours) == told:
            return
        with engine.connect() as other:
            for look in range(LOOKS):
                before = {_server(ours, look), _server(ours, look)}
                with other.begin():
                    others = _server(other, look)
                    seen = before | {_server(ours, look)}
                if len(seen) > 1 or others in seen:
                    raise TransactionPoolerError(
                        f"{variable} leads through a pooler of transactions (such as PgBouncer with pool_mode = "
                        "transaction): locks do not last there, and two runs could write one account. Nothing was "
                        "changed. Name PostgreSQL itself, or a pooler of sessions (pool_mode = session). Each of our "
                        "processes keeps a few connections open and uses them again; where they are too many, raise "
                        "max_connections."
                    )


def _server(connection: sa.Connection, look: int = 0) -> int:
    """The process of the server that answers; each look has a text of its own, or psycopg would prepare it."""
    return int(connection.exec_driver_sql(f"SELECT pg_backend_pid() -- {look}").scalar_one())
