"""Pictures as Amazon's image host knows them: an id, a size, and the small copies under other ids (contract 2 and 4).

What belongs here: one picture, its ids, how a file name is read. What does not: bytes (drawing.py), listings.
"""

import hashlib
import re
import string
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

REAL_HOST = "https://m.media-amazon.com"
COPY_SIDE, TINY_SIDE = 500, 75
TINY_TOKEN = f"SL{TINY_SIDE}"
_PLAIN = string.ascii_letters + string.digits
_ODD_SHARE = 0.22  # ids with `+` or `-`
_PREFIXES = (
    (500, ("31", "41", "51")),
    (1001, ("51", "61")),
    (1500, ("61", "71")),
    (2560, ("71", "81", "91", "A1", "B1")),
)
_NAME = re.compile(r"(?P<id>[A-Za-z0-9+-]{11})(?:\._(?P<tokens>[^/]*)_)?\.(?P<extension>[a-z]{3,4})")


class Background(StrEnum):
    """What is behind the product."""

    WHITE = "white"
    GREY = "grey"


@dataclass(frozen=True)
class Picture:
    """One stored picture. Pictures with the same `look` show the same at any size; `shade` makes a near-duplicate.

    `width` and `height` are pixels. An `undecodable` one is served as a JPEG that no decoder reads to its end.
    """

    id: str
    look: str
    width: int
    height: int
    background: Background = Background.WHITE
    shade: int = 0
    undecodable: bool = False
    extension: str = "jpg"

    def name(self, tokens: str = "") -> str:
        """The file name, with size tokens such as `SL75` or `AC_SL1500` if given."""
        return f"{self.id}._{tokens}_.{self.extension}" if tokens else f"{self.id}.{self.extension}"

    def url(self, host: str = REAL_HOST, tokens: str = "") -> str:
        """The address of the picture on a host, which is given with its scheme."""
        return f"{host}/images/I/{self.name(tokens)}"


def make_id(rng: Random, longest: int) -> str:
    """An id of 11 characters; its first two grow roughly with the size, every fifth id holds `+` or `-`."""
    prefixes = next((names for side, names in _PREFIXES if longest <= side), _PREFIXES[-1][1])
    middle = [rng.choice(_PLAIN) for _ in range(8)]
    if rng.random() < _ODD_SHARE:
        middle[rng.choice((0, rng.randrange(8)))] = rng.choice("+-")
    return rng.choice(prefixes) + "".join(middle) + "L"


def small_copy(picture: Picture) -> Picture | None:
    """The copy of at most 500 px that Amazon keeps under another id; None when the original is no larger."""
    longest = max(picture.width, picture.height)
    if longest <= COPY_SIDE:
        return None
    seed = hashlib.sha256(picture.id.encode()).hexdigest()
    width, height = fitted(picture.width, picture.height, COPY_SIDE, COPY_SIDE)
    return replace(picture, id=make_id(Random(seed), COPY_SIDE), width=width, height=height)  # noqa: S311 - no secret


def fitted(width: int, height: int, most_wide: int, most_high: int) -> tuple[int, int]:
    """The size that fits into the box with the same shape; never larger than it is."""
    scale = min(1.0, most_wide / width, most_high / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def read_name(name: str) -> tuple[str, str, str] | None:
    """The id, the tokens and the extension of a file name, percent-decoded before; None when it is not one."""
    found = _NAME.fullmatch(name)
    return None if found is None else (found["id"], found["tokens"] or "", found["extension"])
