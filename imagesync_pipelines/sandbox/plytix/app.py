"""The PIM over HTTP: which call is which endpoint, and what stands before all of them.

What belongs here: the table of routes, the rate limit, the token, the slash at the end, and showing files. What does
not: the endpoints.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from imagesync_pipelines.sandbox.plytix import assets, links, products, searches
from imagesync_pipelines.sandbox.plytix.answers import Answer, Refused, as_response, error_body
from imagesync_pipelines.sandbox.plytix.limits import Windows, too_many
from imagesync_pipelines.sandbox.plytix.moments import Moments
from imagesync_pipelines.sandbox.plytix.pim import Ask, Endpoint, Pim
from imagesync_pipelines.sandbox.plytix.rendering import FILES, V1, V2
from imagesync_pipelines.sandbox.plytix.tokens import Tokens
from imagesync_pipelines.sandbox.serving import LOOPBACK
from imagesync_pipelines.sandbox.wire import Place

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
OTHER = "other"
_NEWEST, _JOBS = "/api/v3/", "/api/v1/jobs/"
LOOPBACK_NAME = "localhost"
_PREFIXES = {"/api/v1/": V1, "/api/v2/": V2}


@dataclass(frozen=True)
class Door:
    """One endpoint: its name in the ledger, its method and its path, `{…}` standing for an id."""

    name: str
    method: str
    path: str
    endpoint: Endpoint
    versions: tuple[int, ...] = (V1,)


DOORS = (
    Door("asset create", "POST", "assets", assets.create),
    Door("asset search", "POST", "assets/search", searches.search_assets),
    Door("asset get", "GET", "assets/{asset}", assets.get),
    Door("asset patch", "PATCH", "assets/{asset}", assets.patch),
    Door("asset delete", "DELETE", "assets/{asset}", assets.delete),
    Door("product create", "POST", "products", products.create, (V1, V2)),
    Door("product search", "POST", "products/search", searches.search_products, (V1, V2)),
    Door("product get", "GET", "products/{product}", products.get, (V1, V2)),
    Door("product patch", "PATCH", "products/{product}", products.patch, (V1, V2)),
    Door("product delete", "DELETE", "products/{product}", products.delete, (V1, V2)),
    Door("link", "POST", "products/{product}/assets", links.link, (V1, V2)),
    Door("product assets", "GET", "products/{product}/assets", links.linked, (V1, V2)),
    Door("product asset", "GET", "products/{product}/assets/{asset}", links.linked_one, (V1, V2)),
    Door("unlink", "DELETE", "products/{product}/assets/{asset}", links.unlink, (V1, V2)),
    Door("variants", "GET", "products/{product}/variants", products.variants, (V1, V2)),
    Door("variant create", "POST", "products/{product}/variants", products.create_variant, (V1, V2)),
)


@dataclass(frozen=True)
class _Found:
    """What a path leads to; `door` is None when the path is known and the method is not."""

    door: Door | None
    version: int
    ids: Mapping[str, str]


def pim_app(pim: Pim, tokens: Tokens, windows: Windows, moments: Moments) -> Starlette:
    """The app of the PIM host; files are shown without token and limit, as from a CDN."""

    async def api(request: Request) -> Response:
        body = await request.body()
        answer = await run_in_threadpool(_answer, pim, tokens, windows, moments, request, body)
        if pim.switches.deprecation is None:
            return as_response(answer)
        headers = {**answer.headers, "X-Plytix-Deprecation": pim.switches.deprecation}
        return as_response(Answer(answer.status, answer.body, headers))

    def file(request: Request) -> Response:
        with pim.account.lock:
            asset = pim.account.asset(request.path_params["asset"])
        if asset is None or asset.filename != request.path_params["filename"]:
            return Response(b"", 404)
        return Response(asset.content, media_type=asset.content_type)

    app = Starlette(
        routes=[
            Route(FILES + "{folder}/{asset}/{filename}", file),
            Route(FILES + "{folder}/thumb/{asset}/{filename}", file),
            Route("/{path:path}", api, methods=METHODS),
        ]
    )
    app.router.redirect_slashes = False
    return app


def pim_place(scope: Scope) -> Place | None:
    """For the ledger and the faults: the endpoint and the first id of its path; files are not seen."""
    path = str(scope["path"])
    if path.startswith(FILES):
        return None
    met = _find(str(scope["method"]), path)
    if met is None or met.door is None:
        return OTHER, path
    return met.door.name, next(iter(met.ids.values()), "")


def _answer(pim: Pim, tokens: Tokens, windows: Windows, moments: Moments, request: Request, body: bytes) -> Answer:
    """The answer to one call: the limit is looked at first, then the slash, the token and the path."""
    spent = windows.hit()
    if spent is not None:
        return too_many(spent, pim.switches.wait_named)
    path = request.url.path
    if path.startswith(_NEWEST):
        return Answer(503, {"message": "name resolution failed"})
    if path.endswith("/"):
        return Answer(308, headers={"Location": _without_slash(pim, request)})
    try:
        tokens.judge(request.headers.get("authorization"))
        if path.startswith(_JOBS):
            raise Refused(403, "Permission denied.")
        met = _find(request.method, path)
        if met is None:
            raise Refused(404, "The requested URL was not found on the server.")
        if met.door is None:
            raise Refused(405, "The method is not allowed for the requested URL.")
        ask = Ask(met.version, met.ids, request.query_params, _decoded(body))
        moments.come(met.door.name)
        return met.door.endpoint(pim, ask)
    except Refused as refused:
        return Answer(refused.status, error_body(refused))


def _find(method: str, path: str) -> _Found | None:
    """The door that a method and a path lead to."""
    prefix = next((prefix for prefix in _PREFIXES if path.startswith(prefix)), None)
    if prefix is None:
        return None
    version, segments = _PREFIXES[prefix], path.removeprefix(prefix).split("/")
    there = [(door, _ids(door.path, segments)) for door in DOORS if version in door.versions]
    fitting = [(door, ids) for door, ids in there if ids is not None]
    if not fitting:
        return None
    door, ids = next(((door, ids) for door, ids in fitting if door.method == method), (None, {}))
    return _Found(door, version, ids)


def _ids(pattern: str, segments: list[str]) -> dict[str, str] | None:
    """The ids in a path, or None when it does not fit the pattern."""
    parts = pattern.split("/")
    if len(parts) != len(segments):
        return None
    ids = {part[1:-1]: segment for part, segment in zip(parts, segments, strict=True) if part.startswith("{")}
    fits = all(part.startswith("{") or part == segment for part, segment in zip(parts, segments, strict=True))
    return ids if fits and all(ids.values()) else None


def _without_slash(pim: Pim, request: Request) -> str:
    """The same path under the host's other name, so that a client leaves its Authorization behind."""
    other = LOOPBACK_NAME if request.url.hostname == LOOPBACK else LOOPBACK
    query = f"?{request.url.query}" if request.url.query else ""
    return f"http://{other}:{urlsplit(pim.host).port}{request.url.path.rstrip('/')}{query}"


def _decoded(body: bytes) -> Any:
    if not body:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"Failed to decode JSON object: {error}", (("http_status_code", 400),)) from error
