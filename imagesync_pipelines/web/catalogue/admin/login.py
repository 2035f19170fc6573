"""Logging in and out, and how often a password may be tried.

Every try counts, before the password is looked at: tries at the same moment cannot pass together. The name is counted
whether anybody has it or not, so that an answer does not tell. A name that somebody else tries out is closed for its
owner too, for a few minutes: that is the price of guesses that come from many addresses.
"""

import hashlib
import logging
import math
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Form, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from imagesync_pipelines.storage.rate_budget import Window, take
from imagesync_pipelines.web.catalogue import access
from imagesync_pipelines.web.catalogue.admin.sessions import (
    HOME,
    begin_session,
    end_session,
    go_on,
    own_path,
    private_page,
    visitor,
)
from imagesync_pipelines.web.catalogue.pages.rendering import Here

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

LONGEST_NAME, LONGEST_PATH = 100, 2000
WRONG = "Name or password is wrong."


class LoginForm(BaseModel):
    """What a person types, and where they wanted to go; the password is never written into a page."""

    name: str = Field("", max_length=LONGEST_NAME)
    password: str = Field("", max_length=access.LONGEST_PASSWORD)
    next: str = Field("", max_length=LONGEST_PATH)


@router.get("/login", name="login")
def login(request: Request, next: Annotated[str, Query(max_length=LONGEST_PATH)] = "") -> Response:
    """The form; who is logged in goes on at once."""
    if visitor(request) is not None:
        return go_on(own_path(next))
    return _form(request, next)


@router.post("/login", name="log_in")
def log_in(request: Request, opened: Here, form: Annotated[LoginForm, Form()]) -> Response:
    """Let a person in, or say that name or password is wrong, whichever it was."""
    address = request.client.host if request.client else ""
    wait = seconds_to_wait(opened.engine, form.name, address, opened.clock().timestamp())
    if wait:
        log.warning("too many tries to log in from %s", address)
        sentence = f"Too many tries. Wait {-(-wait // 60)} minutes, then try again."
        return _form(request, form.next, sentence, 429, {"Retry-After": str(wait)})
    user = access.log_in(opened.engine, form.name, form.password)
    if user is None:
        log.warning("a try to log in from %s failed", address)
        return _form(request, form.next, WRONG, 401)
    begin_session(request, user)
    log.info("%s logged in from %s", user.name, address)
    return go_on(own_path(form.next))


@router.post("/logout", name="log_out")
def log_out(request: Request, opened: Here) -> Response:
    """End this person's sessions, those in other browsers included: a copied cookie is worth nothing afterwards."""
    user = visitor(request)
    if user is not None:
        access.end_sessions(opened.engine, user.id)
        log.info("%s logged out", user.name)
    end_session(request)
    return go_on(HOME)


def _form(
    request: Request, wanted: str, wrong: str = "", status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    context = {"next": own_path(wanted), "wrong": wrong}
    return private_page(request, "admin/login.html", context, status=status, headers=headers)


_SECONDS = 15 * 60
BY_NAME = Window(10, _SECONDS)
BY_ADDRESS = Window(30, _SECONDS)


def seconds_to_wait(engine: sa.Engine, name: str, address: str, now: float) -> int:
    """Count one try at logging in; 0 when it may go on, else the seconds until the next may. `now`: since 1970."""
    # The address first: whoever is stopped there does not count against the name.
    for kind, value, window in (("address", address, BY_ADDRESS), ("name", name, BY_NAME)):
        # People type passwords into the field of the name: what was typed is not kept.
        hidden = hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:32]
        wait = take(engine, f"catalogue:login:{kind}:{hidden}", (window,), now)
        if wait:
            return math.ceil(wait)
    return 0
