"""What one account of the stand-in holds, in memory: its entities, their images, its storage; and the switches.

There is one switch per point that no source settles (docs/contracts/moysklad.md).
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from random import Random
from typing import Literal
from uuid import UUID

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.moysklad.answers import refused

# How the 45 units of 3 s are counted: in a window that begins with the first call after the one before has ended, in
# any 3 s, or as something that drains evenly, 15 units a second.
UnitsWindow = Literal["fixed", "sliding", "leaky"]
# What an array of images with one bad element does: it is refused as a whole, or the good ones become the list and the
# answer does not mention the bad one.
BadElement = Literal["nothing", "rest"]
# How its error tells which element was bad: not at all, by "parameter": "[3].content", or by the element's "line" and
# "column" in the body, from 1.
BadElementNamed = Literal["not", "parameter", "column"]
EmptyArray = Literal["refused", "clears"]  # what an empty array does that is posted to `/images`; refused: 1027
IdScope = Literal["entity", "account"]  # within what the same name and bytes have the same image id
SameMeta = Literal["twice", "once", "refused"]  # an array that keeps the same image twice by meta; refused: 3013
# In which form a list is taken: as an array to the path of one (/images, /entity/{type}), or only to /images/batch and
# /entity/{type}/batch. The other form is refused as unknown, with 1002.
ListForm = Literal["both", "array", "batch"]
FreeTariff = Literal["absent", "refused"]  # `fields=downloadPermanentHref` without such links; refused: 1070
TooLargeBy = Literal["proxy", "api"]  # who refuses a body above the limit with 413: a page of HTML, or 1044


@dataclass
class MoyskladSwitches:
    """May be changed while the stand-in runs."""

    image_megabytes: float = 3  # the largest image, in units of 1,000,000 bytes; 51004 names it
    body_bytes: int = 20_000_000  # the largest body
    too_large: TooLargeBy = "proxy"
    image_error_status: int = 412  # the status of 51001 to 51006
    bad_element: BadElement = "nothing"
    bad_element_named: BadElementNamed = "not"
    empty_array: EmptyArray = "refused"
    image_write_bumps_updated: bool = True
    image_write_fires_webhook: bool = True
    image_field_name: str = "images"  # what `updatedFields` of a webhook calls a change of images
    id_scope: IdScope = "entity"
    id_kept_after_delete: bool = False  # an image that is added again has the id it had before
    same_meta: SameMeta = "twice"
    foreign_meta_adds: bool = False  # a meta of another entity's image in the same account adds it; else 3033
    other_formats: bool = False  # GIF, WEBP and BMP are taken; else 51002
    bulk_inline_images: bool = True  # `images` in the elements of a bulk write are set; else ignored
    inline_keep_by_meta: bool = True  # inline `images` may keep by meta; else 2013
    mixed_bulk_status: int = 400  # the status of a bulk answer that has both entities and errors
    bulk_most: int | None = None  # a bulk stops at the 5 minutes after so many elements: they are written, it is 1088
    free_tariff: FreeTariff = "absent"
    head_of_download: int = 302  # the status of HEAD on /download
    download_costs: bool = True  # /download costs a call's units
    variant_shows_parent: bool = False  # a variant without images of its own lists its product's
    old_images_downloadable: bool = False  # an image that no entity shows any more can still be downloaded
    window: UnitsWindow = "fixed"
    images_form: ListForm = "both"  # how the list of an entity's images is set
    bulk_form: ListForm = "both"  # how many entities are written at once
    malformed_id_named: bool = True  # an id that is no UUID is 1052; else 1021, as one that is not there
    seconds_per_call: float = 0.0  # real seconds that a call is worked on, so that calls overlap


MOST_IMAGES = 10


class EntityType(StrEnum):
    """The kinds of entity; services have no images."""

    PRODUCT = "product"
    BUNDLE = "bundle"
    VARIANT = "variant"
    SERVICE = "service"


WITH_IMAGES = (EntityType.PRODUCT, EntityType.BUNDLE, EntityType.VARIANT)


@dataclass(frozen=True)
class NewEntity:
    """An entity that an account has from the start; a variant names its product by external code.

    `images` are names and bytes.
    """

    type: EntityType
    name: str
    external_code: str
    code: str = ""
    article: str = ""
    barcodes: tuple[str, ...] = ()
    product: str = ""
    archived: bool = False
    images: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class StockImage:
    """A stored image; the same name and bytes are the same image."""

    id: str
    file_id: str
    filename: str
    content: bytes = field(repr=False)
    digest: str
    uploaded: datetime

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content)


@dataclass
class StockEntity:
    """A product, bundle, variant or service."""

    id: str
    ui_id: str
    type: EntityType
    name: str
    external_code: str
    updated: datetime
    code: str = ""
    article: str = ""
    barcodes: tuple[str, ...] = ()
    archived: bool = False
    product_id: str = ""
    sync_id: str = ""
    images: list[StockImage] = field(default_factory=list)


def account_id(name: str) -> str:
    """The id of the account of this name, which is the same at every start."""
    return _drawn(Random(name))


def _drawn(ids: Random) -> str:
    return str(UUID(int=ids.getrandbits(128), version=4))


@dataclass
class StockAccount:
    """Everything of one account; whoever reads or writes holds `lock`.

    `quota` is the storage in bytes (None: no limit), `used` what its images take; `images` are all that there
    ever were, by id, and `files` by their name at the storage; `visited` are those whose miniature was asked for.
    """

    name: str
    clock: SandboxClock
    switches: MoyskladSwitches
    permanent_links: bool = False
    quota: int | None = None
    entities: dict[str, StockEntity] = field(default_factory=dict)
    images: dict[str, StockImage] = field(default_factory=dict)
    files: dict[str, StockImage] = field(default_factory=dict)
    shown: Counter[str] = field(default_factory=Counter)
    visited: set[str] = field(default_factory=set)
    used: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        # Its own ids per account, the same ones at every start; the first is its own.
        self._random = Random(self.name)
        self._identities: dict[tuple[str, str, str], StockImage] = {}
        self.by_ui_id: dict[str, str] = {}  # the API's id for an id of the user interface
        self.id = self.new_id()

    def new_id(self) -> str:
        """An id that nothing else has."""
        return _drawn(self._random)

    def add(self, entity_type: EntityType, name: str, external_code: str = "") -> StockEntity:
        """Keep a new entity, without images; МойСклад makes up an external code when none is given."""
        entity = StockEntity(
            self.new_id(), self.new_id(), entity_type, name, external_code or self.new_id()[:22], self.clock.now()
        )
        self.entities[entity.id] = entity
        self.by_ui_id[entity.ui_id] = entity.id
        return entity

    def remove(self, entity: StockEntity) -> None:
        """Delete an entity, and with a product its variants."""
        for variant in [one for one in self.entities.values() if one.product_id == entity.id]:
            self.remove(variant)
        self.show(entity, ())
        del self.entities[entity.id]

    def entity(self, entity_type: EntityType, entity_id: str) -> StockEntity:
        """The entity of this type and id; raises the 404."""
        entity = self.entities.get(entity_id)
        if entity is None or entity.type is not entity_type:
            raise refused(1021)
        return entity

    def of_types(self, types: Iterable[EntityType]) -> Iterator[StockEntity]:
        """The entities of these types, oldest first."""
        wanted = frozenset(types)
        return (entity for entity in self.entities.values() if entity.type in wanted)

    def image_of(
        self, entity: StockEntity, filename: str, content: bytes, beside: Iterable[StockImage] = ()
    ) -> StockImage:
        """The image of this name and bytes: the one that is shown already or will be `beside` it, or a new one."""
        digest = hashlib.sha256(content).hexdigest()
        scope = entity.id if self.switches.id_scope == "entity" else ""
        key = (scope, filename, digest)
        known = self._identities.get(key)
        if known is not None and (self.switches.id_kept_after_delete or self.shown[known.id] or known in beside):
            return known
        image = StockImage(self.new_id(), self.new_id(), filename, content, digest, self.clock.now())
        self._identities[key] = image
        self.images[image.id] = self.files[image.file_id] = image
        return image

    def images_of(self, entity: StockEntity, files: Iterable[tuple[str, bytes]]) -> list[StockImage]:
        """The images of these names and bytes, in order."""
        images: list[StockImage] = []
        for filename, content in files:
            images.append(self.image_of(entity, filename, content, images))
        return images

    def show(self, entity: StockEntity, images: Iterable[StockImage]) -> None:
        """Make these images the entity's list; raises 51003 when the storage has no room for them."""
        after = list(images)
        used = self.used + sum(image.size for image in after) - sum(image.size for image in entity.images)
        if self.quota is not None and used > max(self.quota, self.used):
            raise refused(51003)
        self.shown.subtract(image.id for image in entity.images)
        self.shown.update(image.id for image in after)
        entity.images, self.used = after, used


def fill(account: StockAccount, entities: Iterable[NewEntity]) -> None:
    """Add the entities that an account has from the start; raises KeyError for a variant whose product is not there."""
    products: dict[str, str] = {}
    for new in entities:
        entity = account.add(new.type, new.name, new.external_code)
        for name in ("code", "article", "barcodes", "archived"):
            setattr(entity, name, getattr(new, name))
        if new.type is EntityType.VARIANT:
            entity.product_id = products[new.product]
        products.setdefault(new.external_code, entity.id)
        account.show(entity, account.images_of(entity, new.images))
