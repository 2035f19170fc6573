"""What every endpoint of the PIM shares: one call, its refusals, fetching, rendering."""

import mimetypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import requests

from imagesync_pipelines.sandbox.answers import FetchedFile, SentReply, replied
from imagesync_pipelines.sandbox.plytix.model import (
    THUMBNAIL,
    AttributeType,
    PimAccount,
    PimAsset,
    PimProduct,
    PlytixSwitches,
)

# `msg` of a field is a text mostly, but numbers and objects were seen.
FieldError = tuple[str, Any]


@dataclass
class PimRefusalError(Exception):
    """A request that is answered with an error; raised anywhere below an endpoint."""

    status: int
    message: str
    fields: tuple[FieldError, ...] = ()

    def reply(self) -> SentReply:
        """The error envelope; `errors` only where there are fields."""
        errors = [{"field": name, "msg": message} for name, message in self.fields]
        return replied({"error": {"msg": self.message, **({"errors": errors} if errors else {})}}, self.status)


def found(records: Sequence[Mapping[str, Any]], **more: Any) -> SentReply:
    """A 200 with records."""
    return replied({"data": records, **more})


def created(record: Mapping[str, Any], location: str) -> SentReply:
    """A 201 with the one record that was made."""
    return replied({"data": [record]}, 201, Location=location)


def schema_error(*fields: FieldError) -> PimRefusalError:
    """A 422 for a body of the wrong shape."""
    return PimRefusalError(422, "Schema validation error", fields)


def product_error(*fields: FieldError) -> PimRefusalError:
    """A 422 for values that a product cannot have."""
    return PimRefusalError(422, "product data validation failed", fields)


def no_such_product(product_id: str) -> PimRefusalError:
    """The 404 of a product; the space in front of the message is Plytix's."""
    return PimRefusalError(404, f" No results found for {product_id}", (("id", "product does not exist"),))


SECONDS = 30
_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"%PDF-", "application/pdf"),
)
_PAGES = (b"<!doctype html", b"<html")


# Raises OSError (as requests does) when no whole answer came.
Fetch = Callable[[str], FetchedFile]


def fetch_over_http(url: str) -> FetchedFile:
    """Get a URL and follow its redirects; raises OSError when the host does not answer or the body is cut short."""
    with requests.Session() as session:
        # The sandbox's hosts are on loopback, where no proxy of this machine can reach.
        session.trust_env = False
        answer = session.get(url, timeout=SECONDS)
        return FetchedFile(answer.status_code, answer.headers.get("Content-Type", ""), answer.content)


def fetch_file(fetch: Fetch, url: str, bad_image_status: int) -> bytes:
    """The content behind a URL, or the error for a URL that gives no file."""

    def bad(message: str) -> PimRefusalError:
        return PimRefusalError(bad_image_status, "Schema validation error", (("url", message),))

    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_address = False
    if not is_address:
        raise bad("Not a valid URL.")
    try:
        page = fetch(url)
    except OSError as error:
        raise bad("the file could not be downloaded") from error
    if page.status != HTTPStatus.OK:
        raise bad(f"the file could not be downloaded: {page.status}")
    if page.content_type.startswith("text/html") or is_page(page.body):
        raise bad("the file type is not supported")
    return page.body


def name_in(url: str) -> str:
    """The file name that a URL gives: its last path segment, decoded; `+` stays `+`."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def content_type_of(content: bytes, filename: str) -> str | None:
    """What Plytix calls the content, by its first bytes, else by the name; None is a kind that it does not store."""
    if not content or content.startswith(b"MZ") or is_page(content):
        return None
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    by_magic = next((kind for magic, kind in _MAGIC if content.startswith(magic)), None)
    return by_magic or mimetypes.guess_type(filename)[0]


def is_page(content: bytes) -> bool:
    """Whether the content is a page of HTML, whatever it is called."""
    return content[:512].lstrip().lower().startswith(_PAGES)


ASSETS_MOST = 300


@dataclass(frozen=True)
class Pim:
    """The running PIM; `host` is its own address, for the URLs of files."""

    account: PimAccount
    switches: PlytixSwitches
    fetch: Fetch
    host: str


@dataclass(frozen=True)
class PimAsk:
    """One call: `ids` are the parts of the path by name, `body` is the decoded JSON or None."""

    version: int
    ids: Mapping[str, str]
    query: Mapping[str, str]
    body: Any

    def fields(self) -> dict[str, Any]:
        """The body as an object, or the 400 for anything else."""
        if not isinstance(self.body, dict):
            raise PimRefusalError(400, "The browser sent a request that this server could not understand.")
        return self.body


Endpoint = Callable[[Pim, PimAsk], SentReply]


def asked_product(pim: Pim, ask: PimAsk) -> PimProduct:
    """The product that the path names, or its 404; a malformed id is a 404 too."""
    product = pim.account.products.get(ask.ids["product"])
    if product is None:
        raise no_such_product(ask.ids["product"])
    return product


def asked_asset(pim: Pim, ask: PimAsk) -> PimAsset:
    """The asset that the path names, or its 404."""
    asset = pim.account.asset(ask.ids["asset"])
    if asset is None:
        said = f" No results found for {ask.ids['asset']}"
        raise PimRefusalError(404, said, (("asset_id", "asset does not exist"),))
    return asset


def judge_number_of_assets(media: Mapping[str, list[str]], thumbnail: str | None) -> None:
    """The 422 for a product that would show more than 300 assets, each counted once."""
    shown = {asset_id for ids in media.values() for asset_id in ids} | ({thumbnail} if thumbnail else set())
    if len(shown) > ASSETS_MOST:
        raise product_error(("assets", f"a product has at most {ASSETS_MOST} assets"))


FILES = "/api/v1.1/file/public_files/pim/assets/"
V1, V2 = 1, 2
_FILE_TYPES = {"image": "IMAGES", "video": "VIDEOS", "audio": "SOUNDS", "text": "TEXTS"}
_THUMB = "/thumb/"


def file_type_of(asset: PimAsset) -> str:
    """The group of kinds that an asset belongs to."""
    return _FILE_TYPES.get(asset.content_type.partition("/")[0], "OTHER")


def file_url(host: str, asset: PimAsset, *, thumb: bool = False) -> str:
    """Where Plytix shows the file to everybody; the account is a part of it."""
    folder = f"{FILES}{asset.account}/images/{asset.id[:2]}{_THUMB if thumb else '/'}"
    return f"{host}{folder}{asset.id}/{quote(asset.filename)}"


def products_with(account: PimAccount, asset: PimAsset) -> int:
    """How many products show an asset."""
    return sum(asset.id in account.linked(product) for product in account.products.values())


def asset_json(host: str, asset: PimAsset, products: int) -> dict[str, Any]:
    """An asset with all its fields; `products` is how many show it."""
    return {
        "id": asset.id,
        "filename": asset.filename,
        "extension": asset.extension,
        "content_type": asset.content_type,
        "file_type": file_type_of(asset),
        "file_size": asset.file_size,
        "status": "ACTIVE",
        "assigned": products > 0,
        "n_products": products,
        "n_catalogs": 0,
        "categories": [],
        "public": True,
        "has_custom_thumb": False,
        "created": asset.created.isoformat(),
        "modified": asset.modified.isoformat(),
        "file_modified": _without_zone(asset.modified),
        "url": file_url(host, asset),
        "thumbnail": file_url(host, asset, thumb=True),
    }


def linked_json(host: str, asset: PimAsset) -> dict[str, Any]:
    """An asset as a product lists it."""
    return {
        "id": asset.id,
        "filename": asset.filename,
        "thumbnail": file_url(host, asset, thumb=True),
        "url": file_url(host, asset),
        "file_size": asset.file_size,
    }


def value_of(account: PimAccount, host: str, product: PimProduct, column: str, version: int) -> Any:
    """One column of a product; an attribute without a value is None."""
    if column == THUMBNAIL:
        return _thumbnail(account, host, product, version)
    if column.startswith("attributes."):
        return _attribute(account, host, product, column.removeprefix("attributes."), version)
    if column in ("assets", "images"):
        assets = [account.assets[asset_id] for asset_id in account.linked(product)]
        shown = [asset for asset in assets if column == "assets" or file_type_of(asset) == "IMAGES"]
        return [{"id": asset.id} if version == V2 else linked_json(host, asset) for asset in shown]
    return _plain(account, product, version)[column]


def product_json(
    account: PimAccount, host: str, product: PimProduct, version: int, *, all_attributes: bool = False
) -> dict[str, Any]:
    """A product with all its fields; empty attributes are left out or null."""
    values = {label: value_of(account, host, product, f"attributes.{label}", version) for label in account.attributes}
    return {
        **_plain(account, product, version),
        "overwritten_attributes": account.overwritten(product),
        "thumbnail": value_of(account, host, product, THUMBNAIL, version),
        "assets": value_of(account, host, product, "assets", version),
        "relationships": [],
        "attributes": {label: value for label, value in values.items() if all_attributes or value is not None},
    }


def audit_json(product: PimProduct) -> dict[str, Any]:
    """What v2 answers to a write."""
    user = {"id": "sandbox"}
    return {
        "id": product.id,
        "created": _without_zone(product.created),
        "modified": _without_zone(product.modified),
        "created_user_audit": user,
        "modified_user_audit": user,
    }


def parent_key(version: int) -> str:
    """What a variant's parent is called."""
    return "parent_id" if version == V2 else "_parent_id"


def _plain(account: PimAccount, product: PimProduct, version: int) -> dict[str, Any]:
    """The fields that hold no assets."""
    variants = len(account.variants(product))
    is_variant = product.parent_id is not None
    stamp = _without_zone if version == V2 else datetime.isoformat
    return {
        "id": product.id,
        "sku": product.sku,
        "label": product.label or None,
        "gtin": product.gtin,
        "status": product.status,
        "created": stamp(product.created),
        "modified": stamp(product.modified),
        parent_key(version): product.parent_id,
        "product_type": "VARIANT" if is_variant else "PARENT" if variants else "SINGLE",
        "product_level": 2 if is_variant else 1 if variants else 0,
        "num_variations": variants,
        "product_family_id": None,
        "product_family_model_id": None,
        "categories": [],
    }


def _thumbnail(account: PimAccount, host: str, product: PimProduct, version: int) -> Any:
    asset_id = account.thumbnail_of(product)
    if asset_id is None:
        return None
    if version == V2:
        return [asset_id] if account.switches.v2_thumbnail == "list" else {"id": asset_id}
    return linked_json(host, account.assets[asset_id])


def _attribute(account: PimAccount, host: str, product: PimProduct, label: str, version: int) -> Any:
    if account.attributes[label].type is AttributeType.TEXT:
        return product.texts.get(label)
    ids = account.media_of(product, label)
    if not ids:
        return None
    if version == V2:
        return list(ids)
    assets = [account.assets[asset_id] for asset_id in ids]
    shown = [
        {"id": one.id, "filename": one.filename, "thumb": file_url(host, one, thumb=True), "url": file_url(host, one)}
        for one in assets
    ]
    return shown[0] if account.attributes[label].type is AttributeType.MEDIA else shown


def _without_zone(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat()
