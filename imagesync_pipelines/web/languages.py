"""The language of a request: what a visitor chose, else what the browser asks for, else the setting."""

from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagesync_pipelines.languages import ENGLISH, chosen, speaking

COOKIE = "language"
COOKIE_SECONDS = 365 * 24 * 3600
_HTML = "text/html"
_SPOKEN = "imagesync.language"
_VARY = ("Accept-Language", "Cookie")


class Spoken:
    """Lets a request be answered in its language, and says of every page which one that is.

    setting: what is spoken to who asks for nothing (IMAGESYNC_LANGUAGE). english: what the paths begin with that are
    for programs.
    """

    def __init__(self, app: ASGIApp, setting: str = "", english: Sequence[str] = ()) -> None:
        self._app, self._setting, self._english = app, setting, tuple(english)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_for_programs = bool(self._english) and scope["path"].startswith(self._english)
        language = ENGLISH if is_for_programs else _asked_for(Headers(scope=scope), self._setting)
        scope[_SPOKEN] = language

        async def send_with_language(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith(_HTML):
                    headers.setdefault("Content-Language", language)
                    named = {one.strip().lower() for one in headers.get("vary", "").split(",")}
                    for name in _VARY:
                        if name.lower() not in named:
                            headers.add_vary_header(name)
            await send(message)

        with speaking(language):
            await self._app(scope, receive, send if is_for_programs else send_with_language)


def spoken(request: Request) -> str:
    """The language of a request, also where its answer is made outside of the middleware."""
    return str(request.scope.get(_SPOKEN, ENGLISH))


def _asked_for(headers: Headers, setting: str) -> str:
    return chosen(headers.get("accept-language", "")[:500], _choice(headers.get("cookie", "")), setting)


def _choice(cookies: str) -> str:
    if COOKIE not in cookies:
        return ""
    try:
        found = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return ""
    return found.value[:20] if found is not None else ""
