"""The menu of languages at the foot of every page: what somebody chooses is kept in their browser."""

from typing import Annotated, Literal

from fastapi import APIRouter, Form
from starlette.responses import Response

from imagesync_pipelines.web.catalogue.admin.sessions import go_on, own_path
from imagesync_pipelines.web.catalogue.pages.rendering import Here
from imagesync_pipelines.web.languages import COOKIE, COOKIE_SECONDS

router = APIRouter(include_in_schema=False)


@router.post("/language", name="choose_language")
def choose_language(
    opened: Here,
    language: Annotated[Literal["en", "de", "ru", "id"], Form()],
    back: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Speak a language to this browser from now on, and go back; it is no secret, and changes nothing but words."""
    answer = go_on(own_path(back))
    secure = opened.shared.environment == "production"
    answer.set_cookie(COOKIE, language, max_age=COOKIE_SECONDS, secure=secure, httponly=True, samesite="lax")
    return answer
