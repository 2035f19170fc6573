"""Statements that are asked without a thread: a few connections of one service, shared by all whom it answers.

For answers that are small work in Python and much in number; everything else goes through an engine.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import psycopg
import sqlalchemy as sa
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
        self._idle: list[psycopg.AsyncConnection[Row]] = []

    async def rows(self, statement: str, values: Mapping[str, Any]) -> list[Row]:
        """The rows of a statement that only reads. Raises psycopg.Error, and TimeoutError after `patience`."""
        async with asyncio.timeout(self._patience), self._places:
            while self._idle:
                try:
                    return await self._ask(self._idle.pop(), statement, values)
                except psycopg.OperationalError:
                    # The server may have been started anew since this connection was used.
                    continue
            return await self._ask(await self._connect(), statement, values)

    async def close(self) -> None:
        """Close the connections; a later statement opens one again."""
        while self._idle:
            await self._idle.pop().close()

    async def _connect(self) -> psycopg.AsyncConnection[Row]:
        return await psycopg.AsyncConnection.connect(
            make_conninfo(
                **self._where | {"application_name": APPLICATION_NAME, "connect_timeout": CONNECT_SECONDS} | KEEPALIVE
            ),
            autocommit=True,
            prepare_threshold=0,
        )

    async def _ask(
        self, connection: psycopg.AsyncConnection[Row], statement: str, values: Mapping[str, Any]
    ) -> list[Row]:
        try:
            cursor = await connection.execute(statement, values, binary=True)
            rows = await cursor.fetchall()
        except BaseException:
            # Whatever it was in the middle of, the next statement must not meet the rest of it.
            await connection.close()
            raise
        self._idle.append(connection)
        return rows
