"""The way to the provider and back, and its word that somebody signed out there.

What the answer is compared with is in the browser's own session, which is signed: nobody comes in by an answer that
another browser asked for, and by none a second time.
"""

import logging
import time
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from imagesync_pipelines.languages import N_
from imagesync_pipelines.web.catalogue.admin.sessions import (
    HOME,
    NO_STORE,
    begin_session,
    dagsters,
    go_on,
    login_form,
    own_path,
    visitor,
)
from imagesync_pipelines.web.catalogue.oidc.login import LoginRefusedError, OidcLogin
from imagesync_pipelines.web.catalogue.oidc.provider import ProviderRefusedError, ProviderSilentError
from imagesync_pipelines.web.catalogue.oidc.settings import CALLBACK
from imagesync_pipelines.web.catalogue.pages.rendering import Here, opened_of
from imagesync_pipelines.web.logins import address_of

router = APIRouter()
# Without the check of our forms: what comes here comes from the provider, and proves it.
provider_router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

_BEGUN = "oidc_begun"
# A cookie has 4 KB: a few tabs at once, and no longer addresses than people have.
_MOST_BEGUN, _LONGEST_NEXT = 3, 400
_SECONDS_TO_SIGN_IN = 900
_LONGEST = 4000
_CANCELLED = {"access_denied": N_("The sign-in was cancelled.")}
_NOBODY = N_("{provider} let nobody in.")
USED_UP = N_("This sign-in was begun too long ago, in another browser, or is used up. Sign in once more.")


@router.get("/login/oidc", name="oidc_begin")
def begin(request: Request, next: Annotated[str, Query(max_length=2000)] = "") -> Response:
    """Send a person to the provider; who is logged in goes on at once."""
    wanted = own_path(next, dagsters(request))
    if visitor(request) is not None:
        return go_on(wanted)
    try:
        begun = _login(request).begin()
    except LoginRefusedError as error:
        return login_form(request, wanted, str(error), 503)
    before = {state: one for state, one in _begun(request).items() if time.time() - one["at"] < _SECONDS_TO_SIGN_IN}
    newest = dict(sorted(before.items(), key=lambda one: float(one[1]["at"]))[1 - _MOST_BEGUN :])
    request.session[_BEGUN] = newest | {
        begun.state: {
            "nonce": begun.nonce,
            "verifier": begun.code_verifier,
            "next": wanted if len(wanted) <= _LONGEST_NEXT else HOME,
            "at": int(time.time()),
        }
    }
    return RedirectResponse(begun.url, 303, headers=NO_STORE)


@router.get(CALLBACK, name="oidc_callback")
def callback(
    request: Request,
    opened: Here,
    state: Annotated[str, Query(max_length=_LONGEST)] = "",
    code: Annotated[str, Query(max_length=_LONGEST)] = "",
    iss: Annotated[str | None, Query(max_length=_LONGEST)] = None,
    error: Annotated[str, Query(max_length=_LONGEST)] = "",
) -> Response:
    """Let in whom the provider sends, when this browser asked for it."""
    login, begun = _login(request), _begun(request)
    asked = begun.pop(state, None)
    request.session[_BEGUN] = begun
    if asked is None or time.time() - asked["at"] > _SECONDS_TO_SIGN_IN:
        return login_form(request, HOME, USED_UP, 400)
    wanted = own_path(str(asked["next"]), dagsters(request))
    if not code:
        log.warning("the provider let nobody in: %.100s", error)
        said = _CANCELLED.get(error, _NOBODY.format(provider=login.settings.name))
        return login_form(request, wanted, said, 401)
    try:
        user_id, epoch, session_id = login.finish(code, str(asked["nonce"]), str(asked["verifier"]), iss)
    except LoginRefusedError as refused:
        return login_form(request, wanted, str(refused), 403)
    begin_session(request, user_id, epoch, session_id)
    user = visitor(request)
    log.info("%s logged in at %s from %s", user.name if user else "somebody", login.settings.name, address_of(request))
    return go_on(wanted)


@provider_router.post("/login/oidc/logout", name="oidc_logout")
def logout(request: Request, logout_token: Annotated[str, Form(max_length=16_000)] = "") -> Response:
    """The provider says that somebody signed out there, by a token that it signed (Back-Channel Logout)."""
    try:
        _login(request).hear_logout(logout_token)
    except ProviderRefusedError as error:
        log.warning("a word of logout was not good: %s", error)
        return Response("this token is not good", 400, headers=NO_STORE, media_type="text/plain")
    except ProviderSilentError as error:
        log.warning("a word of logout could not be checked: %s", error)
        return Response("its keys could not be read", 503, headers=NO_STORE, media_type="text/plain")
    return Response(status_code=200, headers=NO_STORE)


def _login(request: Request) -> OidcLogin:
    login = opened_of(request).oidc
    if login is None:  # pragma: no cover - the routes are there with it only
        raise RuntimeError("no provider is set")
    return login


def _begun(request: Request) -> dict[str, Any]:
    found = request.session.get(_BEGUN)
    return dict(found) if isinstance(found, dict) else {}
