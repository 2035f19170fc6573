"""What the МойСклад connector speaks of: entities and their images, as an account has them and as they are written.

What belongs here: the rows that its files hand to each other. What does not: reading them (api/), choosing images
(rules.py), plans (planning.py). Mode and Ownership are words of the accounts file and come from there.
"""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, Self, get_args

from imagesync_pipelines.accounts.moysklad import Mode as Mode
from imagesync_pipelines.accounts.moysklad import Ownership as Ownership

EntityType = Literal["product", "bundle", "variant"]
TYPES: tuple[EntityType, ...] = get_args(EntityType)
# The most images that a product, bundle or variant has (contract section 5).
MOST_IMAGES = 10


@dataclass(frozen=True)
class ImageRow:
    """One image of an entity, as its account lists it.

    id: the last part of its address, the same for the same file name and bytes, so one entity may have it twice.
    size: bytes. title: without extension, as a rule. updated: when it was put there, with its zone. download_href:
    where the API redirects to the bytes. permanent_href: where they are without an API call; '' where there is none.
    """

    id: str
    filename: str
    size: int
    title: str
    updated: datetime
    download_href: str
    permanent_href: str = ""


@dataclass(frozen=True)
class Entity:
    """A product, bundle or variant of an account.

    product_id: the product of a variant, '' for the others. image_count: how many images the account says that it has,
    -1 where it does not say. images: in order; None where the rows were not delivered, which is never the same as none.
    account_id: МойСклад's id of the account that it is in; '' where it does not say.
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
    updated: datetime
    image_count: int
    images: tuple[ImageRow, ...] | None
    account_id: str = ""

    @property
    def key(self) -> str:
        """`<type>:<id>`; that of the main account is the entity's key everywhere, and the engine's group."""
        return f"{self.type}:{self.id}"

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values; `from_json` is the way back."""
        values = asdict(self) | {"barcodes": list(self.barcodes), "updated": self.updated.isoformat()}
        if self.images is not None:
            values["images"] = [asdict(row) | {"updated": row.updated.isoformat()} for row in self.images]
        return values

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The entity that `as_json` was made from."""
        rows = data["images"]
        images = None if rows is None else tuple(ImageRow(**(row | {"updated": _moment(row)})) for row in rows)
        return cls(**(data | {"barcodes": tuple(data["barcodes"]), "updated": _moment(data), "images": images}))


@dataclass(frozen=True)
class NewImage:
    """An image to be put into a list: its file name and its bytes."""

    filename: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class KeptImage:
    """An image that the very entity has already, by its id in that account: it is named, and no bytes are sent."""

    id: str


def key_parts(key: str) -> tuple[EntityType, str]:
    """Type and id of an entity's key. Raises ValueError for what is none."""
    kind, _, entity_id = key.partition(":")
    for known in TYPES:
        if kind == known and entity_id:
            return known, entity_id
    raise ValueError(f"{key!r} is no entity; it should look like product:<id>, with product, bundle or variant")


def _moment(row: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(row["updated"])
