"""What one account of the stand-in holds: attributes, assets and products, in memory; and its switches."""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from imagesync_pipelines.sandbox.clock import SandboxClock

# How a 429 names the time to wait: `Retry-After: 7`, `Retry-After: 6.492`, milliseconds as `ttl` in the body, both
# `Retry-After: 7` and `ttl`, or not at all.
WaitNamed = Literal["seconds", "decimal", "ttl", "both", "absent"]
# When a window of the rate limit begins: with the first call after the one before has ended, or at whole multiples of
# its length. It is only known that it does not slide.
WindowStart = Literal["first call", "clock"]
# What `count` and `total_count` of a search are: matches and all records, or rows on this page and matches.
Counts = Literal["matches of account", "page of matches"]
# What a patch with `thumbnail: null` does, which is nowhere documented: takes it away, is a 422, or is passed over.
NullThumbnail = Literal["taken", "refused", "ignored"]
ThumbnailForm = Literal["object", "list"]  # how v2 gives a thumbnail: {"id": "…"} or ["…"]; two examples differ


@dataclass
class PlytixSwitches:
    """May be changed while the stand-in runs; delays are seconds of the sandbox's clock unless said otherwise."""

    wait_named: WaitNamed = "seconds"
    window_start: WindowStart = "first call"
    in_refused: bool = False  # `in` on sku is answered with 422
    in_most: int = 100  # SKUs in one `in`; more are a 422
    groups_most: int | None = None  # OR groups in one search; more are a 422
    columns_most: int = 20  # columns of a search; the documents say 20 and 50
    counts: Counts = "matches of account"
    token_names_account: bool = True  # the token says whose account it is, beside the limits
    v2_thumbnail: ThumbnailForm = "object"
    null_thumbnail: NullThumbnail = "taken"
    bad_image_status: int = 422  # for a URL that gives no image: 422 or 400, not recorded anywhere
    lost_update_race: bool = False  # two links of one product at once: one is lost, though both are answered with 201
    race_seconds: float = 0.05  # real seconds between the read and the write of a link, when the race is on
    inheritance: bool = False  # thumbnail and media attributes of a parent flow to its variants
    delete_delay: float = 0.0  # so long a deleted asset is still answered
    search_delay: float = 0.0  # so long a new asset is not found by a search
    deprecation: str | None = None  # the header X-Plytix-Deprecation of every answer


THUMBNAIL = "thumbnail"


class AttributeType(StrEnum):
    """The kinds of attribute that the stand-in knows."""

    MEDIA = "MediaAttribute"
    GALLERY = "MediaGalleryAttribute"
    TEXT = "TextAttribute"


@dataclass(frozen=True)
class NewAttribute:
    """A product attribute that the account has from the start; its label is derived from the name."""

    name: str
    type: AttributeType = AttributeType.GALLERY

    @property
    def label(self) -> str:
        """What requests call it: lower case, underscores."""
        return "_".join(self.name.lower().split())


@dataclass(frozen=True)
class NewProduct:
    """A product that the account has from the start; `parent` is the SKU of a product named before it."""

    sku: str
    label: str = ""
    gtin: str = ""
    parent: str = ""


def extension_of(filename: str) -> str:
    """What stands behind the last dot of a name, or nothing."""
    return filename.rpartition(".")[2] if "." in filename else ""


@dataclass
class PimAsset:
    """A stored file. The URL it was uploaded from is not kept."""

    id: str
    filename: str
    content: bytes = field(repr=False)
    sha256: str
    content_type: str
    account: str = field(kw_only=True, default="sandbox")
    created: datetime
    modified: datetime
    deleted: datetime | None = None

    @property
    def file_size(self) -> int:
        """Bytes."""
        return len(self.content)

    @property
    def extension(self) -> str:
        """The extension of its name."""
        return extension_of(self.filename)


@dataclass
class PimProduct:
    """A product with its own values; what it inherits is computed. A single media attribute is a list of one id."""

    id: str
    sku: str
    label: str
    gtin: str
    created: datetime
    modified: datetime
    status: str = "Draft"
    parent_id: str | None = None
    thumbnail: str | None = None
    media: dict[str, list[str]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def shown(self, label: str) -> list[str]:
        """Its own asset ids in an attribute, or its own thumbnail."""
        if label == THUMBNAIL:
            return [self.thumbnail] if self.thumbnail else []
        return self.media.get(label, [])


@dataclass
class PimAccount:
    """Everything of one account; whoever reads or writes holds `lock`. name: what its ids and addresses are made of."""

    clock: SandboxClock
    switches: PlytixSwitches
    name: str = "sandbox"
    attributes: dict[str, NewAttribute] = field(default_factory=dict)
    assets: dict[str, PimAsset] = field(default_factory=dict)
    products: dict[str, PimProduct] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)  # file name -> id of the stored asset that has it
    numbered: dict[str, str] = field(default_factory=dict)  # SKU -> id of its product
    lock: threading.RLock = field(default_factory=threading.RLock)
    _made: Counter[str] = field(default_factory=Counter)

    def new_id(self, of: str) -> str:
        """24 hex characters: the same for the same thing in every run, other ones when it is made again."""
        self._made[of] += 1
        seed = of if self.name == "sandbox" else f"{self.name}/{of}"
        return hashlib.sha256(f"{seed}/{self._made[of]}".encode()).hexdigest()[:24]

    def asset(self, asset_id: str) -> PimAsset | None:
        """An asset that is still answered; a deleted one for as long as the switch says."""
        asset = self.assets.get(asset_id)
        if asset is None or asset.deleted is None:
            return asset
        delay = timedelta(seconds=self.switches.delete_delay)
        return asset if self.clock.now() < asset.deleted + delay else None

    def stored(self, asset_id: object) -> PimAsset | None:
        """An asset that is not deleted; only such a one can be linked. Anything may have been sent as its id."""
        asset = self.assets.get(asset_id) if isinstance(asset_id, str) else None
        return asset if asset is not None and asset.deleted is None else None

    def by_sku(self, sku: str) -> PimProduct | None:
        """The product with exactly this SKU."""
        return self.products.get(self.numbered.get(sku, ""))

    def by_name(self, filename: str) -> PimAsset | None:
        """The stored asset with exactly this file name."""
        return self.assets.get(self.named.get(filename, ""))

    def new_product(self, sku: str, parent_id: str | None) -> PimProduct:
        """A product that is not kept yet."""
        now = self.clock.now()
        return PimProduct(self.new_id(f"product/{sku}"), sku, "", "", now, now, parent_id=parent_id)

    def keep_product(self, product: PimProduct) -> None:
        """Store a new product, or in place of the one with its id."""
        before = self.products.get(product.id)
        if before is not None:
            del self.numbered[before.sku]
        self.products[product.id] = product
        self.numbered[product.sku] = product.id

    def remove_product(self, product: PimProduct) -> None:
        """Delete a product and its variants; the assets stay."""
        for gone in (product, *self.variants(product)):
            del self.products[gone.id]
            del self.numbered[gone.sku]

    def variants(self, product: PimProduct) -> list[PimProduct]:
        """The variants of a product, oldest first."""
        return [one for one in self.products.values() if one.parent_id == product.id]

    def media_labels(self) -> list[str]:
        """The labels of all attributes that hold assets."""
        return [label for label, attribute in self.attributes.items() if attribute.type is not AttributeType.TEXT]

    def thumbnail_of(self, product: PimProduct) -> str | None:
        """The thumbnail that is shown: its own, or with the switch its parent's."""
        parent = self._heir_of(product)
        return product.thumbnail if product.thumbnail or parent is None else parent.thumbnail

    def media_of(self, product: PimProduct, label: str) -> list[str]:
        """The asset ids of an attribute as they are shown: its own, or with the switch its parent's."""
        parent = self._heir_of(product)
        own = product.media.get(label, [])
        return own if own or parent is None else parent.media.get(label, [])

    def overwritten(self, product: PimProduct) -> list[str]:
        """The labels whose own value hides the parent's."""
        if self._heir_of(product) is None:
            return []
        own = [label for label in self.media_labels() if product.media.get(label)]
        return [THUMBNAIL, *own] if product.thumbnail else own

    def linked(self, product: PimProduct) -> list[str]:
        """The ids of all assets that the product shows anywhere, each once."""
        galleries = [asset for label in self.media_labels() for asset in self.media_of(product, label)]
        thumbnail = self.thumbnail_of(product)
        return list(dict.fromkeys([*galleries, thumbnail] if thumbnail else galleries))

    def _heir_of(self, product: PimProduct) -> PimProduct | None:
        """The parent that a variant inherits from."""
        if not self.switches.inheritance or product.parent_id is None:
            return None
        return self.products.get(product.parent_id)


def new_account(
    clock: SandboxClock,
    switches: PlytixSwitches,
    attributes: Iterable[NewAttribute],
    products: Iterable[NewProduct],
    name: str = "sandbox",
) -> PimAccount:
    """An account with attributes and products and no asset; its id comes from its name."""
    account = PimAccount(clock, switches, name, {attribute.label: attribute for attribute in attributes})
    for new in products:
        product = account.new_product(new.sku, account.numbered[new.parent] if new.parent else None)
        account.keep_product(replace(product, label=new.label, gtin=new.gtin))
    return account
