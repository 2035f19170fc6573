"""What the МойСклад connector speaks of: entities and their images, as an account has them and as they are written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from imagesync_pipelines.connectors.moysklad.accounts import MatchField
from imagesync_pipelines.languages import told

# Where an entity says whose account it is in.
ACCOUNT_ID = "accountId"
# The name of the connector, of its Dagster assets, locks, intents and rows.
NAME = "moysklad"
EntityType = Literal["product", "bundle", "variant"]
TYPES: tuple[EntityType, ...] = get_args(EntityType)
# The most images that a product, bundle or variant has (docs/contracts/moysklad.md).
MOST_IMAGES = 10
# Where an image's row does not say how many bytes it has.
UNKNOWN_SIZE = -1


@dataclass(frozen=True)
class ImageRow:
    """One image of an entity, as its account lists it.

    id: the last part of its address, the same for the same file name and bytes, so one entity may have it twice.
    size: bytes, or UNKNOWN_SIZE. download_href: where the API redirects to the bytes. permanent_href: where they are
    without an API call; '' where there is none.
    """

    id: str
    filename: str
    size: int
    download_href: str
    permanent_href: str = ""


@dataclass(frozen=True)
class Entity:
    """A product, bundle or variant of an account.

    product_id: the product of a variant, '' for the others. image_count: how many images the account says that it has,
    -1 where it does not say. images: in order; None where the rows were not delivered, which is never the same as none.
    account_id: МойСклад's id of the account that it is in; '' where it does not say. updated: None where it is no time.
    """

    type: EntityType
    id: str
    name: str
    external_code: str
    code: str
    article: str
    barcodes: tuple[str, ...]
    archived: bool
    product_id: str
    updated: datetime | None
    image_count: int
    images: tuple[ImageRow, ...] | None
    account_id: str = ""

    @property
    def key(self) -> str:
        """`<type>:<id>`; that of the main account is the entity's key everywhere, and the engine's group."""
        return f"{self.type}:{self.id}"

    @property
    def delivered(self) -> tuple[ImageRow, ...] | None:
        """Its images; None where their rows were not delivered, or not all of them."""
        return self.images if self.images is not None and len(self.images) == self.image_count else None


# As the mirror keeps it.
ENTITY_JSON = TypeAdapter(Entity)
# By what an entity is found in other accounts: what the field is called here, and in the mirror.
MATCHED_BY: Mapping[MatchField, str] = {
    "externalCode": "external_code",
    "code": "code",
    "article": "article",
    "barcode": "barcodes",
}


def values_of(entity: Entity, match_field: MatchField) -> tuple[str, ...]:
    """The values of the field by which entities are matched: none, one, or several barcodes."""
    value = getattr(entity, MATCHED_BY[match_field])
    return value if isinstance(value, tuple) else (value,) if value else ()


@dataclass(frozen=True)
class NewImage:
    """An image to be put into a list: its file name and its bytes."""

    filename: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class KeptImage:
    """An image that the very entity has already, by its id in that account: it is named, and no bytes are sent."""

    id: str


Part = NewImage | KeptImage


class Wanted(NamedTuple):
    """One image that an entity is to have, in its order.

    key: of its row. source: rules.identity. replaces: the child's id of what is in its place until it is there, or ''.
    child_id: what is to stay as it is in the child account, '' for an image of the main account. limit: it is to be
    made smaller than so many bytes; 0: sent as it is. The rest is the main account's row. sha256: of kept content that
    is to come back, '' else.
    """

    key: str
    source: str
    replaces: str
    child_id: str
    limit: int
    filename: str
    size: int
    download_href: str
    permanent_href: str
    sha256: str = ""

    @property
    def content(self) -> str:
        """By what its content is found: its hash, or the identity of an image of the main account."""
        return self.sha256 or self.source


class EntityTask(NamedTuple):
    """What a stored plan keeps of one entity to write it: its counterpart's id and type, its name, all its images."""

    child_id: str
    type: EntityType
    name: str
    images: tuple[Wanted, ...]


class Managed(NamedTuple):
    """One image of an entity in a child account.

    source: of which image of the main account it is the copy, see rules.identity; '' when it is the owner's. id: in the
    child account, '' when it is not there yet. filename, size (bytes) and sha256: as it was sent; '' and UNKNOWN_SIZE
    where that is not known.
    """

    source: str
    id: str
    filename: str
    size: int
    sha256: str = ""


class ChildRecord(NamedTuple):
    """What we know of an entity's images in a child account.

    images: in order; those of the owner are among them only where the account is a mirror. writing: what was about to
    be written when we last heard nothing. others: how many images are the owner's.
    """

    images: tuple[Managed, ...] = ()
    writing: tuple[Managed, ...] = ()
    others: int = 0


class HandOver(BaseModel):
    """What a step leaves for the later steps of its run, for the checks and for people. run_id: of the run that did."""

    model_config = ConfigDict(frozen=True)

    run_id: str = ""


class MainReading(HandOver):
    """What a reading of the main account found.

    asked: the entities that were asked for, or none. full: everything was asked for. complete: everything asked for was
    surely seen; reason: why not. seen: entities per type; images: those on them. new, changed (those that are back
    among them), deleted, archived: rows of the mirror that this reading wrote. unread: key to reason of entities that
    stay as the mirror had them. doubted: keys of those that are gone, and stay until a second look agrees. accounts:
    ids of the accounts that the entities say they are in, '' among them where one does not say.
    """

    asked: tuple[str, ...] = ()
    full: bool = False
    complete: bool = True
    reason: str = ""
    seen: dict[str, int]
    images: int
    new: int
    changed: int
    deleted: int
    archived: int
    unread: dict[str, str]
    doubted: frozenset[str] = frozenset()
    cursor_before: datetime | None = None
    cursor_after: datetime | None = None
    calls: int
    accounts: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()

    @property
    def problems(self) -> list[str]:
        """The entities that were not read and why, for people."""
        return [f"{key}: {why}" for key, why in sorted(self.unread.items())]


@dataclass(frozen=True)
class WithoutCounterpart:
    """An entity of the main account without counterpart in the child account, and why."""

    key: str
    name: str
    reason: str


class ChildMap(HandOver):
    """What looking for counterparts in a child account found.

    unmapped: entities with images that have none there. accounts: as in MainReading, of the child account.
    """

    unmapped: tuple[WithoutCounterpart, ...]
    calls: int
    accounts: frozenset[str] = frozenset()
    warnings: tuple[str, ...]


class ContentFetched(HandOver):
    """What became of the images that a plan needs and whose content was not there.

    downloaded: name and bytes. failed: identity to reason. left: not tried, for the reason `stopped`, which is empty
    when all were. calls: to the main account.
    """

    plan_id: int
    downloaded: tuple[tuple[str, int], ...] = ()
    failed: dict[str, str] = Field(default_factory=dict)
    left: int = 0
    stopped: str = ""
    calls: int = 0

    @property
    def bytes(self) -> int:
        """Bytes downloaded."""
        return sum(size for _, size in self.downloaded)

    @property
    def problems(self) -> list[str]:
        """Which images could not be had and why, for people."""
        return [f"{key}: {why}" for key, why in sorted(self.failed.items())]


def key_parts(key: str) -> tuple[EntityType, str]:
    """Type and id of an entity's key. Raises ValueError for what is none."""
    kind, _, entity_id = key.partition(":")
    for known in TYPES:
        if kind == known and entity_id:
            return known, entity_id
    raise ValueError(told(f"{key!r} is no entity; it should look like product:<id>, with product, bundle or variant"))
