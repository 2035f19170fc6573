"""Logging in and out, who is at the other end of a request, and what their role lets them do.

A session holds the person's id and the epoch of their sessions, signed; whether they may still come in is asked of the
database at every request. So a person who is disabled, or who logged out, is out everywhere at once.

Whoever came in at the identity provider has a session there too, which it is asked about from time to time (oidc/).

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

from imagesync_pipelines.languages import _, ngettext
from imagesync_pipelines.storage.schema_catalogue import wrong_login
from imagesync_pipelines.storage.wrong_logins import WrongLogins
from imagesync_pipelines.web.catalogue import access
from imagesync_pipelines.web.catalogue.access import User, UserRole
from imagesync_pipelines.web.catalogue.admin.many import LARGEST_FORM, MOST_FIELDS
from imagesync_pipelines.web.catalogue.pages.rendering import Headers, Here, opened_of, render
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.logins import TooManyTriesError, address_of, let_in

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

_USER, _EPOCH, _CSRF, _TOLD, _OIDC = "user", "epoch", "csrf", "told", "oidc"
_CSRF_BYTES = 32
NO_STORE = {"Cache-Control": "no-store"}
HOME = "/"
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
        return go_on(own_path(next, dagsters(request)))
    return login_form(request, next, getattr(request.state, "unconfirmed", ""))


@router.post("/login", name="log_in")
async def log_in(request: Request, opened: Here, form: Annotated[LoginForm, Form()]) -> Response:
    """Let a person in, or say that name or password is wrong, whichever it was."""
    address = address_of(request)
    # A name whose password is not good here is answered as one that nobody has.
    name = form.name if _takes_password_of(opened, form.name) else ""
    tries, check = (WrongLogins(opened.engine, wrong_login), partial(access.log_in, opened.engine, name, form.password))
    try:
        user = await let_in(tries, form.name, address, opened.clock(), check)
    except TooManyTriesError as error:
        log.warning("too many tries to log in from %s", address)
        retry = str(error.seconds)
        sentence = ngettext(
            "Too many tries. Wait {n} second, then try again.",
            "Too many tries. Wait {n} seconds, then try again.",
            error.seconds,
        ).format(n=error.seconds)
        return await run_in_threadpool(login_form, request, form.next, sentence, 429, {"Retry-After": retry})
    if user is None:
        log.warning("a try to log in from %s failed", address)
        return await run_in_threadpool(login_form, request, form.next, _("Name or password is wrong."), 401)
    begin_session(request, user.id, user.session_epoch)
    request.state.visitor = user
    log.info("%s logged in from %s", user.name, address)
    return go_on(own_path(form.next, dagsters(request)))


@router.post("/logout", name="log_out")
def log_out(request: Request, opened: Here) -> Response:
    """End this person's sessions, those in other browsers included: a copied cookie is worth nothing afterwards."""
    user, elsewhere = visitor(request), ""
    if user is not None:
        access.end_sessions(opened.engine, user.id)
        if opened.oidc is not None and user.issuer is not None:
            elsewhere = opened.oidc.end(user, request.session.get(_OIDC))
        log.info("%s logged out", user.name)
    request.session.clear()
    request.state.visitor = None
    if not elsewhere or opened.oidc is None:
        return go_on(HOME)
    # No redirect: a form of ours may lead to pages of ours only, and browsers hold its redirects to that.
    context = {"elsewhere": elsewhere, "provider": opened.oidc.settings.name}
    return private_page(request, "admin/signed_out.html", context, headers={"Refresh": f"0;url={elsewhere}"})


@router.get("/login/check", name="check")
def check(request: Request) -> Response:
    """What a proxy asks before it lets somebody into Dagster's UI: 204 for an admin, else 401 or 403."""
    user = visitor(request)
    if user is None:
        return Response(status_code=401, headers=NO_STORE)
    return Response(status_code=204 if user.role is UserRole.ADMIN else 403, headers=NO_STORE)


def begin_session(request: Request, user_id: int, epoch: int, oidc_session: int | None = None) -> None:
    """Let a browser in. Nothing of an earlier session is kept, so that nobody can have prepared it."""
    request.session.clear()
    request.session.update({_USER: user_id, _EPOCH: epoch, _CSRF: secrets.token_urlsafe(_CSRF_BYTES)})
    if oidc_session is not None:
        request.session[_OIDC] = oidc_session


def login_form(
    request: Request, wanted: str, wrong: str = "", status: int = 200, headers: Headers | None = None
) -> Response:
    oidc = opened_of(request).oidc
    context = {"next": own_path(wanted, dagsters(request)), "wrong": wrong, "oidc": oidc.settings if oidc else None}
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
    """The person who is logged in; None for everybody else. The database is asked once per request.

    The identity provider may be asked too, which takes seconds where it is slow: not to be called in the event loop.
    """
    if not hasattr(request.state, "visitor"):
        request.state.visitor = _known(request, may_ask=True)
    user: User | None = request.state.visitor
    return user


def _known(request: Request, *, may_ask: bool) -> User | None:
    opened, of = opened_of(request), request.session
    user = access.user_of_session(opened.engine, of[_USER], of[_EPOCH]) if _USER in of else None
    if user is None:
        return None
    if user.issuer is None:
        return user if _takes_password_of(opened, user.name) else None
    if opened.oidc is None:
        return None
    goes_on, why = opened.oidc.goes_on(user, of.get(_OIDC), may_ask=may_ask)
    request.state.unconfirmed = why
    # The provider may have said that this person may do more or less now.
    return access.user_of_session(opened.engine, of[_USER], of[_EPOCH]) if goes_on else None


def _takes_password_of(opened: Opened, name: str) -> bool:
    return opened.oidc is None or opened.oidc.settings.takes_password_of(name)


def shown_visitor(request: Request) -> User | None:
    """The same for the frame of a page, which is also shown where something broke, the database included."""
    try:
        if hasattr(request.state, "visitor"):
            return visitor(request)
        return _known(request, may_ask=False) if "session" in request.scope else None
    except (OperationalError, TimeoutError):
        return None


def _viewer(request: Request) -> User:
    user = visitor(request)
    if user is None:
        raise LoginNeededError
    return user


def _admin(user: Annotated[User, Depends(_viewer)]) -> User:
    if user.role is not UserRole.ADMIN:
        said = _("{name} may look at everything, but not change it. Ask somebody who may.")
        raise HTTPException(403, said.format(name=user.name))
    return user


Viewer = Annotated[User, Depends(_viewer)]
"""A route's parameter of this type lets in everybody who is logged in."""

Admin = Annotated[User, Depends(_admin)]
"""A route's parameter of this type lets in those who may change things."""


async def from_our_form(request: Request) -> None:
    """Refuse what changes something and does not carry this session's token, as only our own forms do.

    HTMX sends the fields of the form as well, so its requests pass the same check. A form that has fields for its route
    was read before, within the same limits (app.py).
    """
    if request.method in {"GET", "HEAD"}:
        return
    form = await request.form(max_files=0, max_fields=MOST_FIELDS, max_part_size=LARGEST_FORM)
    sent = form.get(_CSRF)
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), csrf_token(request).encode()):
        raise HTTPException(403, _("This form is too old, or it is not ours. Go back, reload the page and try again."))


def private_page(
    request: Request, name: str, context: Mapping[str, Any], *, status: int = 200, headers: Headers | None = None
) -> Response:
    """A page for this person alone: neither a browser nor anything between keeps it."""
    return render(request, name, context, status=status, headers={**NO_STORE, **(headers or {})})


def go_on(path: str) -> Response:
    """After a form the browser asks for a page, so that reloading does not send the form again."""
    return RedirectResponse(path, 303, headers=NO_STORE)


def own_path(text: str, dagsters: str = "") -> str:
    """The path when it is one of ours, else the list of products: nobody is sent to another site after logging in.

    dagsters: the address of Dagster's UI, where one login opens it too: addresses below it are ours as well.
    """
    is_path = text.startswith("/") and not text.startswith("//")
    is_dagsters = dagsters != "" and text.startswith(dagsters)
    # Browsers read a backslash as a slash, and leave control characters out.
    is_plain = "\\" not in text and all(" " <= letter < "\x7f" for letter in text)
    return text if (is_path or is_dagsters) and is_plain else HOME


def way_in(request: Request) -> str:
    """Where a person goes to log in: straight to the provider when the last session was one of its, and it answers."""
    is_away = getattr(request.state, "unconfirmed", "") != ""
    through = opened_of(request).oidc is not None and _OIDC in request.session and not is_away
    return str(request.app.url_path_for("oidc_begin" if through else "login"))


def dagsters(request: Request) -> str:
    """Where people open Dagster's UI, when the cookie of our sessions goes there too; '' when it does not."""
    opened = opened_of(request)
    return f"{opened.shared.webserver_url.rstrip('/')}/" if opened.settings.cookie_domain else ""
