"""The image database's API as Django REST framework answers it, and its media host."""

import asyncio
import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import count
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from imagesync_pipelines.sandbox.answers import CalledPlace
from imagesync_pipelines.sandbox.faults import NOT_FOUND_PAGE
from imagesync_pipelines.sandbox.image_db.catalogue import ImageCatalogue, drift_stock
from imagesync_pipelines.sandbox.image_db.pictures import draw
from imagesync_pipelines.sandbox.image_db.records import MEDIA_ROOT

MEDIA = "media"
MEDIA_PREFIX = "/media/"
KEPT_FILES = 256
NO_FILE = "<html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1></body></html>"


def media_app(catalogue: ImageCatalogue) -> Starlette:
    """The app of the media host: files are drawn when first asked for; the last 256 are kept."""
    drawn = lru_cache(maxsize=KEPT_FILES)(draw)

    def file(request: Request) -> Response:
        picture = catalogue.picture(request.path_params["name"])
        if picture is None:
            return HTMLResponse(NO_FILE, 404)
        content, media_type = drawn(picture)
        return Response(content, media_type=media_type)

    return Starlette(routes=[Route(MEDIA_PREFIX + "{name}", file)])


def media_place(scope: Scope) -> CalledPlace | None:
    """For the ledger and the faults: every call here is `media`, its part is the file's name."""
    return MEDIA, str(scope["path"]).removeprefix(MEDIA_PREFIX)


ENDPOINT = "all-files-and-articles"
PATH = "/api/all-files-and-articles/"
PAGE_ROWS = 20
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
ALLOWED = "GET, HEAD, OPTIONS"


@dataclass
class ImageDbSwitches:
    """How the API behaves; may be changed while it runs. `media_root` is set by the server that starts it."""

    username: str
    password: str
    media_root: str
    honour_page_size: bool = False
    unstable_order: bool = False
    stock_drift: bool = True
    latency: float = 0.0  # seconds per page
    session_authentication_first: bool = False  # DRF answers 403 in place of 401 then, without WWW-Authenticate
    link_origin: str | None = None  # scheme://host of `next` and `previous`; None: as asked


@dataclass(frozen=True)
class _Api:
    catalogue: ImageCatalogue
    page_served: Callable[[], None]
    switches: ImageDbSwitches
    calls: Iterator[int] = field(default_factory=lambda: count(1))


def api_app(catalogue: ImageCatalogue, page_served: Callable[[], None], switches: ImageDbSwitches) -> Starlette:
    """The app of the API host; `page_served` is called behind every page."""
    api = _Api(catalogue, page_served, switches)

    async def without_slash(request: Request) -> Response:
        # Django's APPEND_SLASH, before any authentication; the Location is relative.
        query = f"?{request.url.query}" if request.url.query else ""
        return Response(b"", 301, {"Location": PATH + query, "Content-Type": "text/html; charset=utf-8"})

    async def not_found(request: Request, error: Exception) -> Response:
        return HTMLResponse(NOT_FOUND_PAGE, 404)

    app = Starlette(
        routes=[
            Route(PATH, partial(_listing, api), methods=METHODS),
            Route(PATH.rstrip("/"), without_slash, methods=METHODS),
        ],
        exception_handlers={404: not_found},
    )
    app.router.redirect_slashes = False
    return app


def api_place(scope: Scope) -> CalledPlace:
    """For the ledger and the faults: the endpoint and the page as written in the query."""
    pages = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("page", ["1"])
    return ENDPOINT, pages[-1]


async def _listing(api: _Api, request: Request) -> Response:
    """One page of all records, or the error that DRF gives; authentication comes before everything else."""
    switches = api.switches
    if switches.latency:
        await asyncio.sleep(switches.latency)
    problem = _authentication_problem(request.headers.get("authorization"), switches)
    if problem is not None:
        if switches.session_authentication_first:
            return _json(403, {"detail": problem})
        return _json(401, {"detail": problem}, {"WWW-Authenticate": 'Basic realm="api"'})
    if request.method not in ("GET", "HEAD"):
        return _json(405, {"detail": f'Method "{request.method}" not allowed.'})

    size = _page_size(request, switches)
    call = next(api.calls)
    shaken_by = call if switches.unstable_order else None
    with api.catalogue.lock:
        pages = max(1, -(-len(api.catalogue) // size))
        page = _page_number(request.query_params.get("page") or "1", pages)
        if page is None:
            return _json(404, {"detail": "Invalid page."})
        count, rows = api.catalogue.rows((page - 1) * size, page * size, shaken_by)
    if switches.stock_drift:
        records = [orjson.loads(row) for row in rows]
        drift_stock(records, api.catalogue.seed, call)
        rows = [orjson.dumps(record) for record in records]
    results = b",".join(rows).replace(MEDIA_ROOT.encode(), switches.media_root.encode())
    following = orjson.dumps(_link(request, switches, page + 1) if page < pages else None)
    previous = orjson.dumps(_link(request, switches, page - 1) if page > 1 else None)
    api.page_served()
    return _raw(200, b'{"count":%d,"next":%s,"previous":%s,"results":[%s]}' % (count, following, previous, results))


def _authentication_problem(header: str | None, switches: ImageDbSwitches) -> str | None:
    """DRF's own words for what is wrong with a Basic header; None when it is right."""
    parts = (header or "").split()
    if not parts or parts[0].lower() != "basic":
        return "Authentication credentials were not provided."
    if len(parts) == 1:
        return "Invalid basic header. No credentials provided."
    if len(parts) > 2:
        return "Invalid basic header. Credentials string should not contain spaces."
    try:
        name, _, password = base64.b64decode(parts[1]).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "Invalid basic header. Credentials not correctly base64 encoded."
    if (name, password) != (switches.username, switches.password):
        return "Invalid username/password."
    return None


def _page_size(request: Request, switches: ImageDbSwitches) -> int:
    """20 whatever is asked; with the switch, what is asked when it is a whole number above 0."""
    asked = request.query_params.get("page_size", "")
    return int(asked) if switches.honour_page_size and asked.isdecimal() and int(asked) > 0 else PAGE_ROWS


def _page_number(asked: str, pages: int) -> int | None:
    """The page that is meant; None is Django's EmptyPage or PageNotAnInteger."""
    if asked == "last":
        return pages
    try:
        number = int(asked)
    except ValueError:
        return None
    return number if 1 <= number <= pages else None


def _link(request: Request, switches: ImageDbSwitches, page: int) -> str:
    """The URL of another page: everything that was asked is echoed, sorted by name; page 1 has no page parameter."""
    query = parse_qs(request.url.query, keep_blank_values=True)
    query.pop("page", None)
    if page > 1:
        query["page"] = [str(page)]
    origin = urlsplit(switches.link_origin or str(request.base_url))
    return urlunsplit((origin.scheme, origin.netloc, PATH, urlencode(sorted(query.items()), doseq=True), ""))


def _json(status: int, body: dict[str, str], headers: dict[str, str] | None = None) -> Response:
    return _raw(status, orjson.dumps(body), headers)


def _raw(status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    usual = {"Content-Type": "application/json", "Allow": ALLOWED, "Vary": "Accept", "X-Frame-Options": "DENY"}
    return Response(body, status, {**usual, **(headers or {})})
