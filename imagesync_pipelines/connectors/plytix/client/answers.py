"""What Plytix's answers mean: fields of products and assets, refusals, inherited galleries; and how a host is called,
within which limits, with which token: there is no refresh, a new one is asked for (docs/contracts/plytix.md).

Galleries count as inherited only in accounts where they are: elsewhere nothing is overwritten, so no gallery would
count as a product's own.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from imagesync_pipelines.connectors.plytix import errors
from imagesync_pipelines.connectors.plytix.model import Asset, PlytixProduct
from imagesync_pipelines.connectors.plytix.settings import PlytixAccount, PlytixSettings
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.storage.rate_budget import Window
from imagesync_pipelines.upstream.answers import Answer, parse_json
from imagesync_pipelines.upstream.errors import BadAnswerError, RateLimitedError, UpstreamError
from imagesync_pipelines.upstream.retries import Timing, number_in, retry_after_seconds
from imagesync_pipelines.upstream.session import ApiRequest, SessionPolicy
from imagesync_pipelines.upstream.tokens import GivenToken, TokenHolder, TokenPolicy, text_in
from imagesync_pipelines.upstream.transport import Dialect, RateLimit

logger = logging.getLogger("imagesync.plytix")

FORBIDDEN = N_("HTTP 403: this account may not do that; check its rights in Plytix")
# Less than this is no picture of a product: Amazon's empty pixel has 43 bytes.
_SMALLEST_PICTURE = 100
THUMBNAIL = "thumbnail"
_ID = re.compile(r"[0-9a-f]{24}")
_OF_ACCOUNT = re.compile(r"/public_files/pim/assets/([^?#]+?)/images/")
# What Plytix's tokens live when they do not say; measured from their own times, which need not agree with our clock.
LIFETIME_SECONDS = 900.0
# For a token without limits: the lowest that were seen.
DEFAULT_LIMITS = ((20, 10), (5000, 3600))


def rows_in(answer: Answer) -> list[Mapping[str, Any]]:
    """The rows of the envelope. Raises BadAnswerError when there is none."""
    rows = answer.data.get("data") if isinstance(answer.data, dict) else None
    if not answer.good or not isinstance(rows, list) or any(not isinstance(row, dict) for row in rows):
        raise answer.error(BadAnswerError, told(f"HTTP {answer.status} without the list `data` that was expected"))
    return rows


def row_in(answer: Answer) -> Mapping[str, Any]:
    """The only row of the envelope. Raises BadAnswerError when there is not exactly one."""
    rows = rows_in(answer)
    if len(rows) != 1:
        raise answer.error(BadAnswerError, told(f"{len(rows)} rows came where one was expected"))
    return rows[0]


def product_from_row(row: Mapping[str, Any], gallery: str) -> PlytixProduct:
    """A product of a search, a get or a patch; `gallery` is the label of the gallery attribute.

    Raises BadAnswerError for a row without id or SKU, and for a gallery that cannot be read: merged with an unread one,
    a patch would wipe it.
    """
    product_id, sku = text_in(row, "id"), text_in(row, "sku")
    if not product_id or not sku:
        raise BadAnswerError("a product came without id or SKU")
    attributes = row.get("attributes")
    held = attributes.get(gallery) if isinstance(attributes, dict) else None
    try:
        thumbnails = asset_ids(row.get(THUMBNAIL))
        images = asset_ids(row.get(f"attributes.{gallery}") if held is None else held)
    except ValueError as error:
        raise BadAnswerError(f"product {sku}: {error}") from None
    parent = text_in(row, "_parent_id") or text_in(row, "parent_id")
    return PlytixProduct(product_id, sku, next(iter(thumbnails), None), images, parent or None)


def asset_ids(value: object) -> tuple[str, ...]:
    """The asset ids of a media value, in order: an object, an id, a list of either, or nothing.

    Raises ValueError for anything else.
    """
    if value is None or value == "":
        return ()
    if isinstance(value, list):
        return tuple(dict.fromkeys(asset_id for item in value for asset_id in asset_ids(item)))
    if isinstance(value, dict):
        value = value.get("id")
    if not isinstance(value, str) or not value:
        raise ValueError(told("a media value is neither an asset nor the id of one"))
    return (value,)


def asset_from_row(row: Mapping[str, Any], filename: str = "") -> Asset:
    """An asset of an answer; `filename` where the answer does not name it. Raises BadAnswerError for one without id."""
    asset_id, size = text_in(row, "id"), row.get("file_size")
    if not asset_id:
        raise BadAnswerError("an asset came without id")
    counted = isinstance(size, int) and not isinstance(size, bool)
    return Asset(asset_id, text_in(row, "filename") or filename, size if counted else None, text_in(row, "url"))


def existing_asset_id(data: object) -> str | None:
    """The id that a refused upload (409) names: the message of the field `asset.id`, if it is one."""
    named = [message for field, message in _problems(data) if field == "asset.id"]
    return next((text for text in named if isinstance(text, str) and _ID.fullmatch(text)), None)


def server_words(data: object) -> str:
    """What an error says, in one line: its message and what it has against which field."""
    fields = data if isinstance(data, dict) else {}
    error = fields.get("error")
    message = error.get("msg") if isinstance(error, dict) else None
    if message is None:
        message = fields.get("message") or fields.get("detail")
    parts = [str(message)] if message else []
    parts += [f"{field}: {text}" for field, text in _problems(data)]
    line = " ".join("; ".join(parts).split())
    return "".join(c for c in line if c.isprintable())[:200] or told("it does not say why")


def _problems(data: object) -> list[tuple[str, object]]:
    """The pairs of field and message in `error.errors`; a message may be a text, a number or an object."""
    error = data.get("error") if isinstance(data, dict) else None
    items = error.get("errors") if isinstance(error, dict) else None
    found = items if isinstance(items, list) else []
    return [(str(item.get("field")), item.get("msg")) for item in found if isinstance(item, dict)]


def written_row(reply: Answer) -> Mapping[str, Any]:
    """The row that a write answered with. Raises AnswerLostError without one: nobody knows what was written."""
    try:
        return row_in(reply)
    except UpstreamError as error:
        raise AnswerLostError(str(error)) from None


def written_product(
    reply: Answer, product_id: str, label: str, *, gallery: bool, thumbnail: bool
) -> PlytixProduct | None:
    """The product as a patch answered it; None where it names its id alone (v2).

    label: of the gallery attribute. gallery, thumbnail: whether a gallery of some assets, and a thumbnail, were sent:
    the answer must show them. Raises AnswerLostError for any other answer: nobody knows what was written.
    """
    row = written_row(reply)
    if (named := row.get("id")) != product_id:
        raise AnswerLostError(f"HTTP {reply.status} for product {product_id}, but the answer names {named!r:.60}")
    if "sku" not in row:
        return None
    attributes = row.get("attributes")
    held = label in attributes if isinstance(attributes, dict) else f"attributes.{label}" in row
    if (gallery and not held) or (thumbnail and THUMBNAIL not in row):
        raise AnswerLostError(f"HTTP {reply.status} for product {product_id}, without the fields that were sent")
    try:
        return product_from_row(row, label)
    except BadAnswerError as error:
        raise AnswerLostError(str(error)) from None


def picture_asset(reply: Answer, row: Mapping[str, Any], filename: str) -> Asset:
    """The asset of a row, if it is a picture; `filename` where the answer does not name it.

    Raises ImageRefusedError for what is none: Plytix takes whatever a URL gives, HTML and pixels too.
    """
    asset, kind = asset_from_row(row, filename), text_in(row, "content_type")
    what = ""
    if kind and not kind.lower().startswith("image/"):
        what = told(f"{kind[:60]} where a picture was expected")
    elif asset.size is not None and asset.size < _SMALLEST_PICTURE:
        what = told(f"{asset.size} bytes, which is no picture")
    if what:
        raise reply.error(errors.ImageRefusedError, told(f"the URL gave {what} (asset {asset.id})"))
    return asset


def refusal_of(reply: Answer, product_id: str, label: str, asset_id: str | None) -> UpstreamError:
    """What the refusal of a write means, by its status and by the fields that it names."""
    words = server_words(reply.data)
    kind: type[UpstreamError] = errors.WriteRefusedError
    what = told(f"refused to change product {product_id} (HTTP {reply.status}): {words}")
    if reply.status == 403:
        kind, what = errors.NotAllowedError, FORBIDDEN
    elif reply.status == 404 and "asset.id" in dict(_problems(reply.data)):
        kind, what = errors.AssetGoneError, told(f"there is no asset {asset_id}")
    elif reply.status == 404:
        kind, what = errors.ProductUnfitError, told(f"there is no product {product_id}")
    elif reply.status == 422 and "label does not exist" in words:
        kind, what = (
            errors.ProductUnfitError,
            told(f"product {product_id} has no attribute {label}; check its family"),
        )
    return reply.error(kind, what)


def own_galleries(
    products: Mapping[str, PlytixProduct], gallery: str, details: Callable[[str], Mapping[str, Any]]
) -> dict[str, PlytixProduct]:
    """Products (by SKU) with their own galleries only: one that a variant shows because its parent has it is empty.

    details: the whole product by its id, {} when it is gone; asked for variants that show what their parents show, and
    for those whose parents were not read.
    """
    by_id = {product.id: product for product in products.values()}

    def is_inherited(product: PlytixProduct) -> bool:
        if product.parent_id is None or not product.gallery:
            return False
        parent = by_id.get(product.parent_id)
        if parent is not None and parent.gallery != product.gallery:
            return False
        own = details(product.id).get("overwritten_attributes")
        return isinstance(own, list) and not {gallery, f"attributes.{gallery}"} & set(map(str, own))

    return {
        sku: product._replace(gallery=()) if is_inherited(product) else product for sku, product in products.items()
    }


class PimDialect(Dialect):
    """Answers of the PIM: a 4xx is for the caller to judge, but 401, which is about the token, and 429."""

    answers = frozenset(range(400, 500)) - {401}

    def __init__(self, limits: Callable[[], tuple[Window, ...]], timing: Timing) -> None:
        self._limits = limits
        self._wall = timing.wall
        self._announced: set[str] = set()
        self._lock = threading.Lock()

    def judge(self, request: ApiRequest, answer: Answer) -> Answer | UpstreamError:
        """The answer with its JSON, None where a refusal has none; a good one that cannot be read is an error.

        For a write it is a lost answer.
        """
        self._note_deprecation(answer)
        data = parse_json(answer.place, answer.status, "", answer.body)
        if answer.status == 429:
            error = answer.error(RateLimitedError, "HTTP 429")
            error.retry_after = self._asked_pause(answer.headers, data if isinstance(data, dict) else {})
            return error
        if not isinstance(data, UpstreamError):
            return replace(answer, data=data)
        if not answer.good:
            return answer
        data.ambiguous = not request.repeatable
        return data

    def _asked_pause(self, headers: Mapping[str, str], said: Mapping[str, Any]) -> float:
        """Seconds that a 429 asks for: the longer of Retry-After (seconds, decimals) and `ttl` (milliseconds).

        Where neither is given, the length of the window that it names, else of the longest one: a shorter pause would
        only meet the next 429.
        """
        ttl = number_in(said.get("ttl"))
        asked = [retry_after_seconds(headers, self._wall()), None if ttl is None else ttl / 1000]
        given = [pause for pause in asked if pause is not None]
        if given:
            return max(given)
        return number_in(said.get("window_size")) or max(window.seconds for window in self._limits())

    def _note_deprecation(self, answer: Answer) -> None:
        """Log what Plytix announces to take away, once per run."""
        words = next((text for name, text in answer.headers.items() if name.lower() == "x-plytix-deprecation"), "")
        with self._lock:
            fresh = bool(words) and words not in self._announced
            self._announced.add(words)
        if fresh:
            logger.warning("Plytix announces a deprecation (%s): %.200s", answer.place.path, words)


def session_policy(base_url: str, settings: PlytixSettings) -> SessionPolicy:
    """How a host of Plytix or Amazon is called."""
    return SessionPolicy(
        base_url=base_url,
        read_timeout=settings.timeout,
        total_deadline=settings.call_deadline,
        tries=settings.tries,
        verify_tls=settings.verify_tls,
    )


def rate_limit(principal: str, windows: Callable[[], Sequence[Window]], longest_pause: float) -> RateLimit:
    """The limit of one principal; HourSpentError when a run would have to wait for longer than `longest_pause`."""
    return RateLimit(
        principal, windows, longest_pause, errors.HourSpentError, told(f"the calls of {principal} are used up")
    )


def pim_tokens(account: PlytixAccount, settings: PlytixSettings, timing: Timing) -> TokenHolder:
    """The holder of an account's token."""
    policy = TokenPolicy(
        system="Plytix",
        credentials=told(f"key and password of account {account.alias}"),
        advice=told(
            "check them and auth_url in the accounts file (the keys of a development account work on its "
            "own hosts only)"
        ),
        path="auth/api/get-token",
        body={"api_key": account.api_key.get_secret_value(), "api_password": account.api_password.get_secret_value()},
        read=_given,
        refusals=frozenset({400, 401, 403, 404, 422}),
        lifetime=LIFETIME_SECONDS,
    )
    return TokenHolder(session_policy(account.auth_url, settings), policy, timing)


def limits_in(claims: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Pairs of calls and seconds, from `user_claims.account.rate_limit`; what is no window is passed over."""
    place: Any = claims
    for name in ("user_claims", "account", "rate_limit"):
        place = place.get(name) if isinstance(place, dict) else None
    for item in place if isinstance(place, list) else []:
        calls, seconds = (item.get("limit"), item.get("window_size")) if isinstance(item, dict) else (None, None)
        if all(isinstance(number, int) and not isinstance(number, bool) and number > 0 for number in (calls, seconds)):
            yield calls, seconds  # type: ignore[misc]


def account_in(claims: Mapping[str, Any]) -> str:
    """The id of the account that a token is of, `user_claims.account.id`; '' where it does not say."""
    place: Any = claims
    for name in ("user_claims", "account", "id"):
        place = place.get(name) if isinstance(place, dict) else None
    return str(place) if isinstance(place, str | int) and not isinstance(place, bool) else ""


def account_of_address(value: object) -> str:
    """The part that all assets of an account have in their addresses, of the first address in a row; '' without one."""
    if isinstance(value, str):
        found = _OF_ACCOUNT.search(value)
        return found[1] if found else ""
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return next(filter(None, map(account_of_address, parts)), "")


def _given(data: object) -> GivenToken | None:
    rows = data.get("data") if isinstance(data, dict) else None
    access = text_in(rows[0], "access_token") if isinstance(rows, list) and rows else ""
    return GivenToken(access) if access else None
