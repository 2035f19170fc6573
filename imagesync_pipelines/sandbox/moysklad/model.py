"""What one account of the stand-in holds: its entities, their images, its storage; in memory.

What belongs here: the data, its ids, and counting what is stored. What does not: HTTP (app.py), the rules of writing
(images.py, entities.py), changing it for a test (handle.py, mutation.py).
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from random import Random
from uuid import UUID

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.moysklad.answers import refused
from imagesync_pipelines.sandbox.moysklad.switches import IdScope, Switches

MOST_IMAGES = 10


class EntityType(StrEnum):
    """The kinds of entity; services have no images."""

    PRODUCT = "product"
    BUNDLE = "bundle"
    VARIANT = "variant"
    SERVICE = "service"


WITH_IMAGES = (EntityType.PRODUCT, EntityType.BUNDLE, EntityType.VARIANT)


@dataclass(frozen=True)
class NewImage:
    """A file to be shown."""

    filename: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class NewEntity:
    """An entity that an account has from the start; a variant names its product by external code."""

    type: EntityType
    name: str
    external_code: str
    code: str = ""
    article: str = ""
    barcodes: tuple[str, ...] = ()
    product: str = ""
    archived: bool = False
    images: tuple[NewImage, ...] = ()


@dataclass(frozen=True)
class Image:
    """A stored image; the same name and bytes are the same image (contract section 7.2)."""

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
class Entity:
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
    images: list[Image] = field(default_factory=list)


@dataclass
class Account:
    """Everything of one account; whoever reads or writes holds `lock`.

    `quota` is the storage in bytes (None: no limit), `used` what its images take; `images` are all that there
    ever were, by id, and `files` by their name at the storage; `visited` are those whose miniature was asked for.
    """

    name: str
    clock: SandboxClock
    switches: Switches
    permanent_links: bool = False
    quota: int | None = None
    entities: dict[str, Entity] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    files: dict[str, Image] = field(default_factory=dict)
    shown: Counter[str] = field(default_factory=Counter)
    visited: set[str] = field(default_factory=set)
    used: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        # Its own ids per account, the same ones at every start.
        self._random = Random(self.name)  # noqa: S311 - made-up ids, no secret
        self._identities: dict[tuple[str, str, str], Image] = {}
        self._by_ui_id: dict[str, str] = {}
        self.id = self.new_id()

    def new_id(self) -> str:
        """An id that nothing else has."""
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def add(self, entity_type: EntityType, name: str, external_code: str = "") -> Entity:
        """Keep a new entity, without images; МойСклад makes up an external code when none is given."""
        entity = Entity(
            self.new_id(), self.new_id(), entity_type, name, external_code or self.new_id()[:22], self.clock.now()
        )
        self.entities[entity.id] = entity
        self._by_ui_id[entity.ui_id] = entity.id
        return entity

    def remove(self, entity: Entity) -> None:
        """Delete an entity, and with a product its variants."""
        for variant in [one for one in self.entities.values() if one.product_id == entity.id]:
            self.remove(variant)
        self.show(entity, ())
        del self.entities[entity.id]

    def entity(self, entity_type: EntityType, entity_id: str) -> Entity:
        """The entity of this type and id; raises the 404."""
        entity = self.entities.get(entity_id)
        if entity is None or entity.type is not entity_type:
            raise refused(1021)
        return entity

    def by_ui_id(self, ui_id: str) -> str | None:
        """The API's id for an id of the user interface."""
        return self._by_ui_id.get(ui_id)

    def of_types(self, types: Iterable[EntityType]) -> Iterator[Entity]:
        """The entities of these types, oldest first."""
        wanted = frozenset(types)
        return (entity for entity in self.entities.values() if entity.type in wanted)

    def image_of(self, entity: Entity, filename: str, content: bytes, beside: Iterable[Image] = ()) -> Image:
        """The image of this name and bytes: the one that is shown already or will be `beside` it, or a new one."""
        digest = hashlib.sha256(content).hexdigest()
        scope = entity.id if self.switches.id_scope is IdScope.ENTITY else ""
        key = (scope, filename, digest)
        known = self._identities.get(key)
        if known is not None and (self.switches.id_kept_after_delete or self.shown[known.id] or known in beside):
            return known
        image = Image(self.new_id(), self.new_id(), filename, content, digest, self.clock.now())
        self._identities[key] = image
        self.images[image.id] = self.files[image.file_id] = image
        return image

    def images_of(self, entity: Entity, files: Iterable[tuple[str, bytes]]) -> list[Image]:
        """The images of these names and bytes, in order."""
        images: list[Image] = []
        for filename, content in files:
            images.append(self.image_of(entity, filename, content, images))
        return images

    def show(self, entity: Entity, images: Iterable[Image]) -> None:
        """Make these images the entity's list; raises 51003 when the storage has no room for them."""
        after = list(images)
        used = self.used + sum(image.size for image in after) - sum(image.size for image in entity.images)
        if self.quota is not None and used > max(self.quota, self.used):
            raise refused(51003)
        self.shown.subtract(image.id for image in entity.images)
        self.shown.update(image.id for image in after)
        entity.images, self.used = after, used

    def touch(self, entity: Entity) -> None:
        """The entity was changed now."""
        entity.updated = self.clock.now()


def fill(account: Account, entities: Iterable[NewEntity]) -> None:
    """Add the entities that an account has from the start; raises KeyError for a variant whose product is not there."""
    products: dict[str, str] = {}
    for new in entities:
        entity = account.add(new.type, new.name, new.external_code)
        entity.code, entity.article, entity.barcodes, entity.archived = (
            new.code,
            new.article,
            new.barcodes,
            new.archived,
        )
        if new.type is EntityType.VARIANT:
            entity.product_id = products[new.product]
        products.setdefault(new.external_code, entity.id)
        account.show(entity, account.images_of(entity, [(image.filename, image.content) for image in new.images]))
