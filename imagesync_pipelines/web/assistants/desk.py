"""Whose call it is, and what the tools of an assistant work with.

A key is that of the API (`imagesync key add`): it is looked up at every call, so that one that was revoked is good for
nothing from then on, and its calls count against the same budget.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from anyio import to_thread
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.shared.exceptions import MCPError
from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError, TimeoutError
from starlette.requests import Request

from imagesync_pipelines.storage.faults import told
from imagesync_pipelines.storage.rate_budget import Window, take
from imagesync_pipelines.web.catalogue.access import ApiKey, KeyScope, find_key
from imagesync_pipelines.web.catalogue.api.calls import WINDOW_SECONDS
from imagesync_pipelines.web.catalogue.pages.pictures import Derivatives
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.service import at_fault

# What JSON-RPC leaves to servers; the message is for people.
REFUSED, BUSY = -32001, -32002
FAULTS = (DBAPIError, TimeoutError, psycopg.Error, OSError)
_NO_KEY = "No API key, or one that is not valid: make one with `imagesync key add`, and give it as the docs say."

logger = logging.getLogger("imagesync.assistants")


@dataclass(frozen=True)
class Desk:
    """What every tool works with. key: that of an assistant beside us; None: each request brings its own."""

    opened: Opened
    derivatives: Derivatives
    key: SecretStr | None = None


Call = Context[Desk]
"""A tool's parameter of this type gets the desk and the call."""


def desk_of(call: Call) -> Desk:
    """The desk at which a call is answered."""
    return call.request_context.lifespan_context


def opened_of(call: Call) -> Opened:
    """The catalogue that a call is about."""
    return desk_of(call).opened


def bearer_of(request: Request) -> str:
    """The key that a request brings, '' for none."""
    word, _, text = request.headers.get("Authorization", "").partition(" ")
    return text.strip() if word.lower() == "bearer" else ""


def key_of(desk: Desk, request: Request | None) -> ApiKey | None:
    """The key of a call, None where it has no valid one."""
    text = desk.key.get_secret_value() if desk.key is not None else bearer_of(request) if request is not None else ""
    return find_key(desk.opened.engine, text, desk.opened.clock())


def require(call: Call, scope: KeyScope) -> ApiKey:
    """The key of a call. Raises ToolError where it does not have this scope."""
    context = call.request_context
    key = key_of(desk_of(call), context.request)
    if key is None:
        raise ToolError(_NO_KEY)
    if scope not in key.scopes:
        has = ", ".join(sorted(key.scopes)) or "none"
        raise ToolError(f"This key does not have the scope {scope}; it has: {has}. A person can make one that has it.")
    return key


def admit(desk: Desk, request: Request | None) -> None:
    """Count a call. Raises MCPError for one without a key that may read, or with no calls left."""
    key = key_of(desk, request)
    if key is None:
        raise MCPError(REFUSED, _NO_KEY)
    if KeyScope.READ not in key.scopes:
        raise MCPError(REFUSED, f"The key {key.name} does not have the scope {KeyScope.READ}.")
    windows, now = (Window(desk.opened.settings.rate_limit, WINDOW_SECONDS),), desk.opened.clock().timestamp()
    if wait := math.ceil(take(desk.opened.engine, f"catalogue:key:{key.id}", windows, now)):
        raise MCPError(REFUSED, f"The key {key.name} has made its calls; try again in {wait} s.")


async def admitted(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Let a request through whose key may read; notifications ask for nothing."""
    if ctx.request_id is not None:
        with faults_told():
            await to_thread.run_sync(admit, ctx.lifespan_context, ctx.request)
    return await call_next(ctx)


@contextmanager
def faults_told() -> Iterator[None]:
    """Tell an assistant that the database or a disk does not answer, and no more of it; the log says what happened.

    Raises MCPError. What else a tool fails with goes on.
    """
    try:
        yield
    except (UnexpectedToolError, *FAULTS) as error:
        cause = error.__cause__ if isinstance(error, UnexpectedToolError) else error
        if not isinstance(cause, FAULTS) or (cause is not error and told(cause) is None):
            raise
        raise MCPError(BUSY, f"{noted(cause)}.") from None


def noted(error: Exception) -> str:
    """What a caller is told of a fault of ours that passes, after the log was told more."""
    logger.error("a fault around us: %s", told(error) or error)
    return at_fault(error)
