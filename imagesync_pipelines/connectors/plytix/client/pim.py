"""The HTTP contract of Plytix's PIM, and nothing but: products, assets, links (docs/contracts/plytix.md)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from operator import attrgetter
from typing import Any, TypeVar

import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.plytix.client import answers
from imagesync_pipelines.connectors.plytix.errors import ImageRefusedError, NotAllowedError, SearchRefusedError
from imagesync_pipelines.connectors.plytix.model import Asset, PlytixProduct
from imagesync_pipelines.connectors.plytix.settings import PlytixAccount, PlytixSettings
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.rate_budget import Window
from imagesync_pipelines.sync.identity import Told, only
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import ApiRequest
from imagesync_pipelines.upstream.transport import RateLimiter, Transport

T = TypeVar("T")
# The most SKUs or ids that one `in` takes, and the largest page (docs/contracts/plytix.md).
PER_SEARCH = 100
# How many names one search asks for, as alternatives of `eq`: file names know no `in`, and the limit is unknown.
NAMES_PER_SEARCH = 50
_ASSETS = "api/v1/assets"
NOBODYS_SKU = "imagesync-doctor"
# Where Plytix says whose account it is.
BY_TOKEN, BY_ADDRESS = "token", N_("asset addresses")


class PlytixApi(Transport):
    """One Plytix account, shared by all threads of a run and, in its limits, by all runs of an installation.

    Every call may raise HourSpentError, CredentialsError, NotAllowedError and any other UpstreamError; a write raises
    AnswerLostError when it may or may not have been carried out. Close it at the end.
    """

    def __init__(
        self, account: PlytixAccount, settings: PlytixSettings, engine: sa.Engine, *, timing: Timing | None = None
    ) -> None:
        self.account, self._addresses = account, set[str]()
        timing = timing or Timing()
        self._account_tokens = tokens = answers.pim_tokens(account, settings, timing)

        def limits() -> tuple[Window, ...]:
            """Our share of the account's limits: those of the accounts file, else of the token, else the usual ones."""
            named = account.limits or tuple(answers.limits_in(tokens.current().claims)) or answers.DEFAULT_LIMITS
            return tuple(Window(max(1, int(calls * settings.pace_share)), seconds) for calls, seconds in named)

        policy = answers.session_policy(account.url, settings)
        limit = answers.rate_limit(f"plytix {account.alias}", limits, settings.max_pause_seconds)
        self.limiter = RateLimiter(limit, engine, timing)
        super().__init__(policy, answers.PimDialect(limits, timing), timing, limiter=self.limiter, tokens=tokens)
        self._products = f"api/{settings.products_api}/products"
        self._gallery = settings.gallery_attribute
        self._inherited = settings.inherited_galleries
        self._in_refused = False

    def told(self) -> Told:
        """Whose account it is, as its token says it, and the addresses of the assets that were read so far.

        Asks for a token when there is none yet. Raises CredentialsError and what the session raises.
        """
        named = answers.account_in(self._account_tokens.current().claims)
        return [*only(BY_TOKEN, {named} - {""}), *only(BY_ADDRESS, self._addresses)]

    def look(self) -> None:
        """Search for a product that nobody has, and, where the token names no account, read an asset's address.

        Raises NotAllowedError, SearchRefusedError (the gallery attribute is unknown, for one), CredentialsError.
        """
        self.search_products([NOBODYS_SKU])
        if not self.told():
            next(iter(self._assets([])), None)

    def search_products(self, skus: Sequence[str]) -> dict[str, PlytixProduct]:
        """The products with exactly these SKUs, by SKU; those that Plytix does not have are missing.

        One call per 100 SKUs. Where `in` is refused for SKUs, alternatives of `eq` are asked instead. Where galleries
        are inherited, a variant has its own one only; learning that may take one more call for it. Raises
        SearchRefusedError, among others when the gallery attribute is unknown.
        """

        def products(some: list[str]) -> Iterator[PlytixProduct]:
            return (answers.product_from_row(row, self._gallery) for row in self._product_rows(some))

        found = _by_name(skus, PER_SEARCH, products, attrgetter("sku"))
        return answers.own_galleries(found, self._gallery, self._details) if self._inherited else found

    def create_asset(self, url: str, filename: str) -> tuple[Asset, bool]:
        """Let Plytix fetch a picture and keep it under a name; takes as long as the fetch.

        The same picture under the same name is not made again: True says that it existed. Plytix may keep another
        name than the one asked for. Raises ImageRefusedError for what concerns this picture only, AnswerLostError when
        it may or may not be there; asking again is safe then.
        """
        reply = self.call(ApiRequest("POST", _ASSETS, json={"url": url, "filename": filename}))
        if reply.status == 409:
            known = answers.existing_asset_id(reply.data)
            if known is None:
                words = answers.server_words(reply.data)
                raise reply.error(
                    ImageRefusedError, languages.told(f"conflict (409) without the id of an asset: {words}")
                )
            return self._existing(known, filename), True
        if not reply.good:
            words = answers.server_words(reply.data)
            raise reply.error(ImageRefusedError, languages.told(f"refused the image (HTTP {reply.status}): {words}"))
        row = answers.written_row(reply)
        if "id" not in row:
            raise AnswerLostError(f"{_ASSETS}: answered HTTP {reply.status} without the id of the asset")
        return answers.picture_asset(reply, row, filename), False

    def assets_by_filename(self, names: Sequence[str]) -> dict[str, Asset]:
        """The assets with exactly these file names, by name. One call per 50 names."""

        def named(some: list[str]) -> Iterator[Asset]:
            return self._assets([[{"field": "filename", "operator": "eq", "value": name}] for name in some])

        return _by_name(names, NAMES_PER_SEARCH, named, attrgetter("filename"))

    def assets_by_id(self, ids: Sequence[str]) -> dict[str, Asset]:
        """The assets with these ids, by id; those that are gone are missing. One call per 100 ids."""

        def with_ids(some: list[str]) -> Iterator[Asset]:
            return self._assets([[{"field": "id", "operator": "in", "value": some}]])

        return _by_name(ids, PER_SEARCH, with_ids, attrgetter("id"))

    def link(self, product_id: str, asset_id: str) -> bool:
        """Append an asset to the gallery attribute; False when it was there already.

        Raises ProductUnfitError, AssetGoneError, WriteRefusedError, AnswerLostError.
        """
        body = {"id": asset_id, "attribute_label": self._gallery}
        reply = self.call(ApiRequest("POST", f"{self._products}/{product_id}/assets", json=body))
        if reply.good:
            # The body decides, not the 201.
            named = answers.written_row(reply).get("id")
            if named != asset_id:
                what = languages.told(
                    f"HTTP {reply.status} for a link of asset {asset_id}, but the answer names {named!r:.60}"
                )
                raise AnswerLostError(what)
            return True
        if reply.status == 409:
            return False
        raise answers.refusal_of(reply, product_id, self._gallery, asset_id)

    def patch_product(
        self,
        product_id: str,
        *,
        gallery: Sequence[str] | None = None,
        thumbnail: str | None = None,
        no_thumbnail: bool = False,
    ) -> PlytixProduct | None:
        """Replace the gallery by these asset ids in this order, set the thumbnail (or take it away), or both, at once.

        None leaves a field as it is. Gives the product as Plytix answered, None where it does not say (v2). Raises
        ProductUnfitError, WriteRefusedError (an asset that is gone among them), AnswerLostError.
        """
        body: dict[str, object] = {}
        if gallery is not None:
            body["attributes"] = {self._gallery: [{"id": asset_id} for asset_id in gallery]}
        if thumbnail is not None or no_thumbnail:
            body[answers.THUMBNAIL] = None if no_thumbnail else {"id": thumbnail}
        if not body:
            raise ValueError("nothing to write: name a gallery or a thumbnail")
        reply = self.call(ApiRequest("PATCH", f"{self._products}/{product_id}", json=body))
        if not reply.good:
            raise answers.refusal_of(reply, product_id, self._gallery, thumbnail)
        sent = {"gallery": bool(gallery), "thumbnail": thumbnail is not None}
        return answers.written_product(reply, product_id, self._gallery, **sent)

    def _details(self, product_id: str) -> Mapping[str, Any]:
        """All fields of a product; {} when it is gone: writing to it will tell."""
        reply = self.call(ApiRequest("GET", f"{self._products}/{product_id}"))
        return {} if reply.status == 404 else answers.row_in(reply)

    def _existing(self, asset_id: str, filename: str) -> Asset:
        """The asset that a refused upload named; it may be what an earlier one got from the URL in place of a picture.

        Raises ImageRefusedError.
        """
        reply = self.call(ApiRequest("GET", f"{_ASSETS}/{asset_id}"))
        if not reply.good:
            what = languages.told(f"asset {asset_id}, which Plytix has instead, cannot be read (HTTP {reply.status})")
            raise reply.error(ImageRefusedError, f"{what}: {answers.server_words(reply.data)}")
        return answers.picture_asset(reply, answers.row_in(reply), filename)

    def _product_rows(self, skus: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """The rows of a search for SKUs; with `in`, or with alternatives where that is refused."""
        columns = [answers.THUMBNAIL, f"attributes.{self._gallery}"]
        path = f"{self._products}/search"
        if not self._in_refused:
            try:
                for rows in self._pages(path, [[{"field": "sku", "operator": "in", "value": list(skus)}]], columns):
                    yield from rows
                return
            except SearchRefusedError as error:
                if error.status != 422:
                    raise
        for rows in self._pages(path, [[{"field": "sku", "operator": "eq", "value": sku}] for sku in skus], columns):
            # Only an answer to the other form shows that it was the operator that was refused.
            self._in_refused = True
            yield from rows

    def _assets(self, filters: object) -> Iterator[Asset]:
        for rows in self._pages(f"{_ASSETS}/search", filters, ["filename", "file_size", "url"]):
            yield from map(answers.asset_from_row, rows)

    def _pages(self, path: str, filters: object, columns: list[str]) -> Iterator[list[Mapping[str, Any]]]:
        """The rows of a search, page by page: pages follow as long as they are full, whatever the counts say."""
        for page in count(1):
            pagination = {"page": page, "page_size": PER_SEARCH}
            body = {"filters": filters, "attributes": columns, "pagination": pagination}
            reply = self.call(ApiRequest("POST", path, json=body, idempotent=True))
            if reply.status == 403:
                raise reply.error(NotAllowedError, answers.FORBIDDEN)
            if not reply.good:
                words = answers.server_words(reply.data)
                raise reply.error(
                    SearchRefusedError, languages.told(f"the search was refused (HTTP {reply.status}): {words}")
                )
            rows = answers.rows_in(reply)
            self._addresses |= {answers.account_of_address(rows)} - {""}
            yield rows
            if len(rows) < PER_SEARCH:
                return


def _by_name(
    names: Sequence[str], size: int, search: Callable[[list[str]], Iterator[T]], name_of: Callable[[T], str]
) -> dict[str, T]:
    """What a search finds under exactly these names, `size` of them in one; its pages end when all were found.

    Text is compared without case by Plytix: only the very name counts.
    """
    found: dict[str, T] = {}
    asked = list(dict.fromkeys(names))
    for start in range(0, len(asked), size):
        missing = set(asked[start : start + size])
        for one in search(asked[start : start + size]):
            if (name := name_of(one)) in missing:
                found[name] = one
                missing.remove(name)
            if not missing:
                break
    return found
