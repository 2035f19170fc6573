"""Statements that are asked without a thread: a few connections of one service, shared by all whom it answers.

For answers that are small work in Python and much in number; everything else goes through an engine. psycopg's own
cursors cost more than twice as much: for each wait they register the socket anew.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import abc, pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.conninfo import make_conninfo

from imagesync_pipelines.storage.database import APPLICATION_NAME, CONNECT_SECONDS, KEEPALIVE

Row = tuple[Any, ...]


class Reader:
    """Reads a database with so many connections at most; each statement is prepared once on each, its rows are binary.

    Who finds no connection free waits; nobody waits for longer than `patience`, in seconds, for connection and answer.
    """

    def __init__(self, url: sa.URL, *, most: int = 8, patience: float = 15) -> None:
        # As the engine's driver understands it: an address of several hosts is one of SQLAlchemy's own form.
        _, given = url.get_dialect()().create_connect_args(url)
        self._where = {name: value for name, value in given.items() if name != "context"}
        self._patience = patience
        self._places = asyncio.Semaphore(most)
        self._idle: list[_Line] = []

    async def rows(self, statement: str, *values: Any) -> list[Row]:
        """The rows of a statement that only reads, whose values are $1, $2 ….

        Raises psycopg.Error, and TimeoutError after `patience`.
        """
        async with asyncio.timeout(self._patience), self._places:
            while self._idle:
                try:
                    return await self._ask(self._idle.pop(), statement, values)
                except psycopg.OperationalError:
                    # The server may have been started anew since this connection was used.
                    continue
            return await self._ask(_Line(await self._connect()), statement, values)

    async def close(self) -> None:
        """Close the connections; a later statement opens one again."""
        while self._idle:
            self._idle.pop().close()

    async def _connect(self) -> psycopg.AsyncConnection[Row]:
        return await psycopg.AsyncConnection.connect(
            make_conninfo(
                **self._where | {"application_name": APPLICATION_NAME, "connect_timeout": CONNECT_SECONDS} | KEEPALIVE
            ),
            autocommit=True,
        )

    async def _ask(self, line: "_Line", statement: str, values: Sequence[Any]) -> list[Row]:
        try:
            rows = await line.rows(statement, values)
        except BaseException:
            # Whatever it was in the middle of, the next statement must not meet the rest of it.
            line.close()
            raise
        self._idle.append(line)
        return rows


class _Line:
    """One connection, whose socket is watched from its first statement to its end: one statement at a time."""

    def __init__(self, connection: psycopg.AsyncConnection[Row]) -> None:
        self._connection, self._pq = connection, connection.pgconn
        self._socket, self._loop = connection.fileno(), asyncio.get_running_loop()
        # Of each statement the name under which it is prepared, for which types, and what turns its values and rows.
        self._prepared: dict[str, tuple[bytes, tuple[int, ...] | None, abc.Transformer]] = {}
        self._names = 0
        self._results: list[pq.abc.PGresult] = []
        self._answered: asyncio.Future[None] | None = None
        self._is_watched = True
        self._loop.add_reader(self._socket, self._read)

    async def rows(self, statement: str, values: Sequence[Any]) -> list[Row]:
        """The rows of a statement."""
        name, types, turned = self._prepared.get(statement) or (b"", None, Transformer(self._connection))
        is_new = types is None
        dumped = turned.dump_sequence(values, [PyFormat.BINARY] * len(values))
        if turned.types != types:
            name, types = b"%d" % self._names, turned.types
            self._names += 1
            self._pq.send_prepare(name, statement.encode(), types)
            await self._result()
            self._prepared[statement] = name, types, turned
        self._pq.send_query_prepared(name, dumped, turned.formats, pq.Format.BINARY)
        result = await self._result()
        turned.set_pgresult(result, set_loaders=is_new, format=pq.Format.BINARY)
        rows = turned.load_rows(0, result.ntuples, tuple)
        # A picture is not kept for longer than its reader keeps it.
        turned.set_pgresult(None, set_loaders=False)
        return rows

    def close(self) -> None:
        """End the connection."""
        self._unwatch()
        self._pq.finish()

    def _unwatch(self) -> None:
        # libpq closes the socket of a connection that ended: soon its number is that of another one.
        if self._is_watched:
            self._is_watched = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)

    async def _result(self) -> pq.abc.PGresult:
        """The result of what was sent. Raises psycopg.Error."""
        self._results, self._answered = [], self._loop.create_future()
        if self._pq.flush():
            self._loop.add_writer(self._socket, self._write)
        await self._answered
        result, self._results = self._results[0], []
        if result.status not in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
            raise psycopg.errors.error_from_result(result, self._connection.info.encoding)
        return result

    def _read(self) -> None:
        try:
            self._pq.consume_input()
            while not self._pq.is_busy():
                result = self._pq.get_result()
                if result is None:
                    self._end(None)
                    return
                self._results.append(result)
        except psycopg.Error as error:
            # Nothing more comes; whoever asks next is told so.
            self._unwatch()
            self._end(error)

    def _write(self) -> None:
        try:
            if self._pq.flush():
                return
        except psycopg.Error as error:
            self._unwatch()
            self._end(error)
            return
        self._loop.remove_writer(self._socket)

    def _end(self, error: psycopg.Error | None) -> None:
        if self._answered is None or self._answered.done():
            return
        # What the server said before it went away says more.
        if error is None or self._results:
            self._answered.set_result(None)
        else:
            self._answered.set_exception(error)
