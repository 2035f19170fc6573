"""Login with Amazon, the image host, and fetching as Plytix's stand-in does."""

import base64
import json
import secrets
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import parse_qs, urljoin, urlsplit

import requests
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from imagesync_pipelines.sandbox.amazon.listings import Shelf
from imagesync_pipelines.sandbox.amazon.pictures import draw, read_name
from imagesync_pipelines.sandbox.answers import CalledPlace, FetchedFile
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.server import LOOPBACK

TOKEN = "token"
TOKEN_PATH = "/auth/o2/token"
LIFE = timedelta(hours=1)


@dataclass(frozen=True)
class Application:
    """The one application that is registered, and the seller's consent to it."""

    client_id: str
    client_secret: str = field(repr=False)
    refresh_token: str = field(repr=False)


@dataclass
class AccessTokens:
    """The access tokens that were issued. Safe between threads."""

    clock: SandboxClock
    _ends: dict[str, datetime] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def issue(self) -> str:
        """A new token, good for an hour of the sandbox's clock; older ones stay good."""
        token = f"Atza|{secrets.token_urlsafe(48)}"
        with self._lock:
            self._ends[token] = self.clock.now() + LIFE
        return token

    def problem(self, token: str | None) -> str:
        """Why the token does not open the catalogue now, in the API's words; nothing when it does."""
        if token is None:
            return "Access token is missing in the request header."
        with self._lock:
            ends = self._ends.get(token)
        if ends is None:
            return "The access token you provided is revoked, malformed or invalid."
        return "" if self.clock.now() < ends else "The access token you provided has expired."

    def revoke(self) -> None:
        """No token issued so far opens anything from now on: a 403 in the middle of a run."""
        with self._lock:
            self._ends.clear()


def token_app(application: Application, tokens: AccessTokens) -> Starlette:
    """The app of the token host."""

    async def token(request: Request) -> Response:
        form = _fields(await request.body(), request.headers.get("content-type", ""))
        problem = _problem(form, application)
        if problem is not None:
            status, name, description = problem
            return JSONResponse({"error": name, "error_description": description}, status)
        return JSONResponse(
            {
                "access_token": tokens.issue(),
                "refresh_token": application.refresh_token,
                "token_type": "bearer",
                "expires_in": int(LIFE.total_seconds()),
            }
        )

    return Starlette(routes=[Route(TOKEN_PATH, token, methods=["POST"])])


def token_place(scope: Scope) -> CalledPlace:
    """For the ledger and the faults."""
    return TOKEN, ""


def _fields(body: bytes, content_type: str) -> dict[str, str]:
    """What was sent: a form, as the documents say, or JSON, as Amazon's own clients send it."""
    if not content_type.startswith("application/json"):
        return {name: values[-1] for name, values in parse_qs(body.decode("latin-1")).items()}
    try:
        sent = json.loads(body)
    except ValueError:
        return {}
    return {name: value for name, value in sent.items() if isinstance(value, str)} if isinstance(sent, dict) else {}


def _problem(form: dict[str, str], application: Application) -> tuple[int, str, str] | None:
    """The status and the OAuth error for a request that gets no token."""
    if (form.get("client_id"), form.get("client_secret")) != (application.client_id, application.client_secret):
        return (401, "invalid_client", "Client authentication failed")
    if form.get("grant_type") != "refresh_token":
        return (400, "unsupported_grant_type", "The authorization grant type is not supported")
    if form.get("refresh_token") != application.refresh_token:
        return (400, "invalid_grant", "The request has an invalid grant parameter : refresh_token")
    return None


IMAGE, OTHER = "image", "image host"
IMAGE_PATH, LEGACY_IMAGE_PATH = "/images/I/", "/images/P/"
TINY_GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
# Drawings that are kept, at some 100 kB each; a picture is often asked for twice.
KEPT = 200
ONE_YEAR = "max-age=31536000,public"


def image_host_app(shelf: Shelf) -> Starlette:
    """The app; it answers under any host name, because the real aliases all show the same."""
    drawn = lru_cache(maxsize=KEPT)(draw)

    async def image(request: Request) -> Response:
        # Decoded by the server: %2B is a plus here, and a plus is a plus.
        named = read_name(request.path_params["name"])
        picture = None if named is None else shelf.picture(named[0])
        if named is None or picture is None or named[2] != picture.extension:
            return Response(b"", HTTPStatus.NOT_FOUND, media_type="image/jpeg")
        content, media_type = await run_in_threadpool(drawn, picture, named[1])
        return Response(content, media_type=media_type, headers={"Cache-Control": ONE_YEAR, "X-Cache": "Hit"})

    async def legacy(request: Request) -> Response:
        return Response(TINY_GIF, media_type="image/gif")

    return Starlette(
        routes=[Route(IMAGE_PATH + "{name:path}", image), Route(LEGACY_IMAGE_PATH + "{name:path}", legacy)]
    )


def image_place(scope: Scope) -> CalledPlace:
    """For the ledger and the faults: an image and its id; the name of the file when it has none."""
    path = str(scope["path"])
    if not path.startswith(IMAGE_PATH):
        return OTHER, path
    name = path.removeprefix(IMAGE_PATH)
    named = read_name(name)
    return IMAGE, name if named is None else named[0]


ALIASES = (
    "m.media-amazon.com",
    "images-na.ssl-images-amazon.com",
    "images-eu.ssl-images-amazon.com",
    "images-fe.ssl-images-amazon.com",
    "ecx.images-amazon.com",
    "g-ecx.images-amazon.com",
)
SECONDS, REDIRECTS = 30, 6


def fetch_from(images_url: str, url: str) -> FetchedFile:
    """Get an address of Amazon's from the image host at `images_url`, or any address on loopback.

    Raises OSError (as requests does) when no whole answer came, and for every other host: nothing leaves this machine.
    """
    for _ in range(REDIRECTS):
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError as error:
            raise OSError(f"{url} is not an address") from error
        if host not in (*ALIASES, LOOPBACK, "localhost"):
            raise OSError(f"{host} is not in the sandbox")
        query = f"?{parts.query}" if parts.query else ""
        where = f"{images_url}{parts.path}{query}" if host in ALIASES else url
        answer = requests.get(where, timeout=SECONDS, allow_redirects=False)
        if not answer.is_redirect:
            return FetchedFile(answer.status_code, answer.headers.get("Content-Type", ""), answer.content)
        url = urljoin(url, answer.headers["Location"])
    raise OSError(f"{url}: too many redirects")
