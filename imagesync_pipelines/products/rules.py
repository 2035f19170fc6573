"""The pure rules of product images: which order images have, which is primary, which article an image belongs to."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from imagesync_pipelines.settings import DEFAULT_SOURCE

# Part of every row's fingerprint: raising it rewrites the rows that these rules give.
RULES_VERSION = 1
ALT_TEXT_LENGTH = 255

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StoredProduct(NamedTuple):
    """A product as our table has it; `kind` is parent or variant, `parent_id` our own id of the parent.

    `in_erp` is False once the ERP no longer has it. The ERP's own flag (active or not) decides nothing here: pictures
    of a product that is not sold at the moment are right as well.
    """

    id: int
    kind: str
    sku: str
    parent_id: int | None = None
    variant_code: str | None = None
    legacy_sku: str | None = None
    base_sku: str | None = None
    name: str = ""
    in_erp: bool = True


class Shown(NamedTuple):
    """What of a product image decides where it is shown; those of all sources of a product stand in one order.

    place: the one that a person gave it, None where nobody did.
    """

    external_id: str
    priority: int
    newest_export: datetime | None
    source: str = DEFAULT_SOURCE
    place: int | None = None

    @property
    def name(self) -> tuple[str, str]:
        """Which of its product's images it is: the connector that brought it, and that source's own id of it."""
        return self.source, self.external_id


def priority(image_type: str, is_front: bool) -> int:
    """1 Produktfoto and front, 2 Produktfoto, 3 front, 4 the rest; front is the link's."""
    is_photo = image_type.strip().casefold() == "produktfoto"
    if is_photo:
        return 1 if is_front else 2
    return 3 if is_front else 4


def display_order(image: Shown) -> tuple[float, int, float, int, str, str]:
    """The key that sorts images for display: the place that a person gave, those without one behind.

    Then priority, newest export first, then file_id as a number, then source.
    """
    newest = (image.newest_export - _EPOCH).total_seconds() if image.newest_export else float("-inf")
    number = int(image.external_id) if image.external_id.isdecimal() else 0
    place = float("inf") if image.place is None else image.place
    return place, image.priority, -newest, number, image.external_id, image.source


def choose_primary(images: Iterable[Shown], pin: tuple[str, str] | None = None) -> tuple[str, str] | None:
    """Which is the primary image: the pinned one if it is there, else the first in display order.

    None only when there are no images. A pin whose image is gone is dormant: it changes nothing.
    """
    there = list(images)
    if pin is not None and any(image.name == pin for image in there):
        return pin
    if len(there) == 1:  # most products have one
        return there[0].name
    return min(there, key=display_order).name if there else None


def alt_text(product_name: str, image_type: str) -> str:
    """Product name and image type, at most 255 characters; the name is shortened, the type stays whole."""
    name, kind = " ".join(product_name.split()), " ".join(image_type.split())
    text = " - ".join(part for part in (name, kind) if part)
    if len(text) <= ALT_TEXT_LENGTH:
        return text
    connector = ALT_TEXT_LENGTH - (len(kind) + len(" - ") if kind else 0)
    return " - ".join(part for part in (name[: connector - 1].rstrip() + "…", kind) if part)
