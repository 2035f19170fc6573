"""Names of pictures' files: in one form, whoever wrote them, and what makes it unclear whose picture a name means."""

import re
from collections.abc import Callable

from imagesync_pipelines.languages import told
from imagesync_pipelines.upstream.canonical import canonical_text

_PARTIAL_ENDINGS = (".part", ".partial", ".crdownload", ".filepart", ".tmp", "~")
_ENDING = re.compile(r"\.(jpe?g|png|webp|gif|tiff?|avif|heic|bmp|psd)", re.IGNORECASE)
_WORD = r"(?:copy|copie|copia|kopie|kopia|kopi|копия)"
# Blanks are plain ones by then. What a file manager or a browser makes of a name that is taken.
_COPIES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?P<name>.+?) ?\(\d+\)",
        rf"(?P<name>.+?)(?: ?[-–] ?| ){_WORD}(?: ?\(?\d+\)?)?",
        rf"{_WORD}(?: of| von| de| di)? (?P<name>.+)",
    )
)


def canonical(path: str) -> str:
    """A path as a key: each part in canonical form, the name before its ending too."""
    *folders, name = map(canonical_text, path.split("/"))
    before, dot, ending = name.rpartition(".")
    return "/".join((*folders, f"{before.rstrip()}{dot}{ending.lstrip()}"))


def stem(path: str) -> str:
    """The name of a file without its folder and its ending, in canonical form."""
    name = canonical(path).rpartition("/")[2]
    return name.rpartition(".")[0] or name


def is_ignored(path: str, size: int) -> bool:
    """Whether a file is hidden (as what a Mac puts beside it, `._name`), or not whole yet: nothing is told of those."""
    parts = path.split("/")
    hidden = any(part.startswith((".", "~")) for part in parts)
    return hidden or size == 0 or parts[-1].lower().endswith(_PARTIAL_ENDINGS)


def why_unclear(name: str, is_sku: Callable[[str], bool]) -> str:
    """Why the name of a file (its stem) does not say clearly whose picture it is, '' when it does.

    is_sku: whether there is a product of this name; a name that is a SKU as it stands is clear.
    """
    if is_sku(name):
        return ""
    original = name
    while found := next(filter(None, (pattern.fullmatch(original) for pattern in _COPIES)), None):
        original = found["name"].strip()
    if original != name:
        return told(f"it looks like a copy of {original}: delete it, or give it a name of its own")
    if _ENDING.search(name) is not None and _ENDING.fullmatch(name[name.rindex(".") :]) is not None:
        return told("its name has two endings; which of them is wrong?")
    return ""
