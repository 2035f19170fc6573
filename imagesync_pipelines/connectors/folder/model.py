"""What is known of the folder's files: what a name says, what the mirror keeps, what a scan hands on."""

import re
from typing import NamedTuple

from pydantic import BaseModel

from imagesync_pipelines import languages
from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.languages import N_
from imagesync_pipelines.products.file_names import stem

NAME = "folder"
# Raising it rewrites the rows of all files.
RULES_VERSION = 1


class KnownFile(BaseModel):
    """A picture in the folder, as the mirror has it; changed: its time of modification as the folder writes it."""

    changed: str
    size: int
    sha256: str
    width: int
    height: int
    format: str


NAMELESS = N_("its name is in no characters that can be read (UTF-8 is needed); give it another name")


class FilesScan(BaseModel):
    """What a scan of the folder found; a scan without a proof shows no file as gone.

    files: pictures there are. read: of them, those that were new or changed. gone: no longer there. set_aside: path →
    why it is no picture.
    """

    scan_id: int
    proven: bool
    reason: str
    files: int
    read: int
    gone: int
    set_aside: dict[str, str]

    @property
    def warnings(self) -> list[str]:
        """What a person has to know of it."""
        told = []
        if self.set_aside:
            file, why = min(self.set_aside.items())
            told.append(
                languages.told(
                    f"{len(self.set_aside)} files are no pictures, or not clearly one, and were set aside, for "
                    f"example {file}: {why}"
                )
            )
        return told if self.proven else [*told, languages.told(f"{self.reason}; nothing is taken to be gone.")]


class FolderError(ImagesyncError):
    """The folder cannot be listed, or nothing can be planned yet; the message says what to do."""


class FileName(NamedTuple):
    """What a name says: whose picture, and which of several; number counts from 1, view is '' when it names none."""

    sku: str
    number: int
    view: str

    @property
    def is_front(self) -> bool:
        """Whether it is the picture that stands for the product: SKU.jpg, SKU_1.jpg and SKU-front.jpg are."""
        return self.view in ("", "front") and self.number == 1

    @property
    def priority(self) -> int:
        """Its place among the pictures of the product, as product_image has it: 1 for the front, then by number."""
        return 1 if self.is_front else max(2, self.number)


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
