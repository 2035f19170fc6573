"""Pictures as Amazon's image host knows them: ids, sizes, small copies, and their bytes."""

import hashlib
import re
import string
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from PIL import Image, ImageDraw

from imagesync_pipelines.sandbox.answers import encoded

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
class AmazonPicture:
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


def small_copy(picture: AmazonPicture) -> AmazonPicture | None:
    """The copy of at most 500 px that Amazon keeps under another id; None when the original is no larger."""
    longest = max(picture.width, picture.height)
    if longest <= COPY_SIDE:
        return None
    seed = hashlib.sha256(picture.id.encode()).hexdigest()
    width, height = fitted(picture.width, picture.height, COPY_SIDE, COPY_SIDE)
    return replace(picture, id=make_id(Random(seed), COPY_SIDE), width=width, height=height)


def fitted(width: int, height: int, most_wide: int, most_high: int) -> tuple[int, int]:
    """The size that fits into the box with the same shape; never larger than it is."""
    scale = min(1.0, most_wide / width, most_high / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def read_name(name: str) -> tuple[str, str, str] | None:
    """The id, the tokens and the extension of a file name, percent-decoded before; None when it is not one."""
    found = _NAME.fullmatch(name)
    return None if found is None else (found["id"], found["tokens"] or "", found["extension"])


PATCHES = 7
FILL = 0.93  # of each side: the product fills 86 % of the frame
QUALITY = 90
WHITE, GREY = (255, 255, 255), (214, 214, 214)
_TOKEN = re.compile(r"(?P<name>[A-Z]{2,}?)(?P<value>\d+(?:,\d+)*|[a-z]+)?")


@dataclass(frozen=True)
class Rendition:
    """What the tokens ask for: the size of the picture, a square frame around it, a crop, the quality and format."""

    width: int
    height: int
    square: int | None = None
    crop: tuple[int, int, int, int] | None = None
    quality: int = QUALITY
    format: str = "JPEG"


def rendition(picture: AmazonPicture, tokens: str) -> Rendition:
    """Read the tokens of a name (`AC_SL1500`); sizes above the original's and tokens of other kinds change nothing."""
    usual = "PNG" if picture.extension == "png" else "JPEG"
    made = Rendition(picture.width, picture.height, format=usual)
    for token in filter(None, tokens.split("_")):
        found = _TOKEN.fullmatch(token)
        if found is not None and found["value"] is not None:
            made = _with_token(made, found["name"], found["value"])
    return made


def draw(picture: AmazonPicture, tokens: str = "") -> tuple[bytes, str]:
    """The file of a picture and its media type: the same bytes for the same picture and tokens, always."""
    wanted = rendition(picture, tokens)
    image = _cushion(picture, wanted.width, wanted.height)
    if wanted.square is not None:
        frame = Image.new("RGB", (wanted.square, wanted.square), WHITE)
        frame.paste(image, ((wanted.square - image.width) // 2, (wanted.square - image.height) // 2))
        image = frame
    if wanted.crop is not None:
        left, top, width, height = wanted.crop
        right, bottom = min(image.width, left + width), min(image.height, top + height)
        if left < right and top < bottom:
            image = image.crop((left, top, right, bottom))
    content = encoded(image, wanted.format, quality=wanted.quality)
    if picture.undecodable:
        # The head says what it should, the second half of the entropy data is missing.
        content = content[: len(content) // 2]
    return content, f"image/{wanted.format.lower()}"


def _with_token(made: Rendition, name: str, value: str) -> Rendition:
    """The rendition with one more token; a size of nothing changes nothing."""
    if name == "FM":
        return replace(made, format={"webp": "WEBP", "png": "PNG"}.get(value, made.format))
    if not value[0].isdigit():
        return made
    numbers = [int(number) for number in value.split(",")]
    first, anything = numbers[0], 1_000_000
    boxes = {
        **dict.fromkeys(("SL", "UL", "SS", "US"), (first, first)),
        **dict.fromkeys(("SX", "UX"), (first, anything)),
        **dict.fromkeys(("SY", "UY"), (anything, first)),
        **(dict.fromkeys(("UF", "SR"), (first, numbers[1])) if len(numbers) == 2 else {}),
    }
    if name in boxes and min(numbers) > 0:
        width, height = fitted(made.width, made.height, *boxes[name])
        square = min(first, max(made.width, made.height)) if name in ("SS", "US") else made.square
        return replace(made, width=width, height=height, square=square)
    if name == "QL":
        return replace(made, quality=max(1, min(100, first)))
    if name == "CR" and len(numbers) == 4 and min(numbers[2:]) > 0:
        return replace(made, crop=(first, numbers[1], numbers[2], numbers[3]))
    return made


def _cushion(picture: AmazonPicture, width: int, height: int) -> Image.Image:
    """A patchwork whose patches come from the look alone: every size of a picture shows the same."""
    rng = Random(f"look/{picture.look}")
    behind = GREY if picture.background is Background.GREY else WHITE
    image = Image.new("RGB", (width, height), behind)
    pen = ImageDraw.Draw(image)
    wide, high = width * FILL, height * FILL
    left, top = (width - wide) / 2, (height - high) / 2
    for row in range(PATCHES):
        for column in range(PATCHES):
            light = rng.randrange(20, 236)
            colour = tuple(min(255, max(0, light + rng.randrange(-40, 41) + picture.shade)) for _ in range(3))
            corner = (left + wide * column / PATCHES, top + high * row / PATCHES)
            opposite = (left + wide * (column + 1) / PATCHES - 1, top + high * (row + 1) / PATCHES - 1)
            # At the smallest sizes a patch is less than a pixel wide.
            pen.rectangle((*corner, max(corner[0], opposite[0]), max(corner[1], opposite[1])), fill=colour)
    return image
