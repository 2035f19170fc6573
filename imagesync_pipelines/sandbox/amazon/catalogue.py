"""The catalogue API: getCatalogItem and searchCatalogItems, each with its token bucket."""

import base64
import binascii
import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from imagesync_pipelines.sandbox.amazon.hosts import AccessTokens, Standing
from imagesync_pipelines.sandbox.amazon.items import AmazonSwitches, Json, item
from imagesync_pipelines.sandbox.amazon.listings import MARKETPLACES, AmazonListing, Shelf
from imagesync_pipelines.sandbox.answers import CalledPlace
from imagesync_pipelines.sandbox.clock import SandboxClock


@dataclass
class Bucket:
    """Full at the start; refills with the sandbox's clock. Safe between threads."""

    clock: SandboxClock
    _left: float | None = None
    _seen_at: datetime | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, rate: float, burst: int) -> bool:
        """Let one call through, if there is one left; `rate` calls a second come back, up to `burst`."""
        with self._lock:
            now = self.clock.now()
            # A clock that was moved back takes nothing away.
            passed = 0.0 if self._seen_at is None else max(0.0, (now - self._seen_at).total_seconds())
            left = float(burst) if self._left is None else min(float(burst), self._left + passed * rate)
            self._seen_at = now
            allowed = left >= 1
            self._left = left - 1 if allowed else left
            return allowed


SEARCH, ITEM, UNKNOWN = "search", "item", "catalogue"
PATH = "/catalog/2022-04-01/items"
MOST_IDENTIFIERS, MOST_KEYWORDS, USUAL_PAGE, LARGEST_PAGE, REACHABLE = 20, 20, 10, 20, 1000
DATA = (
    *("attributes", "classifications", "dimensions", "identifiers", "images"),
    *("productTypes", "relationships", "salesRanks", "summaries", "vendorDetails"),
)
_CODES = {marketplace_id: code for code, marketplace_id in MARKETPLACES.items()}
_TOKEN_PROBLEMS = {
    None: "Access token is missing in the request header.",
    Standing.UNKNOWN: "The access token you provided is revoked, malformed or invalid.",
    Standing.EXPIRED: "The access token you provided has expired.",
}


@dataclass
class _RefusalError(Exception):
    """The call is answered with an error."""

    status: int
    code: str
    message: str
    details: str = ""


@dataclass(frozen=True)
class _Catalogue:
    """What the endpoints work with; every operation has a bucket of its own."""

    shelf: Shelf
    switches: AmazonSwitches
    tokens: AccessTokens
    buckets: Mapping[str, Bucket]


@dataclass(frozen=True)
class _Query:
    """The parameters of a call; a list may be written with commas or as a repeated name."""

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def many(self, name: str) -> list[str]:
        return [part for value in self.values.get(name, ()) for part in value.split(",") if part]

    def one(self, name: str) -> str | None:
        return next(iter(self.values.get(name, ())), None)


def catalogue_app(shelf: Shelf, switches: AmazonSwitches, tokens: AccessTokens) -> Starlette:
    """The app of the API host."""
    buckets = {SEARCH: Bucket(tokens.clock), ITEM: Bucket(tokens.clock)}
    catalogue = _Catalogue(shelf, switches, tokens, buckets)

    async def search(request: Request) -> Response:
        return _answer(catalogue, SEARCH, request, _search)

    async def one_item(request: Request) -> Response:
        return _answer(catalogue, ITEM, request, _item)

    async def not_found(request: Request, error: Exception) -> Response:
        return _refusal(switches, _RefusalError(404, "NotFound", "The requested resource does not exist."))

    app = Starlette(
        routes=[Route(PATH, search), Route(PATH + "/{asin}", one_item)], exception_handlers={404: not_found}
    )
    app.router.redirect_slashes = False
    return app


def catalogue_place(scope: Scope) -> CalledPlace:
    """For the ledger and the faults: the operation, and the ASIN of getCatalogItem."""
    path = str(scope["path"])
    if path == PATH:
        return SEARCH, ""
    if path.startswith(f"{PATH}/"):
        return ITEM, path.removeprefix(f"{PATH}/")
    return UNKNOWN, path


def _answer(
    catalogue: _Catalogue, operation: str, request: Request, made: Callable[[_Catalogue, Request, _Query], Json]
) -> Response:
    """One call: who asks, how often, what; the error in the API's own form."""
    switches = catalogue.switches
    query = _Query({name: request.query_params.getlist(name) for name in request.query_params})
    try:
        _check_token(catalogue.tokens, request.headers.get("x-amz-access-token"))
        if not catalogue.buckets[operation].take(switches.rate, switches.burst):
            raise _RefusalError(429, "QuotaExceeded", "You exceeded your quota for the requested resource.")
        return _response(switches, 200, made(catalogue, request, query))
    except _RefusalError as refused:
        return _refusal(switches, refused)


def _check_token(tokens: AccessTokens, token: str | None) -> None:
    standing = None if token is None else tokens.standing(token)
    if standing is not Standing.GOOD:
        raise _RefusalError(403, "Unauthorized", "Access to requested resource is denied.", _TOKEN_PROBLEMS[standing])


def _item(catalogue: _Catalogue, request: Request, query: _Query) -> Json:
    asin = request.path_params["asin"]
    found = [catalogue.shelf.find(asin, code) for code in _marketplaces(query)]
    listed = [listing for listing in found if listing is not None]
    if not listed:
        where = ", ".join(query.many("marketplaceIds"))
        raise _RefusalError(404, "NOT_FOUND", f"Requested item '{asin}' not found in marketplace(s) {where}.")
    return item(listed, _wanted(query), catalogue.switches)


def _search(catalogue: _Catalogue, request: Request, query: _Query) -> Json:
    codes, wanted = _marketplaces(query), _wanted(query)
    if len(codes) > 1:
        raise _invalid("marketplaceIds accepts exactly one value for this operation.")
    listings = catalogue.shelf.all(codes[0])
    identifiers, keywords = query.many("identifiers"), query.many("keywords")
    if identifiers and keywords:
        raise _invalid("identifiers and keywords cannot be used together.")
    if identifiers:
        found = _by_identifier(listings, identifiers, query)
    elif keywords:
        if len(keywords) > MOST_KEYWORDS:
            raise _invalid(f"keywords accepts at most {MOST_KEYWORDS} values.")
        found = _by_keyword(listings, keywords, catalogue.switches)
    else:
        raise _invalid("Either identifiers or keywords is required.")
    return _page(catalogue, found, wanted, query)


def _by_identifier(listings: Sequence[AmazonListing], identifiers: Sequence[str], query: _Query) -> list[AmazonListing]:
    """The listings with one of the identifiers, each once; what is not found is simply not there."""
    if len(identifiers) > MOST_IDENTIFIERS:
        raise _invalid(f"identifiers accepts at most {MOST_IDENTIFIERS} values.")
    kind = query.one("identifiersType")
    if kind is None:
        raise _invalid("identifiersType is required with identifiers.")
    if kind not in _IDENTIFIERS:
        raise _invalid(f"identifiersType {kind} is not one of {', '.join(_IDENTIFIERS)}.")
    if kind == "SKU" and query.one("sellerId") is None:
        raise _invalid("sellerId is required with identifiers of type SKU.")
    return [listing for listing in listings if _IDENTIFIERS[kind](listing) in identifiers]


def _by_keyword(
    listings: Sequence[AmazonListing], keywords: Sequence[str], switches: AmazonSwitches
) -> list[AmazonListing]:
    words = {word.lower() for keyword in keywords for word in keyword.split()}
    return [
        listing
        for listing in listings
        if words <= {word.strip(",").lower() for word in listing.title.split()}
        and (switches.parents_in_keyword_search or not listing.is_parent)
    ]


def _page(catalogue: _Catalogue, found: Sequence[AmazonListing], wanted: Sequence[str], query: _Query) -> Json:
    """One page of what was found; no more than 1,000 items can be reached."""
    size = _page_size(query)
    start = _offset(query.one("pageToken"))
    end = start + size
    pagination = {}
    if end < min(len(found), REACHABLE):
        pagination["nextToken"] = _token(end)
    if start > 0:
        pagination["previousToken"] = _token(max(0, start - size))
    return {
        "numberOfResults": len(found),
        "pagination": pagination,
        "refinements": {"brands": [], "classifications": []},
        "items": [item([listing], wanted, catalogue.switches) for listing in found[start : min(end, REACHABLE)]],
    }


def _marketplaces(query: _Query) -> list[str]:
    """The codes of the marketplaces asked for; the parameter is mandatory."""
    ids = query.many("marketplaceIds")
    if not ids:
        raise _invalid("marketplaceIds is required.")
    unknown = [marketplace_id for marketplace_id in ids if marketplace_id not in _CODES]
    if unknown:
        raise _invalid(f"'{unknown[0]}' is not a valid marketplace id.")
    return [_CODES[marketplace_id] for marketplace_id in ids]


def _wanted(query: _Query) -> list[str]:
    """The data asked for, only the summaries when nothing is."""
    wanted = query.many("includedData") or ["summaries"]
    unknown = [name for name in wanted if name not in DATA]
    if unknown:
        raise _invalid(f"'{unknown[0]}' is not a valid value of includedData.")
    return wanted


def _page_size(query: _Query) -> int:
    asked = query.one("pageSize") or str(USUAL_PAGE)
    if not asked.isdecimal() or not 1 <= int(asked) <= LARGEST_PAGE:
        raise _invalid(f"pageSize must be between 1 and {LARGEST_PAGE}.")
    return int(asked)


def _token(offset: int) -> str:
    return base64.urlsafe_b64encode(f"from:{offset}".encode()).decode()


def _offset(token: str | None) -> int:
    if token is None:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token).decode("ascii").removeprefix("from:"))
    except (binascii.Error, ValueError) as error:
        raise _invalid("pageToken is not valid.") from error


def _invalid(details: str) -> _RefusalError:
    return _RefusalError(
        400, "InvalidInput", "Request has missing or invalid parameters and cannot be parsed.", details
    )


def _refusal(switches: AmazonSwitches, refused: _RefusalError) -> Response:
    error = {"code": refused.code, "message": refused.message, "details": refused.details}
    return _response(switches, refused.status, {"errors": [error]})


def _response(switches: AmazonSwitches, status: int, body: Json) -> Response:
    """The body with the API's headers: a request id always, the rate where the model promises it, no Retry-After."""
    text = json.dumps(body)
    if switches.escaped_slashes:
        text = text.replace("/", "\\/")
    headers = {"x-amzn-RequestId": str(uuid.uuid4())}
    if status in (200, 400, 404):
        headers["x-amzn-RateLimit-Limit"] = str(switches.rate)
    return Response(text, status, headers, media_type="application/json")


_IDENTIFIERS: Mapping[str, Callable[[AmazonListing], str | None]] = {
    "ASIN": lambda listing: listing.asin,
    "EAN": lambda listing: listing.ean,
    "GTIN": lambda listing: listing.gtin,
    **dict.fromkeys(("ISBN", "JAN", "MINSAN"), lambda listing: None),
    "SKU": lambda listing: listing.sku,
    "UPC": lambda listing: listing.upc,
}
