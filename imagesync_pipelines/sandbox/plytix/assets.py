"""The assets of the PIM: upload by URL or content, read, rename, delete (docs/contracts/plytix.md)."""

import base64
import hashlib

from imagesync_pipelines.sandbox.answers import SentReply
from imagesync_pipelines.sandbox.plytix.model import PimAccount, PimAsset, extension_of
from imagesync_pipelines.sandbox.plytix.pim import (
    Pim,
    PimAsk,
    PimRefusalError,
    asked_asset,
    asset_json,
    content_type_of,
    created,
    fetch_file,
    found,
    name_in,
    products_with,
    schema_error,
)

REQUIRED = "Missing data for required field."
NO_TEXT = "Not a valid string."
SUFFIX_LENGTH = 5


def create(pim: Pim, ask: PimAsk) -> SentReply:
    """POST /assets: fetch or decode the file, and store it unless the same file has the same name already."""
    content, filename = _file(pim, ask)
    content_type = content_type_of(content, filename)
    if content_type is None:
        raise PimRefusalError(
            pim.switches.bad_image_status, "Schema validation error", (("url", "the file type is not supported"),)
        )
    with pim.account.lock:
        asset = store(pim.account, filename, content, content_type)
        return created(asset_json(pim.host, asset, products=0), f"{pim.host}/api/v1/assets/{asset.id}")


def get(pim: Pim, ask: PimAsk) -> SentReply:
    """GET /assets/{id}."""
    asset = asked_asset(pim, ask)
    return found([asset_json(pim.host, asset, products_with(pim.account, asset))])


def patch(pim: Pim, ask: PimAsk) -> SentReply:
    """PATCH /assets/{id}: another name, whose extension is the same."""
    asset = asked_asset(pim, ask)
    name = ask.fields().get("filename", asset.filename)
    if not isinstance(name, str):
        raise schema_error(("filename", NO_TEXT))
    rename(pim.account, asset, name)
    return found([asset_json(pim.host, asset, products_with(pim.account, asset))])


def delete(pim: Pim, ask: PimAsk) -> SentReply:
    """DELETE /assets/{id}: the asset goes, and its links with it."""
    remove(pim.account, asked_asset(pim, ask))
    return SentReply(204)


def store(account: PimAccount, filename: str, content: bytes, content_type: str) -> PimAsset:
    """Keep a file: same name and content is the 409, same name and other content gets another name."""
    sha256 = hashlib.sha256(content).hexdigest()
    now = account.clock.now()
    asset = PimAsset(
        id=account.new_id(f"asset/{filename}/{sha256}"),
        filename=_free_name(account, filename, sha256),
        content=content,
        sha256=sha256,
        content_type=content_type,
        created=now,
        modified=now,
    )
    account.assets[asset.id] = asset
    account.named[asset.filename] = asset.id
    return asset


def rename(account: PimAccount, asset: PimAsset, name: str) -> None:
    """Give an asset another name; a name that is taken is treated as in an upload."""
    if name == asset.filename:
        return
    if extension_of(name) != asset.extension:
        raise schema_error(("filename", "Extension changes are not allowed"))
    free = _free_name(account, name, asset.sha256)
    del account.named[asset.filename]
    account.named[free] = asset.id
    asset.filename = free
    asset.modified = account.clock.now()


def remove(account: PimAccount, asset: PimAsset) -> None:
    """Delete an asset and unlink it everywhere."""
    asset.deleted = account.clock.now()
    del account.named[asset.filename]
    for product in account.products.values():
        if product.thumbnail == asset.id:
            product.thumbnail = None
        for label, ids in product.media.items():
            product.media[label] = [one for one in ids if one != asset.id]


def _file(pim: Pim, ask: PimAsk) -> tuple[bytes, str]:
    """The content and the name that a body asks to store; the file is fetched without holding the account."""
    body = ask.fields()
    url, content, filename = body.get("url"), body.get("content"), body.get("filename")
    if filename is not None and not isinstance(filename, str):
        raise schema_error(("filename", NO_TEXT))
    if content is not None:
        if not filename:
            raise schema_error(("filename", "filename field is mandatory when uploading from content"))
        try:
            return base64.b64decode(str(content), validate=True), filename
        except ValueError as error:  # also for letters that base64 does not have at all
            raise schema_error(("content", "content is not valid base64")) from error
    if url is None:
        raise schema_error(("url", REQUIRED))
    if not isinstance(url, str):
        raise schema_error(("url", NO_TEXT))
    return fetch_file(pim.fetch, url, pim.switches.bad_image_status), filename or name_in(url)


def _free_name(account: PimAccount, filename: str, sha256: str) -> str:
    """The name under which a file is stored; raises the 409 when the same file has it."""
    namesake = account.by_name(filename)
    if namesake is None:
        return filename
    if namesake.sha256 == sha256:
        raise PimRefusalError(409, "Asset already exists", (("asset.id", namesake.id),))
    stem, dot, extension = filename.rpartition(".")
    suffix = account.new_id(f"suffix/{filename}")[:SUFFIX_LENGTH]
    return f"{stem}_{suffix}{dot}{extension}" if dot else f"{filename}_{suffix}"
