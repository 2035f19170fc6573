"""Reading without threads: few connections, nobody waits for ever, and a server that was started anew is found."""

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.reader import Reader
from imagesync_pipelines_tests import loops


def asked(url: sa.URL, ask: Callable[[Reader], Awaitable[None]], **options: float) -> None:
    async def run() -> None:
        reader = Reader(url, **options)  # type: ignore[arg-type]
        await ask(reader)
        await reader.close()

    loops.run(run())


def test_many_share_few_connections(database: sa.Engine) -> None:
    async def ask(reader: Reader) -> None:
        found = await asyncio.gather(*(reader.rows("SELECT pg_backend_pid(), $1::text", str(n)) for n in range(20)))
        assert [rows[0][1] for rows in found] == [str(n) for n in range(20)]
        assert len({rows[0][0] for rows in found}) <= 3

    asked(database.url, ask, most=3)


def test_who_waits_too_long_is_told_and_the_next_one_is_answered(database: sa.Engine) -> None:
    async def ask(reader: Reader) -> None:
        with pytest.raises(TimeoutError):
            await reader.rows("SELECT pg_sleep(30)")
        assert await reader.rows("SELECT 1") == [(1,)]

    asked(database.url, ask, most=1, patience=0.5)


def test_connections_that_the_server_ended_are_replaced(database: sa.Engine) -> None:
    async def ask(reader: Reader) -> None:
        before = await reader.rows("SELECT pg_backend_pid()")
        with database.connect() as connection:
            connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": before[0][0]})
        assert await reader.rows("SELECT pg_backend_pid()") != before

    asked(database.url, ask)


def test_a_socket_that_took_the_number_of_an_ended_one_is_let_alone(database: sa.Engine) -> None:
    async def echo(lines: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while line := await lines.readline():
            back.write(line)
        back.close()

    async def ask(reader: Reader) -> None:
        server = await asyncio.start_server(echo, "127.0.0.1")
        before = await reader.rows("SELECT pg_backend_pid()")
        with database.connect() as connection:
            connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": before[0][0]})
        await asyncio.sleep(0.2)  # what the server said is read, and libpq closes the socket
        clients = [await asyncio.open_connection(*server.sockets[0].getsockname()) for _ in range(4)]
        assert await reader.rows("SELECT pg_backend_pid()") != before
        for lines, back in clients:
            back.write(b"still there\n")
            assert await asyncio.wait_for(lines.readline(), 5) == b"still there\n"
            back.close()
        server.close()

    asked(database.url, ask)


def test_a_connection_that_ends_under_a_statement_is_told_in_the_servers_words(database: sa.Engine) -> None:
    async def ask(reader: Reader) -> None:
        with pytest.raises(psycopg.errors.AdminShutdown, match="terminating connection"):
            await reader.rows("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(30)")
        assert await reader.rows("SELECT 1") == [(1,)]

    asked(database.url, ask, most=1)


def test_values_of_any_size_and_type_and_rows_of_any_number_pass(database: sa.Engine) -> None:
    """More than the sockets of both sides hold, and numbers that need more bytes than those before them."""

    async def ask(reader: Reader) -> None:
        assert await reader.rows("SELECT length($1::text)", "x" * 20_000_000) == [(20_000_000,)]
        for number in (1, 70_000, 2**40):
            assert await reader.rows("SELECT $1::int8", number) == [(number,)]
        assert await reader.rows("SELECT n, repeat('y', 100000) FROM generate_series(1, $1::int) n", 100) == [
            (n, "y" * 100_000) for n in range(1, 101)
        ]
        assert await reader.rows("SELECT 1 WHERE false") == []

    asked(database.url, ask, most=1)


def test_an_address_of_several_hosts_is_read_as_the_engines_driver_reads_it(database: sa.Engine) -> None:
    url, given = database.url, database.dialect.create_connect_args(database.url)[1]
    place = f"{given.get('host', '')}:{given.get('port', 5432)}"
    several = url.set(host=None, port=None).update_query_dict({"host": ("127.0.0.1:1", place)})

    async def ask(reader: Reader) -> None:
        assert await reader.rows("SELECT 1") == [(1,)]

    asked(several, ask)


def test_a_statement_that_fails_leaves_nothing_behind(database: sa.Engine) -> None:
    async def ask(reader: Reader) -> None:
        with pytest.raises(psycopg.DataError):
            await reader.rows("SELECT 1 / $1::int", 0)
        assert await reader.rows("SELECT 1") == [(1,)]

    asked(database.url, ask, most=1)


def test_a_database_that_is_not_there_is_an_error_at_once() -> None:
    async def ask(reader: Reader) -> None:
        with pytest.raises(psycopg.OperationalError):
            await reader.rows("SELECT 1")

    asked(sa.make_url("postgresql+psycopg://nobody@127.0.0.1:1/none"), ask)
