"""The rules of the folder: which files are looked at, and what a file's name says."""

import re
import unicodedata
from typing import NamedTuple

# Raising it rewrites the rows of all files.
RULES_VERSION = 1
FRONT = "front"
_PARTIAL_ENDINGS = (".part", ".partial", ".crdownload", ".filepart", ".tmp", "~")


class FileName(NamedTuple):
    """What a name says: whose picture, and which of several; number counts from 1, view is '' when it names none."""

    sku: str
    number: int
    view: str

    @property
    def is_front(self) -> bool:
        """Whether it is the picture that stands for the product: SKU.jpg, SKU_1.jpg and SKU-front.jpg are."""
        return self.view in ("", FRONT) and self.number == 1

    @property
    def priority(self) -> int:
        """Its place among the pictures of the product, as product_image has it: 1 for the front, then by number."""
        return 1 if self.is_front else max(2, self.number)


def canonical(path: str) -> str:
    """A path as a key: Unicode NFC, each part trimmed; a Mac writes the same name in other characters."""
    return "/".join(part.strip() for part in unicodedata.normalize("NFC", path).split("/"))


def is_ignored(path: str, size: int) -> bool:
    """Whether a file is hidden, or not whole yet: nothing is told of those."""
    parts = path.split("/")
    hidden = any(part.startswith((".", "~")) for part in parts)
    return hidden or size == 0 or parts[-1].lower().endswith(_PARTIAL_ENDINGS)


def stem(path: str) -> str:
    """The name of a file without its folder and its ending, trimmed."""
    name = path.rpartition("/")[2]
    return (name.rpartition(".")[0] or name).strip()


def named(path: str, pattern: re.Pattern[str], skus: frozenset[str]) -> FileName | None:
    """What the name of a file says; None: nothing.

    A name that is a SKU as it stands is that product's front picture, whatever the pattern makes of it: SKUs have
    underscores and hyphens too. skus: those that there are, in canonical form.
    """
    whole = stem(path)
    if whole in skus:
        return FileName(whole, 1, "")
    found = pattern.fullmatch(whole)
    if found is None:
        return None
    groups = found.groupdict()
    number = groups.get("number") or ""
    view = (groups.get("view") or "").strip().lower()
    sku = (groups.get("sku") or "").strip()
    return FileName(sku, max(1, int(number)) if number.isdecimal() else 1, view) if sku else None
