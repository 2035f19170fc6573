"""People who may sign in: added, given another role or a new password, let in no more, as `imagesync user` does it."""

import logging
from typing import Annotated

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from imagesync_pipelines.languages import N_, _, retold
from imagesync_pipelines.web.catalogue import access
from imagesync_pipelines.web.catalogue.access import AccessRefusedError, User, UserRole
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, go_on, private_page, tell
from imagesync_pipelines.web.catalogue.pages.rendering import Here, RowId
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.service import Text

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

OWN = N_("Nobody changes their own role, or disables themselves: ask another admin. Nothing was changed.")


class NewUser(BaseModel):
    """Who is to be added."""

    name: Annotated[Text, Field(max_length=100)] = ""
    role: UserRole = UserRole.VIEWER


@router.get("/admin/users", name="users")
def users(request: Request, opened: Here, who: Admin) -> Response:
    """Everybody, with role and last sign-in."""
    return _page(request, opened, who)


@router.post("/admin/users", name="add_user")
def add(request: Request, opened: Here, who: Admin, form: Annotated[NewUser, Form()]) -> Response:
    """Add somebody; the password that is made is on this page, once: it goes through no redirect and no cookie."""
    try:
        user, password = access.add_user(opened.engine, form.name.strip(), form.role)
    except AccessRefusedError as error:
        return _page(request, opened, who, form=form, wrong=str(error))
    log.info("%s added the user %s as %s", who.name, user.name, user.role)
    return _page(request, opened, who, made=(user, password))


@router.post("/admin/users/{user_id}/password", name="new_password")
def new_password(request: Request, opened: Here, who: Admin, user_id: RowId) -> Response:
    """Give somebody a new password, which is on this page, once; it ends their sessions, and lets them in again."""
    user, password = access.give_password(opened.engine, user_id)
    log.info("%s gave the user %s a new password", who.name, user.name)
    return _page(request, opened, who, made=(user, password))


@router.post("/admin/users/{user_id}/role", name="change_role")
def change_role(
    request: Request, opened: Here, who: Admin, user_id: RowId, role: Annotated[UserRole, Form()]
) -> Response:
    """Let somebody do more or less."""
    _not_oneself(who, user_id)
    user = access.set_role(opened.engine, user_id, role)
    log.info("%s made the user %s %s", who.name, user.name, user.role)
    tell(request, _("{name} is {role} now.").format(name=user.name, role=retold(user.role)))
    return go_on(str(request.app.url_path_for("users")))


@router.post("/admin/users/{user_id}/disable", name="disable_user")
def disable(request: Request, opened: Here, who: Admin, user_id: RowId) -> Response:
    """Let somebody in no more, at once."""
    _not_oneself(who, user_id)
    user = access.disable_by_id(opened.engine, user_id)
    log.info("%s disabled the user %s", who.name, user.name)
    tell(request, _("{name} may not sign in any more. What {name} chose stays.").format(name=user.name))
    return go_on(str(request.app.url_path_for("users")))


@router.post("/admin/users/{user_id}/enable", name="enable_user")
def enable(request: Request, opened: Here, who: Admin, user_id: RowId) -> Response:
    """Let somebody of the identity provider sign in there again."""
    user = access.enable_by_id(opened.engine, user_id)
    log.info("%s let the user %s in again", who.name, user.name)
    tell(request, _("{name} may sign in again.").format(name=user.name))
    return go_on(str(request.app.url_path_for("users")))


def _not_oneself(who: User, user_id: int) -> None:
    """Whoever is at work stays an admin, so that there is one. Raises AccessRefusedError."""
    if who.id == user_id:
        raise AccessRefusedError(OWN)


def _page(
    request: Request,
    opened: Opened,
    who: User,
    *,
    form: NewUser | None = None,
    made: tuple[User, str] | None = None,
    wrong: str = "",
) -> Response:
    context = {
        "people": access.list_users(opened.engine),
        "me": who.id,
        "roles": list(UserRole),
        "oidc": opened.oidc.settings if opened.oidc else None,
        "form": form or NewUser(),
        "made": made,
        "wrong": wrong,
    }
    return private_page(request, "admin/users.html", context, status=409 if wrong else 200)
