"""Who is at the other end: sessions of people who logged in, and what their role lets them do.

A session holds the person's id and the epoch of their sessions, signed; whether they may still come in is asked of the
database at every request. So a person who is disabled, or who logged out, is out everywhere at once.
"""

import hmac
import secrets
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from sqlalchemy.exc import OperationalError, TimeoutError
from starlette.responses import RedirectResponse, Response

from imagesync_pipelines.web.catalogue.access import User, UserRole, user_of_session
from imagesync_pipelines.web.catalogue.pages.rendering import opened_of, render

_USER, _EPOCH, _CSRF, _TOLD = "user", "epoch", "csrf", "told"
_CSRF_BYTES = 32
NO_STORE = {"Cache-Control": "no-store"}
HOME = "/"
# A form has a few fields; the list of chosen items in quarantine is the longest.
_MOST_FIELDS = 1000


class LoginNeededError(Exception):
    """Nobody is logged in, and the page is for people who are."""


def begin_session(request: Request, user: User) -> None:
    """Log a person in: nothing of an earlier session is kept, so that nobody can have prepared it."""
    request.session.clear()
    request.session.update({_USER: user.id, _EPOCH: user.session_epoch, _CSRF: secrets.token_urlsafe(_CSRF_BYTES)})
    request.state.visitor = user


def end_session(request: Request) -> None:
    """Forget everything about this browser."""
    request.session.clear()
    request.state.visitor = None


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
        known = user_of_session(opened_of(request).engine, of[_USER], of[_EPOCH]) if _USER in of else None
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
    request: Request,
    name: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
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
