"""Amazon's catalogue API: items with their images, 20 at a time (docs/contracts/amazon.md)."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, NamedTuple, NotRequired
from urllib.parse import urlsplit

import sqlalchemy as sa
from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from imagesync_pipelines.connectors.plytix.client.answers import rate_limit, session_policy
from imagesync_pipelines.connectors.plytix.errors import NotAllowedError
from imagesync_pipelines.connectors.plytix.mapping import reason_of
from imagesync_pipelines.connectors.plytix.model import AmazonItem, ItemImage, SetAside
from imagesync_pipelines.connectors.plytix.rules import HOSTS, MARKETPLACES, Marketplace, amazon_sku, is_asin
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.languages import told
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage.rate_budget import Window
from imagesync_pipelines.upstream.details import ADDRESS_CHARACTERS, KEY_CHARACTERS, read_details
from imagesync_pipelines.upstream.errors import BadAnswerError, RateLimitedError, UpstreamError
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import ApiRequest, Param
from imagesync_pipelines.upstream.tokens import GivenToken, TokenHolder, TokenPolicy, text_in
from imagesync_pipelines.upstream.transport import Dialect, RateLimiter, Transport

# Amazon's figures: identifiers in one search, items on one page, and 2 calls a second with a burst of 2.
PER_SEARCH = 20
RATE = (Window(2, 1),)
# Amazon names no time in a 429; its bucket has a call again after half a second.
_PAUSE_SECONDS = 1.0
# What a token lives when the answer does not say.
LIFETIME_SECONDS = 3600.0


class Catalogue(NamedTuple):
    """What Amazon has of the items asked for; `missing`: the ASINs it does not have in the marketplace.

    left_out: details of images that cannot be read, with the ASIN.
    """

    items: tuple[AmazonItem, ...]
    missing: tuple[str, ...]
    set_aside: tuple[SetAside, ...]
    left_out: tuple[tuple[str, str], ...] = ()


_Word = Annotated[str, Field(max_length=KEY_CHARACTERS)]


class _Picture(TypedDict):
    link: Annotated[str, Field(max_length=ADDRESS_CHARACTERS)]
    variant: NotRequired[_Word | None]
    width: NotRequired[int | None]
    height: NotRequired[int | None]


class _Relation(TypedDict):
    type: _Word
    parentAsins: NotRequired[list[_Word] | None]
    childAsins: NotRequired[list[_Word] | None]


class _Group(TypedDict):
    """What an item has in one marketplace: its summary, its images, or its relationships."""

    marketplaceId: _Word
    itemClassification: NotRequired[_Word | None]
    images: NotRequired[list[_Picture] | None]
    relationships: NotRequired[list[_Relation] | None]


class _Item(TypedDict):
    asin: _Word
    summaries: NotRequired[list[_Group] | None]
    images: NotRequired[list[_Group] | None]
    relationships: NotRequired[list[_Group] | None]


_ITEM = TypeAdapter(_Item)
# What only describes an image.
_DETAILS = frozenset({"variant", "width", "height"})


class CatalogueDialect(Dialect):
    """Answers of the catalogue API; everything but 2xx is an error."""

    most_refusals = 30

    def failed(self, request: ApiRequest, error: UpstreamError) -> UpstreamError:
        """Name a refusal for the rate, and one that a new token did not help against."""
        if isinstance(error, RateLimitedError):
            error.retry_after = max(error.retry_after or 0.0, _PAUSE_SECONDS)
        if error.status == 403:
            what = told("HTTP 403: the application may not read the catalogue; check its roles at Amazon")
            return NotAllowedError(what, host=error.host, path=error.path, status=403)
        return error


class CatalogueApi(Transport):
    """Amazon's catalogue for one application; may be shared by threads. Close it at the end."""

    def __init__(self, settings: PlytixSettings, engine: sa.Engine, *, timing: Timing | None = None) -> None:
        """Raises SettingsError when the application's credentials are not set."""
        timing = timing or Timing()
        tokens = catalogue_tokens(settings, timing)
        limit = rate_limit(f"spapi {settings.spapi_client_id}", lambda: RATE, settings.max_pause_seconds)
        policy = session_policy(settings.spapi_url, settings)
        self.limiter = RateLimiter(limit, engine, timing)
        super().__init__(policy, CatalogueDialect(), timing, limiter=self.limiter, tokens=tokens)
        self._host = urlsplit(settings.spapi_url).hostname or ""

    def items(self, asins: Iterable[str], marketplace: str) -> Catalogue:
        """The items with these ASINs in one marketplace (a country), and the parents that they name.

        20 ASINs per call. Raises SettingsError for a marketplace that we do not know, or that another host of Amazon
        knows, CredentialsError, HourSpentError and what the session raises.
        """
        known = MARKETPLACES.get(marketplace)
        if known is None:
            raise SettingsError(f"Amazon's id of the marketplace {marketplace!r} is not known")
        # A host that is not Amazon's (a stand-in, a proxy) may answer for all of them.
        if self._host in HOSTS and self._host != known.host:
            raise SettingsError(
                f"PLYTIX_SPAPI_URL: {self._host} does not know the marketplace {marketplace}; set it to https://"
                f"{known.host} with the credentials for it, or choose marketplaces of one host with --marketplace."
            )
        wanted = list(dict.fromkeys(asins))
        found: dict[str, AmazonItem] = {}
        set_aside = [SetAside(asin, "no ASIN") for asin in wanted if not is_asin(asin)]
        left_out: list[tuple[str, str]] = []
        asked: set[str] = set()
        open_asins = [asin for asin in wanted if is_asin(asin)]
        while open_asins:
            asked.update(open_asins)
            for start in range(0, len(open_asins), PER_SEARCH):
                for item in self._search(open_asins[start : start + PER_SEARCH], known, set_aside, left_out):
                    found.setdefault(item.asin, item)
            # Parents are not found by keywords, and only few children name theirs.
            parents = {item.parent_asin for item in found.values() if is_asin(item.parent_asin)}
            open_asins = sorted(parents - asked)
        unread = {entry.where for entry in set_aside}
        missing = tuple(asin for asin in sorted(asked) if asin not in found and asin not in unread)
        return Catalogue(tuple(found.values()), missing, tuple(set_aside), tuple(left_out))

    def _search(
        self, asins: Sequence[str], place: Marketplace, set_aside: list[SetAside], left_out: list[tuple[str, str]]
    ) -> Iterator[AmazonItem]:
        """The items of one search, page by page; what cannot be read is put into `set_aside`, details in `left_out`."""
        params: dict[str, Param] = {
            "identifiers": ",".join(asins),
            "identifiersType": "ASIN",
            "marketplaceIds": place.id,
            "includedData": "summaries,images,relationships",
            "pageSize": PER_SEARCH,
        }
        tokens = {""}
        while True:
            answer = self.call(ApiRequest("GET", "catalog/2022-04-01/items", params, expect_json=True))
            data = answer.data if isinstance(answer.data, dict) else {}
            if not isinstance(data.get("items"), list):
                raise answer.error(BadAnswerError, told("Amazon's answer to a search holds no list `items`"))
            for row in data["items"]:
                try:
                    item, details = item_from_json(row, place)
                except Exception as error:  # noqa: BLE001 - whatever one item does to a library, the others are read
                    where = row.get("asin") if isinstance(row, dict) else None
                    set_aside.append(SetAside(str(where or asins[0])[:KEY_CHARACTERS], reason_of(error)))
                    continue
                if item.asin in asins:
                    left_out += [(item.asin, what) for what in details]
                    yield item
            following = text_in(data.get("pagination"), "nextToken")
            if following in tokens:
                return
            tokens.add(following)
            params["pageToken"] = following


def item_from_json(raw: object, place: Marketplace) -> tuple[AmazonItem, tuple[str, ...]]:
    """One item as Amazon models it, and the details that were left out; of its groups only this marketplace's count.

    A parent is known by its classification, or by having variations as children. Raises ValidationError.
    """
    item, left_out = read_details(_ITEM, raw, _DETAILS)

    def here(groups: list[_Group] | None) -> list[_Group]:
        return [group for group in groups or () if group["marketplaceId"] == place.id]

    related = [one for group in here(item.get("relationships")) for one in group.get("relationships") or ()]
    variations = [one for one in related if one["type"] == "VARIATION"]
    parents = [asin for one in variations for asin in one.get("parentAsins") or ()]
    kinds = {group.get("itemClassification") for group in here(item.get("summaries"))}
    images = [image for group in here(item.get("images")) for image in group.get("images") or ()]
    read = AmazonItem(
        sku=amazon_sku(place.country, item["asin"]),
        asin=item["asin"],
        marketplace=place.country,
        is_parent="VARIATION_PARENT" in kinds or any(one.get("childAsins") for one in variations),
        parent_asin=parents[0] if parents else "",
        images=tuple(
            ItemImage(image.get("variant"), image["link"], image.get("width"), image.get("height")) for image in images
        ),
    )
    return read, left_out


def catalogue_tokens(settings: PlytixSettings, timing: Timing) -> TokenHolder:
    """The holder of the application's token. Raises SettingsError naming the credentials that are not set."""
    secret, refresh = settings.spapi_client_secret, settings.spapi_refresh_token
    if not settings.spapi_client_id or secret is None or refresh is None:
        raise SettingsError(
            "PLYTIX_SPAPI_CLIENT_ID, PLYTIX_SPAPI_CLIENT_SECRET and PLYTIX_SPAPI_REFRESH_TOKEN must be set "
            "to read listings from Amazon; or name a mapping file"
        )
    base, _, path = settings.spapi_token_url.rpartition("/")
    policy = TokenPolicy(
        system="Amazon",
        credentials=told("the application's credentials"),
        advice=told("check PLYTIX_SPAPI_CLIENT_ID, PLYTIX_SPAPI_CLIENT_SECRET and PLYTIX_SPAPI_REFRESH_TOKEN"),
        path=path,
        body={
            "grant_type": "refresh_token",
            "refresh_token": refresh.get_secret_value(),
            "client_id": settings.spapi_client_id,
            "client_secret": secret.get_secret_value(),
        },
        read=_given,
        lifetime=LIFETIME_SECONDS,
        header="x-amz-access-token",
        prefix="",
        # An expired token is answered with 403 as well.
        token_refusals=frozenset({401, 403}),
    )
    return TokenHolder(session_policy(base, settings), policy, timing)


def _given(data: object) -> GivenToken | None:
    access = text_in(data, "access_token")
    named = data.get("expires_in") if isinstance(data, dict) else None
    lifetime = float(named) if isinstance(named, int | float) and named > 0 else None
    return GivenToken(access, lifetime=lifetime) if access else None
