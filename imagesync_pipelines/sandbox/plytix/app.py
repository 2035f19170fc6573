"""The two hosts of Plytix over HTTP: routes, tokens and rate limits (docs/contracts/plytix.md)."""

import math
import secrets
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from urllib.parse import urlsplit

import jwt
import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from imagesync_pipelines.sandbox.answers import CalledPlace, SentReply, claims_in, replied
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import Moments
from imagesync_pipelines.sandbox.plytix import products, searches
from imagesync_pipelines.sandbox.plytix.model import PlytixSwitches, WaitNamed
from imagesync_pipelines.sandbox.plytix.pim import FILES, V1, V2, Endpoint, Pim, PimAsk, PimRefusalError, found
from imagesync_pipelines.sandbox.routes import Door, FoundDoor, find
from imagesync_pipelines.sandbox.server import LOOPBACK

# (calls, seconds) of every window.
Limits = tuple[tuple[int, int], ...]
AUTH_LIMIT = 8
MESSAGE = "API rate limit exceeded"


@dataclass
class _Window:
    limit: int
    seconds: int
    started: float = 0.0
    used: int = 0

    def has_ended(self, now: float) -> bool:
        # A clock that was moved back would otherwise stay in a window of the future.
        return not self.started <= now < self.started + self.seconds


class Spent(NamedTuple):
    """A window without calls left: its limit, its length, and the seconds until it ends."""

    limit: int
    window_size: int
    wait: float


class Windows:
    """The windows of one account. Safe between threads."""

    def __init__(self, limits: Limits, clock: SandboxClock, switches: PlytixSwitches) -> None:
        self._windows = [_Window(limit, seconds) for limit, seconds in limits]
        self._clock = clock
        self._switches = switches
        self._lock = threading.Lock()

    def hit(self, calls: int = 1) -> Spent | None:
        """Count calls in every window; the spent window that ends last, if any is spent."""
        now = self._clock.now().timestamp()
        with self._lock:
            for window in self._windows:
                if window.has_ended(now):
                    by_clock = self._switches.window_start == "clock"
                    window.started = now - now % window.seconds if by_clock else now
                    window.used = 0
                window.used += calls
            spent = [
                Spent(window.limit, window.seconds, window.started + window.seconds - now)
                for window in self._windows
                if window.used > window.limit
            ]
        return max(spent, key=lambda one: one.wait, default=None)

    def used(self) -> tuple[int, ...]:
        """The calls counted in each window that has not ended."""
        now = self._clock.now().timestamp()
        with self._lock:
            return tuple(0 if window.has_ended(now) else window.used for window in self._windows)


def too_many(spent: Spent, named: WaitNamed) -> SentReply:
    """The gateway's 429, which is not the usual envelope."""
    milliseconds = math.ceil(spent.wait * 1000)
    body = {"message": MESSAGE, "limit": spent.limit, "window_size": spent.window_size}
    ttl = {"ttl": milliseconds} if named in ("ttl", "both") else {}
    if named in ("ttl", "absent"):
        return replied({**body, **ttl}, 429)
    seconds = f"{milliseconds / 1000:.3f}" if named == "decimal" else str(math.ceil(spent.wait))
    return replied({**body, **ttl}, 429, Retry_After=seconds)


def as_limits(limits: Sequence[tuple[int, int]]) -> Limits:
    """Check the windows that somebody asked for; raises ValueError for one that has no calls or no length."""
    if any(limit < 1 or seconds < 1 for limit, seconds in limits):
        raise ValueError("a rate limit has at least one call in at least one second: (calls, seconds)")
    return tuple(limits)


LIFE_SECONDS = 900
_ALGORITHM = "HS256"


@dataclass
class PimTokens:
    """Makes and judges the tokens of one account, by the sandbox's clock."""

    clock: SandboxClock
    limits: Limits
    account_id: str
    switches: PlytixSwitches
    # A new one at every start: tokens of a run before are unverifiable, as after any change of keys.
    secret: str = field(default_factory=lambda: secrets.token_hex(32))

    def mint(self) -> str:
        """A token for 15 minutes from now."""
        now = int(self.clock.now().timestamp())
        limits = [{"limit": limit, "window_size": seconds} for limit, seconds in self.limits]
        named = {"id": self.account_id} if self.switches.token_names_account else {}
        claims = {"iat": now, "exp": now + LIFE_SECONDS, "user_claims": {"account": {"rate_limit": limits, **named}}}
        return jwt.encode(claims, self.secret, _ALGORITHM)

    def judge(self, header: str | None) -> None:
        """Accept an Authorization header or raise the 401; only the missing header's body is on record."""
        if not header:
            raise PimRefusalError(401, "Missing Authorization Header")
        scheme, _, token = header.partition(" ")
        if scheme != "Bearer":
            raise PimRefusalError(401, "Bad Authorization Header. Expected value 'Bearer <JWT>'")
        claims = claims_in(token, self.secret, _ALGORITHM)
        if claims is None:
            raise PimRefusalError(401, "Invalid token")
        if claims["exp"] <= self.clock.now().timestamp():
            raise PimRefusalError(401, "Token has expired")


TOKEN = "token"
TOKEN_PATH = "/auth/api/get-token"
NOT_UNDERSTOOD = "The browser sent a request that this server could not understand."
_HEADERS = {"ratelimit-limit": str(AUTH_LIMIT), "x-ratelimit-limit-second": str(AUTH_LIMIT)}


def auth_app(
    api_key: str, api_password: str, tokens: PimTokens, clock: SandboxClock, switches: PlytixSwitches
) -> Starlette:
    """The app; it knows one key."""
    windows = Windows(((AUTH_LIMIT, 1),), clock, switches)

    async def get_token(request: Request) -> Response:
        spent = windows.hit()
        try:
            if spent is None:
                _judge_key(await request.body(), api_key, api_password)
                # Nothing takes the refresh token; it is there because the real host sends one.
                answer = found([{"access_token": tokens.mint(), "refresh_token": secrets.token_hex(16)}])
            else:
                answer = too_many(spent, switches.wait_named)
        except PimRefusalError as refused:
            answer = refused.reply()
        return _with_headers(answer, _HEADERS)

    app = Starlette(routes=[Route(TOKEN_PATH, get_token, methods=["POST"])])
    app.router.redirect_slashes = False
    return app


def auth_place(scope: Scope) -> CalledPlace:
    """For the ledger and the faults: every call to this host is `token`."""
    return TOKEN, ""


def _judge_key(body: bytes, api_key: str, api_password: str) -> None:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PimRefusalError(400, NOT_UNDERSTOOD) from error
    if not isinstance(asked, dict) or not all(isinstance(asked.get(name), str) for name in ("api_key", "api_password")):
        raise PimRefusalError(400, NOT_UNDERSTOOD)
    if (asked["api_key"], asked["api_password"]) != (api_key, api_password):
        raise PimRefusalError(401, "Bad api_key or api_password: Credentials not valid", (("http_status_code", 401),))


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
OTHER = "other"
_NEWEST, _JOBS = "/api/v3/", "/api/v1/jobs/"
LOOPBACK_NAME = "localhost"
_PREFIXES = {"/api/v1/": V1, "/api/v2/": V2}


DOORS: tuple[Door[Endpoint], ...] = (
    Door("asset create", "POST", "assets", products.create_asset),
    Door("asset search", "POST", "assets/search", searches.search_assets),
    Door("asset get", "GET", "assets/{asset}", products.get_asset),
    Door("asset patch", "PATCH", "assets/{asset}", products.patch_asset),
    Door("asset delete", "DELETE", "assets/{asset}", products.delete_asset),
    Door("product create", "POST", "products", products.create, (V1, V2)),
    Door("product search", "POST", "products/search", searches.search_products, (V1, V2)),
    Door("product get", "GET", "products/{product}", products.get, (V1, V2)),
    Door("product patch", "PATCH", "products/{product}", products.patch, (V1, V2)),
    Door("product delete", "DELETE", "products/{product}", products.delete, (V1, V2)),
    Door("link", "POST", "products/{product}/assets", products.link, (V1, V2)),
    Door("product assets", "GET", "products/{product}/assets", products.linked, (V1, V2)),
    Door("product asset", "GET", "products/{product}/assets/{asset}", products.linked_one, (V1, V2)),
    Door("unlink", "DELETE", "products/{product}/assets/{asset}", products.unlink, (V1, V2)),
    Door("variants", "GET", "products/{product}/variants", products.variants, (V1, V2)),
    Door("variant create", "POST", "products/{product}/variants", products.create_variant, (V1, V2)),
)


# They hold the account for a part of their work only: one fetches, the other may lose an update.
_THEIR_OWN_LOCK = (products.create_asset, products.link)


def pim_app(pim: Pim, tokens: PimTokens, windows: Windows, moments: Moments) -> Starlette:
    """The app of the PIM host; files are shown without token and limit, as from a CDN."""

    async def api(request: Request) -> Response:
        body = await request.body()
        answer = await run_in_threadpool(_answer, pim, tokens, windows, moments, request, body)
        notice = pim.switches.deprecation
        return _with_headers(answer, {} if notice is None else {"X-Plytix-Deprecation": notice})

    def file(request: Request) -> Response:
        with pim.account.lock:
            asset = pim.account.asset(request.path_params["asset"])
        if asset is None or asset.filename != request.path_params["filename"]:
            return Response(b"", 404)
        return Response(asset.content, media_type=asset.content_type)

    app = Starlette(
        routes=[
            Route(FILES + "{account}/images/{folder}/{asset}/{filename}", file),
            Route(FILES + "{account}/images/{folder}/thumb/{asset}/{filename}", file),
            Route("/{path:path}", api, methods=METHODS),
        ]
    )
    app.router.redirect_slashes = False
    return app


def pim_place(scope: Scope) -> CalledPlace | None:
    """For the ledger and the faults: the endpoint and the first id of its path; files are not seen."""
    path = str(scope["path"])
    if path.startswith(FILES):
        return None
    met = _find(str(scope["method"]), path)
    if met is None:
        return OTHER, path
    return met[1].door.name, next(iter(met[1].ids.values()), "")


def _answer(
    pim: Pim, tokens: PimTokens, windows: Windows, moments: Moments, request: Request, body: bytes
) -> SentReply:
    """The answer to one call: the limit is looked at first, then the slash, the token and the path."""
    spent = windows.hit()
    if spent is not None:
        return too_many(spent, pim.switches.wait_named)
    path = request.url.path
    if path.startswith(_NEWEST):
        return replied({"message": "name resolution failed"}, 503)
    if path.endswith("/"):
        return SentReply(308, headers={"Location": _without_slash(pim, request)})
    try:
        tokens.judge(request.headers.get("authorization"))
        if path.startswith(_JOBS):
            raise PimRefusalError(403, "Permission denied.")
        met = _find(request.method, path)
        if met is None and _find("", path) is not None:
            raise PimRefusalError(405, "The method is not allowed for the requested URL.")
        if met is None:
            raise PimRefusalError(404, "The requested URL was not found on the server.")
        version, where = met
        try:
            decoded = orjson.loads(body) if body else None
        except orjson.JSONDecodeError as error:
            said = f"Failed to decode JSON object: {error}"
            raise PimRefusalError(400, said, (("http_status_code", 400),)) from error
        ask = PimAsk(version, where.ids, request.query_params, decoded)
        moments.come(where.door.name)
        endpoint = where.door.endpoint
        with nullcontext() if endpoint in _THEIR_OWN_LOCK else pim.account.lock:
            return endpoint(pim, ask)
    except PimRefusalError as refused:
        return refused.reply()


def _find(method: str, path: str) -> tuple[int, FoundDoor[Endpoint]] | None:
    """The version and the door that a method and a path lead to."""
    for prefix, version in _PREFIXES.items():
        if path.startswith(prefix):
            met = find((door for door in DOORS if version in door.versions), method, path.removeprefix(prefix))
            return None if met is None or not all(met.ids.values()) else (version, met)
    return None


def _with_headers(answer: SentReply, headers: Mapping[str, str]) -> Response:
    return replace(answer, headers={**answer.headers, **headers}).response()


def _without_slash(pim: Pim, request: Request) -> str:
    """The same path under the host's other name, so that a client leaves its Authorization behind."""
    other = LOOPBACK_NAME if request.url.hostname == LOOPBACK else LOOPBACK
    query = f"?{request.url.query}" if request.url.query else ""
    return f"http://{other}:{urlsplit(pim.host).port}{request.url.path.rstrip('/')}{query}"
