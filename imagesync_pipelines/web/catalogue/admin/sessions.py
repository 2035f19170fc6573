"""Logging in and out, who is at the other end of a request, and what their role lets them do.

A session holds the person's id and the epoch of their sessions, signed; whether they may still come in is asked of the
database at every request. So a person who is disabled, or who logged out, is out everywhere at once.

Wrong passwords are counted by name and address, whether anybody has the name or not: an answer does not tell, and what
strangers try makes nobody else wait (storage/wrong_logins.py).
"""

import hmac
import logging
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError, TimeoutError
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from imagesync_pipelines.storage.schema_catalogue import wrong_login
from imagesync_pipelines.storage.wrong_logins import WrongLogins
from imagesync_pipelines.web.catalogue import access
from imagesync_pipelines.web.catalogue.access import User, UserRole
from imagesync_pipelines.web.catalogue.pages.rendering import Headers, Here, opened_of, render
from imagesync_pipelines.web.logins import TooManyTriesError, address_of, let_in

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

_USER, _EPOCH, _CSRF, _TOLD = "user", "epoch", "csrf", "told"
_CSRF_BYTES = 32
NO_STORE = {"Cache-Control": "no-store"}
HOME = "/"
# A form has a few fields; the list of chosen items in quarantine is the longest.
_MOST_FIELDS = 1000
_LONGEST_PATH = 2000


class LoginNeededError(Exception):
    """Nobody is logged in, and the page is for people who are."""


class LoginForm(BaseModel):
    """What a person types, and where they wanted to go; the password is never written into a page."""

    name: str = Field("", max_length=100)
    password: str = Field("", max_length=access.LONGEST_PASSWORD)
    next: str = Field("", max_length=_LONGEST_PATH)


@router.get("/login", name="login")
def login(request: Request, next: Annotated[str, Query(max_length=_LONGEST_PATH)] = "") -> Response:
    """The form; who is logged in goes on at once."""
    if visitor(request) is not None:
        return go_on(own_path(next))
    return _form(request, next)


@router.post("/login", name="log_in")
async def log_in(request: Request, opened: Here, form: Annotated[LoginForm, Form()]) -> Response:
    """Let a person in, or say that name or password is wrong, whichever it was."""
    address = address_of(request)
    tries, check = (
        WrongLogins(opened.engine, wrong_login),
        partial(access.log_in, opened.engine, form.name, form.password),
    )
    try:
        user = await let_in(tries, form.name, address, opened.clock(), check)
    except TooManyTriesError as error:
        log.warning("too many tries to log in from %s", address)
        sentence, retry = f"Too many tries. Wait {error.seconds} seconds, then try again.", str(error.seconds)
        return await run_in_threadpool(_form, request, form.next, sentence, 429, {"Retry-After": retry})
    if user is None:
        log.warning("a try to log in from %s failed", address)
        return await run_in_threadpool(_form, request, form.next, "Name or password is wrong.", 401)
    # Nothing of an earlier session is kept, so that nobody can have prepared it.
    request.session.clear()
    request.session.update({_USER: user.id, _EPOCH: user.session_epoch, _CSRF: secrets.token_urlsafe(_CSRF_BYTES)})
    request.state.visitor = user
    log.info("%s logged in from %s", user.name, address)
    return go_on(own_path(form.next))


@router.post("/logout", name="log_out")
def log_out(request: Request, opened: Here) -> Response:
    """End this person's sessions, those in other browsers included: a copied cookie is worth nothing afterwards."""
    user = visitor(request)
    if user is not None:
        access.end_sessions(opened.engine, user.id)
        log.info("%s logged out", user.name)
    request.session.clear()
    request.state.visitor = None
    return go_on(HOME)


def _form(
    request: Request, wanted: str, wrong: str = "", status: int = 200, headers: Headers | None = None
) -> Response:
    context = {"next": own_path(wanted), "wrong": wrong}
    return private_page(request, "admin/login.html", context, status=status, headers=headers)


def csrf_token(request: Request) -> str:
    """What every form of this session carries, made when it is first needed."""
    token: str = request.session.setdefault(_CSRF, secrets.token_urlsafe(_CSRF_BYTES))
    return token


def tell(request: Request, sentence: str) -> None:
    """Show a sentence on the next page that this browser opens."""
    request.session[_TOLD] = sentence


def told(request: Request) -> str:
    """The sentence to show, once."""
    return str(request.session.pop(_TOLD, ""))


def visitor(request: Request) -> User | None:
    """The person who is logged in; None for everybody else. The database is asked once per request."""
    if not hasattr(request.state, "visitor"):
        of = request.session
        known = access.user_of_session(opened_of(request).engine, of[_USER], of[_EPOCH]) if _USER in of else None
        request.state.visitor = known
    user: User | None = request.state.visitor
    return user


def shown_visitor(request: Request) -> User | None:
    """The same for the frame of a page, which is also shown where something broke, the database included."""
    try:
        return visitor(request) if "session" in request.scope else None
    except (OperationalError, TimeoutError):
        return None


def _viewer(request: Request) -> User:
    user = visitor(request)
    if user is None:
        raise LoginNeededError
    return user


def _admin(user: Annotated[User, Depends(_viewer)]) -> User:
    if user.role is not UserRole.ADMIN:
        raise HTTPException(403, f"{user.name} may look at everything, but not change it. Ask somebody who may.")
    return user


Viewer = Annotated[User, Depends(_viewer)]
"""A route's parameter of this type lets in everybody who is logged in."""

Admin = Annotated[User, Depends(_admin)]
"""A route's parameter of this type lets in those who may change things."""


async def from_our_form(request: Request) -> None:
    """Refuse what changes something and does not carry this session's token, as only our own forms do.

    HTMX sends the fields of the form as well, so its requests pass the same check.
    """
    if request.method in {"GET", "HEAD"}:
        return
    form = await request.form(max_files=0, max_fields=_MOST_FIELDS)
    sent = form.get(_CSRF)
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), csrf_token(request).encode()):
        raise HTTPException(403, "This form is too old, or it is not ours. Go back, reload the page and try again.")


def private_page(
    request: Request, name: str, context: Mapping[str, Any], *, status: int = 200, headers: Headers | None = None
) -> Response:
    """A page for this person alone: neither a browser nor anything between keeps it."""
    return render(request, name, context, status=status, headers={**NO_STORE, **(headers or {})})


def go_on(path: str) -> Response:
    """After a form the browser asks for a page, so that reloading does not send the form again."""
    return RedirectResponse(path, 303, headers=NO_STORE)


def own_path(text: str) -> str:
    """The path when it is one of ours, else the list of products: nobody is sent to another site after logging in."""
    is_path = text.startswith("/") and not text.startswith("//")
    # Browsers read a backslash as a slash, and leave control characters out.
    is_plain = "\\" not in text and all(" " <= letter < "\x7f" for letter in text)
    return text if is_path and is_plain else HOME
