"""A service answers 503 where the database or a disk is at fault, whatever the error's class; mistakes stay its own."""

import errno

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.errors import DiskFull
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from imagesync_pipelines.web.service import answer_faults, at_fault


def answer(error: Exception) -> tuple[int, str]:
    """What a service answers to a call that ends with this error."""

    def fail(_: Request) -> Response:
        raise error

    async def crashed(_: Request, error: Exception) -> Response:
        return PlainTextResponse("ours", 500)

    app = Starlette(routes=[Route("/", fail)], exception_handlers={Exception: crashed})
    answer_faults(app, lambda _, error: PlainTextResponse(at_fault(error), 503))
    found = TestClient(app, raise_server_exceptions=False).get("/")
    return found.status_code, found.text


@pytest.mark.parametrize(
    "error",
    [
        sa.exc.OperationalError("SELECT secret", {}, psycopg.OperationalError("server closed the connection")),
        sa.exc.InterfaceError("SELECT secret", {}, psycopg.InterfaceError("the connection is closed")),
        sa.exc.OperationalError("SELECT secret", {}, DiskFull("could not extend file")),
        psycopg.OperationalError("the connection is lost"),
        sa.exc.TimeoutError("QueuePool limit"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_database_at_fault_is_503(error: Exception) -> None:
    assert answer(error) == (503, "The database does not answer; try again")


def test_a_disk_at_fault_is_503() -> None:
    assert answer(OSError(errno.ENOSPC, "No space left on device")) == (503, "A disk does not answer; try again")


@pytest.mark.parametrize(
    "error", [ValueError("x"), FileNotFoundError(errno.ENOENT, "no"), sa.exc.ProgrammingError("SELECT", {}, KeyError())]
)
def test_a_mistake_is_500(error: Exception) -> None:
    assert answer(error) == (500, "ours")
