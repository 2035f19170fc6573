"""The catalogue API: getCatalogItem and searchCatalogItems (docs/contracts/amazon.md), each with its token bucket."""

import base64
import binascii
import json
import math
import threading
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from imagesync_pipelines.sandbox.amazon.hosts import AccessTokens
from imagesync_pipelines.sandbox.amazon.listings import API_VARIANTS, MARKETPLACES, AmazonListing, ListedImage, Shelf
from imagesync_pipelines.sandbox.amazon.pictures import (
    REAL_HOST,
    TINY_SIDE,
    TINY_TOKEN,
    AmazonPicture,
    fitted,
    small_copy,
)
from imagesync_pipelines.sandbox.answers import CalledPlace
from imagesync_pipelines.sandbox.clock import SandboxClock

# How an item without images shows it; all were seen: no `images` at all, an empty list, a group without images.
Imageless = Literal["no key", "no group", "empty group"]


@dataclass
class AmazonSwitches:
    """May be changed while the stand-in runs."""

    rate: float = 2.0  # calls a second of the sandbox's clock, for each of the two operations
    burst: int = 2  # calls that an unused bucket lets through at once
    link_host: str = REAL_HOST  # scheme and host of the links to images
    imageless: Imageless = "empty group"
    old_variants: bool = False  # slots beyond the ten known ones, and null, are answered too, as before 2022
    parents_in_keyword_search: bool = False  # parents are found by their words; by an identifier they always are
    tiny_copies: bool = True  # a large picture has an entry of 75 px too; else two, as in some recorded answers
    escaped_slashes: bool = False  # links are written https:\/\/ in the JSON


Json = dict[str, Any]


def image_entries(images: Sequence[ListedImage], host: str, seed: str, *, tiny: bool = True) -> list[Json]:
    """Every size of every picture (75 px only with `tiny`), in an order that is the same for the same seed."""
    entries = [entry for image in images for entry in _sizes(image, host)[: 3 if tiny else 2]]
    Random(f"entries/{seed}").shuffle(entries)
    return entries


def item(found: Sequence[AmazonListing], wanted: Sequence[str], switches: AmazonSwitches) -> Json:
    """The item of an ASIN with the data that is wanted, one group per marketplace that lists it, one at least."""
    made: Json = {"asin": found[0].asin}
    for name in wanted:
        if name == "images":
            made |= _images(found, switches)
        elif name in _DATA:
            made[name] = [_of_marketplace(listing) | _DATA[name](listing) for listing in found]
        else:
            made[name] = {} if name == "attributes" else []
    return made


def _images(found: Sequence[AmazonListing], switches: AmazonSwitches) -> Json:
    groups = []
    for listing in found:
        shown = [image for image in listing.images if switches.old_variants or image.variant in API_VARIANTS]
        if shown or switches.imageless == "empty group":
            entries = image_entries(
                shown, switches.link_host, f"{listing.marketplace}/{listing.asin}", tiny=switches.tiny_copies
            )
            groups.append(_of_marketplace(listing) | {"images": entries})
    return {"images": groups} if groups or switches.imageless != "no key" else {}


def _of_marketplace(listing: AmazonListing) -> Json:
    return {"marketplaceId": MARKETPLACES[listing.marketplace]}


def _sizes(image: ListedImage, host: str) -> list[Json]:
    """The original, and for a large one its copy of 500 px and the copy's copy of 75 px."""
    copy = small_copy(image.picture)
    made = [entry_of(image.variant, image.picture.url(host), image.picture)]
    if copy is not None:
        made.append(entry_of(image.variant, copy.url(host), copy))
        width, height = fitted(copy.width, copy.height, TINY_SIDE, TINY_SIDE)
        made.append(made[-1] | {"link": copy.url(host, TINY_TOKEN), "height": height, "width": width})
    return made


def entry_of(variant: str | None, link: str, picture: AmazonPicture) -> Json:
    """One entry of the list of images."""
    return {"variant": variant, "link": link, "height": picture.height, "width": picture.width}


def _summary(listing: AmazonListing) -> Json:
    made = {
        "itemClassification": listing.classification.value,
        "itemName": listing.title,
        "brand": "Patchwork",
        "color": listing.colour,
        "size": listing.size,
        "modelNumber": listing.model_number,
        "partNumber": listing.sku,
    }
    return {name: value for name, value in made.items() if value is not None}


def _relationships(listing: AmazonListing) -> Json:
    """The variation, from the parent's side or, if the child says so, from the child's; and the larger package."""
    made: list[Json] = []
    if listing.package_asin is not None:
        made.append({"type": "PACKAGE_HIERARCHY", "parentAsins": [listing.package_asin]})
    if listing.child_asins:
        theme = {"theme": "SIZE_NAME/COLOR_NAME", "attributes": ["size", "color"]}
        made.append({"type": "VARIATION", "childAsins": list(listing.child_asins), "variationTheme": theme})
    if listing.parent_asin is not None:
        made.append({"type": "VARIATION", "parentAsins": [listing.parent_asin]})
    return {"relationships": made}


def _identifiers(listing: AmazonListing) -> Json:
    codes = {"UPC": listing.upc, "EAN": listing.ean, "GTIN": listing.gtin}
    return {
        "identifiers": [
            {"identifierType": name, "identifier": code} for name, code in codes.items() if code is not None
        ]
    }


_DATA: Mapping[str, Callable[[AmazonListing], Json]] = {
    "summaries": _summary,
    "relationships": _relationships,
    "identifiers": _identifiers,
    "productTypes": lambda listing: {"productType": "PILLOW"},
}


@dataclass
class Bucket:
    """Full at the start; refills with the sandbox's clock. Safe between threads."""

    clock: SandboxClock
    _left: float = math.inf
    _seen_at: datetime | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, rate: float, burst: int) -> bool:
        """Let one call through, if there is one left; `rate` calls a second come back, up to `burst`."""
        with self._lock:
            now = self.clock.now()
            # A clock that was moved back takes nothing away.
            passed = 0.0 if self._seen_at is None else max(0.0, (now - self._seen_at).total_seconds())
            left = min(float(burst), self._left + passed * rate)
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


@dataclass
class _RefusalError(Exception):
    status: int
    code: str
    message: str
    details: str = ""


@dataclass(frozen=True)
class _Catalogue:
    shelf: Shelf
    switches: AmazonSwitches


def _many(query: QueryParams, name: str) -> list[str]:
    """A parameter that is a list: written with commas, or as a repeated name."""
    return [part for value in query.getlist(name) for part in value.split(",") if part]


def catalogue_app(shelf: Shelf, switches: AmazonSwitches, tokens: AccessTokens) -> Starlette:
    """The app of the API host."""
    catalogue = _Catalogue(shelf, switches)

    def endpoint(made: Callable[[_Catalogue, Request], Json]) -> Callable[[Request], Awaitable[Response]]:
        """One call: who asks, how often, what; the error in the API's own form. Each operation has its own bucket."""
        bucket = Bucket(tokens.clock)

        async def answer(request: Request) -> Response:
            problem = tokens.problem(request.headers.get("x-amz-access-token"))
            try:
                if problem:
                    raise _RefusalError(403, "Unauthorized", "Access to requested resource is denied.", problem)
                if not bucket.take(switches.rate, switches.burst):
                    raise _RefusalError(429, "QuotaExceeded", "You exceeded your quota for the requested resource.")
                return _response(switches, 200, made(catalogue, request))
            except _RefusalError as refused:
                return _refusal(switches, refused)

        return answer

    async def not_found(request: Request, error: Exception) -> Response:
        return _refusal(switches, _RefusalError(404, "NotFound", "The requested resource does not exist."))

    routes = [Route(PATH, endpoint(_search)), Route(PATH + "/{asin}", endpoint(_item))]
    app = Starlette(routes=routes, exception_handlers={404: not_found})
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


def _item(catalogue: _Catalogue, request: Request) -> Json:
    query, asin = request.query_params, request.path_params["asin"]
    found = [catalogue.shelf.find(asin, code) for code in _marketplaces(query)]
    listed = [listing for listing in found if listing is not None]
    if not listed:
        where = ", ".join(_many(query, "marketplaceIds"))
        raise _RefusalError(404, "NOT_FOUND", f"Requested item '{asin}' not found in marketplace(s) {where}.")
    return item(listed, _wanted(query), catalogue.switches)


def _search(catalogue: _Catalogue, request: Request) -> Json:
    query = request.query_params
    codes, wanted = _marketplaces(query), _wanted(query)
    if len(codes) > 1:
        raise _invalid("marketplaceIds accepts exactly one value for this operation.")
    listings = catalogue.shelf.all(codes[0])
    identifiers, keywords = _many(query, "identifiers"), _many(query, "keywords")
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


def _by_identifier(
    listings: Sequence[AmazonListing], identifiers: Sequence[str], query: QueryParams
) -> list[AmazonListing]:
    """The listings with one of the identifiers, each once; what is not found is simply not there."""
    if len(identifiers) > MOST_IDENTIFIERS:
        raise _invalid(f"identifiers accepts at most {MOST_IDENTIFIERS} values.")
    kind = query.get("identifiersType")
    if kind is None:
        raise _invalid("identifiersType is required with identifiers.")
    if kind not in _IDENTIFIERS:
        raise _invalid(f"identifiersType {kind} is not one of {', '.join(_IDENTIFIERS)}.")
    if kind == "SKU" and query.get("sellerId") is None:
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


def _page(catalogue: _Catalogue, found: Sequence[AmazonListing], wanted: Sequence[str], query: QueryParams) -> Json:
    """One page of what was found; no more than 1,000 items can be reached."""
    asked = query.get("pageSize") or str(USUAL_PAGE)
    if not asked.isdecimal() or not 1 <= int(asked) <= LARGEST_PAGE:
        raise _invalid(f"pageSize must be between 1 and {LARGEST_PAGE}.")
    start, size = _offset(query.get("pageToken")), int(asked)
    end, pagination = start + size, {}
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


def _marketplaces(query: QueryParams) -> list[str]:
    """The codes of the marketplaces asked for; the parameter is mandatory."""
    ids = _many(query, "marketplaceIds")
    if not ids:
        raise _invalid("marketplaceIds is required.")
    unknown = [marketplace_id for marketplace_id in ids if marketplace_id not in _CODES]
    if unknown:
        raise _invalid(f"'{unknown[0]}' is not a valid marketplace id.")
    return [_CODES[marketplace_id] for marketplace_id in ids]


def _wanted(query: QueryParams) -> list[str]:
    """The data asked for, only the summaries when nothing is."""
    wanted = _many(query, "includedData") or ["summaries"]
    unknown = [name for name in wanted if name not in DATA]
    if unknown:
        raise _invalid(f"'{unknown[0]}' is not a valid value of includedData.")
    return wanted


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
